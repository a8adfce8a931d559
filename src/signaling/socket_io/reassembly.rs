//! Joins packets with the binary attachments that follow them.

use bytes::Bytes;

use super::packet::check_placeholders;
use super::{SocketIoBody, SocketIoError, SocketIoPacket};
use crate::signaling::engine_io::EngineIoPacket;

/// How many attachments a packet may have: as many as a Node server takes.
pub const ATTACHMENTS_MAX: usize = 10;

/// Reads the messages of one connection in their order. After an error the connection is of no more
/// use: where the next packet starts is not known.
#[derive(Debug)]
pub struct Reassembler {
    attachments_max: usize,
    partial: Option<Partial>,
}

/// A packet some of whose attachments are missing.
#[derive(Debug)]
struct Partial {
    packet: SocketIoPacket,
    announced: usize,
}

impl Reassembler {
    /// Refuses packets with more than `attachments_max` attachments.
    #[must_use]
    pub fn new(attachments_max: usize) -> Self {
        Self {
            attachments_max,
            partial: None,
        }
    }

    /// Takes one Engine.IO message; other Engine.IO packets are none of its business and give
    /// nothing. Gives a packet once it is complete.
    ///
    /// # Errors
    ///
    /// Every [`SocketIoError`].
    pub fn read(
        &mut self,
        message: EngineIoPacket,
    ) -> Result<Option<SocketIoPacket>, SocketIoError> {
        match message {
            EngineIoPacket::Message(text) => self.text(&text),
            EngineIoPacket::Binary(attachment) => self.attachment(attachment),
            _ => Ok(None),
        }
    }

    fn text(&mut self, text: &str) -> Result<Option<SocketIoPacket>, SocketIoError> {
        if let Some(partial) = &self.partial {
            let missing = partial.missing();
            return Err(SocketIoError::AttachmentsMissing { missing });
        }
        let (packet, announced) = SocketIoPacket::parse_announced(text)?;
        if announced > self.attachments_max {
            let max = self.attachments_max;
            return Err(SocketIoError::TooManyAttachments { announced, max });
        }
        if announced > 0 {
            // Only now, because a text without attachments may say `_placeholder` and mean it.
            check_placeholders(arguments(&packet.body), announced)?;
        }
        self.partial = Some(Partial { packet, announced });
        Ok(self.take_complete())
    }

    fn attachment(&mut self, attachment: Bytes) -> Result<Option<SocketIoPacket>, SocketIoError> {
        let Some(partial) = &mut self.partial else {
            let length = attachment.len();
            return Err(SocketIoError::StrayAttachment { length });
        };
        partial.packet.attachments.push(attachment);
        Ok(self.take_complete())
    }

    fn take_complete(&mut self) -> Option<SocketIoPacket> {
        let complete = self.partial.take_if(|partial| partial.missing() == 0);
        complete.map(|partial| partial.packet)
    }
}

impl Default for Reassembler {
    /// Refuses packets with more than [`ATTACHMENTS_MAX`] attachments.
    fn default() -> Self {
        Self::new(ATTACHMENTS_MAX)
    }
}

impl Partial {
    fn missing(&self) -> usize {
        self.announced - self.packet.attachments.len()
    }
}

fn arguments(body: &SocketIoBody) -> &[serde_json::Value] {
    match body {
        SocketIoBody::Event { arguments, .. } | SocketIoBody::Acknowledgement { arguments, .. } => {
            arguments
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::socket_io::packet::placeholder;
    use serde_json::json;

    fn text(text: &str) -> EngineIoPacket {
        EngineIoPacket::Message(text.into())
    }

    fn binary(bytes: &'static [u8]) -> EngineIoPacket {
        EngineIoPacket::Binary(Bytes::from_static(bytes))
    }

    /// What the last of the messages gives; those before it must give nothing.
    #[track_caller]
    fn check(
        messages: impl IntoIterator<Item = EngineIoPacket>,
    ) -> Result<Option<SocketIoPacket>, SocketIoError> {
        let mut reassembler = Reassembler::default();
        let mut last = Ok(None);
        for message in messages {
            match last {
                Ok(None) => last = reassembler.read(message),
                other => panic!("complete too soon: {other:?}"),
            }
        }
        last
    }

    #[test]
    fn a_packet_is_complete_with_its_last_attachment() {
        let event =
            r#"52-/calls,7["voice",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]"#;
        assert_eq!(check([text(event), binary(b"a")]).expect("valid"), None);
        let packet = check([text(event), binary(b"a"), binary(b"b")]);
        let packet = packet.expect("valid").expect("complete");
        assert_eq!(packet.namespace.as_str(), "/calls");
        assert_eq!(packet.attachments, ["a", "b"]);
        assert_eq!(
            packet.body,
            SocketIoBody::Event {
                name: "voice".into(),
                arguments: vec![placeholder(1), json!([placeholder(0)])],
                acknowledge: Some(7),
            }
        );
        let acknowledgement = r#"61-3[{"_placeholder":true,"num":0}]"#;
        let packet = check([text(acknowledgement), binary(b"a")]);
        assert_eq!(
            packet.expect("valid").expect("complete").body,
            SocketIoBody::Acknowledgement {
                id: 3,
                arguments: vec![placeholder(0)],
            }
        );
    }

    #[test]
    fn no_attachments_are_complete_at_once() {
        let packet = check([text(r#"50-["a"]"#)]);
        assert_eq!(
            packet.expect("valid"),
            check([text(r#"2["a"]"#)]).expect("valid")
        );
    }

    #[test]
    fn a_placeholder_without_attachments_is_data() {
        let packet = check([text(r#"2["a",{"_placeholder":true,"num":9}]"#)]);
        assert!(packet.is_ok_and(|packet| packet.is_some()));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let one = r#"51-["a",{"_placeholder":true,"num":0}]"#;
        assert!(matches!(
            check([text(one), text(r#"2["a"]"#)]),
            Err(SocketIoError::AttachmentsMissing { missing: 1 })
        ));
        assert!(matches!(
            check([binary(b"stray")]),
            Err(SocketIoError::StrayAttachment { length: 5 })
        ));
        assert!(matches!(
            check([text(r#"511-["a"]"#)]),
            Err(SocketIoError::TooManyAttachments {
                announced: 11,
                max: 10
            })
        ));
        for wrong in ["1", "-1", "\"0\"", "0.5", "null"] {
            let text = text(&format!(
                r#"51-["a",{{"_placeholder":true,"num":{wrong}}}]"#
            ));
            assert!(
                matches!(check([text]), Err(SocketIoError::Placeholder { count: 1 })),
                "{wrong}"
            );
        }
    }
}
