//! Which addresses there are to hand out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many of the addresses that are handed out to everybody alike are used.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressPlan {
    public: usize,
    servers: usize,
    private_subnets: usize,
    carrier_subnets: usize,
    v6: Vec<u16>,
}

/// A /24 and how much of it is used.
#[derive(Debug, Clone)]
pub(super) struct Subnet {
    first: Ipv4Addr,
    used: usize,
}

impl AddressPlan {
    /// `wanted`, or a subnet that nobody else has by default.
    pub(super) fn subnet(
        &mut self,
        name: &str,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Subnet, TopologyError> {
        let first = if let Some(first) = wanted {
            first
        } else {
            self.private_subnets += 1;
            let third = subnet_octet(self.private_subnets)
                .ok_or_else(|| TopologyError::no_address(name, "private networks", 254))?;
            Ipv4Addr::new(192, 168, third, 0)
        };
        Ok(Subnet { first, used: 0 })
    }

    pub(super) fn carrier_subnet(&mut self, name: &str) -> Result<Ipv4Addr, TopologyError> {
        self.carrier_subnets += 1;
        let third = subnet_octet(self.carrier_subnets)
            .ok_or_else(|| TopologyError::no_address(name, "carrier networks", 254))?;
        Ok(Ipv4Addr::new(100, 64, third, 0))
    }

    pub(super) fn public_address(&mut self, name: &str) -> Result<IpAddr, TopologyError> {
        let used = self.public;
        let address = match (host_octet(used), host_octet(used.saturating_sub(254))) {
            (Some(last), _) => Ipv4Addr::new(203, 0, 113, last),
            (None, Some(last)) => Ipv4Addr::new(198, 51, 100, last),
            (None, None) => return Err(TopologyError::no_address(name, "public hosts", 508)),
        };
        self.public += 1;
        Ok(address.into())
    }

    pub(super) fn server_address(&mut self, name: &str) -> Result<IpAddr, TopologyError> {
        let last = host_octet(self.servers)
            .ok_or_else(|| TopologyError::no_address(name, "servers", 254))?;
        self.servers += 1;
        Ok(Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// The next IPv6 address of network number `network`.
    pub(super) fn v6_address(
        &mut self,
        name: &str,
        network: usize,
    ) -> Result<IpAddr, TopologyError> {
        let full = || TopologyError::no_address(name, "IPv6 networks", usize::from(u16::MAX));
        let number = u16::try_from(network).map_err(|_| full())?;
        if self.v6.len() <= network {
            self.v6.resize(network + 1, 0);
        }
        let used = &mut self.v6[network];
        *used = used.checked_add(1).ok_or_else(full)?;
        Ok(Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, *used).into())
    }
}

impl Subnet {
    /// The next free address. The gateway itself has the first one.
    pub(super) fn next(&mut self, name: &str) -> Result<IpAddr, TopologyError> {
        let last = host_octet(self.used + 1)
            .ok_or_else(|| TopologyError::no_address(name, "hosts of one network", 253))?;
        self.used += 1;
        let [first, second, third, _] = self.first.octets();
        Ok(Ipv4Addr::new(first, second, third, last).into())
    }
}

/// The third octet of the subnet number `number`, counted from 1.
fn subnet_octet(number: usize) -> Option<u8> {
    u8::try_from(number).ok().filter(|octet| *octet < u8::MAX)
}

/// The last octet of the address number `index` of a /24, without network and broadcast address.
fn host_octet(index: usize) -> Option<u8> {
    u8::try_from(index + 1)
        .ok()
        .filter(|octet| *octet < u8::MAX)
}

/// A node that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Random streams and reports go by name, so names must differ.
    #[error("the name {name:?} is used twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An address plan is full.
    #[error("no address left for {name:?}: at most {limit} {kind} are possible")]
    NoAddress {
        /// The node that got none.
        name: String,
        /// What there are too many of.
        kind: &'static str,
        /// How many addresses the plan has.
        limit: usize,
    },
}

impl TopologyError {
    fn no_address(name: &str, kind: &'static str, limit: usize) -> Self {
        Self::NoAddress {
            name: name.to_owned(),
            kind,
            limit,
        }
    }
}
