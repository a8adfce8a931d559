use super::*;
use crate::signaling::socket_io::reassembly::Reassembler;
use proptest::prelude::*;
use socketioxide_core::Value as ServerValue;
use socketioxide_core::parser::{Parse as _, ParseConfig, ParserState};
use socketioxide_parser_common::CommonParser;

fn parse(text: &str) -> SocketIoPacket {
    SocketIoPacket::parse(text).expect(text)
}

#[test]
fn the_examples_of_the_protocol_are_read() {
    assert_eq!(
        parse(r#"0{"sid":"oSO0OpakMV_3jnilAAAA"}"#).body,
        SocketIoBody::Connect {
            payload: json!({"sid": "oSO0OpakMV_3jnilAAAA"}).as_object().cloned(),
        }
    );
    let admin = parse("0/admin,");
    assert_eq!(admin.namespace.as_str(), "/admin");
    assert_eq!(admin.body, SocketIoBody::Connect { payload: None });
    assert_eq!(parse("0/admin"), admin);
    assert_eq!(parse("1").body, SocketIoBody::Disconnect);
    assert_eq!(
        parse(r#"2/admin,456["project:delete",123]"#).body,
        SocketIoBody::Event {
            name: "project:delete".into(),
            arguments: vec![json!(123)],
            acknowledge: Some(456),
        }
    );
    assert_eq!(
        parse("3/admin,456[]").body,
        SocketIoBody::Acknowledgement {
            id: 456,
            arguments: vec![],
        }
    );
    assert_eq!(
        parse(r#"4/admin,{"message":"Not authorized","data":7}"#).body,
        SocketIoBody::ConnectError(Refusal {
            message: "Not authorized".into(),
            data: Some(json!(7)),
        })
    );
    assert_eq!(
        parse(r#"4"old""#).body,
        SocketIoBody::ConnectError(Refusal {
            message: "old".into(),
            data: None,
        })
    );
    assert_eq!(
        parse("2[7,8]").body,
        SocketIoBody::Event {
            name: "7".into(),
            arguments: vec![json!(8)],
            acknowledge: None,
        }
    );
}

#[test]
fn attachments_are_counted_before_the_namespace() {
    let mut packet = SocketIoPacket::new(
        Namespace::new("/admin").expect("valid"),
        SocketIoBody::Event {
            name: "project:delete".into(),
            arguments: vec![placeholder(0)],
            acknowledge: Some(456),
        },
    );
    packet.attachments = vec![Bytes::from_static(b"\x01\x02")];
    let messages: Vec<_> = packet.into_messages().collect();
    let text = r#"51-/admin,456["project:delete",{"_placeholder":true,"num":0}]"#;
    assert_eq!(
        messages,
        [
            EngineIoPacket::Message(text.into()),
            EngineIoPacket::Binary(Bytes::from_static(b"\x01\x02")),
        ]
    );
    assert!(matches!(
        SocketIoPacket::parse(text),
        Err(SocketIoError::AttachmentsMissing { missing: 1 })
    ));
}

#[test]
fn malformed_packets_are_errors() {
    for text in [
        "",
        "7",
        "9[]",
        "é",
        "2",
        "2{}",
        "2[]",
        "2[null]",
        "2[\"a\"",
        "2[\"connect\"]",
        "50-[\"disconnect\"]",
        "2/a",
        "1{}",
        "3[]",
        "31",
        "0[]",
        "0\"a\"",
        "4",
        "41",
        "4[]",
        "299999999999999999999[\"a\"]",
        "2-1[\"a\"]",
        "5[\"a\"]",
        "5-[\"a\"]",
        "5+1-[\"a\"]",
        "51[\"a\"]",
        "599999999999999999999-[\"a\"]",
        "60-[]",
    ] {
        assert!(SocketIoPacket::parse(text).is_err(), "{text} was accepted");
    }
}

#[test]
fn a_namespace_with_a_comma_is_refused() {
    assert!(Namespace::new("/a,b").is_err());
    assert!(Namespace::new("a").is_err());
    assert!(Namespace::new("/").is_ok_and(|name| name == Namespace::root()));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn packets() -> impl Strategy<Value = SocketIoPacket> {
    let arguments = || prop::collection::vec(values(), 0..4);
    let object = prop::collection::btree_map(any::<String>(), values(), 0..4)
        .prop_map(|map| map.into_iter().collect::<Map<_, _>>());
    let event = (any::<String>(), arguments(), any::<Option<u64>>()).prop_map(
        |(name, arguments, acknowledge)| SocketIoBody::Event {
            name,
            arguments,
            acknowledge,
        },
    );
    let acknowledgement = (any::<u64>(), arguments())
        .prop_map(|(id, arguments)| SocketIoBody::Acknowledgement { id, arguments });
    let plain = prop_oneof![
        prop::option::of(object).prop_map(|payload| SocketIoBody::Connect { payload }),
        Just(SocketIoBody::Disconnect),
        (any::<String>(), prop::option::of(values()))
            .prop_map(|(message, data)| SocketIoBody::ConnectError(Refusal { message, data })),
    ];
    let attachments = prop::collection::vec(any::<Vec<u8>>().prop_map(Bytes::from), 0..4);
    let body = prop_oneof![
        (prop_oneof![event, acknowledgement], attachments),
        (plain, Just(Vec::new())),
    ];
    let namespace = "/[^,]{0,12}".prop_map(|name| Namespace::new(&name).expect("no comma"));
    (namespace, body).prop_map(|(namespace, (body, attachments))| SocketIoPacket {
        namespace,
        body,
        attachments,
    })
}

fn messages() -> impl Strategy<Value = EngineIoPacket> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(|bytes| EngineIoPacket::Binary(bytes.into())),
        any::<Vec<u8>>()
            .prop_map(|bytes| EngineIoPacket::Message(String::from_utf8_lossy(&bytes).into())),
        "[0-7]([0-9]{0,3}-)?(/[a-zé,]{0,4})?[0-9]{0,24}[\\[{\"]?\\PC{0,12}"
            .prop_map(EngineIoPacket::Message),
        "[56][0-3]-[0-9]?\\[\"a\"(,\\{\"_placeholder\":true,\"num\":[0-3]\\}){0,3}\\]"
            .prop_map(EngineIoPacket::Message),
        Just(EngineIoPacket::Noop),
    ]
}

/// Packets that the server's codec has as well: it knows no `CONNECT_ERROR` on the way in, and its ids
/// have a sign.
fn common_packets() -> impl Strategy<Value = SocketIoPacket> {
    packets().prop_filter("in both codecs", |packet| match packet.body {
        SocketIoBody::ConnectError(_) => false,
        SocketIoBody::Event { acknowledge, .. } => acknowledge.is_none_or(is_signed),
        SocketIoBody::Acknowledgement { id, .. } => is_signed(id),
        _ => true,
    })
}

fn is_signed(id: u64) -> bool {
    i64::try_from(id).is_ok()
}

/// What the server's codec makes of the messages.
fn read_by_server(messages: Vec<EngineIoPacket>) -> socketioxide_core::packet::Packet {
    let (config, state) = (ParseConfig::default(), ParserState::default());
    let mut last = None;
    for message in messages {
        last = Some(match message {
            EngineIoPacket::Message(text) => CommonParser.decode_str(&config, &state, text.into()),
            EngineIoPacket::Binary(bytes) => CommonParser.decode_bin(&config, &state, bytes),
            other => panic!("{other:?}"),
        });
    }
    last.expect("a text at least").expect("own messages")
}

proptest! {
    #[test]
    fn the_server_s_codec_reads_and_writes_the_same(packet in common_packets()) {
        let messages: Vec<_> = packet.clone().into_messages().collect();
        let read = read_by_server(messages.clone());
        prop_assert_eq!(read.ns.as_str(), packet.namespace.as_str());
        let ServerValue::Str(text, attachments) = CommonParser.encode(read) else {
            panic!("the codec writes texts");
        };
        let written: Vec<_> = std::iter::once(EngineIoPacket::Message(text.to_string()))
            .chain(attachments.into_iter().flatten().map(EngineIoPacket::Binary))
            .collect();
        prop_assert_eq!(written, messages);
    }

    #[test]
    fn every_packet_survives_its_messages(packet in packets()) {
        let mut reassembler = Reassembler::default();
        let mut read = Vec::new();
        for message in packet.clone().into_messages() {
            read.extend(reassembler.read(message).expect("own message"));
        }
        prop_assert_eq!(read, [packet]);
    }

    #[test]
    fn no_messages_panic(messages in prop::collection::vec(messages(), 0..8)) {
        let mut reassembler = Reassembler::default();
        for message in messages {
            if reassembler.read(message).is_err() {
                break;
            }
        }
    }
}
