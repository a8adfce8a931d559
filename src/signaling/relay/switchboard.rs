//! Who is connected, and what becomes of each frame (pure).
//!
//! A session is one connection of one device of one user, named by its Engine.IO session id. The
//! async side tells what happens and carries out the deliveries that come of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use socketioxide::socket::Sid;
use tokio::time::Instant;

use super::admission::AdmissionError;
use super::config::RelayConfig;
use super::frame::{Frame, FrameError, Header, Kind};
use super::limits::Traffic;
use super::mail::{Mail, Receipt};
use super::membership::Calls;
use super::refusal::Refusal;
use crate::signaling::message::PeerName;

/// How long after its admission a session must have joined: it does so within the same turn, or never,
/// where its client has left in the meantime.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// One client instance of one user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Device {
    pub(super) user: PeerName,
    pub(super) name: String,
}

/// One frame for one session.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) session: Sid,
    pub(super) frame: Arc<Frame>,
    /// What the session's acknowledgement makes forgotten; `None` where it is not asked for one.
    pub(super) receipt: Option<Receipt>,
}

/// What comes of a frame.
#[derive(Debug)]
pub(super) struct Handled {
    /// To how many sessions it goes, or why it is refused.
    pub(super) answer: Result<usize, Refusal>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) conduct: Conduct,
}

/// What is to be done with who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    Tolerable,
    /// Its connection has to be closed.
    Abusive,
}

/// All sessions, calls and kept messages.
#[derive(Debug)]
pub(super) struct Switchboard {
    config: Arc<RelayConfig>,
    sessions: BTreeMap<Sid, Session>,
    /// The sessions of each user, in the order in which they were admitted.
    users: BTreeMap<PeerName, Vec<Sid>>,
    /// Those that have not joined yet, and when they were admitted.
    joining: BTreeMap<Sid, Instant>,
    calls: Calls,
    mail: Mail,
}

#[derive(Debug)]
struct Session {
    device: Device,
    traffic: Traffic,
}

impl Switchboard {
    pub(super) fn new(config: Arc<RelayConfig>) -> Self {
        Self {
            calls: Calls::new(&config),
            mail: Mail::new(&config),
            config,
            sessions: BTreeMap::new(),
            users: BTreeMap::new(),
            joining: BTreeMap::new(),
        }
    }

    /// The session that a new one of this device replaces.
    ///
    /// # Errors
    ///
    /// [`AdmissionError::TooManyDevices`] where it replaces none and there is no room for it.
    pub(super) fn predecessor(&self, device: &Device) -> Result<Option<Sid>, AdmissionError> {
        let sessions = self.users.get(&device.user).map_or(&[][..], Vec::as_slice);
        let mut same = sessions.iter();
        let same = same.find(|session| self.sessions[session].device == *device);
        let max = self.config.devices_per_user_max;
        if same.is_none() && sessions.len() >= max {
            let user = device.user.clone();
            return Err(AdmissionError::TooManyDevices { user, max });
        }
        Ok(same.copied())
    }

    /// Admits a session. It gets nothing before it has joined. Whoever it replaces has to be taken
    /// out before.
    pub(super) fn admit(&mut self, now: Instant, id: Sid, device: Device) {
        let sessions = self.users.entry(device.user.clone()).or_default();
        sessions.push(id);
        self.joining.insert(id, now);
        let session = Session {
            device,
            traffic: Traffic::new(self.config.frame_rate, self.config.refusal_rate, now),
        };
        self.sessions.insert(id, session);
    }

    /// A session is ready to receive: returns its device and what has waited for it. `None` where it
    /// was taken out in the meantime.
    pub(super) fn join(&mut self, id: Sid) -> Option<(Device, Vec<Delivery>)> {
        let device = self.sessions.get(&id)?.device.clone();
        self.joining.remove(&id);
        let waiting = self.mail.waiting(&device.user, &device.name);
        let deliveries = waiting.map(|(receipt, kept)| Delivery {
            session: id,
            frame: Arc::clone(&kept.frame),
            receipt: Some(receipt),
        });
        let deliveries = deliveries.collect();
        Some((device, deliveries))
    }

    /// Takes a session out, and returns whose it was.
    pub(super) fn leave(&mut self, id: Sid) -> Option<Device> {
        let session = self.sessions.remove(&id)?;
        self.joining.remove(&id);
        if let Some(sessions) = self.users.get_mut(&session.device.user) {
            sessions.retain(|other| *other != id);
            if sessions.is_empty() {
                self.users.remove(&session.device.user);
            }
        }
        Some(session.device)
    }

    /// What becomes of a frame of this session; `None` stands for what is no object.
    pub(super) fn handle_frame(&mut self, now: Instant, id: Sid, frame: Option<Frame>) -> Handled {
        let mut deliveries = Vec::new();
        let answer = self.pass_on(now, id, frame, &mut deliveries);
        let conduct = match &answer {
            Err(refusal) if refusal.is_abuse() => self.judge(now, id),
            _ => Conduct::Tolerable,
        };
        Handled {
            answer,
            deliveries,
            conduct,
        }
    }

    /// Counts a request for credentials of this session, and returns its user.
    pub(super) fn handle_request(&mut self, now: Instant, id: Sid) -> Result<PeerName, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::Closed)?;
        if session.traffic.admit_frame(now) {
            return Ok(session.device.user.clone());
        }
        Err(Refusal::TooFast {
            rate: self.config.frame_rate,
        })
    }

    /// A device has acknowledged a message.
    pub(super) fn handle_acknowledged(&mut self, receipt: Receipt) {
        self.mail.forget(receipt);
    }

    /// Forgets what has grown too old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.mail.expire(now);
        self.calls.expire(now);
        // There are next to none, and never for long.
        let late = self.joining.iter();
        let late = late.filter(|(_, since)| now.saturating_duration_since(**since) >= JOIN_LIMIT);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.leave(id);
        }
    }

    /// How many sessions a user has.
    pub(super) fn sessions_of(&self, user: &str) -> usize {
        self.users.get(user).map_or(0, Vec::len)
    }

    /// Whether a device has a session.
    pub(super) fn has(&self, device: &Device) -> bool {
        let mut sessions = self.users.get(&device.user).into_iter().flatten();
        sessions.any(|session| self.sessions[session].device == *device)
    }

    /// The number of all sessions.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The number of all calls.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.joining.is_empty()
            && self.users.is_empty()
            && self.mail.is_empty()
            && self.calls.len() == 0
    }

    fn judge(&mut self, now: Instant, id: Sid) -> Conduct {
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.traffic.forgive(now)
        {
            return Conduct::Abusive;
        }
        Conduct::Tolerable
    }

    fn pass_on(
        &mut self,
        now: Instant,
        id: Sid,
        frame: Option<Frame>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<usize, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::Closed)?;
        if !session.traffic.admit_frame(now) {
            return Err(Refusal::TooFast {
                rate: self.config.frame_rate,
            });
        }
        let mut frame = frame.ok_or(FrameError::NoObject)?;
        let header = Header::read(&frame, &self.config)?;
        let sender = session.device.clone();
        self.calls
            .pass(now, &header.call, &sender.user, &header.to)?;
        frame.insert("from".into(), sender.user.as_str().into());
        frame.insert("device".into(), sender.name.as_str().into());
        let frame = Arc::new(frame);
        let receivers = self.receivers(&header);
        let receipt = match header.kind {
            Kind::Passing => None,
            Kind::Message => {
                let (receipt, kept) =
                    self.mail
                        .keep(now, &sender.user, &sender.name, &header, &frame);
                match kept {
                    Err(refusal) if receivers.is_empty() => return Err(refusal),
                    Err(refusal) => {
                        let (from, to) = (&sender.user, &header.to);
                        tracing::warn!(%from, %to, %refusal, "message delivered but not kept");
                    }
                    Ok(()) => {}
                }
                Some(receipt)
            }
        };
        deliveries.extend(receivers.iter().map(|session| Delivery {
            session: *session,
            frame: Arc::clone(&frame),
            receipt,
        }));
        Ok(receivers.len())
    }

    /// The sessions that a frame is for and that can receive.
    fn receivers(&self, header: &Header) -> Vec<Sid> {
        let sessions = self.users.get(&header.to).into_iter().flatten();
        let receives = |session: &&Sid| {
            let (name, named) = (
                &self.sessions[*session].device.name,
                header.to_device.as_ref(),
            );
            !self.joining.contains_key(*session) && named.is_none_or(|named| named == name)
        };
        sessions.filter(receives).copied().collect()
    }
}

#[cfg(test)]
mod tests;
