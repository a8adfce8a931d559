//! A peer on the right path whose certificate is not the one that signaling announced: it hears nothing,
//! and nothing of it is heard (RFC 8827 section 6.5).

use std::net::SocketAddr;
use std::time::Duration;

use rtp::header::Header;
use rtp::packet::Packet;
use tokio::time::interval;
use webrtc_util::Marshal as _;

use super::cable::Cable;
use super::loopback::{Side, audio, ice, side_on, through_text};
use super::sdp::{Fingerprint, SessionDescription};
use super::*;

const VICTIM: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

/// How long both try to talk, in intervals of 20 ms.
const INTERVALS: u16 = 150;

/// What came of a meeting.
#[derive(Debug)]
struct Outcome {
    /// Whether the victim said that it knows why nobody talks.
    is_mismatch: bool,
    /// Packets of audio that the victim was ready to send.
    accepted: usize,
    /// Datagrams of media that the victim sent.
    sent: usize,
    /// Packets of audio that the victim handed up.
    heard: usize,
}

/// Lets two peers meet, the victim in `role`, believing in a certificate of this fingerprint if one is
/// given. Both send audio all the time, and somebody on the path sends RTP without any encryption in
/// the other's name.
async fn meet(role: IceRole, believed: Option<Fingerprint>) -> Outcome {
    let cable = Cable::default();
    let victim = side_on(cable.host(&[VICTIM]), role, ice());
    let other_role = match role {
        IceRole::Controlling => IceRole::Controlled,
        IceRole::Controlled => IceRole::Controlling,
    };
    let other = side_on(cable.host(&[OTHER]), other_role, ice());
    let announced = introduce(role, &victim, &other, believed);
    let mut outcome = talk(&cable, victim, other, &announced).await;
    outcome.sent = cable.media_sent(VICTIM);
    outcome
}

/// Exchanges descriptions, and returns the other's as the victim knows it.
fn introduce(
    role: IceRole,
    victim: &Side,
    other: &Side,
    believed: Option<Fingerprint>,
) -> SessionDescription {
    let describe = |side: &Side| {
        let description = side.connection.local_description();
        through_text(&description.expect("it is this side's turn"))
    };
    let tell_victim = || {
        let mut description = describe(other);
        description.fingerprint = believed.unwrap_or(description.fingerprint);
        let told = victim.connection.set_remote(description.clone());
        told.expect("a valid description");
        description
    };
    let tell_other = || {
        let told = other.connection.set_remote(describe(victim));
        told.expect("a valid description");
    };
    let announced = match role {
        IceRole::Controlling => {
            tell_other();
            tell_victim()
        }
        IceRole::Controlled => {
            let announced = tell_victim();
            tell_other();
            announced
        }
    };
    for side in [victim, other] {
        side.connection.start_gathering();
        side.connection.start().expect("both descriptions are set");
    }
    announced
}

async fn talk(
    cable: &Cable,
    mut victim: Side,
    mut other: Side,
    announced: &SessionDescription,
) -> Outcome {
    let mut outcome = Outcome {
        is_mismatch: false,
        accepted: 0,
        sent: 0,
        heard: 0,
    };
    let mut ends = None;
    let mut clock = interval(Duration::from_millis(20));
    let mut sequence_number = 0;
    while sequence_number < INTERVALS {
        tokio::select! {
            biased;
            Some(event) = victim.events.recv() => match event {
                PeerEvent::LocalCandidate(candidate) => {
                    let added = other.connection.add_remote_candidate(&candidate);
                    added.expect("a candidate of the announced generation");
                }
                PeerEvent::Selected { local_address, remote_address, .. } => {
                    ends = Some((remote_address, local_address));
                }
                PeerEvent::Audio(_) => outcome.heard += 1,
                PeerEvent::Failed(PeerFailure::FingerprintMismatch { .. }) => {
                    outcome.is_mismatch = true;
                }
                _ => {}
            },
            Some(event) = other.events.recv() => {
                if let PeerEvent::LocalCandidate(candidate) = event {
                    let added = victim.connection.add_remote_candidate(&candidate);
                    added.expect("a candidate of the announced generation");
                }
            }
            _ = clock.tick() => {
                let sent = victim.connection.send_audio(audio(sequence_number, 1));
                outcome.accepted += usize::from(sent.is_ok());
                // A stranger without keys is refused by its own side.
                let _ = other.connection.send_audio(audio(sequence_number, 2));
                if let Some((source, destination)) = ends {
                    forge(cable, source, destination, announced, sequence_number);
                }
                sequence_number += 1;
            }
        }
    }
    victim.connection.close().await;
    other.connection.close().await;
    outcome
}

/// A packet of audio in the clear.
fn forge(
    cable: &Cable,
    source: SocketAddr,
    destination: SocketAddr,
    announced: &SessionDescription,
    sequence_number: u16,
) {
    let packet = Packet {
        header: Header {
            version: 2,
            payload_type: announced.payload_type,
            sequence_number,
            ssrc: announced.ssrc.as_ref().map_or(0, |ssrc| ssrc.id),
            ..Header::default()
        },
        payload: audio(sequence_number, 3).payload,
    };
    let datagram = packet.marshal().expect("a valid packet");
    cable.forge(source, destination, &datagram);
}

/// With the right certificate the same meeting lets audio through both ways, and of what comes in the
/// clear nothing: that is how it is known that the other tests listen at the right place.
#[track_caller]
fn check_friend(outcome: &Outcome) {
    assert!(!outcome.is_mismatch, "{outcome:?}");
    assert!(outcome.accepted > 100 && outcome.sent >= 100, "{outcome:?}");
    let most = usize::from(INTERVALS);
    assert!((100..=most).contains(&outcome.heard), "{outcome:?}");
}

#[track_caller]
fn check_stranger(outcome: &Outcome) {
    assert!(outcome.is_mismatch, "{outcome:?}");
    let through = [outcome.accepted, outcome.sent, outcome.heard];
    assert_eq!(through, [0, 0, 0], "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn the_announced_certificate_lets_audio_through() {
    check_friend(&meet(IceRole::Controlling, None).await);
    check_friend(&meet(IceRole::Controlled, None).await);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_answers_hears_nothing_and_is_not_heard() {
    check_stranger(&meet(IceRole::Controlling, Some(Fingerprint([7; 32]))).await);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_calls_hears_nothing_and_is_not_heard() {
    check_stranger(&meet(IceRole::Controlled, Some(Fingerprint([7; 32]))).await);
}
