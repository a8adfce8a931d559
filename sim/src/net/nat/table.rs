//! What a NAT remembers: its bindings, found from inside and from outside, and when to forget them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::expiry::Sessions;
use super::mapping::{BindingKey, Scope};
use super::ports::PortSet;
use crate::net::flow::Protocol;

/// An external endpoint in use and the sessions that keep it alive.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) external: SocketAddr,
    pub(super) sessions: Sessions,
    /// Counts the bindings up, so that the newest of several is known.
    serial: u64,
    /// When the table looks at it again: never after its last session has ended.
    check_at: Duration,
}

/// All bindings of a NAT.
///
/// Ports and the limits of hosts are freed on time although no packet looks at more than its own
/// binding: each binding has one entry in `checks`, which is moved only when it is due.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    by_key: BTreeMap<BindingKey, Binding>,
    /// More than one binding for an endpoint is there only where ports are overloaded.
    by_external: BTreeMap<(Protocol, SocketAddr, Scope, u64), BindingKey>,
    used: BTreeMap<(Protocol, IpAddr), PortSet>,
    hosts: BTreeMap<IpAddr, InsideHost>,
    checks: BTreeMap<(Duration, u64), BindingKey>,
    next_serial: u64,
}

/// An inside host that has bindings.
#[derive(Debug, Clone, Copy)]
struct InsideHost {
    /// The external address of its first binding.
    external: IpAddr,
    bindings: usize,
}

impl Table {
    pub(super) fn has(&self, key: &BindingKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn get(&self, key: &BindingKey) -> Option<&Binding> {
        self.by_key.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &BindingKey) -> Option<&mut Binding> {
        self.by_key.get_mut(key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn keys(&self) -> Vec<BindingKey> {
        self.by_key.keys().copied().collect()
    }

    /// The external address that an inside host has; none where it has no binding.
    pub(super) fn external_of(&self, host: IpAddr) -> Option<IpAddr> {
        self.hosts.get(&host).map(|host| host.external)
    }

    /// How many bindings an inside host has.
    pub(super) fn count_of(&self, host: IpAddr) -> usize {
        self.hosts.get(&host).map_or(0, |host| host.bindings)
    }

    /// Makes [`used`](Self::used) give something.
    pub(super) fn prepare(&mut self, protocol: Protocol, external: IpAddr) {
        self.used.entry((protocol, external)).or_default();
    }

    /// The ports of an external address that are in use; none where it was never used or
    /// [prepared](Self::prepare).
    pub(super) fn used(&self, protocol: Protocol, external: IpAddr) -> Option<&PortSet> {
        self.used.get(&(protocol, external))
    }

    /// Whether a binding at `external` has a session with `remote`.
    pub(super) fn is_spoken_to(
        &self,
        protocol: Protocol,
        external: SocketAddr,
        remote: SocketAddr,
        now: Duration,
    ) -> bool {
        self.owners(protocol, external)
            .any(|(_, binding)| binding.sessions.has(remote, now))
    }

    /// The binding that a packet from `remote` to `external` is for. Where several share the
    /// endpoint: the one whose session with the remote was refreshed last, else the one that knows
    /// the remote's address, else the newest.
    pub(super) fn owner(
        &self,
        protocol: Protocol,
        external: SocketAddr,
        remote: SocketAddr,
        now: Duration,
    ) -> Option<BindingKey> {
        let mut owners = self.owners(protocol, external);
        let (first, _) = owners.next()?;
        if owners.next().is_none() {
            return Some(first);
        }
        let merit = |binding: &Binding| {
            let sessions = &binding.sessions;
            (
                sessions.ends_at(remote, now),
                sessions.has_address(remote.ip(), now),
                binding.serial,
            )
        };
        // Bindings for this very remote are found without a look at those for others.
        let scope = Scope::Endpoint(remote);
        let of_remote = self
            .by_external
            .range((protocol, external, scope, 0)..=(protocol, external, scope, u64::MAX));
        let of_remote = of_remote.filter_map(|(_, key)| Some((*key, self.by_key.get(key)?)));
        let best = of_remote.max_by_key(|(_, binding)| merit(binding));
        let best = best.or_else(|| {
            self.owners(protocol, external)
                .max_by_key(|(_, binding)| merit(binding))
        });
        best.map(|(key, _)| key)
    }

    /// Makes the table look at a binding in time after its end has come nearer.
    pub(super) fn reschedule(&mut self, key: &BindingKey) {
        if let Some(binding) = self.by_key.get_mut(key)
            && let Some(ends_at) = binding.sessions.all_end_at()
            && ends_at < binding.check_at
        {
            self.checks.remove(&(binding.check_at, binding.serial));
            binding.check_at = ends_at;
            self.checks.insert((ends_at, binding.serial), *key);
        }
    }

    /// Adds a binding. `note` gives it its first session.
    pub(super) fn insert(
        &mut self,
        key: BindingKey,
        external: SocketAddr,
        note: impl FnOnce(&mut Sessions),
    ) {
        let mut sessions = Sessions::default();
        note(&mut sessions);
        let serial = self.next_serial;
        self.next_serial += 1;
        let check_at = sessions.all_end_at().unwrap_or_default();
        self.checks.insert((check_at, serial), key);
        self.occupy(key, external, serial);
        let host = self.hosts.entry(key.inside.ip()).or_insert(InsideHost {
            external: external.ip(),
            bindings: 0,
        });
        host.bindings += 1;
        let binding = Binding {
            external,
            sessions,
            serial,
            check_at,
        };
        self.by_key.insert(key, binding);
    }

    /// Takes a binding out and frees its port.
    pub(super) fn remove(&mut self, key: &BindingKey) {
        let Some(binding) = self.by_key.remove(key) else {
            return;
        };
        self.checks.remove(&(binding.check_at, binding.serial));
        self.vacate(key, binding.external, binding.serial);
        let host = key.inside.ip();
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.bindings -= 1;
            if entry.bindings == 0 {
                self.hosts.remove(&host);
            }
        }
    }

    /// Gives a binding another external endpoint of the same address; its sessions stay.
    pub(super) fn relocate(&mut self, key: &BindingKey, external: SocketAddr) {
        if let Some(binding) = self.by_key.get_mut(key) {
            let (old, serial) = (binding.external, binding.serial);
            binding.external = external;
            self.vacate(key, old, serial);
            self.occupy(*key, external, serial);
        }
    }

    /// Takes out all bindings whose sessions have all ended. Afterwards each binding in the table is
    /// alive.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(entry) = self.checks.first_entry()
            && entry.key().0 <= now
        {
            let ((_, serial), key) = entry.remove_entry();
            let Some(binding) = self.by_key.get_mut(&key) else {
                continue;
            };
            binding.sessions.expire(now);
            match binding.sessions.all_end_at() {
                Some(ends_at) => {
                    binding.check_at = ends_at;
                    self.checks.insert((ends_at, serial), key);
                }
                None => self.remove(&key),
            }
        }
    }

    /// Whether nothing is left of bindings that are gone.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        let is_unused = |used: &PortSet| *used == PortSet::default();
        self.by_key.is_empty()
            && self.by_external.is_empty()
            && self.hosts.is_empty()
            && self.checks.is_empty()
            && self.used.values().all(is_unused)
    }

    fn owners(
        &self,
        protocol: Protocol,
        external: SocketAddr,
    ) -> impl Iterator<Item = (BindingKey, &Binding)> {
        self.by_external
            .range((protocol, external, Scope::Any, 0)..)
            .take_while(move |((of, at, ..), _)| (*of, *at) == (protocol, external))
            .filter_map(|(_, key)| Some((*key, self.by_key.get(key)?)))
    }

    fn occupy(&mut self, key: BindingKey, external: SocketAddr, serial: u64) {
        self.by_external
            .insert((key.protocol, external, key.scope, serial), key);
        self.used
            .entry((key.protocol, external.ip()))
            .or_default()
            .insert(external.port());
    }

    fn vacate(&mut self, key: &BindingKey, external: SocketAddr, serial: u64) {
        self.by_external
            .remove(&(key.protocol, external, key.scope, serial));
        if self.owners(key.protocol, external).next().is_none()
            && let Some(used) = self.used.get_mut(&(key.protocol, external.ip()))
        {
            used.remove(external.port());
        }
    }
}
