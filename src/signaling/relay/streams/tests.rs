use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::*;
use crate::net::between::StreamBetween;

/// A guarded stream that takes 8 bytes before its other end has to read.
fn pair(streams: &Arc<Streams>) -> (GuardedStream, DuplexStream) {
    let (near, far) = duplex(8);
    let nowhere = ([0, 0, 0, 0], 0).into();
    let near = StreamBetween::new(near, nowhere, nowhere);
    (streams.guard(Box::new(near)), far)
}

fn session(letter: char) -> Sid {
    let id = letter.to_string().repeat(16);
    id.parse().expect("16 characters of base64")
}

#[tokio::test(start_paused = true)]
async fn a_closed_stream_reads_its_end_and_writes_what_there_is_room_for() {
    let streams = Arc::new(Streams::default());
    let (mut stream, mut far) = pair(&streams);
    streams.carry(stream.id(), session('a'));
    let mut buffer = [0; 8];
    let read = async {
        let (closing, read) = tokio::join!(
            async { streams.close(session('a')) },
            stream.read(&mut buffer)
        );
        let () = closing;
        read
    };
    assert_eq!(read.await.expect("no error"), 0);
    stream.write_all(b"12345678").await.expect("there is room");
    let full = stream.write_all(b"9").await.expect_err("there is none");
    assert_eq!(full.kind(), io::ErrorKind::ConnectionAborted);
    drop(stream);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.expect("no error");
    assert_eq!(rest, b"12345678");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_makes_no_progress_ends_the_stream() {
    let streams = Arc::new(Streams::default());
    let (mut stream, mut far) = pair(&streams);
    let start = Instant::now();
    let reads = async {
        sleep(Duration::from_secs(15)).await;
        far.read_exact(&mut [0; 8]).await.expect("8 bytes");
        std::future::pending::<()>().await;
    };
    let writes = stream.write_all(&[0; 24]);
    let stalled = tokio::select! {
        biased;
        () = reads => unreachable!("it never ends"),
        result = writes => result.expect_err("nobody reads the rest"),
    };
    assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed(), Duration::from_secs(15) + WRITE_STALL_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_stream_wakes_who_writes() {
    let streams = Arc::new(Streams::default());
    let (mut stream, _far) = pair(&streams);
    let (result, ()) = tokio::join!(stream.write_all(&[0; 9]), async { streams.abort_all() });
    let error = result.expect_err("it is aborted");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let read = stream.read(&mut [0; 1]).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_gone_when_its_streams_are() {
    let streams = Arc::new(Streams::default());
    let ((one, _), (two, _), (other, _)) = (pair(&streams), pair(&streams), pair(&streams));
    streams.carry_handshake(one.id());
    streams.carry(one.id(), session('a'));
    streams.carry(two.id(), session('a'));
    streams.carry(other.id(), session('b'));
    let waits = timeout(Duration::from_secs(1), streams.gone(session('a')));
    let (waited, ()) = tokio::join!(waits, async {
        drop(one);
        tokio::task::yield_now().await;
        assert!(streams.has(session('a')));
        drop(two);
    });
    assert_eq!(waited, Ok(()));
    assert_eq!(streams.count(), 1);
    drop(other);
    streams.all_gone().await;
    let table = streams.lock();
    assert!(table.streams.is_empty() && table.by_session.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_carries_several_sessions_ends_with_none_of_them() {
    let streams = Arc::new(Streams::default());
    let (mut stream, mut far) = pair(&streams);
    streams.carry(stream.id(), session('a'));
    streams.carry(stream.id(), session('b'));
    streams.close(session('a'));
    streams.close(session('b'));
    assert!(!streams.has(session('a')) && !streams.has(session('b')));
    far.write_all(b"1").await.expect("room");
    assert_eq!(stream.read_u8().await.expect("it is open"), b'1');
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_carry_one_session_after_the_other() {
    let streams = Arc::new(Streams::default());
    let (mut stream, _far) = pair(&streams);
    streams.carry(stream.id(), session('a'));
    streams.release(session('a'));
    streams.carry(stream.id(), session('b'));
    streams.close(session('b'));
    assert_eq!(stream.read(&mut [0; 1]).await.expect("its end"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_no_known_session_can_be_aborted_alone() {
    let streams = Arc::new(Streams::default());
    let (known, _far1) = pair(&streams);
    let (other, _far2) = pair(&streams);
    let (opening, _far3) = pair(&streams);
    let (plain, _far4) = pair(&streams);
    streams.carry(known.id(), session('a'));
    streams.carry(other.id(), session('b'));
    streams.carry_handshake(opening.id());
    streams.abort_others(&BTreeSet::from([session('a')]));
    let state = |stream: &GuardedStream| stream.control.lock().state;
    assert_eq!([state(&known), state(&plain)], [State::Open; 2]);
    assert_eq!([state(&other), state(&opening)], [State::Aborted; 2]);
}
