//! What a connection tells of a path that dies.

use std::time::Duration;

use tokio::time::{sleep, timeout};

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
