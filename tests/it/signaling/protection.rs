//! TLS below the signaling client, in the world's own clock and entropy.

use ringtrue::config::TransportKind;
use ringtrue::net::tls::TlsTrust;
use ringtrue::signaling::socket::{SocketConnectError, SocketEvent, SocketIo};
use ringtrue::signaling::transport::ConnectPhase;
use ringtrue_sim::scenario::model::CertificateKind;
use ringtrue_sim::server::certificate::Authority;
use serde_json::json;

use super::bench::{Bench, TLS_URL, check};
use super::client::{Client, FALLING_BACK, POLLING, UPGRADING, WEBSOCKET};

fn connect(bench: &Bench, transports: &[TransportKind], trust: Option<TlsTrust>) -> Client {
    let mut options = bench.options(transports);
    options.signaling.trust = trust.unwrap_or_else(|| bench.trust.clone());
    bench.connect_to(&SocketIo::new(bench.net.clone()), TLS_URL, options)
}

#[test]
fn every_transport_runs_over_tls() {
    for transports in [&WEBSOCKET[..], &POLLING[..], &UPGRADING[..]] {
        check(move |bench| async move {
            let mut client = connect(&bench, transports, None);
            client.connected().await;
            client.emit("up", &[json!(1)]);
            bench.server.say(r#"42["down"]"#);
            assert_eq!(client.event().await.name, "down");
            bench
                .server
                .until(|record| record.texts("42").len() == 1)
                .await;
        });
    }
}

/// A server with this certificate is refused, attempt after attempt, and taken once it has a good one.
#[track_caller]
fn check_refused(kind: CertificateKind, said: &'static str) {
    check(move |bench| async move {
        bench
            .server
            .set(|settings| settings.certificate = Some(kind));
        let mut client = connect(&bench, &FALLING_BACK, None);
        for attempt in 1..=3 {
            let error = client.failed().await;
            let SocketConnectError::Attempt(error) = error else {
                panic!("attempt {attempt}: {error:?}");
            };
            assert_eq!(error.phase(), Some(ConnectPhase::Tls), "{error:?}");
            let shown = causes(&*error);
            assert!(shown.contains(said), "{shown}");
        }
        assert!(
            bench.server.record().requests().is_empty(),
            "nothing was said to it"
        );
        bench
            .server
            .set(|settings| settings.certificate = Some(CertificateKind::Valid));
        client.connected().await;
    });
}

/// An error with everything that it comes from.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    check_refused(
        CertificateKind::UnknownAuthority,
        "the server's certificate is not accepted",
    );
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    check_refused(CertificateKind::OtherName, "not valid for");
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    check_refused(CertificateKind::Expired, "expired");
}

#[test]
fn whom_the_client_does_not_trust_it_does_not_talk_to() {
    check(|bench| async move {
        let others = Authority::new().trust();
        let mut client = connect(&bench, &WEBSOCKET, Some(others));
        let error = client.failed().await;
        assert!(!error.is_final(), "the server may get another certificate");
        client
            .first(|event| matches!(event, SocketEvent::ReconnectAttempt { .. }).then_some(()))
            .await;
    });
}
