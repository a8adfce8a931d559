//! From a server's name to a stream: addresses, TCP connections that race, TLS.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::{ConnectError, ConnectPhase};
use crate::net::tls::{TlsConnector, TlsTrust};
use crate::net::{ByteStream, Net};
use crate::redaction;
use crate::signaling::endpoint::{Endpoint, Security};

/// How long an unanswered SYN waits until another one goes out beside it. The network's own repetitions
/// come ever later, so a path that heals would stay unused for as long as it was broken; and three
/// seconds are longer than a round trip over any link that carries a call.
pub(super) const REDIAL_AFTER: Duration = Duration::from_secs(3);

/// The most TCP connections that race: the oldest has been without an answer for twelve seconds then.
const RACERS_MAX: usize = 4;

/// Where streams lead, and how they are protected.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    net: Arc<dyn Net>,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// # Errors
    ///
    /// [`ConnectError::Trust`].
    pub(super) fn new(
        net: Arc<dyn Net>,
        endpoint: &Endpoint,
        trust: &TlsTrust,
    ) -> Result<Self, ConnectError> {
        let tls = match endpoint.security() {
            Security::Plain => None,
            Security::Tls => Some(TlsConnector::new(trust)?),
        };
        Ok(Self {
            net,
            host: endpoint.host().into(),
            port: endpoint.port(),
            tls,
        })
    }

    /// Opens a TCP connection to the server's name. `phase` always names the step under way.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Network`] of the phase.
    pub(super) async fn connect(
        &self,
        phase: &mut ConnectPhase,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        let network = |phase| move |source| ConnectError::Network { phase, source };
        *phase = ConnectPhase::Resolve;
        let addresses = self.net.resolve(&self.host).await;
        let addresses = addresses.map_err(network(*phase))?;
        *phase = ConnectPhase::Tcp;
        let with_port = |address: IpAddr| SocketAddr::new(address, self.port);
        let addresses = addresses.into_iter().map(with_port);
        race(&*self.net, addresses.collect())
            .await
            .map_err(network(*phase))
    }

    /// Opens another stream to a server that was reached before, ready for use.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Network`] or [`ConnectError::Tls`].
    pub(super) async fn reconnect(
        &self,
        address: SocketAddr,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        let stream = race(&*self.net, [address].into()).await;
        let stream = stream.map_err(|source| ConnectError::Network {
            phase: ConnectPhase::Tcp,
            source,
        })?;
        self.protect(stream).await
    }

    /// Shakes hands over `stream` where the server's URL asks for TLS.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Tls`].
    pub(super) async fn protect(
        &self,
        stream: Box<dyn ByteStream>,
    ) -> Result<Box<dyn ByteStream>, ConnectError> {
        match &self.tls {
            None => Ok(stream),
            Some(tls) => Ok(Box::new(tls.connect(&self.host, stream).await?)),
        }
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'a>>;

/// Dials one address after the other: the next at once where one refuses, and beside it where one does
/// not answer. An address that has refused is left out. The first connection wins, and dropping the
/// future closes all.
async fn race(
    net: &dyn Net,
    mut addresses: VecDeque<SocketAddr>,
) -> io::Result<Box<dyn ByteStream>> {
    let mut racers: VecDeque<(SocketAddr, Connecting<'_>)> = VecDeque::new();
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.pop_front() {
        addresses.push_back(address);
        if racers.len() == RACERS_MAX {
            racers.pop_front();
        }
        racers.push_back((address, net.connect_stream(address)));
        match timeout(REDIAL_AFTER, first(&mut racers)).await {
            Ok((_, Ok(stream))) => return Ok(stream),
            Ok((address, Err(error))) => {
                tracing::debug!(address = %redaction::address(address), %error, "trying the next address");
                addresses.retain(|other| *other != address);
                racers.retain(|(other, _)| *other != address);
                refused = error;
            }
            Err(_) => {
                tracing::debug!(address = %redaction::address(address), "no answer yet, dialling again beside it");
            }
        }
    }
    Err(refused)
}

/// Waits for the first racer to end, the older ones first where several have.
async fn first(
    racers: &mut VecDeque<(SocketAddr, Connecting<'_>)>,
) -> (SocketAddr, io::Result<Box<dyn ByteStream>>) {
    poll_fn(|context| {
        for (address, connecting) in racers.iter_mut() {
            if let Poll::Ready(outcome) = connecting.as_mut().poll(context) {
                return Poll::Ready((*address, outcome));
            }
        }
        Poll::Pending
    })
    .await
}
