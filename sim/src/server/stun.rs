//! A STUN server with two addresses and two ports, by which a client finds out how its NAT behaves
//! (RFC 5780).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringtrue::net::{DatagramSocket, Net, TrafficClass};
use stun::addr::MappedAddress;
use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_FINGERPRINT, ATTR_OTHER_ADDRESS, ATTR_PADDING, ATTR_PRIORITY,
    ATTR_RESPONSE_ORIGIN, ATTR_RESPONSE_PORT, AttrType,
};
use stun::error_code::{CODE_UNKNOWN_ATTRIBUTE, ErrorCodeAttribute};
use stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use stun::uattrs::UnknownAttributes;
use stun::xoraddr::XorMappedAddress;
use thiserror::Error;

/// The bit of CHANGE-REQUEST that asks for an answer from the other address (RFC 5780 section 7.2).
pub const CHANGE_ADDRESS: u8 = 0x04;
/// The bit of CHANGE-REQUEST that asks for an answer from the other port.
pub const CHANGE_PORT: u8 = 0x02;

/// The longest request that is read.
const REQUEST_MAX: usize = 1500;

/// Where the server listens: each address with each port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corners {
    /// Two addresses.
    pub addresses: [IpAddr; 2],
    /// Two ports.
    pub ports: [u16; 2],
}

/// One of the four places at which the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Corner {
    address: usize,
    port: usize,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    from: Corner,
    to: SocketAddr,
    payload: Vec<u8>,
}

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum StunServerError {
    /// A port was not to be had.
    #[error("cannot listen for STUN on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the host said.
        source: std::io::Error,
    },
}

impl Corner {
    const ALL: [Self; 4] = [
        Self::new(0, 0),
        Self::new(0, 1),
        Self::new(1, 0),
        Self::new(1, 1),
    ];

    const fn new(address: usize, port: usize) -> Self {
        Self { address, port }
    }

    const fn index(self) -> usize {
        self.address * 2 + self.port
    }

    const fn opposite(self) -> Self {
        Self::new(1 - self.address, 1 - self.port)
    }
}

impl Corners {
    fn at(&self, corner: Corner) -> SocketAddr {
        SocketAddr::new(self.addresses[corner.address], self.ports[corner.port])
    }
}

/// Answers requests at all four corners until the future is dropped. Each of `nets` is the host of
/// the address of the same number.
///
/// # Errors
///
/// [`StunServerError::Listen`] where a port cannot be bound.
pub async fn run(nets: [Arc<dyn Net>; 2], corners: Corners) -> Result<(), StunServerError> {
    let mut sockets: Vec<Arc<dyn DatagramSocket>> = Vec::new();
    for corner in Corner::ALL {
        let address = corners.at(corner);
        let socket = nets[corner.address]
            .bind_datagram(address, TrafficClass::BestEffort)
            .await
            .map_err(|source| StunServerError::Listen { address, source })?;
        sockets.push(socket);
    }
    let serve = |corner: Corner| serve(&sockets, corners, corner);
    tokio::join!(
        serve(Corner::ALL[0]),
        serve(Corner::ALL[1]),
        serve(Corner::ALL[2]),
        serve(Corner::ALL[3])
    );
    Ok(())
}

async fn serve(sockets: &[Arc<dyn DatagramSocket>], corners: Corners, corner: Corner) {
    let mut buffer = [0; REQUEST_MAX];
    // A socket that can receive no more has lost its host.
    while let Ok((length, source)) = sockets[corner.index()].recv_from(&mut buffer).await {
        let answer = answer(&buffer[..length], source, corners, corner);
        if let Some(answer) = answer {
            // A datagram that the host refuses to send is as good as one that is lost.
            let _ = sockets[answer.from.index()]
                .send_to(&answer.payload, answer.to)
                .await;
        }
    }
}

/// The answer to a datagram that came to `corner`; `None` where it is no binding request.
fn answer(datagram: &[u8], source: SocketAddr, corners: Corners, corner: Corner) -> Option<Answer> {
    let mut request = Message::new();
    request.unmarshal_binary(datagram).ok()?;
    if request.typ != BINDING_REQUEST {
        return None;
    }
    let unknown = unknown_attributes(&request);
    if !unknown.is_empty() {
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(request),
            Box::new(BINDING_ERROR),
            Box::new(ErrorCodeAttribute {
                code: CODE_UNKNOWN_ATTRIBUTE,
                reason: b"Unknown Attribute".to_vec(),
            }),
            Box::new(UnknownAttributes(unknown)),
        ];
        return Some(Answer {
            from: corner,
            to: source,
            payload: built(&setters)?,
        });
    }
    let change = request
        .get(ATTR_CHANGE_REQUEST)
        .ok()
        .and_then(|value| value.get(3).copied())
        .unwrap_or_default();
    let changed = |index: usize, bit: u8| if change & bit == 0 { index } else { 1 - index };
    let from = Corner::new(
        changed(corner.address, CHANGE_ADDRESS),
        changed(corner.port, CHANGE_PORT),
    );
    let port = request
        .get(ATTR_RESPONSE_PORT)
        .ok()
        .and_then(|value| Some(u16::from_be_bytes([*value.first()?, *value.get(1)?])))
        .unwrap_or(source.port());
    let setters: Vec<Box<dyn Setter>> = vec![
        Box::new(request),
        Box::new(BINDING_SUCCESS),
        Box::new(XorMappedAddress {
            ip: source.ip(),
            port: source.port(),
        }),
        // RFC 5780 section 7: both are as they are seen from where the request came to.
        Box::new(AddressAs(ATTR_RESPONSE_ORIGIN, corners.at(from))),
        Box::new(AddressAs(ATTR_OTHER_ADDRESS, corners.at(corner.opposite()))),
    ];
    Some(Answer {
        from,
        to: SocketAddr::new(source.ip(), port),
        payload: built(&setters)?,
    })
}

/// The attributes that a server has to understand and this one does not (RFC 8489 section 6.3.1).
fn unknown_attributes(request: &Message) -> Vec<AttrType> {
    let known = [
        ATTR_CHANGE_REQUEST,
        ATTR_PADDING,
        ATTR_RESPONSE_PORT,
        ATTR_PRIORITY,
        ATTR_FINGERPRINT,
    ];
    request
        .attributes
        .0
        .iter()
        .map(|attribute| attribute.typ)
        .filter(|kind| kind.required() && !known.contains(kind))
        .collect()
}

fn built(setters: &[Box<dyn Setter>]) -> Option<Vec<u8>> {
    let mut message = Message::new();
    message.build(setters).ok()?;
    Some(message.raw)
}

/// An address in an attribute that the `stun` crate has no type for.
struct AddressAs(AttrType, SocketAddr);

impl Setter for AddressAs {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        let address = MappedAddress {
            ip: self.1.ip(),
            port: self.1.port(),
        };
        address.add_to_as(message, self.0)
    }
}

#[cfg(test)]
mod tests {
    use stun::agent::TransactionId;
    use stun::attributes::ATTR_ERROR_CODE;
    use stun::message::Getter as _;

    use super::*;

    const CORNERS: Corners = Corners {
        addresses: [
            IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
        ],
        ports: [3478, 3479],
    };

    fn client() -> SocketAddr {
        "203.0.113.1:5000".parse().expect("an address")
    }

    fn ask(attributes: &[(AttrType, &[u8])]) -> (Answer, Message) {
        let mut request = Message::new();
        let setters: Vec<Box<dyn Setter>> =
            vec![Box::new(TransactionId([7; 12])), Box::new(BINDING_REQUEST)];
        request.build(&setters).expect("a request");
        for (kind, value) in attributes {
            request.add(*kind, value);
        }
        let answer = answer(&request.raw, client(), CORNERS, Corner::new(0, 0)).expect("an answer");
        let mut message = Message::new();
        message
            .unmarshal_binary(&answer.payload)
            .expect("a message");
        assert_eq!(message.transaction_id, TransactionId([7; 12]));
        (answer, message)
    }

    fn address(message: &Message, kind: AttrType) -> SocketAddr {
        let mut address = MappedAddress::default();
        address.get_from_as(message, kind).expect("an address");
        SocketAddr::new(address.ip, address.port)
    }

    #[test]
    fn a_plain_request_is_answered_from_where_it_went() {
        let (answer, message) = ask(&[]);
        assert_eq!((answer.from, answer.to), (Corner::new(0, 0), client()));
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&message).expect("an address");
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), client());
        assert_eq!(
            address(&message, ATTR_RESPONSE_ORIGIN),
            CORNERS.at(Corner::new(0, 0))
        );
        assert_eq!(
            address(&message, ATTR_OTHER_ADDRESS),
            CORNERS.at(Corner::new(1, 1))
        );
    }

    #[test]
    fn the_answer_comes_from_where_it_is_asked_for() {
        for (flags, from) in [
            (CHANGE_PORT, Corner::new(0, 1)),
            (CHANGE_ADDRESS, Corner::new(1, 0)),
            (CHANGE_ADDRESS | CHANGE_PORT, Corner::new(1, 1)),
        ] {
            let (answer, message) = ask(&[(ATTR_CHANGE_REQUEST, &[0, 0, 0, flags])]);
            assert_eq!(answer.from, from);
            assert_eq!(address(&message, ATTR_RESPONSE_ORIGIN), CORNERS.at(from));
        }
    }

    #[test]
    fn the_answer_goes_to_the_port_that_is_asked_for() {
        let (answer, _) = ask(&[(ATTR_RESPONSE_PORT, &[0x1f, 0x90])]);
        assert_eq!(answer.to, SocketAddr::new(client().ip(), 8080));
    }

    #[test]
    fn padding_is_ignored_and_what_is_unknown_refused() {
        let (_, message) = ask(&[(ATTR_PADDING, &[0; 64])]);
        assert_eq!(message.typ, BINDING_SUCCESS);
        let (_, message) = ask(&[(AttrType(0x7fff), &[0; 4])]);
        assert_eq!(message.typ, BINDING_ERROR);
        assert!(message.contains(ATTR_ERROR_CODE));
    }

    #[test]
    fn what_is_no_binding_request_has_no_answer() {
        assert_eq!(answer(b"hello", client(), CORNERS, Corner::new(0, 0)), None);
    }
}
