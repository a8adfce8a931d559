use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use ::tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::net::{Net as _, tokio::TokioNet};

/// A certificate authority, and what it issued for one host.
struct Authority {
    root: String,
    chain: String,
    key: String,
}

fn authority(host: &str) -> Authority {
    let root_key = rcgen::KeyPair::generate().expect("a key");
    let mut root = rcgen::CertificateParams::new([]).expect("no names");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = root.self_signed(&root_key).expect("a root");
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &root, &root_key).expect("a leaf");
    Authority {
        root: root.pem(),
        chain: leaf.pem(),
        key: key.serialize_pem(),
    }
}

/// Shakes hands with a server of `issuer` as a client that wants `host` and trusts `trust`, and
/// carries a text both ways if that succeeds.
async fn shake_hands(issuer: &Authority, host: &str, trust: &TlsTrust) -> Result<(), TlsError> {
    let connector = TlsConnector::new(trust).expect("a client");
    shake_hands_by(connector, issuer, host).await
}

/// The same, with a client that is there already.
async fn shake_hands_by(
    connector: TlsConnector,
    issuer: &Authority,
    host: &str,
) -> Result<(), TlsError> {
    let acceptor = TlsAcceptor::from_pem(&issuer.chain, &issuer.key).expect("a server");
    let net = TokioNet::loopback_only();
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let listener = net.listen_stream(any).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = async {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = acceptor.accept(stream).await?;
        let mut text = [0; 5];
        stream.read_exact(&mut text).await.expect("a text");
        stream.write_all(&text).await.expect("the client is there");
        stream.shutdown().await.expect("the client is there");
        Ok::<_, TlsError>(())
    };
    let client = async {
        let stream = net.connect_stream(address).await.expect("a listener");
        let mut stream = connector.connect(host, stream).await?;
        assert_eq!(stream.peer_addr().expect("connected"), address);
        stream
            .write_all(b"hello")
            .await
            .expect("the server is there");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        assert_eq!(text, "hello");
        Ok::<_, TlsError>(())
    };
    let (client, _) = ::tokio::join!(client, server);
    client
}

#[tokio::test]
async fn a_certificate_of_a_trusted_root_is_accepted_for_its_name() {
    for host in ["relay.example", "127.0.0.1"] {
        let issuer = authority(host);
        let trust = TlsTrust::from_pem(&issuer.root).expect("a root");
        shake_hands(&issuer, host, &trust).await.expect(host);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_says_why() {
    let issuer = authority("relay.example");
    let stranger = TlsTrust::from_pem(&authority("relay.example").root).expect("a root");
    for trust in [TlsTrust::Mozilla, stranger] {
        let refused = shake_hands(&issuer, "relay.example", &trust).await;
        assert!(
            matches!(
                refused,
                Err(TlsError::Certificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature
                ))
            ),
            "{refused:?}"
        );
    }
    let trust = TlsTrust::from_pem(&issuer.root).expect("a root");
    let other = shake_hands(&issuer, "other.example", &trust).await;
    let text = other.expect_err("another name").to_string();
    assert!(
        text.contains("not valid for name \"other.example\""),
        "{text}"
    );
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(matches!(
        TlsTrust::from_pem("relay.example"),
        Err(TlsConfigError::NoCertificate)
    ));
    assert!(matches!(
        TlsTrust::from_pem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
        Err(TlsConfigError::Pem(_))
    ));
    let nothing = TlsTrust::Roots(Vec::new());
    assert!(matches!(
        TlsConnector::new(&nothing),
        Err(TlsConfigError::NoCertificate)
    ));
    let garbage = TlsTrust::Roots(vec![CertificateDer::from(vec![1, 2, 3])]);
    assert!(matches!(
        TlsConnector::new(&garbage),
        Err(TlsConfigError::Unusable(_))
    ));
    let (one, another) = (authority("a.example"), authority("b.example"));
    assert!(matches!(
        TlsAcceptor::from_pem(&one.chain, &another.key),
        Err(TlsConfigError::Unusable(_))
    ));
}

#[tokio::test]
async fn the_secrets_of_a_connection_are_logged_where_somebody_asks_for_them() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let log = KeyLog::new(move |line| kept.lock().expect("no panic").push(line.to_owned()));
    let issued = authority("relay.example");
    let trust = TlsTrust::from_pem(&issued.root).expect("a root");
    let connector = TlsConnector::with_key_log(&trust, &log).expect("a client");
    let shaken = shake_hands_by(connector, &issued, "relay.example").await;
    shaken.expect("both agree");
    let lines = lines.lock().expect("no panic").join("\n");
    for label in [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
        "SERVER_TRAFFIC_SECRET_0 ",
    ] {
        assert!(lines.contains(label), "{lines}");
    }
}
