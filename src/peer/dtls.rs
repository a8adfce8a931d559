//! DTLS over the path that ICE selected, with media beside it on the same path.

mod lane;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use dtls::conn::DTLSConn;
use dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use dtls::state::State;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use webrtc_srtp::config::{Config as SrtpConfig, SessionKeys};
use webrtc_srtp::protection_profile::ProtectionProfile;

use self::lane::DATAGRAM_BYTES_MAX;
pub(crate) use self::lane::{Lane, demultiplex};
use super::failure::{PeerError, PeerFailure};
use super::sdp::Fingerprint;
use crate::key_log::KeyLog;
use crate::redaction;

/// How long a handshake may take: longer than the worst path that ICE would still call connected.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait before a flight is sent again. The library's own second costs a second of silence for
/// each lost datagram; less than this repeats flights needlessly on paths of 600 ms.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(500);

/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

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

/// A finished handshake.
pub(crate) struct Secured {
    connection: DTLSConn,
    pub(crate) keys: SessionKeys,
    pub(crate) profile: ProtectionProfile,
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

/// Does the handshake and checks the peer's certificate against the announced fingerprint. The master
/// secret goes to `key_log` once the handshake is done: the library tells it no sooner.
///
/// # Errors
///
/// [`PeerFailure::FingerprintMismatch`], [`PeerFailure::Handshake`] or
/// [`PeerFailure::HandshakeTimeout`].
pub(crate) async fn handshake(
    lane: Arc<Lane>,
    certificate: Certificate,
    announced: Fingerprint,
    key_log: &KeyLog,
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
    Secured::new(connection, announced, role, key_log).await
}

impl Secured {
    async fn new(
        connection: DTLSConn,
        announced: Fingerprint,
        role: DtlsRole,
        key_log: &KeyLog,
    ) -> Result<Self, PeerFailure> {
        let state = connection.connection_state().await;
        if key_log.is_on() {
            log_master_secret(&state, role, key_log);
        }
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
            Ok(Err(error)) => {
                tracing::debug!(error = %redaction::scrubbed(error), "closing DTLS");
            }
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

fn log_master_secret(state: &State, role: DtlsRole, key_log: &KeyLog) {
    match state.key_log_data() {
        Ok(data) => {
            let client_random = match role {
                DtlsRole::Client => data.local_random,
                DtlsRole::Server => data.remote_random,
            };
            key_log.master_secret(&client_random, &data.master_secret);
        }
        Err(error) => tracing::warn!(%error, "no keys of a DTLS connection can be logged"),
    }
}

fn fingerprint_of(der: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(der).into())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep_until};
    use webrtc_util::Conn;

    use super::lane::{CHANGE_CIPHER_SPEC, Path, not_applicable, records};
    use super::*;

    /// Whether a datagram is lost, given how many went before it.
    type Loss = fn(u32, &[u8]) -> bool;

    /// One end of a path in memory.
    struct End {
        to: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
        from: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Instant, Vec<u8>)>>,
        delay: Duration,
        sent: AtomicU32,
        lost: Loss,
    }

    #[async_trait]
    impl Conn for End {
        async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
            Err(not_applicable())
        }

        async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
            let arrived = self.from.lock().await.recv().await;
            let (due, datagram) = arrived.ok_or_else(not_applicable)?;
            sleep_until(due).await;
            buffer[..datagram.len()].copy_from_slice(&datagram);
            Ok(datagram.len())
        }

        async fn recv_from(&self, _: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
            Err(not_applicable())
        }

        async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            if !(self.lost)(number, datagram) {
                let due = Instant::now() + self.delay;
                // The other end of a finished test is gone.
                let _ = self.to.send((due, datagram.to_vec()));
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

    struct Case {
        delay: Duration,
        client_loses: Loss,
        server_loses: Loss,
        /// The fingerprint that the client expects, where it is not the server's.
        expected: Option<Fingerprint>,
    }

    const SOUND: Case = Case {
        delay: Duration::from_millis(20),
        client_loses: |_, _| false,
        server_loses: |_, _| false,
        expected: None,
    };

    fn path(case: &Case) -> (Path, Path) {
        let (to_server, from_client) = mpsc::unbounded_channel();
        let (to_client, from_server) = mpsc::unbounded_channel();
        let end = |to, from, lost| -> Path {
            Arc::new(End {
                to,
                from: tokio::sync::Mutex::new(from),
                delay: case.delay,
                sent: AtomicU32::new(0),
                lost,
            })
        };
        (
            end(to_server, from_server, case.client_loses),
            end(to_client, from_client, case.server_loses),
        )
    }

    /// The outcomes at the client and at the server.
    async fn handshakes(case: Case) -> [Result<Secured, PeerFailure>; 2] {
        logged_handshakes(case, &KeyLog::default(), &KeyLog::default()).await
    }

    /// The same, with the secrets of each side written down.
    async fn logged_handshakes(
        case: Case,
        client_log: &KeyLog,
        server_log: &KeyLog,
    ) -> [Result<Secured, PeerFailure>; 2] {
        let (client_path, server_path) = path(&case);
        let client = Certificate::generate().expect("entropy");
        let server = Certificate::generate().expect("entropy");
        let client_print = client.fingerprint();
        let server_print = case.expected.unwrap_or(server.fingerprint());
        let (client_lane, _client_media, client_work) = demultiplex(client_path, DtlsRole::Client);
        let (server_lane, _server_media, server_work) = demultiplex(server_path, DtlsRole::Server);
        let both = async {
            tokio::join!(
                handshake(client_lane, client, server_print, client_log),
                handshake(server_lane, server, client_print, server_log)
            )
        };
        tokio::select! {
            biased;
            (client, server) = both => [client, server],
            _ = async { tokio::join!(client_work, server_work) } => panic!("the path ended"),
        }
    }

    fn changes_cipher(datagram: &[u8]) -> bool {
        records(datagram).any(|record| record.kind == CHANGE_CIPHER_SPEC)
    }

    #[tokio::test(start_paused = true)]
    async fn both_sides_export_the_same_keys() {
        let [client, server] = handshakes(SOUND).await.map(|each| each.expect("secured"));
        assert_eq!(client.keys.local_master_key, server.keys.remote_master_key);
        assert_eq!(
            client.keys.remote_master_salt,
            server.keys.local_master_salt
        );
    }

    #[tokio::test(start_paused = true)]
    async fn both_sides_log_the_same_master_secret() {
        let lines = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let [client_log, server_log] = lines.each_ref().map(|lines| {
            let lines = Arc::clone(lines);
            KeyLog::new(move |line| lines.lock().expect("no panic").push(line.to_owned()))
        });
        let outcomes = logged_handshakes(SOUND, &client_log, &server_log).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let [client, server] = lines.map(|lines| lines.lock().expect("no panic").clone());
        assert_eq!(client, server);
        let words: Vec<&str> = client[0].split(' ').collect();
        // A random of 32 bytes and a master secret of 48 (RFC 5246 sections 7.4.1.2 and 8.1).
        let lengths: Vec<usize> = words.iter().map(|word| word.len()).collect();
        assert_eq!(
            (client.len(), words[0], lengths),
            (1, "CLIENT_RANDOM", vec![13, 64, 96])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_trip_longer_than_the_flight_interval_is_no_hindrance() {
        let delay = Duration::from_millis(400);
        let outcomes = handshakes(Case { delay, ..SOUND }).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_last_flight_is_sent_again() {
        // The server sends it as its fourth datagram or later, and is done with the handshake.
        let server_loses = |number, datagram: &[u8]| number < 8 && changes_cipher(datagram);
        let outcomes = handshakes(Case {
            server_loses,
            ..SOUND
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_survives_the_loss_of_every_third_datagram() {
        let outcomes = handshakes(Case {
            client_loses: |number, _| number % 3 == 0,
            server_loses: |number, _| number % 3 == 1,
            ..SOUND
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_certificate_than_announced_is_refused() {
        let wrong = Fingerprint([0; 32]);
        let [client, server] = handshakes(Case {
            expected: Some(wrong),
            ..SOUND
        })
        .await;
        assert!(matches!(
            client,
            Err(PeerFailure::FingerprintMismatch { announced, .. }) if announced == wrong
        ));
        assert!(server.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_handshake() {
        let [client, server] = handshakes(Case {
            client_loses: |_, _| true,
            ..SOUND
        })
        .await;
        for outcome in [client, server] {
            assert!(matches!(outcome, Err(PeerFailure::HandshakeTimeout(_))));
        }
    }
}
