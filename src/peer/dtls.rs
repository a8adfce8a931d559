//! DTLS over the path that ICE selected, with media beside it on the same path.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use dtls::conn::DTLSConn;
use dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;
use webrtc_srtp::config::{Config as SrtpConfig, SessionKeys};
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::Conn;

use super::failure::{PeerError, PeerFailure};
use super::sdp::Fingerprint;

/// How long a handshake may take: longer than the worst path that ICE would still call connected.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait before a flight is sent again. The library's own second costs a second of silence for
/// each lost datagram; less than this repeats flights needlessly on paths of 600 ms.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(500);

/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// The most DTLS datagrams that wait for the handshake to read them.
const DTLS_DATAGRAMS_MAX: usize = 64;

/// The most media datagrams that wait: five seconds of audio, for what comes before the keys do.
const MEDIA_DATAGRAMS_MAX: usize = 256;

/// The longest datagram that is read from the path.
const DATAGRAM_BYTES_MAX: usize = 8192;

type Path = Arc<dyn Conn + Send + Sync>;

/// A self-signed certificate and its key, for one connection.
#[derive(Clone)]
pub(crate) struct Certificate {
    certificate: dtls::crypto::Certificate,
    fingerprint: Fingerprint,
}

/// Who sends the first handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DtlsRole {
    Client,
    Server,
}

/// The DTLS datagrams of a path, as a connection of their own.
pub(crate) struct Lane {
    path: Path,
    role: DtlsRole,
    datagrams: tokio::sync::Mutex<mpsc::Receiver<Bytes>>,
    final_flight: Mutex<FinalFlight>,
}

/// A finished handshake.
pub(crate) struct Secured {
    connection: DTLSConn,
    pub(crate) keys: SessionKeys,
    pub(crate) profile: ProtectionProfile,
}

/// The server's last flight. The library forgets it once it is sent, so that a handshake whose
/// last datagram is lost would never end: the client's repeated flight must bring it again (RFC
/// 6347 section 4.2.4).
#[derive(Debug, Default)]
struct FinalFlight {
    datagrams: Vec<Bytes>,
}

impl Certificate {
    /// Makes a new key and a certificate for it.
    ///
    /// # Errors
    ///
    /// [`PeerError::Certificate`] where the platform has no entropy.
    pub(crate) fn generate() -> Result<Self, PeerError> {
        let certificate =
            dtls::crypto::Certificate::generate_self_signed(vec!["ringtrue".to_owned()])
                .map_err(|error| PeerError::Certificate(error.to_string()))?;
        let der = certificate
            .certificate
            .first()
            .ok_or_else(|| PeerError::Certificate("none was made".into()))?;
        let fingerprint = fingerprint_of(der);
        Ok(Self {
            certificate,
            fingerprint,
        })
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
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

/// Does the handshake and checks the peer's certificate against the announced fingerprint.
///
/// # Errors
///
/// [`PeerFailure::FingerprintMismatch`], [`PeerFailure::Handshake`] or
/// [`PeerFailure::HandshakeTimeout`].
pub(crate) async fn handshake(
    lane: Arc<Lane>,
    certificate: Certificate,
    announced: Fingerprint,
) -> Result<Secured, PeerFailure> {
    let role = lane.role;
    let mismatch = Arc::new(Mutex::new(None));
    let found = Arc::clone(&mismatch);
    let config = Config {
        certificates: vec![certificate.certificate],
        srtp_protection_profiles: vec![
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        ],
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Require,
        flight_interval: FLIGHT_INTERVAL,
        // No authority vouches for a self-signed certificate: its fingerprint, which came through
        // signaling, does (RFC 8122 section 6.2).
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(move |chain, _| {
            let presented = chain.first().map(|der| fingerprint_of(der));
            if presented == Some(announced) {
                return Ok(());
            }
            *found.lock().unwrap_or_else(PoisonError::into_inner) = presented;
            Err(dtls::Error::Other("fingerprint mismatch".into()))
        })),
        server_name: "ringtrue".into(),
        ..Config::default()
    };
    let connecting = DTLSConn::new(lane, config, role == DtlsRole::Client, None);
    let connection = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Err(_) => return Err(PeerFailure::HandshakeTimeout(HANDSHAKE_TIMEOUT)),
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let presented = *mismatch.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(match presented {
                Some(presented) => PeerFailure::FingerprintMismatch {
                    announced,
                    presented,
                },
                None => PeerFailure::Handshake(error.to_string()),
            });
        }
    };
    Secured::new(connection, announced, role).await
}

impl Secured {
    async fn new(
        connection: DTLSConn,
        announced: Fingerprint,
        role: DtlsRole,
    ) -> Result<Self, PeerFailure> {
        let state = connection.connection_state().await;
        // The call-back above runs only where a certificate came; this holds in any case.
        let presented = state
            .peer_certificates
            .first()
            .map(|der| fingerprint_of(der))
            .ok_or_else(|| PeerFailure::Handshake("the peer presented no certificate".into()))?;
        if presented != announced {
            return Err(PeerFailure::FingerprintMismatch {
                announced,
                presented,
            });
        }
        let profile = match connection.selected_srtpprotection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => {
                ProtectionProfile::Aes128CmHmacSha1_80
            }
            other => {
                return Err(PeerFailure::Handshake(format!(
                    "the peer chose the SRTP profile {other:?}, which was not offered"
                )));
            }
        };
        let mut srtp = SrtpConfig {
            profile,
            ..SrtpConfig::default()
        };
        srtp.extract_session_keys_from_dtls(state, role == DtlsRole::Client)
            .await
            .map_err(|error| PeerFailure::Internal(format!("SRTP keys: {error}")))?;
        Ok(Self {
            connection,
            keys: srtp.keys,
            profile,
        })
    }

    /// Waits until the peer closes the connection. Application data is of no use and dropped.
    pub(crate) async fn closed_by_peer(&self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while self.connection.read(&mut buffer, None).await.is_ok() {}
    }

    /// Tells the peer that the connection ends, so that it need not wait for silence.
    pub(crate) async fn close(&self) {
        match timeout(CLOSE_TIMEOUT, self.connection.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "closing DTLS"),
            Err(_) => tracing::debug!("closing DTLS took more than {CLOSE_TIMEOUT:?}"),
        }
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Secured")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lane")
            .field("role", &self.role)
            .finish_non_exhaustive()
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
    fn final_flight(&self) -> std::sync::MutexGuard<'_, FinalFlight> {
        self.final_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Content types of DTLS records (RFC 5246 section 6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

struct Record {
    kind: u8,
    epoch: u16,
}

/// The records of a datagram (RFC 6347 section 4.1), as far as they are whole.
fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record> {
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

fn fingerprint_of(der: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(der).into())
}

fn not_applicable() -> webrtc_util::Error {
    io::Error::from(io::ErrorKind::Unsupported).into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// One end of a path in memory that loses its first datagrams with a change of cipher.
    struct End {
        to: mpsc::UnboundedSender<Vec<u8>>,
        from: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
        to_lose: AtomicUsize,
    }

    #[async_trait]
    impl Conn for End {
        async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
            Err(not_applicable())
        }

        async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
            let datagram = self.from.lock().await.recv().await;
            let datagram = datagram.ok_or_else(not_applicable)?;
            buffer[..datagram.len()].copy_from_slice(&datagram);
            Ok(datagram.len())
        }

        async fn recv_from(&self, _: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
            Err(not_applicable())
        }

        async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
            let change = records(datagram).any(|record| record.kind == CHANGE_CIPHER_SPEC);
            let left = self.to_lose.load(Ordering::SeqCst);
            if change && left > 0 {
                self.to_lose.store(left - 1, Ordering::SeqCst);
            } else {
                let _ = self.to.send(datagram.to_vec());
            }
            Ok(datagram.len())
        }

        async fn send_to(&self, _: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
            Err(not_applicable())
        }

        fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
            Err(not_applicable())
        }

        fn remote_addr(&self) -> Option<SocketAddr> {
            None
        }

        async fn close(&self) -> webrtc_util::Result<()> {
            Ok(())
        }

        fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
            self
        }
    }

    fn path(server_loses: usize) -> (Path, Path) {
        let (to_server, from_client) = mpsc::unbounded_channel();
        let (to_client, from_server) = mpsc::unbounded_channel();
        let end = |to, from, to_lose| -> Path {
            Arc::new(End {
                to,
                from: tokio::sync::Mutex::new(from),
                to_lose: AtomicUsize::new(to_lose),
            })
        };
        (
            end(to_server, from_server, 0),
            end(to_client, from_client, server_loses),
        )
    }

    /// A handshake on each side of a path; `expected` is the fingerprint that the client wants.
    async fn handshakes(
        server_loses: usize,
        expected: Option<Fingerprint>,
    ) -> [Result<Secured, PeerFailure>; 2] {
        let (client_path, server_path) = path(server_loses);
        let client = Certificate::generate().expect("entropy");
        let server = Certificate::generate().expect("entropy");
        let client_print = client.fingerprint();
        let server_print = expected.unwrap_or(server.fingerprint());
        let (client_lane, _client_media, client_work) = demultiplex(client_path, DtlsRole::Client);
        let (server_lane, _server_media, server_work) = demultiplex(server_path, DtlsRole::Server);
        let both = async {
            tokio::join!(
                handshake(client_lane, client, server_print),
                handshake(server_lane, server, client_print)
            )
        };
        tokio::select! {
            biased;
            (client, server) = both => [client, server],
            _ = async { tokio::join!(client_work, server_work) } => panic!("the path ended"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn both_sides_export_the_same_keys() {
        let [client, server] = handshakes(0, None).await.map(|each| each.expect("secured"));
        assert_eq!(client.keys.local_master_key, server.keys.remote_master_key);
        assert_eq!(
            client.keys.remote_master_salt,
            server.keys.local_master_salt
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_last_flight_is_sent_again() {
        let [client, server] = handshakes(2, None).await;
        assert!(server.is_ok());
        // The client repeats its flight although the server is done with the handshake; the
        // server's lane answers while the connection is read.
        assert!(client.is_ok(), "{client:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_certificate_than_announced_is_refused() {
        let wrong = Fingerprint([0; 32]);
        let [client, server] = handshakes(0, Some(wrong)).await;
        assert!(matches!(
            client,
            Err(PeerFailure::FingerprintMismatch { announced, .. }) if announced == wrong
        ));
        assert!(server.is_err());
    }
}
