//! Messages that no device has acknowledged yet (pure).
//!
//! Nothing is lost to a connection whose other end is gone already: a message stays here until one
//! device of its receiver has acknowledged it, and goes to each that connects in the meantime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::config::RelayConfig;
use super::frame::{Frame, Header};
use super::refusal::Refusal;
use crate::signaling::message::PeerName;

/// A kept message, by which it is forgotten. They are given in the order in which messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Receipt(u64);

/// The messages of all users.
#[derive(Debug)]
pub(super) struct Mail {
    messages_max: usize,
    bytes_max: usize,
    kept_for: Duration,
    /// Oldest first.
    kept: BTreeMap<Receipt, Kept>,
    by_receiver: BTreeMap<PeerName, BTreeSet<Receipt>>,
    bytes: usize,
    next: u64,
}

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// The frame as it goes out.
    pub(super) frame: Arc<Frame>,
    since: Instant,
    identity: Identity,
    bytes: usize,
}

/// By what a repetition is told. Without a number there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    from: PeerName,
    device: String,
    to: PeerName,
    to_device: Option<String>,
    call: String,
    number: Option<u64>,
}

impl Mail {
    pub(super) fn new(config: &RelayConfig) -> Self {
        Self {
            messages_max: config.kept_messages_max,
            bytes_max: config.kept_bytes_max,
            kept_for: config.kept_for,
            kept: BTreeMap::new(),
            by_receiver: BTreeMap::new(),
            bytes: 0,
            next: 0,
        }
    }

    /// Keeps a message of this user and device, or finds it where it is kept already.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyKept`] or [`Refusal::NoRoom`]; the receipt is one all the same, for a message
    /// that is delivered and not kept.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        from: &str,
        device: &str,
        header: &Header,
        frame: &Arc<Frame>,
    ) -> (Receipt, Result<(), Refusal>) {
        let identity = Identity {
            from: from.to_owned(),
            device: device.to_owned(),
            to: header.to.clone(),
            to_device: header.to_device.clone(),
            call: header.call.clone(),
            number: header.number,
        };
        let waiting = self.by_receiver.get(&header.to);
        if header.number.is_some()
            && let Some(receipt) = waiting.and_then(|waiting| {
                let mut receipts = waiting.iter();
                receipts.find(|receipt| self.kept[receipt].identity == identity)
            })
        {
            return (*receipt, Ok(()));
        }
        let receipt = Receipt(self.next);
        self.next += 1;
        if waiting.map_or(0, BTreeSet::len) >= self.messages_max {
            let refusal = Refusal::TooManyKept {
                to: header.to.clone(),
                max: self.messages_max,
            };
            return (receipt, Err(refusal));
        }
        if self.bytes + header.bytes > self.bytes_max {
            let max = self.bytes_max;
            return (receipt, Err(Refusal::NoRoom { max }));
        }
        self.bytes += header.bytes;
        let receivers = self.by_receiver.entry(header.to.clone());
        receivers.or_default().insert(receipt);
        let kept = Kept {
            frame: Arc::clone(frame),
            since: now,
            identity,
            bytes: header.bytes,
        };
        self.kept.insert(receipt, kept);
        (receipt, Ok(()))
    }

    /// What waits for this device of a user, oldest first.
    pub(super) fn waiting(
        &self,
        user: &str,
        device: &str,
    ) -> impl Iterator<Item = (Receipt, &Kept)> {
        let waiting = self.by_receiver.get(user).into_iter().flatten();
        let kept = waiting.map(|receipt| (*receipt, &self.kept[receipt]));
        kept.filter(move |(_, kept)| {
            kept.identity
                .to_device
                .as_deref()
                .is_none_or(|to| to == device)
        })
    }

    /// Forgets a message, because a device has it.
    pub(super) fn forget(&mut self, receipt: Receipt) {
        let Some(kept) = self.kept.remove(&receipt) else {
            return;
        };
        self.bytes -= kept.bytes;
        let to = &kept.identity.to;
        if let Some(waiting) = self.by_receiver.get_mut(to) {
            waiting.remove(&receipt);
            if waiting.is_empty() {
                self.by_receiver.remove(to);
            }
        }
    }

    /// Forgets what has grown too old.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((receipt, kept)) = self.kept.first_key_value()
            && now.saturating_duration_since(kept.since) >= self.kept_for
        {
            self.forget(*receipt);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.by_receiver.is_empty() && self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mail() -> Mail {
        Mail::new(&RelayConfig {
            kept_messages_max: 3,
            kept_bytes_max: 300,
            ..RelayConfig::default()
        })
    }

    /// A message with this number, of `bytes` bytes, from anna's phone.
    fn put(mail: &mut Mail, to: &str, number: u64, bytes: usize) -> (Receipt, Result<(), Refusal>) {
        put_for(mail, to, None, number, bytes)
    }

    fn put_for(
        mail: &mut Mail,
        to: &str,
        to_device: Option<&str>,
        number: u64,
        bytes: usize,
    ) -> (Receipt, Result<(), Refusal>) {
        let frame = json!({ "number": number });
        let frame = Arc::new(frame.as_object().expect("an object").clone());
        let header = Header {
            to: to.into(),
            to_device: to_device.map(Into::into),
            call: "c1".into(),
            kind: super::super::frame::Kind::Message,
            number: Some(number),
            bytes,
        };
        mail.keep(Instant::now(), "anna", "phone", &header, &frame)
    }

    fn waiting(mail: &Mail, user: &str, device: &str) -> Vec<u64> {
        let kept = mail.waiting(user, device);
        kept.map(|(_, kept)| kept.frame["number"].as_u64().expect("a number"))
            .collect()
    }

    #[test]
    fn messages_wait_in_order_until_they_are_acknowledged() {
        let mut mail = mail();
        let receipts: Vec<_> = [2, 1, 3]
            .map(|number| put(&mut mail, "boris", number, 10).0)
            .into();
        assert_eq!(waiting(&mail, "boris", "any"), [2, 1, 3]);
        assert_eq!(waiting(&mail, "carla", "any"), [0; 0]);
        mail.forget(receipts[1]);
        mail.forget(receipts[1]);
        assert_eq!(waiting(&mail, "boris", "any"), [2, 3]);
        mail.forget(receipts[0]);
        mail.forget(receipts[2]);
        assert!(mail.is_empty());
    }

    #[test]
    fn a_repetition_is_kept_once() {
        let mut mail = mail();
        let (first, _) = put(&mut mail, "boris", 1, 10);
        assert_eq!(put(&mut mail, "boris", 1, 10), (first, Ok(())));
        assert_ne!(put(&mut mail, "boris", 2, 10).0, first);
        assert_ne!(put(&mut mail, "carla", 1, 10).0, first);
        assert_eq!(waiting(&mail, "boris", "any"), [1, 2]);
    }

    #[test]
    fn a_message_for_one_device_waits_for_that_device() {
        let mut mail = mail();
        let _ = put(&mut mail, "boris", 1, 10);
        let _ = put_for(&mut mail, "boris", Some("phone"), 2, 10);
        assert_eq!(waiting(&mail, "boris", "phone"), [1, 2]);
        assert_eq!(waiting(&mail, "boris", "tablet"), [1]);
    }

    #[test]
    fn there_is_only_so_much_room() {
        let mut mail = mail();
        for number in 0..3 {
            assert_eq!(put(&mut mail, "boris", number, 10).1, Ok(()));
        }
        let full = Refusal::TooManyKept {
            to: "boris".into(),
            max: 3,
        };
        assert_eq!(put(&mut mail, "boris", 3, 10).1, Err(full));
        let no_room = Refusal::NoRoom { max: 300 };
        assert_eq!(put(&mut mail, "carla", 1, 271).1, Err(no_room));
        assert_eq!(put(&mut mail, "carla", 1, 270).1, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_is_forgotten() {
        let mut mail = mail();
        let _ = put(&mut mail, "boris", 1, 10);
        tokio::time::advance(Duration::from_secs(59)).await;
        let _ = put(&mut mail, "boris", 2, 10);
        mail.expire(Instant::now());
        assert_eq!(waiting(&mail, "boris", "any"), [1, 2]);
        tokio::time::advance(Duration::from_secs(1)).await;
        mail.expire(Instant::now());
        assert_eq!(waiting(&mail, "boris", "any"), [2]);
        tokio::time::advance(Duration::from_secs(59)).await;
        mail.expire(Instant::now());
        assert!(mail.is_empty());
    }

    proptest! {
        /// Whatever comes and goes: the bounds hold, and what is forgotten leaves nothing.
        #[test]
        fn the_books_are_kept(
            steps in proptest::collection::vec((0_u8..4, 0_u64..5, 1_usize..120, any::<bool>()), 0..60),
        ) {
            let mut mail = mail();
            let mut receipts = Vec::new();
            for (to, number, bytes, forget) in steps {
                if forget && let Some(receipt) = receipts.pop() {
                    mail.forget(receipt);
                }
                if let (receipt, Ok(())) = put(&mut mail, &to.to_string(), number, bytes) {
                    receipts.push(receipt);
                }
                prop_assert!(mail.bytes <= 300);
                prop_assert_eq!(mail.bytes, mail.kept.values().map(|kept| kept.bytes).sum::<usize>());
                prop_assert!(mail.by_receiver.values().all(|waiting| (1..=3).contains(&waiting.len())));
            }
            for receipt in receipts {
                mail.forget(receipt);
            }
            prop_assert!(mail.is_empty());
        }
    }
}
