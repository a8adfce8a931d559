//! The way of an event from the emit to its acknowledgement.

use std::time::Duration;

use tokio::time::Instant;

use super::{Flow, Membership, NamespaceEvent, NamespaceState, TIMEOUT_MIN};
use crate::signaling::engine_io::EngineIoPacket;
use crate::signaling::socket_io::emit::{
    Acknowledgement, AcknowledgementError, Delivery, DropReason, Emit, EmitId, Outgoing,
};
use crate::signaling::socket_io::outbox::{Answer, Waiting};
use crate::signaling::socket_io::packet::event_text;

impl NamespaceState {
    /// Sends an event now, keeps it for later or drops it. Every emit that wants an answer gets one
    /// outcome, which may be there when this returns.
    pub fn emit(&mut self, now: Instant, emit: Emit, answer: Answer) -> EmitId {
        let id = EmitId(self.next_emit);
        self.next_emit += 1;
        let within = emit
            .limit()
            .unwrap_or(self.settings.acknowledgement_timeout)
            .max(TIMEOUT_MIN);
        let delivery = emit.delivery();
        let outgoing = emit.into_outgoing();
        match delivery {
            Delivery::Volatile => self.emit_volatile(now, id, outgoing, answer, within),
            Delivery::Buffered => {
                match self.outbox.push(now, id, outgoing, answer, within) {
                    Ok(()) if answer == Answer::Wanted && !self.retries() => {
                        self.acknowledgements.expect(now, id, within);
                    }
                    Ok(()) => {}
                    Err((outgoing, reason)) => self.report(id, outgoing.name, answer, reason),
                }
                self.flush(now);
            }
        }
        id
    }

    /// Says whether the transport takes more. What waits is written as soon as it does.
    pub fn set_flow(&mut self, now: Instant, flow: Flow) {
        self.flow = flow;
        self.flush(now);
    }

    /// Writes what waits, as far as that is possible: all of it, or with retries one event.
    pub(super) fn flush(&mut self, now: Instant) {
        if self.retries() {
            self.flush_next(now);
            return;
        }
        while self.obstacle().is_none()
            && let Some(Waiting { id, outgoing, .. }) = self.outbox.pop_front()
        {
            self.write(id, &outgoing.payload, outgoing.attachments);
        }
    }

    pub(super) fn on_answer(&mut self, now: Instant, id: u64, answer: Acknowledgement) {
        let Some(emit) = self.acknowledgements.answer(id) else {
            tracing::debug!(namespace = %self.name, id, "nothing waits for this acknowledgement");
            return;
        };
        if self.in_flight == Some(emit) {
            self.in_flight = None;
            let taken = self.outbox.pop_front();
            if taken.is_none_or(|taken| taken.answer == Answer::Unwanted) {
                self.flush(now);
                return;
            }
        }
        self.outcomes.push_back((emit, Ok(answer)));
        self.flush(now);
    }

    /// The connection is gone: what was written gets no answer, and what was not stays.
    pub(super) fn fail_written(&mut self) {
        for emit in self.acknowledgements.fail_written() {
            let error = AcknowledgementError::Disconnected;
            if self.in_flight == Some(emit) {
                self.on_try_failed(error);
            } else {
                self.outcomes.push_back((emit, Err(error)));
            }
        }
    }

    /// Gives up what waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((emit, within)) = self.acknowledgements.expire(now) {
            let error = AcknowledgementError::TimedOut { within };
            if self.in_flight == Some(emit) {
                self.on_try_failed(error);
            } else {
                self.outbox.remove(emit);
                self.outcomes.push_back((emit, Err(error)));
            }
        }
        while let Some(waiting) = self.outbox.expire(now) {
            self.acknowledgements.forget(waiting.id);
            // Only what has a time to live expires.
            let time_to_live = waiting.outgoing.time_to_live.unwrap_or_default();
            let reason = DropReason::Expired { time_to_live };
            self.report(waiting.id, waiting.outgoing.name, waiting.answer, reason);
        }
        self.flush(now);
    }

    fn emit_volatile(
        &mut self,
        now: Instant,
        id: EmitId,
        outgoing: Outgoing,
        answer: Answer,
        within: Duration,
    ) {
        if let Some(reason) = self.obstacle() {
            self.report(id, outgoing.name, answer, reason);
            return;
        }
        if answer == Answer::Wanted {
            self.acknowledgements.expect(now, id, within);
        }
        self.write(id, &outgoing.payload, outgoing.attachments);
    }

    /// Writes the oldest event where none is in flight.
    fn flush_next(&mut self, now: Instant) {
        if self.in_flight.is_some() || self.obstacle().is_some() {
            return;
        }
        let Some(waiting) = self.outbox.start_try() else {
            return;
        };
        let (id, within) = (waiting.id, waiting.within);
        let payload = waiting.outgoing.payload.clone();
        let attachments = waiting.outgoing.attachments.clone();
        self.acknowledgements.expect(now, id, within);
        self.in_flight = Some(id);
        self.write(id, &payload, attachments);
    }

    fn on_try_failed(&mut self, error: AcknowledgementError) {
        self.in_flight = None;
        let Some(waiting) = self.outbox.end_try() else {
            return;
        };
        let tries = waiting.tries;
        if tries <= self.settings.retries {
            return;
        }
        if let Some(waiting) = self.outbox.pop_front() {
            match waiting.answer {
                Answer::Wanted => self.outcomes.push_back((waiting.id, Err(error))),
                Answer::Unwanted => {
                    let reason = DropReason::Unacknowledged { tries };
                    self.report(waiting.id, waiting.outgoing.name, waiting.answer, reason);
                }
            }
        }
    }

    fn write(&mut self, id: EmitId, payload: &str, attachments: Vec<bytes::Bytes>) {
        let acknowledge = self.acknowledgements.assign_id(id);
        let text = event_text(&self.name, acknowledge, payload, attachments.len());
        self.transmits.push_back(EngineIoPacket::Message(text));
        self.transmits
            .extend(attachments.into_iter().map(EngineIoPacket::Binary));
    }

    /// What keeps an event from being written now.
    fn obstacle(&self) -> Option<DropReason> {
        match (&self.membership, self.flow) {
            (Membership::Joined, Flow::Writable) => None,
            (Membership::Joined, Flow::Blocked) => Some(DropReason::NotWritable),
            _ => Some(DropReason::NotConnected),
        }
    }

    fn retries(&self) -> bool {
        self.settings.retries > 0
    }

    fn report(&mut self, id: EmitId, name: String, answer: Answer, reason: DropReason) {
        match answer {
            Answer::Wanted => {
                let dropped = Err(AcknowledgementError::Dropped(reason));
                self.outcomes.push_back((id, dropped));
            }
            Answer::Unwanted => self
                .events
                .push_back(NamespaceEvent::Dropped { name, reason }),
        }
    }
}
