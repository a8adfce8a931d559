//! Sockets against socketioxide, over every transport and delayed streams.

use super::*;
use crate::config::TransportKind::{self, Polling, WebSocket};
use crate::signaling::socket_io::packet::placeholder;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use std::future::ready;

/// Sends events back, answers questions, and puts out whoever asks for it.
fn attach(socket: &SocketRef) {
    socket.on("echo", |socket: SocketRef, Data(number): Data<u32>| {
        let _ = socket.emit("echo", &number);
        ready(())
    });
    socket.on("ask", |Data(bytes): Data<Bytes>, answer: AckSender| {
        let _ = answer.send(&bytes);
        ready(())
    });
    socket.on("leave", |socket: SocketRef| {
        let _ = socket.disconnect();
        ready(())
    });
}

async fn serve(net: &MemoryNet) {
    let (service, io) = socketioxide::SocketIo::new_svc();
    for namespace in ["/", "/calls"] {
        io.ns(namespace, async |socket: SocketRef| attach(&socket));
    }
    let address = SocketAddr::from(([203, 0, 113, 1], 80));
    net.name("relay.example", &[address.ip()]);
    let listener = net.listen_stream(address).await.expect("free address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service.clone())
                .with_upgrades();
            tokio::spawn(served);
        }
    });
}

/// Speaks with the server over these transports, and over streams that delay up to `delay`.
async fn check(transports: &[TransportKind], delay: Duration) {
    let net = MemoryNet::default();
    net.delay(7, delay);
    serve(&net).await;
    let options = SocketOptions {
        signaling: SignalingConfig {
            transports: transports.to_vec(),
            ..SignalingConfig::default()
        },
        ..SocketOptions::default()
    };
    let socket_io = SocketIo::new(Arc::new(net.clone()));
    let open = |url: &str| {
        let (socket, events) = socket_io.socket(url, options.clone()).expect("valid");
        socket.connect();
        (socket, events)
    };
    let (socket, mut events) = open(URL);
    let (calls, mut call_events) = open(&format!("{URL}/calls"));
    for number in 0..40 {
        socket.emit(Emit::new("echo", vec![json!(number)]).expect("not reserved"));
    }
    let question = Emit::new("ask", vec![placeholder(0)]).expect("not reserved");
    let attachments = vec![Bytes::from_static(b"\x00opus\xff")];
    let question = question.with_attachments(attachments.clone()).expect("one");
    let asked = calls.emit_with_acknowledgement(question);
    connected(&mut events).await;
    for number in 0..40 {
        match next(&mut events).await {
            SocketEvent::Event(event) => assert_eq!(event.arguments, [json!(number)]),
            other => panic!("{transports:?}: {other:?}"),
        }
    }
    let answer = asked.await.expect("an answer");
    assert_eq!(answer.attachments, attachments);
    assert_eq!(answer.arguments, [placeholder(0)]);
    connected(&mut call_events).await;

    sleep(100 * SECOND).await;
    assert!(events.try_recv().is_err(), "heartbeats keep it up");
    socket.emit(Emit::new("leave", vec![]).expect("not reserved"));
    match next(&mut events).await {
        SocketEvent::Disconnected { reason } => assert_eq!(reason.name(), "io_server_disconnect"),
        other => panic!("{transports:?}: {other:?}"),
    }
    socket.connect();
    connected(&mut events).await;
    assert!(call_events.try_recv().is_err(), "the other one stays");
}

#[tokio::test(start_paused = true)]
async fn sockets_work_over_every_transport() {
    for delay in [Duration::ZERO, Duration::from_millis(200)] {
        for transports in [&[WebSocket][..], &[Polling], &[Polling, WebSocket]] {
            check(transports, delay).await;
        }
    }
}
