//! What happens above ICE: DTLS, then audio both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use webrtc_util::Conn;

use super::{AudioPacket, PeerEvent};
use crate::key_log::KeyLog;
use crate::peer::dtls::{self, Certificate, DtlsRole, Secured};
use crate::peer::failure::PeerFailure;
use crate::peer::sdp::SessionDescription;
use crate::peer::srtp::{self, Protector, Unprotector};
use crate::redaction;

/// One task's worth of it. Ends with the path, at the end of the connection, or by failing.
pub(super) struct Transport {
    pub(super) certificate: Certificate,
    pub(super) dtls_role: DtlsRole,
    pub(super) remote: SessionDescription,
    pub(super) ssrc: u32,
    pub(super) key_log: KeyLog,
    pub(super) secured: Arc<AtomicBool>,
    pub(super) events: mpsc::UnboundedSender<PeerEvent>,
    pub(super) closing: watch::Receiver<bool>,
}

impl Transport {
    pub(super) async fn run(
        mut self,
        path: impl Future<Output = Result<Arc<dyn Conn + Send + Sync>, PeerFailure>>,
        audio_to_send: mpsc::Receiver<AudioPacket>,
    ) {
        let mut closing = self.closing.clone();
        let path = tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            path = path => path,
        };
        let outcome = match path {
            Ok(path) => {
                let (lane, media, demultiplexer) =
                    dtls::demultiplex(Arc::clone(&path), self.dtls_role);
                tokio::select! {
                    biased;
                    outcome = self.talk(lane, path, media, audio_to_send) => outcome,
                    // The path ends when the generation does, which says why itself.
                    () = demultiplexer => Ok(()),
                }
            }
            Err(failure) => Err(failure),
        };
        self.secured.store(false, Ordering::Release);
        if let Err(failure) = outcome {
            let _ = self.events.send(PeerEvent::Failed(failure));
        }
    }

    async fn talk(
        &mut self,
        lane: Arc<dtls::Lane>,
        path: Arc<dyn Conn + Send + Sync>,
        media: mpsc::Receiver<Bytes>,
        audio_to_send: mpsc::Receiver<AudioPacket>,
    ) -> Result<(), PeerFailure> {
        let mut closing = self.closing.clone();
        let handshake = dtls::handshake(
            lane,
            self.certificate.clone(),
            self.remote.fingerprint,
            &self.key_log,
        );
        let secured = tokio::select! {
            biased;
            () = closed(&mut closing) => return Ok(()),
            secured = handshake => secured?,
        };
        let (protector, unprotector) = self.halves(&secured)?;
        self.secured.store(true, Ordering::Release);
        let _ = self.events.send(PeerEvent::DtlsConnected);
        tokio::select! {
            biased;
            () = closed(&mut closing) => secured.close().await,
            () = secured.closed_by_peer() => {
                let _ = self.events.send(PeerEvent::ClosedByPeer);
            }
            () = receive(unprotector, media, &self.events) => {}
            () = send(protector, audio_to_send, &path) => {}
        }
        Ok(())
    }

    fn halves(&self, secured: &Secured) -> Result<(Protector, Unprotector), PeerFailure> {
        let payload_type = self.remote.payload_type;
        let internal = |error: srtp::SrtpError| PeerFailure::Internal(error.to_string());
        let ssrc = self.remote.ssrc.as_ref().map(|ssrc| ssrc.id);
        Ok((
            Protector::new(&secured.keys, secured.profile, self.ssrc, payload_type)
                .map_err(internal)?,
            Unprotector::new(&secured.keys, secured.profile, ssrc, payload_type)
                .map_err(internal)?,
        ))
    }
}

async fn receive(
    mut unprotector: Unprotector,
    mut media: mpsc::Receiver<Bytes>,
    events: &mpsc::UnboundedSender<PeerEvent>,
) {
    while let Some(datagram) = media.recv().await {
        if srtp::is_rtcp(&datagram) {
            continue;
        }
        match unprotector.unprotect(&datagram) {
            Ok(packet) => {
                let _ = events.send(PeerEvent::Audio(packet));
            }
            Err(error) => {
                tracing::debug!(error = %redaction::scrubbed(error), "media datagram dropped");
            }
        }
    }
}

async fn send(
    mut protector: Protector,
    mut audio: mpsc::Receiver<AudioPacket>,
    path: &Arc<dyn Conn + Send + Sync>,
) {
    while let Some(packet) = audio.recv().await {
        let sequence_number = packet.sequence_number;
        let sent = match protector.protect(packet) {
            Ok(datagram) => path
                .send(&datagram)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            tracing::debug!(sequence_number, error = %redaction::scrubbed(error), "audio packet not sent");
        }
    }
    // The owner is gone or closes; the other branches decide when the transport ends.
    std::future::pending::<()>().await;
}

/// Waits until the connection is to be closed.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An actor that is gone closes nothing: the task ends with it.
    let _ = closing.wait_for(|closing| *closing).await;
}
