use ::stun::agent::TransactionId;
use ::stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use ::stun::error_code::{
    CODE_ALLOC_MISMATCH, CODE_FORBIDDEN, CODE_STALE_NONCE, ErrorCode, ErrorCodeAttribute,
};
use ::stun::integrity::MessageIntegrity;
use ::stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE,
    METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message, MessageType, Method,
    Setter,
};
use ::stun::textattrs::TextAttribute;
use turn::proto::channum::ChannelNumber;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;

use super::*;
use crate::peer::bridge::stun::{channel_number, relayed_data};

const NUMBER: u16 = 0x4000;

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 5000).into()
}

fn key(server: u8) -> (SocketAddr, SocketAddr) {
    (address(1), address(server))
}

fn packet(server: u8, payload: Vec<u8>) -> Packet {
    Packet {
        local: address(1),
        remote: address(server),
        payload,
    }
}

fn text(attribute: ::stun::attributes::AttrType, text: &str) -> Box<dyn Setter> {
    Box::new(TextAttribute::new(attribute, text.to_owned()))
}

fn request(method: Method, about: Vec<Box<dyn Setter>>) -> Vec<u8> {
    let mut setters: Vec<Box<dyn Setter>> = vec![
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(method, CLASS_REQUEST)),
    ];
    setters.extend(about);
    setters.push(text(ATTR_USERNAME, "user"));
    setters.push(text(ATTR_REALM, "realm"));
    setters.push(text(ATTR_NONCE, "first"));
    setters.push(Box::new(MessageIntegrity(vec![1; 16])));
    let mut message = Message::new();
    message.build(&setters).expect("a short message");
    message.raw
}

fn peer(last: u8) -> Box<dyn Setter> {
    Box::new(PeerAddress {
        ip: address(last).ip(),
        port: address(last).port(),
    })
}

/// Relays at the address 9 over UDP and 8 over TCP, of which both have granted an allocation.
fn relays(now: Instant) -> Relays {
    let access = |transport| Access {
        transport,
        credentials: Credentials {
            username: "user".into(),
            password: "password".into(),
        },
    };
    let mut relays = Relays::new(BTreeMap::from([
        (address(9), access(Transport::Udp)),
        (address(8), access(Transport::Tcp)),
    ]));
    for server in [8, 9] {
        let allocate = packet(server, request(METHOD_ALLOCATE, Vec::new()));
        assert_eq!(relays.outbound(now, &allocate), None);
    }
    relays
}

/// The only packet that goes out for what the agent sends.
#[track_caller]
fn sent(relays: &mut Relays, now: Instant, payload: Vec<u8>) -> Packet {
    let relayed = relays.outbound(now, &packet(9, payload));
    let mut send = relayed.expect("not sent as it is").send;
    assert_eq!(send.len(), 1, "{send:?}");
    send.remove(0)
}

fn permission(last: u8) -> Vec<u8> {
    request(METHOD_CREATE_PERMISSION, vec![peer(last)])
}

fn answer(asked: &Packet, code: Option<ErrorCode>) -> Packet {
    let mut message = Message::new();
    message.unmarshal_binary(&asked.payload).expect("a message");
    let class = match code {
        None => CLASS_SUCCESS_RESPONSE,
        Some(_) => CLASS_ERROR_RESPONSE,
    };
    let mut setters: Vec<Box<dyn Setter>> = vec![
        Box::new(message.transaction_id),
        Box::new(MessageType::new(message.typ.method, class)),
    ];
    if let Some(code) = code {
        let reason = Vec::new();
        setters.push(Box::new(ErrorCodeAttribute { code, reason }));
        setters.push(text(ATTR_NONCE, "second"));
    }
    let mut answer = Message::new();
    answer.build(&setters).expect("a short message");
    Packet {
        payload: answer.raw,
        ..asked.clone()
    }
}

fn nonce(packet: &Packet) -> String {
    let mut message = Message::new();
    message
        .unmarshal_binary(&packet.payload)
        .expect("a message");
    let nonce = TextAttribute::get_from_as(&message, ATTR_NONCE);
    nonce.expect("requests have one").text
}

fn due(relays: &mut Relays, start: Instant, until: Duration) -> Vec<u128> {
    let mut times = Vec::new();
    let mut now = start;
    while let Some(at) = relays.next_due(now).filter(|at| *at <= start + until) {
        now = at;
        times.extend(relays.due(now).iter().map(|_| (now - start).as_millis()));
    }
    times
}

fn channel_data(data: &[u8]) -> Vec<u8> {
    let mut payload = NUMBER.to_be_bytes().to_vec();
    payload.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    payload.extend(data);
    payload
}

fn bind(relays: &mut Relays, now: Instant) -> Option<Relayed> {
    let about = vec![peer(2), Box::new(ChannelNumber(NUMBER)) as Box<dyn Setter>];
    relays.outbound(now, &packet(9, request(METHOD_CHANNEL_BIND, about)))
}

#[test]
fn the_agent_does_not_wait_for_a_permission() {
    let now = Instant::now();
    let mut relays = relays(now);
    let asked = packet(9, permission(2));
    let relayed = relays.outbound(now, &asked).expect("taken over");
    let answer = relayed.answer.expect("granted at once");
    let [request, granted] =
        [&asked, &answer].map(|each| Header::read(&each.payload).expect("STUN"));
    assert!(granted.is_success());
    assert_eq!(granted.transaction, request.transaction);
    assert_eq!(peers(&relayed.send[0].payload), [address(2)]);
}

#[test]
fn a_request_is_repeated_until_the_server_answers() {
    let now = Instant::now();
    let mut relays = relays(now);
    let asked = sent(&mut relays, now, permission(2));
    assert_eq!(due(&mut relays, now, Duration::from_secs(1)), [250, 750]);
    assert_eq!(relays.inbound(now, &answer(&asked, None)), ForWhom::Bridge);
    assert_eq!(relays.next_due(now), None);
}

#[test]
fn a_server_that_never_answers_is_asked_seven_times_over_udp_and_once_over_tcp() {
    let now = Instant::now();
    let mut over_udp = relays(now);
    sent(&mut over_udp, now, permission(2));
    assert_eq!(due(&mut over_udp, now, Duration::from_mins(1)).len(), 6);
    assert_eq!(over_udp.next_due(now), None);
    let mut over_tcp = relays(now);
    over_tcp.outbound(now, &packet(8, permission(2)));
    assert!(due(&mut over_tcp, now, Duration::from_mins(1)).is_empty());
    assert_eq!(over_tcp.next_due(now), None);
}

#[test]
fn a_stale_nonce_is_replaced_and_the_request_made_again() {
    let now = Instant::now();
    let mut relays = relays(now);
    let asked = sent(&mut relays, now, permission(2));
    assert_eq!(nonce(&asked), "first");
    let stale = answer(&asked, Some(CODE_STALE_NONCE));
    assert_eq!(relays.inbound(now, &stale), ForWhom::Bridge);
    let [again] = &relays.due(now)[..] else {
        panic!("one request");
    };
    assert_eq!(nonce(again), "second");
    assert_eq!(nonce(&sent(&mut relays, now, permission(3))), "second");
}

#[test]
fn a_permission_that_is_refused_is_not_asked_for_again_and_spoils_no_other() {
    let now = Instant::now();
    let mut relays = relays(now);
    let asked = sent(&mut relays, now, permission(2));
    relays.inbound(now, &answer(&asked, Some(CODE_STALE_NONCE)));
    let again = relays.due(now).remove(0);
    relays.inbound(now, &answer(&again, Some(CODE_FORBIDDEN)));
    let both = request(METHOD_CREATE_PERMISSION, vec![peer(2), peer(3)]);
    assert_eq!(peers(&sent(&mut relays, now, both).payload), [address(3)]);
}

#[test]
fn a_channel_is_asked_for_once_media_goes_over_it() {
    let now = Instant::now();
    let mut relays = relays(now);
    let bound = bind(&mut relays, now).expect("taken over");
    assert!(bound.send.is_empty() && bound.answer.is_some());
    let check = request(METHOD_ALLOCATE, Vec::new());
    let carried = sent(&mut relays, now, channel_data(&check));
    assert_eq!(relayed_data(&carried.payload), Some(check));

    let media = channel_data(&[0x80; 20]);
    let relayed = relays
        .outbound(now, &packet(9, media.clone()))
        .expect("not granted yet");
    let [indication, asked] = &relayed.send[..] else {
        panic!("the data and a request");
    };
    assert_eq!(peers(&indication.payload), [address(2)]);
    assert_eq!(channel_number(&asked.payload), Some(NUMBER));
    assert_eq!(relays.inbound(now, &answer(asked, None)), ForWhom::Bridge);
    assert_eq!(relays.outbound(now, &packet(9, media)), None);
}

#[test]
fn a_channel_that_is_refused_is_done_without() {
    let now = Instant::now();
    let mut relays = relays(now);
    bind(&mut relays, now);
    let media = channel_data(&[0x80; 20]);
    let relayed = relays
        .outbound(now, &packet(9, media.clone()))
        .expect("not granted");
    relays.inbound(now, &answer(&relayed.send[1], Some(CODE_FORBIDDEN)));
    let again = relays.due(now);
    relays.inbound(now, &answer(&again[0], Some(CODE_FORBIDDEN)));
    let carried = sent(&mut relays, now, media);
    assert_eq!(relayed_data(&carried.payload), Some(vec![0x80; 20]));
}

#[test]
fn a_release_is_repeated_and_told_when_it_is_confirmed() {
    let now = Instant::now();
    let mut relays = relays(now);
    let end = request(METHOD_REFRESH, vec![Box::new(Lifetime(Duration::ZERO))]);
    let asked = sent(&mut relays, now, end);
    assert!(!relays.all_released());
    assert_eq!(due(&mut relays, now, Duration::from_secs(1)), [250, 750]);
    relays.inbound(now, &answer(&asked, None));
    assert!(relays.all_released());
}

/// Bursts of loss are counted in packets: it is their number that gets one through.
#[test]
fn a_release_is_sent_ten_times_before_the_sockets_close() {
    let now = Instant::now();
    let mut relays = relays(now);
    let end = request(METHOD_REFRESH, vec![Box::new(Lifetime(Duration::ZERO))]);
    sent(&mut relays, now, end);
    let repeated = due(&mut relays, now, Duration::from_mins(1));
    assert_eq!(repeated.len(), 9, "{repeated:?}");
    assert!(repeated.iter().all(|at| *at <= 4250), "{repeated:?}");
    assert!(relays.all_released(), "nothing more is to be waited for");
}

#[test]
fn an_allocation_that_comes_too_late_is_released_too() {
    let now = Instant::now();
    let mut relays = relays(now);
    relays.abandon(now, key(9));
    let asked = relays.due(now).remove(0);
    relays.inbound(now, &answer(&asked, Some(CODE_FORBIDDEN)));
    let asked = relays.due(now).remove(0);
    relays.inbound(now, &answer(&asked, None));
    assert!(relays.all_released());
    let granted = answer(&packet(9, request(METHOD_ALLOCATE, Vec::new())), None);
    assert_eq!(relays.inbound(now, &granted), ForWhom::Bridge);
    assert!(!relays.all_released());
}

#[test]
fn an_allocation_whose_grant_was_lost_is_released() {
    let now = Instant::now();
    let mut relays = relays(now);
    let allocate = packet(9, request(METHOD_ALLOCATE, Vec::new()));
    let exists = answer(&allocate, Some(CODE_ALLOC_MISMATCH));
    assert_eq!(relays.inbound(now, &exists), ForWhom::Agent);
    assert!(!relays.all_released());
    assert_eq!(relays.due(now).len(), 1);
}

#[test]
fn a_repetition_that_the_server_refuses_costs_no_allocation_that_was_granted() {
    let now = Instant::now();
    let mut relays = relays(now);
    let allocate = packet(9, request(METHOD_ALLOCATE, Vec::new()));
    let granted = answer(&allocate, None);
    assert_eq!(relays.inbound(now, &granted), ForWhom::Agent);
    let exists = answer(&allocate, Some(CODE_ALLOC_MISMATCH));
    assert_eq!(relays.inbound(now, &exists), ForWhom::Bridge);
    assert!(relays.all_released());
    assert_eq!(relays.due(now), []);
}

#[test]
fn a_request_that_is_repeated_as_the_answer_comes_is_the_same_request() {
    let now = Instant::now();
    let mut relays = relays(now);
    let allocate = packet(9, request(METHOD_ALLOCATE, Vec::new()));
    assert_eq!(relays.outbound(now, &allocate), None);
    let granted = answer(&allocate, None);
    assert_eq!(relays.inbound(now, &granted), ForWhom::Agent);
    assert_eq!(relays.outbound(now, &allocate), None);
    let exists = answer(&allocate, Some(CODE_ALLOC_MISMATCH));
    assert_eq!(relays.inbound(now, &exists), ForWhom::Bridge);
    assert!(relays.all_released());
}

#[test]
fn what_is_granted_to_the_repetition_of_a_refused_request_is_released() {
    let now = Instant::now();
    let mut relays = relays(now);
    let allocate = packet(9, request(METHOD_ALLOCATE, Vec::new()));
    let refused = answer(&allocate, Some(CODE_FORBIDDEN));
    assert_eq!(relays.inbound(now, &refused), ForWhom::Agent);
    assert!(relays.all_released());
    let granted = answer(&allocate, None);
    assert_eq!(relays.inbound(now, &granted), ForWhom::Bridge);
    assert!(!relays.all_released());
    assert_eq!(relays.due(now).len(), 1);
}

#[test]
fn an_allocation_that_is_refreshed_is_the_agents_business() {
    let now = Instant::now();
    let mut relays = relays(now);
    let refresh = request(
        METHOD_REFRESH,
        vec![Box::new(Lifetime(Duration::from_mins(10)))],
    );
    assert_eq!(relays.outbound(now, &packet(9, refresh)), None);
}
