//! Which sockets share a connection manager.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, watch};

use super::SocketError;
use crate::config::{ConnectionReuse, SignalingConfig};
use crate::net::Net;
use crate::signaling::endpoint::{Endpoint, Security};
use crate::signaling::manager::SocketId;
use crate::signaling::manager::driver::{self, Command};
use crate::signaling::socket_io::Namespace;
use crate::signaling::transport::engine::EngineOptions;

/// The managers that sockets can share.
#[derive(Debug)]
pub(super) struct Registry {
    net: Arc<dyn Net>,
    managers: Mutex<Vec<Shared>>,
}

/// A manager as its sockets hold it. Its task ends with the last of them.
#[derive(Debug)]
pub(super) struct ManagerHandle {
    commands: mpsc::UnboundedSender<Command>,
    /// Closed once the manager's task has ended.
    ended: watch::Receiver<()>,
    claims: Mutex<Claims>,
}

/// Where a new socket belongs.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) manager: Arc<ManagerHandle>,
    pub(super) id: SocketId,
    pub(super) namespace: Namespace,
}

#[derive(Debug)]
struct Shared {
    server: Server,
    /// The settings, without the URL.
    config: SignalingConfig,
    manager: Weak<ManagerHandle>,
}

/// Scheme, host and port.
type Server = (Security, String, u16);

#[derive(Debug, Default)]
struct Claims {
    taken: BTreeSet<Namespace>,
    next_id: u64,
}

impl Registry {
    pub(super) fn new(net: Arc<dyn Net>) -> Self {
        Self {
            net,
            managers: Mutex::new(Vec::new()),
        }
    }

    /// Finds a manager for the server and the namespace of `config.url`, or starts one.
    pub(super) fn place(&self, mut config: SignalingConfig) -> Result<Placed, SocketError> {
        let (endpoint, namespace) = Endpoint::from_url(&config.url, &config.path)?;
        let server = (endpoint.security(), endpoint.host().into(), endpoint.port());
        let url = std::mem::take(&mut config.url);
        let mut managers = lock(&self.managers);
        managers.retain(|shared| shared.manager.strong_count() > 0);
        let mut may_be_shared = config.reuse == ConnectionReuse::Shared;
        let alike = |shared: &&Shared| shared.server == server && shared.config == config;
        if let Some(shared) = managers.iter().find(alike).filter(|_| may_be_shared)
            && let Some(manager) = shared.manager.upgrade()
        {
            if let Some(id) = manager.claim(&namespace) {
                return Ok(Placed {
                    manager,
                    id,
                    namespace,
                });
            }
            // The one that others find stays the one that was there first.
            may_be_shared = false;
        }
        let options = EngineOptions::new(endpoint, &config);
        let net = Arc::clone(&self.net);
        let (commands, ended) = driver::start(net, url, options, &config);
        let manager = Arc::new(ManagerHandle {
            commands,
            ended,
            claims: Mutex::default(),
        });
        if may_be_shared {
            managers.push(Shared {
                server,
                config,
                manager: Arc::downgrade(&manager),
            });
        }
        let id = lock(&manager.claims).take(&namespace);
        Ok(Placed {
            manager,
            id,
            namespace,
        })
    }
}

impl ManagerHandle {
    /// Tells the manager's task. It is there as long as this is, but for a runtime that shuts down and
    /// drops its tasks in whatever order: then there is nothing left to be told.
    pub(super) fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::debug!("the task of a connection manager ended before its sockets");
        }
    }

    /// Waits until the manager's task has ended, for which this and everything else that holds the
    /// manager has to be dropped.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            // Nothing is ever sent: the only news is the end.
            while ended.changed().await.is_ok() {}
        }
    }

    /// Gives the namespace of a socket back.
    pub(super) fn release(&self, socket: SocketId, namespace: &Namespace) {
        // The next socket of the namespace is opened after this is told.
        let mut claims = lock(&self.claims);
        self.send(Command::Release { socket });
        claims.taken.remove(namespace);
    }

    fn claim(&self, namespace: &Namespace) -> Option<SocketId> {
        let mut claims = lock(&self.claims);
        let is_free = !claims.taken.contains(namespace);
        is_free.then(|| claims.take(namespace))
    }
}

impl Claims {
    fn take(&mut self, namespace: &Namespace) -> SocketId {
        self.taken.insert(namespace.clone());
        self.next_id += 1;
        SocketId(self.next_id)
    }
}

/// What the locks guard is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
