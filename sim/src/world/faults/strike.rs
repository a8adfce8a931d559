//! What each kind of fault does to a running world when it strikes.

use std::net::{IpAddr, SocketAddr};

use super::{AppDeed, Counter, Evidence, Faults, Struck, Undo};
use crate::fault::{
    AddressAfter, Breakage, FaultKind, Goodbye, LinkName, ServerName, SocketsMeanwhile, TurnOutage,
};
use crate::net::cause::DropCause;
use crate::net::fabric::gateway_name;
use crate::net::link::LinkPair;
use crate::net::topology::HostId;
use crate::server::turn::TurnControl;
use crate::world::World;
use crate::world::device::Carrier;

impl Faults<'_> {
    /// Does what a fault does when it begins.
    pub(super) fn strike(
        &mut self,
        index: usize,
        kind: &FaultKind,
        world: &mut World,
        deeds: &mut Vec<AppDeed>,
    ) -> (Undo, Struck) {
        match kind {
            FaultKind::SocketDrop { peer, how } => {
                (Undo::Nothing, self.drop_socket(peer, *how, world))
            }
            FaultKind::SignalingRestart { how } => {
                (Undo::StartSignaling, self.stop_signaling(*how, world))
            }
            FaultKind::ServerPause { server } => {
                let hosts = self.servers.hosts_of(*server);
                for host in &hosts {
                    world.pause(*host);
                }
                let counter = Counter::WaitingAt(hosts.clone());
                let what = "packets that reached the server were not answered";
                (Undo::Resume(hosts), self.count(counter, what, world))
            }
            FaultKind::NameFailure { peer } => {
                let hosts = self.interfaces(peer);
                for host in &hosts {
                    world.device(*host).fail_lookups(*host);
                }
                let counter = Counter::FailedLookups(self.current[peer]);
                let what = "look-ups of names failed";
                (Undo::RestoreLookup(hosts), self.count(counter, what, world))
            }
            FaultKind::TurnOut { how } => self.turn_out(index, *how, world),
            FaultKind::NatReboot { network, address } => {
                (Undo::Nothing, self.reboot(network, *address, world))
            }
            FaultKind::MappingFlush { network } => {
                let nat = world.nat_mut(self.places.networks[network]);
                let count = nat.map_or(0, |(nat, _)| nat.flush());
                (Undo::Nothing, Struck::counted(count, "mappings were lost"))
            }
            FaultKind::Rebinding { network } => {
                let now = world.now();
                let nat = world.nat_mut(self.places.networks[network]);
                let count = nat.map_or(0, |(nat, rng)| nat.rebind(now, rng));
                let what = "mappings have another port";
                (Undo::Nothing, Struck::counted(count, what))
            }
            FaultKind::NetworkSwitch { peer, to } => {
                (Undo::Nothing, self.switch_network(peer, to, world))
            }
            FaultKind::FlightMode { peer } => {
                let interface = self.current[peer];
                let count = world.set_carrier(interface, Carrier::Down);
                let what = format!("the interface is down, {count} connections were aborted");
                let struck = if world.is_running(interface) {
                    Struck::Shows(what)
                } else {
                    Struck::Nothing
                };
                (Undo::Connect(interface), struck)
            }
            FaultKind::AppSuspend { peer, sockets } => self.suspend(peer, *sockets, world),
            FaultKind::AppKill { peer } => {
                let struck = if world.is_running(self.current[peer]) {
                    Struck::Shows("the app is gone".to_owned())
                } else {
                    Struck::Nothing
                };
                deeds.push(AppDeed::Kill(peer.clone()));
                let undo = match self.scenario.faults[index].lasts {
                    Some(_) => Undo::StartApp(peer.clone()),
                    None => Undo::Nothing,
                };
                (undo, struck)
            }
            FaultKind::Blackhole { network, direction } => {
                let place = Some(gateway_name(network));
                let network = self.places.networks[network];
                world.set_blackhole(network, Some(*direction));
                world.watch(index, place, DropCause::Blackhole);
                let struck = Struck::MayShow(Evidence::Drops);
                (Undo::OpenBlackhole(network), struck)
            }
            FaultKind::LinkChange { network, link, to } => {
                self.change_link(network, *link, to, world)
            }
        }
    }

    fn drop_socket(&self, peer: &str, how: Breakage, world: &mut World) -> Struck {
        let port = self.servers.signaling_port();
        let server: Vec<IpAddr> = world.addresses(self.servers.signaling()).collect();
        let is_meant = |remote: SocketAddr| remote.port() == port && server.contains(&remote.ip());
        let count = world.break_connections(self.current[peer], is_meant, how);
        Struck::counted(count, "signaling connections were cut")
    }

    fn stop_signaling(&self, how: Goodbye, world: &mut World) -> Struck {
        let host = self.servers.signaling();
        let count = world.open_connections(host);
        match how {
            Goodbye::Polite => world.kill(host),
            Goodbye::Cut => world.power_off(host),
        }
        Struck::counted(count, "signaling connections were cut")
    }

    fn turn_out(&self, index: usize, how: TurnOutage, world: &mut World) -> (Undo, Struck) {
        let controls = self.servers.turn_controls();
        match how {
            TurnOutage::Down => {
                let hosts = self.servers.hosts_of(ServerName::Turn);
                for host in &hosts {
                    world.switch_off(*host);
                    let place = world.name_of(*host).to_string();
                    world.watch(index, Some(place), DropCause::HostDown);
                }
                let struck = Struck::MayShow(Evidence::Drops);
                return (Undo::SwitchOn(hosts), struck);
            }
            TurnOutage::WrongCredentials => controls.for_each(TurnControl::refuse_credentials),
            TurnOutage::Quota => controls.for_each(TurnControl::reach_quota),
        }
        let what = "requests were refused by TURN servers";
        (
            Undo::ServeTurn,
            self.count(Counter::RefusedByTurn, what, world),
        )
    }

    fn reboot(&self, network: &str, address: AddressAfter, world: &mut World) -> Struck {
        let id = self.places.networks[network];
        match world.restart_nat(id, address) {
            // Without a mapping nobody notices, and without another address nothing changes: the fault
            // is without effect, which fails the run.
            Ok(0) | Err(_) => Struck::Nothing,
            Ok(count) => match address {
                AddressAfter::Same => Struck::counted(count, "mappings were lost"),
                AddressAfter::New => {
                    let nat = world.nat_mut(id);
                    let external = nat.and_then(|(nat, _)| nat.externals().first().copied());
                    let external = external.map(|address| address.to_string());
                    let external = external.unwrap_or_default();
                    let what = format!("{count} mappings were lost, the address is {external} now");
                    Struck::Shows(what)
                }
            },
        }
    }

    fn switch_network(&mut self, peer: &str, to: &str, world: &mut World) -> Struck {
        let (from, to) = (self.current[peer], self.places.interfaces[peer][to]);
        if from == to {
            return Struck::Nothing;
        }
        world.close_sockets(from);
        world.set_carrier(from, Carrier::Down);
        world.set_carrier(to, Carrier::Up);
        self.current.insert(peer.to_owned(), to);
        let address = |host| {
            let addresses: Vec<String> = world.addresses(host).map(|ip| ip.to_string()).collect();
            addresses.join(", ")
        };
        Struck::Shows(format!("{} became {}", address(from), address(to)))
    }

    fn suspend(&self, peer: &str, sockets: SocketsMeanwhile, world: &mut World) -> (Undo, Struck) {
        let interface = self.current[peer];
        if sockets == SocketsMeanwhile::Killed {
            world.close_sockets(interface);
        }
        let struck = if world.pause(interface) {
            Struck::Shows("its timers stand still".to_owned())
        } else {
            Struck::Nothing
        };
        (Undo::Resume(vec![interface]), struck)
    }

    fn change_link(
        &self,
        network: &str,
        link: LinkName,
        to: &LinkPair,
        world: &mut World,
    ) -> (Undo, Struck) {
        let id = self.places.networks[network];
        let what = "packets passed the link as it is now";
        match link {
            LinkName::Uplink => {
                let before = world.uplink(id);
                world.change_uplink(id, *to);
                let evidence = self.count(Counter::CarriedByUplink(id), what, world);
                let struck = if before == *to {
                    Struck::Nothing
                } else {
                    evidence
                };
                (Undo::RestoreUplink(id, Box::new(before)), struck)
            }
            LinkName::Lan => {
                let hosts = world.topology().hosts();
                let hosts: Vec<HostId> = hosts
                    .filter(|host| world.topology().network_of(*host) == Some(id))
                    .collect();
                let before: Vec<(HostId, LinkPair)> = hosts
                    .iter()
                    .map(|host| (*host, world.host_link(*host)))
                    .collect();
                for host in &hosts {
                    world.change_host_link(*host, *to);
                }
                let struck = if before.iter().all(|(_, before)| before == to) {
                    Struck::Nothing
                } else {
                    self.count(Counter::CarriedTo(hosts), what, world)
                };
                (Undo::RestoreHostLinks(before), struck)
            }
        }
    }
}
