//! DTLS and media, told apart on the path that they share.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use webrtc_util::Conn;

use super::DtlsRole;

/// The most DTLS datagrams that wait for the handshake to read them.
const DTLS_DATAGRAMS_MAX: usize = 64;

/// The most media datagrams that wait: five seconds of audio, for what comes before the keys do.
const MEDIA_DATAGRAMS_MAX: usize = 256;

/// The longest datagram that is read from the path.
pub(super) const DATAGRAM_BYTES_MAX: usize = 8192;

pub(super) type Path = Arc<dyn Conn + Send + Sync>;

/// The DTLS datagrams of a path, as a connection of their own.
pub(crate) struct Lane {
    path: Path,
    pub(super) role: DtlsRole,
    datagrams: tokio::sync::Mutex<mpsc::Receiver<Bytes>>,
    final_flight: Mutex<FinalFlight>,
}

/// The server's last flight. The library forgets it once it is sent, so that a handshake whose
/// last datagram is lost would never end: the client's repeated flight must bring it again (RFC
/// 6347 section 4.2.4).
#[derive(Debug, Default)]
struct FinalFlight {
    datagrams: Vec<Bytes>,
}

/// Splits a path by the first byte of each datagram (RFC 7983 section 7): DTLS goes to the lane,
/// SRTP and SRTCP to the receiver. The future does the work and ends with the path.
pub(crate) fn demultiplex(
    path: Path,
    role: DtlsRole,
) -> (
    Arc<Lane>,
    mpsc::Receiver<Bytes>,
    impl Future<Output = ()> + Send,
) {
    let (to_dtls, datagrams) = mpsc::channel(DTLS_DATAGRAMS_MAX);
    let (to_media, media) = mpsc::channel(MEDIA_DATAGRAMS_MAX);
    let lane = Arc::new(Lane {
        path: Arc::clone(&path),
        role,
        datagrams: tokio::sync::Mutex::new(datagrams),
        final_flight: Mutex::default(),
    });
    let work = async move {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while let Ok(length) = path.recv(&mut buffer).await {
            let datagram = Bytes::copy_from_slice(&buffer[..length]);
            let taken = match datagram.first() {
                Some(20..=63) => to_dtls.try_send(datagram).is_ok(),
                Some(128..=191) => to_media.try_send(datagram).is_ok(),
                _ => false,
            };
            if !taken {
                tracing::debug!("datagram dropped: of no known protocol, or too many wait");
            }
        }
    };
    (lane, media, work)
}

impl fmt::Debug for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lane")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Conn for Lane {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Err(not_applicable())
    }

    async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
        let datagram = self
            .datagrams
            .lock()
            .await
            .recv()
            .await
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
        if self.role == DtlsRole::Server {
            let again = self.final_flight().answer(&datagram);
            for each in again {
                self.path.send(&each).await?;
            }
        }
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        let source = self.path.remote_addr().ok_or_else(not_applicable)?;
        Ok((self.recv(buffer).await?, source))
    }

    async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
        if self.role == DtlsRole::Server {
            self.final_flight().sent(datagram);
        }
        self.path.send(datagram).await
    }

    async fn send_to(&self, _: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        Err(not_applicable())
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        self.path.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.path.remote_addr()
    }

    /// The path belongs to ICE and outlives DTLS.
    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

impl Lane {
    fn final_flight(&self) -> MutexGuard<'_, FinalFlight> {
        self.final_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl FinalFlight {
    fn sent(&mut self, datagram: &[u8]) {
        if records(datagram).any(|record| record.kind == CHANGE_CIPHER_SPEC) {
            self.datagrams.clear();
        } else if self.datagrams.is_empty()
            || !records(datagram).any(|record| record.kind == HANDSHAKE && record.epoch == 1)
        {
            return;
        }
        self.datagrams.push(Bytes::copy_from_slice(datagram));
    }

    /// What to send again when `datagram` arrives: the client repeats its own last flight only
    /// because ours was lost.
    fn answer(&self, datagram: &[u8]) -> Vec<Bytes> {
        if records(datagram).any(|record| record.kind == CHANGE_CIPHER_SPEC) {
            self.datagrams.clone()
        } else {
            Vec::new()
        }
    }
}

/// Content types of DTLS records (RFC 5246 section 6.2.1).
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

pub(super) struct Record {
    pub(super) kind: u8,
    epoch: u16,
}

/// The records of a datagram (RFC 6347 section 4.1), as far as they are whole.
pub(super) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record> {
    std::iter::from_fn(move || {
        let (header, rest) = datagram.split_at_checked(13)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        datagram = rest.get(length..)?;
        Some(Record {
            kind: header[0],
            epoch: u16::from_be_bytes([header[3], header[4]]),
        })
    })
}

pub(super) fn not_applicable() -> webrtc_util::Error {
    io::Error::from(io::ErrorKind::Unsupported).into()
}
