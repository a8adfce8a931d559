//! What stands before the `turn` crate and refuses in its place.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ringtrue::net::DatagramSocket;
use stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::error_code::{
    CODE_ALLOC_QUOTA_REACHED, CODE_UNAUTHORIZED, ErrorCode, ErrorCodeAttribute,
};
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_BINDING, Message, MessageType,
    Setter, is_message,
};
use stun::textattrs::TextAttribute;
use tokio::sync::Mutex;

use super::TurnConfig;
use super::allocations::{Allocations, Request, Requester, lock};
use super::control::{Service, TurnControl};

/// A listener's socket as the crate sees it: without what is refused.
pub(super) struct Gate {
    socket: Arc<dyn DatagramSocket>,
    listener: SocketAddr,
    config: Arc<TurnConfig>,
    control: TurnControl,
    allocations: Allocations,
    requester: Requester,
    /// An answer that is not sent yet. Receiving may be given up at any await, and a refusal must
    /// not be lost by that.
    refusal: Mutex<Option<(Vec<u8>, SocketAddr)>>,
}

impl Gate {
    pub(super) fn new(
        socket: Arc<dyn DatagramSocket>,
        listener: SocketAddr,
        config: Arc<TurnConfig>,
        control: TurnControl,
        allocations: Allocations,
    ) -> Self {
        Self {
            socket,
            listener,
            config,
            control,
            allocations,
            requester: Requester::default(),
            refusal: Mutex::new(None),
        }
    }

    /// Who sent what the crate works on.
    pub(super) fn requester(&self) -> Requester {
        Arc::clone(&self.requester)
    }

    /// The answer to a packet that is refused.
    fn refuse(&self, payload: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
        if !is_message(payload) {
            return None;
        }
        let mut request = Message::new();
        request.raw = payload.to_vec();
        request.decode().ok()?;
        // Whoever shows no credentials is asked for them by the crate.
        if request.typ.class != CLASS_REQUEST || !request.contains(ATTR_MESSAGE_INTEGRITY) {
            return None;
        }
        let username = text(&request, ATTR_USERNAME);
        let service = self.control.service();
        if service == Service::RefusingCredentials && request.typ.method != METHOD_BINDING {
            let nonce = TextAttribute::new(ATTR_NONCE, text(&request, ATTR_NONCE)?);
            let realm = TextAttribute::new(ATTR_REALM, self.config.realm.clone());
            let challenge: Vec<Box<dyn Setter>> = vec![Box::new(nonce), Box::new(realm)];
            return answer(&request, CODE_UNAUTHORIZED, challenge);
        }
        if request.typ.method != METHOD_ALLOCATE {
            return None;
        }
        let username = username?;
        if !self.allocations.exists(self.listener, source)
            && (service == Service::QuotaReached || self.quota_reached(self.config.user(&username)))
        {
            // Wrong credentials are the crate's to refuse: nothing is told about a user to others.
            let key = self.config.key(&username, &text(&request, ATTR_REALM)?)?;
            let integrity = MessageIntegrity(key);
            integrity.check(&mut request).ok()?;
            return answer(
                &request,
                CODE_ALLOC_QUOTA_REACHED,
                vec![Box::new(integrity)],
            );
        }
        *lock(&self.requester) = Some(Request {
            source,
            user: self.config.user(&username).to_owned(),
        });
        None
    }

    fn quota_reached(&self, user: &str) -> bool {
        self.config
            .allocations_max
            .is_some_and(|max| self.allocations.of_user(user) >= max)
    }
}

#[async_trait]
impl DatagramSocket for Gate {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(payload, remote).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut pending = self.refusal.lock().await;
        loop {
            if let Some((answer, source)) = pending.as_ref() {
                let sent = self.socket.send_to(answer, *source).await;
                *pending = None;
                if let Err(error) = sent {
                    tracing::debug!(%error, "a refusal was not sent");
                }
            }
            let (length, source) = self.socket.recv_from(buffer).await?;
            match self.refuse(&buffer[..length], source) {
                None => return Ok((length, source)),
                Some(answer) => {
                    self.control.count_refusal();
                    *pending = Some((answer, source));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(formatter)
    }
}

fn text(message: &Message, attribute: stun::attributes::AttrType) -> Option<String> {
    TextAttribute::get_from_as(message, attribute)
        .ok()
        .map(|attribute| attribute.text)
}

/// An error response; `None` where it does not fit into a message.
fn answer(request: &Message, code: ErrorCode, attributes: Vec<Box<dyn Setter>>) -> Option<Vec<u8>> {
    let mut setters: Vec<Box<dyn Setter>> = vec![
        Box::new(request.transaction_id),
        Box::new(MessageType::new(request.typ.method, CLASS_ERROR_RESPONSE)),
        Box::new(ErrorCodeAttribute {
            code,
            reason: Vec::new(),
        }),
    ];
    setters.extend(attributes);
    let mut response = Message::new();
    response.build(&setters).ok()?;
    Some(response.raw)
}
