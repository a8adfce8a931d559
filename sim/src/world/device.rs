//! A machine of the world: its interfaces, and which of them are up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::net::topology::HostId;

/// A machine, as its applications and the world share it. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Device(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    interfaces: Vec<InterfaceState>,
    failed_lookups: u64,
}

/// One interface: a host of the topology and of the kernel.
#[derive(Debug)]
struct InterfaceState {
    host: HostId,
    kernel: turmoil_net::HostId,
    name: &'static str,
    addresses: Vec<Address>,
    up: Carrier,
    lookup: Lookup,
    name_servers: NameServers,
    /// How often its sockets were closed from outside.
    epoch: watch::Sender<u32>,
}

/// An address, as the machine knows it and as the kernels of the world do.
///
/// Two machines in different networks may have the same address, and two kernels may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// What the machine knows itself by.
    pub seen: IpAddr,
    /// What its kernel is registered with.
    pub kernel: IpAddr,
}

/// Whether an interface is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// Whether name servers answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameServers {
    Answer,
    Fail,
}

/// How names are looked up over an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// They are found.
    Works,
    /// The name servers fail.
    Fails,
    /// Every name there is has these addresses, as in the network of a captive portal.
    AllAt(Vec<IpAddr>),
}

/// An interface that a socket can be opened on.
#[derive(Debug, Clone)]
pub struct Place {
    /// The host of the kernel.
    pub kernel: turmoil_net::HostId,
    /// The address to bind to.
    pub address: Address,
    /// Changes when the sockets of the interface are closed from outside.
    pub epoch: watch::Receiver<u32>,
}

impl Device {
    /// A machine without interfaces.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            interfaces: Vec::new(),
            failed_lookups: 0,
        })))
    }

    /// Adds an interface. The first one is up, the others wait for [`set_carrier`](Self::set_carrier).
    pub fn add(&self, host: HostId, kernel: turmoil_net::HostId, addresses: Vec<Address>) {
        let mut state = self.lock();
        let (name, up) = match state.interfaces.len() {
            0 => ("eth0", Carrier::Up),
            1 => ("eth1", Carrier::Down),
            _ => ("eth2", Carrier::Down),
        };
        state.interfaces.push(InterfaceState {
            host,
            kernel,
            name,
            addresses,
            up,
            lookup: Lookup::Works,
            name_servers: NameServers::Answer,
            epoch: watch::Sender::new(0),
        });
    }

    /// One machine with the interfaces of all `devices`, which are it from now on.
    pub(super) fn joined<'a>(devices: impl Iterator<Item = &'a Self>) -> Self {
        let joined = Self::new();
        for device in devices {
            let interfaces = std::mem::take(&mut device.lock().interfaces);
            for interface in interfaces {
                joined.add(interface.host, interface.kernel, interface.addresses);
            }
        }
        joined
    }

    /// The interfaces that are up, with their names.
    #[must_use]
    pub fn up(&self) -> Vec<(String, IpAddr)> {
        let state = self.lock();
        let up = state.interfaces.iter().filter(|each| each.is_up());
        up.flat_map(|each| {
            let addresses = each.addresses.iter();
            addresses.map(|address| (each.name.to_owned(), address.seen))
        })
        .collect()
    }

    /// Where a socket bound to `local` is opened: on any interface that is up where the address is
    /// unspecified.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` where no interface that is up has the address.
    pub fn place_for(&self, local: IpAddr) -> io::Result<Place> {
        let fits = |address: &Address| {
            if local.is_unspecified() {
                address.seen.is_ipv4() == local.is_ipv4()
            } else {
                address.seen == local
            }
        };
        self.find(fits).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("no interface that is up has the address {local}"),
            )
        })
    }

    /// Where a connection to `remote` is opened.
    ///
    /// # Errors
    ///
    /// `NetworkUnreachable` where no interface that is up has its address family.
    pub fn place_towards(&self, remote: IpAddr) -> io::Result<Place> {
        self.find(|address| address.seen.is_ipv4() == remote.is_ipv4())
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NetworkUnreachable,
                    format!("no interface that is up leads to {remote}"),
                )
            })
    }

    /// Whether the interface with this address of the kernel is up.
    #[must_use]
    pub fn carrier_of(&self, kernel: IpAddr) -> Carrier {
        let state = self.lock();
        let mut owners = state.interfaces.iter().filter(|each| each.has(kernel));
        owners.next().map_or(Carrier::Down, |each| each.up)
    }

    /// Connects an interface, or disconnects it. Its sockets stay open.
    pub fn set_carrier(&self, host: HostId, carrier: Carrier) {
        self.with(host, |interface| interface.up = carrier);
    }

    /// Closes every UDP socket of an interface from outside: whoever uses one is told that it is dead.
    pub fn close_sockets(&self, host: HostId) {
        self.with(host, |interface| {
            interface.epoch.send_modify(|epoch| *epoch += 1);
        });
    }

    /// Changes how names are looked up over an interface.
    pub fn set_lookup(&self, host: HostId, lookup: &Lookup) {
        self.with(host, |interface| interface.lookup = lookup.clone());
    }

    /// Makes every lookup over an interface fail, whatever it would have found.
    pub fn fail_lookups(&self, host: HostId) {
        self.with(host, |interface| interface.name_servers = NameServers::Fail);
    }

    /// Ends what [`fail_lookups`](Self::fail_lookups) began.
    pub fn restore_lookups(&self, host: HostId) {
        self.with(host, |interface| {
            interface.name_servers = NameServers::Answer;
        });
    }

    /// How names are looked up now. Failures are counted.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        let mut state = self.lock();
        let up = state.interfaces.iter().find(|each| each.is_up());
        let lookup = up
            .filter(|interface| interface.name_servers == NameServers::Answer)
            .map_or(Lookup::Fails, |interface| interface.lookup.clone());
        if lookup == Lookup::Fails {
            state.failed_lookups += 1;
        }
        lookup
    }

    /// How many lookups failed because the name servers did, or there was no interface.
    #[must_use]
    pub fn failed_lookups(&self) -> u64 {
        self.lock().failed_lookups
    }

    /// The addresses of an interface.
    #[must_use]
    pub fn addresses(&self, host: HostId) -> Vec<Address> {
        let state = self.lock();
        let mut owners = state.interfaces.iter().filter(|each| each.host == host);
        owners
            .next()
            .map(|each| each.addresses.clone())
            .unwrap_or_default()
    }

    fn find(&self, fits: impl Fn(&Address) -> bool) -> Option<Place> {
        let state = self.lock();
        let mut up = state.interfaces.iter().filter(|each| each.is_up());
        up.find_map(|interface| {
            let address = interface.addresses.iter().find(|address| fits(address))?;
            Some(Place {
                kernel: interface.kernel,
                address: *address,
                epoch: interface.epoch.subscribe(),
            })
        })
    }

    fn with(&self, host: HostId, change: impl Fn(&mut InterfaceState)) {
        let mut state = self.lock();
        let owners = state.interfaces.iter_mut();
        owners.filter(|each| each.host == host).for_each(change);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl InterfaceState {
    fn is_up(&self) -> bool {
        self.up == Carrier::Up
    }

    fn has(&self, kernel: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|address| address.kernel == kernel)
    }
}

impl Address {
    /// What the machine sees of a socket of its kernel.
    #[must_use]
    pub fn seen(&self, kernel: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.seen, kernel.port())
    }
}
