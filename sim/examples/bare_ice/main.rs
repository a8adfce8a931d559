//! A client of somebody else's in the world: a bare `webrtc-ice` agent with signaling of its own, behind
//! cone NATs. Carol, who has a public address, joins the two lines that alice and bob speak over TCP.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::{path::Path, pin::Pin, process::ExitCode, time::Duration};

use ringtrue::client::EndReason;
use ringtrue_sim::endpoint::{Endpoint, Seat};
use ringtrue_sim::report::{Report, text};
use ringtrue_sim::world::run::{RunOptions, run};
use ringtrue_sim::{scenario::Scenario, seed::Seed, trace::AppEvent};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional, split};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};
use webrtc_ice::udp_mux::UDPMux as _;
use webrtc_util::Conn;

mod agent;

use self::agent::{Outcome, add_remote, open_agent};

const WORLD: &str = r#"
about = "A bare ICE agent behind two cone NATs"
network = { a.nat = "port-restricted", b.nat = "full-cone", open.nat = "none" }
peer.alice.network = "a"
peer.bob.network = "b"
peer.carol = { network = "open", plays = "tone-low.opus" }
script = [
    { at = "1s", peer = "alice", do = "call", callee = "bob" },
    { after = "ringing + 1s", peer = "bob", do = "answer" },
    { after = "audio + 3s", peer = "alice", do = "hang-up" },
    { after = "audio + 3s", peer = "bob", do = "hang-up" },
]
"#;

/// The one client of all three: it knows where carol is, once she does.
#[derive(Debug, Default, Clone)]
struct BareIce(Arc<OnceLock<SocketAddr>>);

impl Endpoint for BareIce {
    fn run(&self, seat: Seat) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let ended = match seat.user.as_str() {
                "carol" => client.join_lines(&seat).await,
                _ => client.talk(seat).await,
            };
            ended.expect("nothing goes wrong in this world");
        })
    }
}

impl BareIce {
    async fn join_lines(&self, seat: &Seat) -> Outcome<()> {
        let here = SocketAddr::new(seat.net.interfaces()?[0].address, 7000);
        let listener = seat.net.listen_stream(here).await?;
        self.0.get_or_init(|| here);
        let (mut first, mut second) = (listener.accept().await?.0, listener.accept().await?.0);
        copy_bidirectional(&mut first, &mut second).await?;
        Ok(())
    }

    async fn talk(&self, mut seat: Seat) -> Outcome<()> {
        while self.0.get().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        let meeting = *self.0.get().ok_or("carol is there")?;
        let (reader, mut line) = split(seat.net.connect_stream(meeting).await?);
        let mut lines = BufReader::new(reader).lines();
        let (agent, mux, here) = open_agent(&seat).await?;
        let (ufrag, pwd) = agent.get_local_user_credentials().await;
        let said = format!("{ufrag} {pwd} {here}\n");
        line.write_all(said.as_bytes()).await?;
        let said = lines.next_line().await?.ok_or("carol is gone")?;
        let (ufrag, pwd) = add_remote(&agent, &said)?;

        let (_cancel, cancelled) = mpsc::channel(1);
        let conn: Arc<dyn Conn + Send + Sync> = if seat.user == "alice" {
            seat.commands.recv().await;
            seat.logbook.begin_call("bob");
            let callee = "bob".into();
            seat.logbook.write(AppEvent::Calling { callee });
            line.write_all(b"call\n").await?;
            lines.next_line().await?;
            seat.logbook.write(AppEvent::Answered);
            agent.dial(cancelled, ufrag, pwd).await?
        } else {
            lines.next_line().await?;
            seat.logbook.begin_call("alice");
            let from = "alice".into();
            seat.logbook.write(AppEvent::Incoming { from });
            seat.commands.recv().await;
            line.write_all(b"answer\n").await?;
            seat.logbook.write(AppEvent::Answered);
            agent.accept(cancelled, ufrag, pwd).await?
        };
        let (mut clock, mut buffer) = (interval(Duration::from_millis(20)), [0; 1500]);
        let mut packets =
            (0_u16..).zip(seat.voice().clone().packets().to_vec().into_iter().cycle());
        loop {
            tokio::select! {
                biased;
                _hang_up = seat.commands.recv() => break,
                length = conn.recv(&mut buffer) => {
                    let (number, payload) = buffer[..length?].split_at(2);
                    seat.logbook.heard(u16::from_be_bytes([number[0], number[1]]), payload);
                }
                _ = clock.tick() => {
                    let (number, payload) = packets.next().ok_or("it is a short call")?;
                    conn.send(&[&number.to_be_bytes(), &payload[..]].concat()).await?;
                }
            }
        }
        agent.close().await?;
        mux.close().await?;
        let reason = EndReason::HungUp;
        seat.logbook.write(AppEvent::Ended { reason });
        Ok(())
    }
}

fn report() -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/bare-ice.toml");
    let scenario = Scenario::parse(&path, WORLD).expect("the world is valid");
    let options = RunOptions {
        endpoint: Arc::new(BareIce::default()),
        ..RunOptions::default()
    };
    run(&scenario, Seed::new(1), options).expect("the world can be run")
}

#[expect(clippy::print_stdout, reason = "the verdict is what it is run for")]
fn main() -> ExitCode {
    let report = report();
    let verdict = text::verdict(&report, text::Colour::Off);
    println!("{verdict}: {:?}", report.failures);
    ExitCode::from(u8::from(!report.passed))
}

#[test]
fn a_bare_agent_connects_behind_cone_nats() {
    let report = report();
    assert!(report.passed, "{:?}", report.failures);
}
