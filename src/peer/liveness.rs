//! What a connection tells of a path that dies.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::cable::Cable;
use super::loopback::{Side, ice, introduce, run_until, side_on};
use super::*;

const ALICE: &str = "198.51.100.1";
const BOB: &str = "198.51.100.2";

/// Two sides that have come as far as audio, the first one controlling.
async fn connected(cable: &Cable) -> [Side; 2] {
    let mut offerer = side_on(cable.host(&[ALICE]), IceRole::Controlling, ice());
    let mut answerer = side_on(cable.host(&[BOB]), IceRole::Controlled, ice());
    introduce(&offerer, &answerer, |_| {});
    let secured = |events: &[PeerEvent]| events.contains(&PeerEvent::DtlsConnected);
    run_until(&mut offerer, &mut answerer, secured).await;
    [offerer, answerer]
}

/// What a side tells until `until`.
async fn told(side: &mut Side, until: Duration) -> Vec<PeerEvent> {
    let mut told = Vec::new();
    let listening = async {
        while let Some(event) = side.events.recv().await {
            told.push(event);
        }
    };
    // A side that lives goes on telling.
    let _ = timeout(until, listening).await;
    told
}

#[tokio::test(start_paused = true)]
async fn sockets_that_die_are_told_at_once_and_once() {
    let cable = Cable::default();
    let [mut offerer, mut answerer] = connected(&cable).await;
    cable.close_sockets(ALICE);
    let is_loss = |event: &&PeerEvent| matches!(event, PeerEvent::SocketLost { .. });
    let at_offerer = told(&mut offerer, Duration::from_millis(1)).await;
    let [PeerEvent::SocketLost { address }] = at_offerer[..] else {
        panic!("one loss and nothing else: {at_offerer:?}");
    };
    assert_eq!(address.ip().to_string(), ALICE);
    let later = told(&mut offerer, Duration::from_secs(10)).await;
    assert_eq!(later.iter().filter(is_loss).count(), 0);
    let at_answerer = told(&mut answerer, Duration::from_secs(10)).await;
    assert_eq!(at_answerer.iter().filter(is_loss).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_loses_no_socket() {
    let cable = Cable::default();
    let [mut offerer, _answerer] = connected(&cable).await;
    offerer.connection.close().await;
    sleep(Duration::from_secs(1)).await;
    let told = told(&mut offerer, Duration::from_secs(10)).await;
    let lost = told
        .iter()
        .any(|event| matches!(event, PeerEvent::SocketLost { .. }));
    assert!(!lost, "{told:?}");
}

/// Sends a packet of audio in every half second until `until`.
async fn talk(side: &Side, until: Duration) {
    let end = Instant::now() + until;
    let mut sequence_number = 0;
    while Instant::now() < end {
        let packet = AudioPacket {
            sequence_number,
            timestamp: u32::from(sequence_number) * 960,
            marker: Marker::Continuation,
            payload: Bytes::from_static(&[1; 80]),
        };
        // A connection that has failed takes no more.
        let _ = side.connection.send_audio(packet);
        sequence_number += 1;
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_hears_and_is_not_answered_falls_silent_after_30_s() {
    let cable = Cable::default();
    let [mut offerer, answerer] = connected(&cable).await;
    // Nothing of the offerer arrives, so none of its checks is answered; all of the answerer's does.
    cable.mute(ALICE);
    tokio::join!(
        talk(&offerer, Duration::from_secs(31)),
        talk(&answerer, Duration::from_secs(31))
    );
    let sent = cable.media_sent(ALICE);
    assert!((48..=61).contains(&sent), "{sent} packets in 24 s to 30 s");
    tokio::join!(
        talk(&offerer, Duration::from_secs(8)),
        talk(&answerer, Duration::from_secs(8))
    );
    assert_eq!(cable.media_sent(ALICE), sent);
    let told = told(&mut offerer, Duration::from_millis(1)).await;
    let losses = told
        .iter()
        .filter(|event| **event == PeerEvent::ConsentLost);
    assert_eq!(losses.count(), 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn without_candidates_ice_does_not_fail_before_39_5_s() {
    let cable = Cable::default();
    let mut offerer = side_on(cable.host(&[ALICE]), IceRole::Controlling, ice());
    let answerer = side_on(cable.host(&[BOB]), IceRole::Controlled, ice());
    introduce(&offerer, &answerer, |_| {});
    let has_failed = |told: &[PeerEvent]| {
        let mut told = told.iter();
        told.any(|event| matches!(event, PeerEvent::Failed(PeerFailure::NoPairWorked { .. })))
    };
    // RFC 8863 section 4.
    let early = told(&mut offerer, Duration::from_millis(39_500)).await;
    assert!(!has_failed(&early), "{early:?}");
    let late = told(&mut offerer, Duration::from_secs(5)).await;
    assert!(has_failed(&late), "{late:?}");
}
