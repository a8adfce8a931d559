//! The server on a host of the world, and clients that write every message themselves.

use std::sync::atomic::{AtomicBool, Ordering};

use ringtrue::net::ByteStream;
use ringtrue::peer::turn_framing::{Decoder, encode};
use ringtrue::signaling::relay::turn_credentials::{TurnCredentialIssuer, TurnCredentials};
use stun::agent::TransactionId;
use stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::error_code::ErrorCodeAttribute;
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH,
    Message, MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turn::proto::PROTO_UDP;
use turn::proto::lifetime::Lifetime;
use turn::proto::reqtrans::RequestedTransport;

use super::*;
use crate::determinism::{Capture, Plugs, has_panicked, run_on_own_thread};
use crate::net::topology::Families;
use crate::net::{LinkPair, NetworkConfig, Topology};
use crate::seed::Seed;
use crate::trace::Recorder;
use crate::world::World;
use crate::world::host::Names;

/// How long a test may take, in virtual time.
const LIMIT: Duration = Duration::from_secs(30);

/// Longer than a packet is on its way.
const A_WHILE: Duration = Duration::from_millis(200);

/// What a test works with.
struct Scene {
    net: Arc<dyn Net>,
    server: SocketAddr,
    control: TurnControl,
    /// Whether the server's host has a UDP socket open: it listens for TCP only, so each is a
    /// relayed one.
    relays: Arc<AtomicBool>,
}

impl Scene {
    fn relays(&self) -> bool {
        self.relays.load(Ordering::SeqCst)
    }
}

/// Runs `test` on a host of a world that has a server with this configuration.
#[track_caller]
fn with_server<F: Future<Output = ()> + Send + 'static>(
    config: TurnConfig,
    test: impl FnOnce(Scene) -> F + Send,
) {
    let run = || {
        let capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        let mut topology = Topology::new();
        let network = topology
            .add_network("lan", NetworkConfig::default())
            .expect("the first network");
        let client = topology
            .add_host("client", network, LinkPair::default())
            .expect("the first host");
        let server = topology
            .add_server("server", LinkPair::default(), Families::V4)
            .expect("the first server");
        let mut world = World::new(capture, Recorder::new(Vec::new()), topology, Names::new());
        let address = SocketAddr::new(world.addresses(server).next().expect("an address"), 443);
        let control = TurnControl::default();
        let scene = Scene {
            net: world.net(client),
            server: address,
            control: control.clone(),
            relays: Arc::default(),
        };
        let (net, relays) = (world.net(server), Arc::clone(&scene.relays));
        world.domain(server).spawn(async move {
            let addresses = TurnAddresses {
                udp: Vec::new(),
                tcp: vec![address],
            };
            let _server = start(net, &addresses, config, control)
                .await
                .expect("the port is free");
            std::future::pending::<()>().await;
        });
        let finished = Arc::new(AtomicBool::new(false));
        let (test, done) = (test(scene), Arc::clone(&finished));
        world.domain(client).spawn(async move {
            test.await;
            done.store(true, Ordering::SeqCst);
        });
        while !finished.load(Ordering::SeqCst) {
            assert!(world.now() < LIMIT, "it takes longer than {LIMIT:?}");
            assert!(!has_panicked(), "the test has failed");
            world.step();
            relays.store(world.has_open_sockets(server), Ordering::SeqCst);
        }
    };
    if let Err(error) = run_on_own_thread("turn", run) {
        panic!("{error}");
    }
}

struct Client {
    stream: Box<dyn ByteStream>,
    decoder: Decoder,
    username: String,
    password: String,
    realm: String,
    nonce: String,
}

impl Client {
    /// Connects as the user that every server knows.
    async fn connect(scene: &Scene) -> Self {
        Self::connect_as(scene, "ringtrue", "ringtrue").await
    }

    async fn connect_as(scene: &Scene, username: &str, password: &str) -> Self {
        let stream = scene.net.connect_stream(scene.server).await;
        Self {
            stream: stream.expect("the server listens"),
            decoder: Decoder::default(),
            username: username.to_owned(),
            password: password.to_owned(),
            realm: String::new(),
            nonce: String::new(),
        }
    }

    /// Sends a request and gives its response.
    async fn exchange(&mut self, request: Message) -> Message {
        let mut bytes = Vec::new();
        encode(&request.raw, &mut bytes).expect("one message");
        self.stream.write_all(&bytes).await.expect("connected");
        let response = self.receive().await.expect("a response");
        assert_eq!(response.transaction_id, request.transaction_id);
        response
    }

    /// The next message; `None` when the connection has ended.
    async fn receive(&mut self) -> Option<Message> {
        let mut buffer = [0; 2000];
        loop {
            if let Some(raw) = self.decoder.next_frame().expect("messages") {
                let mut message = Message::new();
                message.raw = raw;
                message.decode().expect("a STUN message");
                return Some(message);
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.decoder.push(&buffer[..length]),
            }
        }
    }

    /// A request with the client's credentials.
    fn authenticated(&self, method: Method, attribute: Box<dyn Setter>) -> Message {
        let text = |kind, text: &str| Box::new(TextAttribute::new(kind, text.to_owned()));
        let attributes: Vec<Box<dyn Setter>> = vec![
            attribute,
            text(ATTR_USERNAME, &self.username),
            text(ATTR_REALM, &self.realm),
            text(ATTR_NONCE, &self.nonce),
            Box::new(self.integrity()),
        ];
        request(method, attributes)
    }

    fn integrity(&self) -> MessageIntegrity {
        let (username, password) = (self.username.clone(), self.password.clone());
        MessageIntegrity::new_long_term_integrity(username, self.realm.clone(), password)
    }

    /// Asks for an allocation: first as nobody, as every client does.
    async fn allocate(&mut self) -> Message {
        let for_udp = || {
            Box::new(RequestedTransport {
                protocol: PROTO_UDP,
            })
        };
        let anonymous = request(METHOD_ALLOCATE, vec![for_udp()]);
        let challenge = self.exchange(anonymous).await;
        assert_eq!(code(&challenge), Some(401));
        let text = |kind| {
            let attribute = TextAttribute::get_from_as(&challenge, kind);
            attribute.expect("a challenge has it").text
        };
        (self.realm, self.nonce) = (text(ATTR_REALM), text(ATTR_NONCE));
        let known = self.authenticated(METHOD_ALLOCATE, for_udp());
        self.exchange(known).await
    }

    async fn refresh(&mut self, lifetime: Duration) -> Message {
        let request = self.authenticated(METHOD_REFRESH, Box::new(Lifetime(lifetime)));
        self.exchange(request).await
    }
}

fn request(method: Method, attributes: Vec<Box<dyn Setter>>) -> Message {
    let mut setters: Vec<Box<dyn Setter>> = vec![
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(method, CLASS_REQUEST)),
    ];
    setters.extend(attributes);
    let mut request = Message::new();
    request.build(&setters).expect("it fits");
    request
}

/// The code of an error response; `None` for a success.
fn code(response: &Message) -> Option<u16> {
    if response.typ.class == CLASS_SUCCESS_RESPONSE {
        return None;
    }
    let mut code = ErrorCodeAttribute::default();
    code.get_from(response)
        .expect("an error response has a code");
    Some(code.code.0)
}

#[test]
fn an_allocation_over_tcp_ends_with_its_connection_and_another_can_follow() {
    with_server(TurnConfig::default(), async |scene| {
        for _ in 0..2 {
            let mut client = Client::connect(&scene).await;
            assert_eq!(code(&client.allocate().await), None);
            sleep(A_WHILE).await;
            assert!(scene.relays());
            drop(client);
            sleep(A_WHILE).await;
            assert!(!scene.relays());
        }
    });
}

#[test]
fn what_is_not_turn_ends_its_connection_and_no_other() {
    with_server(TurnConfig::default(), async |scene| {
        let mut client = Client::connect(&scene).await;
        assert_eq!(code(&client.allocate().await), None);
        let mut other = Client::connect(&scene).await;
        other
            .stream
            .write_all(&[0xff; 20])
            .await
            .expect("connected");
        assert!(other.receive().await.is_none());
        let response = client.refresh(Duration::from_mins(10)).await;
        assert_eq!(code(&response), None);
    });
}

#[test]
fn refused_credentials_are_answered_with_401_and_stun_goes_on() {
    with_server(TurnConfig::default(), async |scene| {
        let mut client = Client::connect(&scene).await;
        assert_eq!(code(&client.allocate().await), None);
        scene.control.refuse_credentials();
        let response = client.refresh(Duration::from_mins(10)).await;
        assert_eq!(code(&response), Some(401));
        assert!(response.contains(ATTR_REALM) && response.contains(ATTR_NONCE));
        let mut other = Client::connect(&scene).await;
        assert_eq!(code(&other.allocate().await), Some(401));
        let binding = other.exchange(request(METHOD_BINDING, Vec::new())).await;
        assert_eq!(code(&binding), None);
        assert_eq!(scene.control.refused(), 2);
        scene.control.serve();
        assert_eq!(code(&other.allocate().await), None);
    });
}

#[test]
fn a_reached_quota_refuses_new_allocations_and_keeps_old_ones() {
    with_server(TurnConfig::default(), async |scene| {
        let mut old = Client::connect(&scene).await;
        assert_eq!(code(&old.allocate().await), None);
        scene.control.reach_quota();
        let mut new = Client::connect(&scene).await;
        let mut refused = new.allocate().await;
        assert_eq!(code(&refused), Some(486));
        assert!(refused.contains(ATTR_MESSAGE_INTEGRITY));
        let checked = new.integrity().check(&mut refused);
        assert!(checked.is_ok(), "the refusal is the server's own");
        assert_eq!(code(&old.refresh(Duration::from_mins(10)).await), None);
        assert_eq!(scene.control.refused(), 1);
        scene.control.serve();
        assert_eq!(code(&new.allocate().await), None);
    });
}

#[test]
fn a_user_has_as_many_allocations_as_the_configuration_allows() {
    let config = TurnConfig {
        allocations_max: Some(1),
        ..TurnConfig::default()
    };
    with_server(config, async |scene| {
        let mut first = Client::connect(&scene).await;
        let mut second = Client::connect(&scene).await;
        assert_eq!(code(&first.allocate().await), None);
        assert_eq!(code(&second.allocate().await), Some(486));
        assert_eq!(code(&first.refresh(Duration::ZERO).await), None);
        sleep(A_WHILE).await;
        assert_eq!(code(&second.allocate().await), None);
        assert_eq!(scene.control.refused(), 1);
    });
}

/// A server that shares the secret `north` with its relay.
fn timed(allocations_max: Option<usize>) -> TurnConfig {
    TurnConfig {
        secret: Some(TurnSecret::new("north")),
        allocations_max,
        ..TurnConfig::default()
    }
}

/// What a relay with this secret issues to anna.
fn issue(secret: &str, ttl: Duration) -> TurnCredentials {
    TurnCredentialIssuer::new(TurnSecret::new(secret), Vec::new(), ttl, date).issue("anna")
}

#[test]
fn time_limited_credentials_are_accepted_until_they_end() {
    with_server(timed(None), async |scene| {
        let issued = issue("north", Duration::from_secs(5));
        let mut client = Client::connect_as(&scene, &issued.username, &issued.credential).await;
        assert_eq!(code(&client.allocate().await), None);
        let lifetime = Duration::from_mins(10);
        sleep(Duration::from_secs(4)).await;
        assert_eq!(code(&client.refresh(lifetime).await), None);
        sleep(Duration::from_secs(1)).await;
        assert_ne!(code(&client.refresh(lifetime).await), None);
        let mut late = Client::connect_as(&scene, &issued.username, &issued.credential).await;
        assert_ne!(code(&late.allocate().await), None);
        let mut known = Client::connect(&scene).await;
        assert_eq!(code(&known.allocate().await), None, "beside static users");
    });
}

#[test]
fn credentials_of_another_secret_are_refused() {
    with_server(timed(None), async |scene| {
        let forged = issue("south", Duration::from_mins(1));
        let mut client = Client::connect_as(&scene, &forged.username, &forged.credential).await;
        assert_ne!(code(&client.allocate().await), None);
        let honest = issue("north", Duration::from_mins(1));
        let longer = honest.username.replacen('1', "2", 1);
        let mut client = Client::connect_as(&scene, &longer, &honest.credential).await;
        assert_ne!(code(&client.allocate().await), None);
    });
    with_server(TurnConfig::default(), async |scene| {
        let issued = issue("north", Duration::from_mins(1));
        let mut client = Client::connect_as(&scene, &issued.username, &issued.credential).await;
        assert_ne!(code(&client.allocate().await), None, "it has no secret");
    });
}

#[test]
fn a_quota_is_the_users_and_not_the_credentials() {
    with_server(timed(Some(1)), async |scene| {
        let first = issue("north", Duration::from_mins(1));
        let mut client = Client::connect_as(&scene, &first.username, &first.credential).await;
        assert_eq!(code(&client.allocate().await), None);
        let second = issue("north", Duration::from_mins(2));
        assert_ne!(first.username, second.username);
        let mut client = Client::connect_as(&scene, &second.username, &second.credential).await;
        assert_eq!(code(&client.allocate().await), Some(486));
    });
}
