//! From a server's name to a stream: addresses, TCP connections that race, TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::meter::Meter;
use super::race::race;
use super::{ConnectError, ConnectPhase};
use crate::key_log::KeyLog;
use crate::net::tls::{TlsConnector, TlsTrust};
use crate::net::{ByteStream, Net};
use crate::signaling::endpoint::{Endpoint, Security};

/// Where streams lead, and how they are protected.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    net: Arc<dyn Net>,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    meter: Meter,
}

impl Dialer {
    /// # Errors
    ///
    /// [`ConnectError::Trust`].
    pub(super) fn new(
        net: Arc<dyn Net>,
        endpoint: &Endpoint,
        trust: &TlsTrust,
        key_log: &KeyLog,
    ) -> Result<Self, ConnectError> {
        let tls = match endpoint.security() {
            Security::Plain => None,
            Security::Tls => Some(TlsConnector::with_key_log(trust, key_log)?),
        };
        Ok(Self {
            net,
            host: endpoint.host().into(),
            port: endpoint.port(),
            tls,
            meter: Meter::default(),
        })
    }

    /// Counts what all streams take that this dialer and its clones open.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Opens a TCP connection to the server's name: to whichever of its addresses is reached first.
    /// `phase` always names the step under way.
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
        let addresses = race([()], |()| self.net.resolve(&self.host)).await;
        let addresses = addresses.map_err(network(*phase))?;
        *phase = ConnectPhase::Tcp;
        let with_port = |address: IpAddr| SocketAddr::new(address, self.port);
        let addresses = addresses.into_iter().map(with_port);
        let stream = race(addresses, |address| self.net.connect_stream(address)).await;
        Ok(self.meter.count(stream.map_err(network(*phase))?))
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
        let stream = race([address], |address| self.net.connect_stream(address)).await;
        let stream = stream.map_err(|source| ConnectError::Network {
            phase: ConnectPhase::Tcp,
            source,
        })?;
        self.protect(self.meter.count(stream)).await
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
