//! TLS over any byte stream: TLS 1.2 and 1.3 by rustls, with the primitives of ring.
//!
//! Certificates are checked against the roots of a [`TlsTrust`] and never against what the operating
//! system has. Sessions are not resumed: a ticket would carry something from one connection into the
//! next, for a round trip that a signaling connection saves once in hours.
//!
//! A certificate's dates are compared with the system's clock, which rustls reads by itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;

use super::ByteStream;
use crate::key_log::KeyLog;
use crate::redaction;

/// The one protocol that is spoken over these streams, as ALPN names it (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// Which certificates a client accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TlsTrust {
    /// Those that lead to a root of Mozilla's list, as it was when this program was built.
    #[default]
    Mozilla,
    /// Those that lead to one of these roots, and no others.
    Roots(Vec<CertificateDer<'static>>),
}

/// Why certificates or keys cannot be used.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// The text is no PEM.
    #[error("the certificate or key is no PEM text")]
    Pem(#[source] pem::Error),
    /// There is no certificate at all.
    #[error("no certificate is given; at least one is needed")]
    NoCertificate,
    /// A certificate cannot be read, or the key does not belong to it.
    #[error("the certificate or its key cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// Why a TLS connection did not come up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The host is neither a name nor an address, so no certificate can be for it.
    #[error("{:?} is no host that a certificate can be for", redaction::scrubbed(host).to_string())]
    Host {
        /// The host.
        host: String,
    },
    /// The server's certificate is not accepted.
    #[error("the server's certificate is not accepted: {}", redaction::scrubbed(.0))]
    Certificate(CertificateError),
    /// The other end does not speak TLS as it should, or refuses.
    #[error("the tls handshake failed")]
    Protocol(#[source] rustls::Error),
    /// The stream under it broke.
    #[error("the stream broke during the tls handshake")]
    Network(#[source] io::Error),
}

/// The client's side: makes a stream to a server a protected one.
#[derive(Clone)]
pub struct TlsConnector(tokio_rustls::TlsConnector);

/// The server's side: makes accepted streams protected ones.
#[derive(Clone)]
pub struct TlsAcceptor(tokio_rustls::TlsAcceptor);

/// A protected stream. Dropping it closes the stream under it.
pub struct TlsStream(tokio_rustls::TlsStream<Box<dyn ByteStream>>);

impl TlsTrust {
    /// Trust in the certificates of a PEM text, and no others.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::Pem`] or [`TlsConfigError::NoCertificate`].
    pub fn from_pem(text: &str) -> Result<Self, TlsConfigError> {
        certificates(text).map(Self::Roots)
    }

    fn store(&self) -> Result<RootCertStore, TlsConfigError> {
        match self {
            Self::Mozilla => Ok(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            }),
            Self::Roots(roots) if roots.is_empty() => Err(TlsConfigError::NoCertificate),
            Self::Roots(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots {
                    store.add(root.clone()).map_err(TlsConfigError::Unusable)?;
                }
                Ok(store)
            }
        }
    }
}

impl TlsConnector {
    /// A client that accepts what `trust` says.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::NoCertificate`] or [`TlsConfigError::Unusable`].
    pub fn new(trust: &TlsTrust) -> Result<Self, TlsConfigError> {
        Self::with_key_log(trust, &KeyLog::default())
    }

    /// The same, with the secrets of its connections written to `key_log`.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn with_key_log(trust: &TlsTrust, key_log: &KeyLog) -> Result<Self, TlsConfigError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Unusable)?
            .with_root_certificates(trust.store()?)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.key_log = Arc::new(key_log.clone());
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// Shakes hands over `stream` with the server that must be `host`: a name, or an address without
    /// brackets. Dropping the future closes the stream.
    ///
    /// # Errors
    ///
    /// Every [`TlsError`]; the stream is closed then.
    pub async fn connect(
        &self,
        host: &str,
        stream: Box<dyn ByteStream>,
    ) -> Result<TlsStream, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host {
            host: host.to_owned(),
        })?;
        let protected = self.0.connect(name, stream).await.map_err(failed)?;
        Ok(TlsStream(protected.into()))
    }
}

impl TlsAcceptor {
    /// A server with this certificate, followed by those that lead to its root, and the key of the
    /// first.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::NoCertificate`] or [`TlsConfigError::Unusable`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsConfigError> {
        if chain.is_empty() {
            return Err(TlsConfigError::NoCertificate);
        }
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsConfigError::Unusable)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// A server with the certificates of one PEM text and the key of another.
    ///
    /// # Errors
    ///
    /// Every [`TlsConfigError`].
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsConfigError> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(TlsConfigError::Pem)?;
        Self::new(certificates(chain)?, key)
    }

    /// Shakes hands over an accepted stream. It has no time limit of its own; dropping the future
    /// closes the stream.
    ///
    /// # Errors
    ///
    /// [`TlsError::Protocol`] or [`TlsError::Network`]; the stream is closed then.
    pub async fn accept(&self, stream: Box<dyn ByteStream>) -> Result<TlsStream, TlsError> {
        let protected = self.0.accept(stream).await.map_err(failed)?;
        Ok(TlsStream(protected.into()))
    }
}

impl ByteStream for TlsStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.local_addr()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.secret(label, client_random, secret);
    }

    fn will_log(&self, _: &str) -> bool {
        self.is_on()
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsConnector")
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsAcceptor")
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsStream")
    }
}

/// Named here so that no other provider can be picked by what else is linked into a program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(TlsConfigError::Pem)?;
    if found.is_empty() {
        return Err(TlsConfigError::NoCertificate);
    }
    Ok(found)
}

/// A handshake's error arrives inside one of the stream.
fn failed(error: io::Error) -> TlsError {
    match error.downcast::<rustls::Error>() {
        Ok(rustls::Error::InvalidCertificate(error)) => TlsError::Certificate(error),
        Ok(error) => TlsError::Protocol(error),
        Err(error) => TlsError::Network(error),
    }
}

#[cfg(test)]
mod tests;
