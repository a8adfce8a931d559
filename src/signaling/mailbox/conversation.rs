//! One call with one user (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::PostId;
use super::error::PeerFault;
use super::incoming::{Heard, Incoming};
use super::outgoing::{Outgoing, Retention};
use crate::signaling::message::{CallId, CallMessage, DeviceId, PeerName, Received};

/// Which call with whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConversationId {
    pub(super) peer: PeerName,
    pub(super) call: CallId,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Something of it has come, and its offer has not.
    Unbegun,
    /// One side has offered.
    Begun,
    /// It is closed, and a hang-up is not acknowledged.
    Closing,
}

/// What both sides say in one call.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) stage: Stage,
    pub(super) outgoing: Outgoing,
    begun_by: Option<Beginner>,
    other_side: OtherSide,
    /// The devices that have been heard of.
    devices: BTreeMap<DeviceId, Incoming>,
    /// Those that rang when another one answered; `None` where none had to be chosen.
    left_out: Option<BTreeSet<DeviceId>>,
    heard_at: Instant,
}

/// Who offered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginner {
    ThisSide,
    OtherSide,
}

/// Who is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OtherSide {
    /// Every device of the user: none has answered.
    AnyDevice,
    /// One of them.
    Device(DeviceId),
}

impl Conversation {
    /// A call to a user, wherever that is.
    pub(super) fn open(now: Instant) -> Self {
        Self::new(now, OtherSide::AnyDevice)
    }

    /// A call from a device.
    pub(super) fn with_device(now: Instant, device: DeviceId) -> Self {
        Self::new(now, OtherSide::Device(device))
    }

    fn new(now: Instant, other_side: OtherSide) -> Self {
        Self {
            stage: Stage::Unbegun,
            outgoing: Outgoing::default(),
            begun_by: None,
            other_side,
            devices: BTreeMap::new(),
            left_out: None,
            heard_at: now,
        }
    }

    /// When a message came last.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// How many messages wait for those before them.
    pub(super) fn held(&self) -> usize {
        self.devices.values().map(Incoming::held).sum()
    }

    /// Whether this device takes part.
    pub(super) fn listens_to(&self, device: &DeviceId) -> bool {
        match &self.other_side {
            OtherSide::AnyDevice => true,
            OtherSide::Device(other) => other == device,
        }
    }

    /// The devices to write to: all that are known, or whatever there is.
    pub(super) fn other_sides(&self) -> Vec<Option<DeviceId>> {
        match &self.other_side {
            OtherSide::Device(device) => vec![Some(device.clone())],
            OtherSide::AnyDevice if self.devices.is_empty() => vec![None],
            OtherSide::AnyDevice => self.devices.keys().cloned().map(Some).collect(),
        }
    }

    /// Counts a device among those that are known.
    pub(super) fn meet(
        &mut self,
        id: &ConversationId,
        device: &DeviceId,
        devices_max: usize,
    ) -> Result<(), PeerFault> {
        if !self.devices.contains_key(device) {
            if self.devices.len() >= devices_max {
                return Err(PeerFault::TooManyDevices {
                    from: id.peer.clone(),
                    call: id.call.clone(),
                    max: devices_max,
                });
            }
            self.devices.insert(device.clone(), Incoming::default());
        }
        Ok(())
    }

    /// Takes in what a device says, and returns what is to be handed up now. `None` if there is no
    /// room.
    pub(super) fn take(
        &mut self,
        now: Instant,
        device: &DeviceId,
        heard: Heard,
        held_room: usize,
    ) -> Option<Vec<CallMessage>> {
        self.heard_at = now;
        let incoming = self.devices.entry(device.clone()).or_default();
        incoming.take(heard, held_room)
    }

    /// What has arrived from a device.
    pub(super) fn received(&self, device: &DeviceId) -> Received {
        let incoming = self.devices.get(device);
        incoming.map(Incoming::received).unwrap_or_default()
    }

    /// Sends a message on the present connection: returns to whom.
    pub(super) fn transmit(&mut self, now: Instant, number: u64) -> Vec<Option<DeviceId>> {
        let devices = self.who_lacks(number);
        if !devices.is_empty() {
            self.outgoing.note_sent(now, number);
        }
        devices
    }

    /// The messages that a device lacks.
    pub(super) fn lacked_by(&self, device: &DeviceId) -> Vec<u64> {
        let mut numbers = self.outgoing.numbers();
        numbers.retain(|number| self.outgoing.is_lacked_by(device, *number));
        numbers
    }

    /// Notes what a device has, and returns the messages that no device had before.
    pub(super) fn acknowledge(&mut self, device: &DeviceId, received: &Received) -> Vec<PostId> {
        let retention = match self.other_side {
            OtherSide::AnyDevice => Retention::Keep,
            OtherSide::Device(_) => Retention::Forget,
        };
        self.outgoing.acknowledge(device, received, retention)
    }

    /// Starts and stops the timers by which messages are sent again, after it has become known who
    /// lacks what.
    pub(super) fn reschedule(&mut self, now: Instant) {
        for number in self.outgoing.numbers() {
            if self.who_lacks(number).is_empty() {
                self.outgoing.unschedule(number);
            } else {
                self.outgoing.schedule(now, number);
            }
        }
    }

    /// This side offers.
    pub(super) fn note_own_offer(&mut self) {
        self.begun_by.get_or_insert(Beginner::ThisSide);
    }

    /// A device offers. If nobody has before, the call is its own, and nobody else is talked to.
    pub(super) fn note_offer(&mut self, now: Instant, device: &DeviceId, kept_for: Duration) {
        if self.begun_by.is_none() {
            self.begun_by = Some(Beginner::OtherSide);
            self.bind(now, device, kept_for);
            self.left_out = None;
        }
    }

    /// Talks to this device alone from now on, if none was chosen before.
    pub(super) fn bind(&mut self, now: Instant, device: &DeviceId, kept_for: Duration) -> Bound {
        if self.other_side != OtherSide::AnyDevice {
            return Bound::Before;
        }
        self.other_side = OtherSide::Device(device.clone());
        let others = self.devices.keys().filter(|known| *known != device);
        self.left_out = Some(others.cloned().collect());
        self.devices.retain(|known, _| known == device);
        self.outgoing.address_to(device, now + kept_for);
        Bound::Now
    }

    /// The devices that rang when another one answered, and have to learn of that.
    pub(super) fn left_out(&self) -> Vec<DeviceId> {
        self.left_out.iter().flatten().cloned().collect()
    }

    /// Counts a device among them, if another one was chosen and there is room.
    pub(super) fn leave_out(&mut self, device: &DeviceId, devices_max: usize) -> LeftOut {
        if self.listens_to(device) {
            return LeftOut::No;
        }
        match &mut self.left_out {
            Some(left_out) if left_out.contains(device) || left_out.len() < devices_max => {
                left_out.insert(device.clone());
                LeftOut::Yes
            }
            _ => LeftOut::No,
        }
    }

    /// Drops what others said, and what this side said but a hang-up. Returns the messages that no
    /// device has acknowledged.
    pub(super) fn close(&mut self) -> Vec<PostId> {
        self.stage = Stage::Closing;
        for incoming in self.devices.values_mut() {
            *incoming = Incoming::default();
        }
        self.outgoing.keep_hang_ups()
    }

    /// Whether the call is closed and nobody who is known lacks its hang-up.
    pub(super) fn is_over(&self) -> bool {
        let mut numbers = self.outgoing.numbers().into_iter();
        self.stage == Stage::Closing && numbers.all(|number| self.who_lacks(number).is_empty())
    }

    /// Gives a message up whose time is over, if no device has it, and returns it. In a closed call
    /// it is forgotten otherwise.
    pub(super) fn expire(&mut self, number: u64) -> Option<PostId> {
        let post = self.outgoing.expire(number);
        if post.is_none() && self.stage == Stage::Closing {
            self.outgoing.forget(number);
        }
        post
    }

    fn who_lacks(&self, number: u64) -> Vec<Option<DeviceId>> {
        if self.other_side == OtherSide::AnyDevice
            && (self.outgoing.is_lacked_by_all(number) || self.outgoing.is_offer(number))
        {
            // Nobody knows which devices there are. One that missed the offer, because its connection
            // was just being replaced, has no other way to learn of the call.
            return vec![None];
        }
        let mut devices = self.other_sides();
        devices.retain(|device| {
            let device = device.as_ref();
            device.is_some_and(|device| self.outgoing.is_lacked_by(device, number))
        });
        devices
    }
}

/// Whether a device has to learn that another one was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    Yes,
    No,
}

/// Whether a device was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Now,
    Before,
}
