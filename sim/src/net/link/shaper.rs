//! The bounded queue before a slow link.

use std::collections::VecDeque;
use std::num::NonZero;
use std::time::Duration;

use ringtrue::net::TrafficClass;
use serde::Deserialize;

/// How fast packets enter a link, and where they wait until they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In thousands of bits a second, headers included.
    pub kbps: NonZero<u32>,
    /// How much may wait.
    pub queue: QueueConfig,
    /// Who goes first.
    pub priority: Priority,
}

/// The bound of a queue. What would exceed it is dropped (tail drop). The packet that is being sent
/// does not wait any more and is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueConfig {
    /// So many bytes, headers included.
    Bytes(NonZero<u32>),
    /// So many packets of any size.
    Packets(NonZero<u32>),
}

/// Which packets go before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub enum Priority {
    /// None: first in, first out.
    #[default]
    #[serde(rename = "none")]
    None,
    /// Those marked for expedited forwarding, always (strict priority, RFC 3246 appendix A). They have
    /// a queue of their own with the same bound, so best effort cannot fill it.
    #[serde(rename = "ef")]
    ExpeditedForwarding,
}

impl Rate {
    /// How long a full queue takes to drain where nothing else is said: the bottleneck of the test
    /// cases for real-time media, RFC 8867 section 5.
    pub const QUEUE_DEFAULT: Duration = Duration::from_millis(300);

    /// The least queue that [`Rate::new`] gives a slow link: two full packets of Ethernet.
    const QUEUE_BYTES_MIN: NonZero<u32> = NonZero::new(3000).expect("over zero");

    /// A rate with a queue of [`QUEUE_DEFAULT`](Self::QUEUE_DEFAULT), without priority.
    #[must_use]
    pub fn new(kbps: NonZero<u32>) -> Self {
        // A kilobit a second is a bit a millisecond.
        let bytes = u128::from(kbps.get()) * Self::QUEUE_DEFAULT.as_millis() / 8;
        let bytes = NonZero::new(u32::try_from(bytes).unwrap_or(u32::MAX));
        let bytes = bytes.map_or(Self::QUEUE_BYTES_MIN, |bytes| {
            bytes.max(Self::QUEUE_BYTES_MIN)
        });
        Self {
            kbps,
            queue: QueueConfig::Bytes(bytes),
            priority: Priority::None,
        }
    }

    /// How long a packet takes to be sent.
    #[must_use]
    pub fn transmission_time(&self, size_bytes: usize) -> Duration {
        // A bit at a kilobit a second takes a million nanoseconds.
        let nanoseconds = size_bytes as u64 * 8 * 1_000_000;
        Duration::from_nanos(nanoseconds.div_ceil(u64::from(self.kbps.get())))
    }
}

/// A queue that lets packets into a link one after the other, at the link's rate.
///
/// Whoever drives it calls [`depart`](Self::depart) at [`next_departure`](Self::next_departure), and
/// before anything else that happens later.
#[derive(Debug, Clone)]
pub struct Shaper<P> {
    rate: Rate,
    sending: Option<Sending<P>>,
    expedited: Queue<P>,
    best_effort: Queue<P>,
}

#[derive(Debug, Clone)]
struct Sending<P> {
    ends_at: Duration,
    packet: P,
}

#[derive(Debug, Clone)]
struct Waiting<P> {
    since: Duration,
    size_bytes: usize,
    packet: P,
}

#[derive(Debug, Clone)]
struct Queue<P> {
    packets: VecDeque<Waiting<P>>,
    bytes: usize,
}

impl<P> Shaper<P> {
    /// An idle shaper.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            sending: None,
            expedited: Queue::default(),
            best_effort: Queue::default(),
        }
    }

    /// The rate now.
    #[must_use]
    pub const fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Changes the rate at `now`. What is left of the packet that is being sent goes at the new rate.
    /// What waits stays, also where it is more than the new queue holds.
    pub fn reconfigure(&mut self, now: Duration, rate: Rate) {
        if let Some(sending) = &mut self.sending {
            let left = sending.ends_at.saturating_sub(now).as_nanos();
            let scaled = left * u128::from(self.rate.kbps.get()) / u128::from(rate.kbps.get());
            let scaled = Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX));
            sending.ends_at = sending.ends_at.min(now) + scaled;
        }
        self.rate = rate;
    }

    /// Hands over a packet of `size_bytes` at `now`.
    ///
    /// # Errors
    ///
    /// Gives the packet back where the queue is full.
    pub fn offer(
        &mut self,
        now: Duration,
        size_bytes: usize,
        class: TrafficClass,
        packet: P,
    ) -> Result<(), P> {
        let waiting = Waiting {
            since: now,
            size_bytes,
            packet,
        };
        if self.sending.is_none() {
            self.send(now, waiting);
            return Ok(());
        }
        let queue = match (self.rate.priority, class) {
            (Priority::ExpeditedForwarding, TrafficClass::ExpeditedForwarding) => {
                &mut self.expedited
            }
            _ => &mut self.best_effort,
        };
        queue.push(waiting, self.rate.queue)
    }

    /// When the packet that is being sent has left; none while the shaper is idle.
    #[must_use]
    pub fn next_departure(&self) -> Option<Duration> {
        self.sending.as_ref().map(|sending| sending.ends_at)
    }

    /// The packet that has left by `now`, if any. The next one begins to be sent at the moment when it
    /// left.
    pub fn depart(&mut self, now: Duration) -> Option<P> {
        let left = self.sending.take_if(|sending| sending.ends_at <= now)?;
        let next = self.expedited.pop().or_else(|| self.best_effort.pop());
        if let Some(next) = next {
            self.send(left.ends_at.max(next.since), next);
        }
        Some(left.packet)
    }

    /// Takes everything out, in the order in which it would have left: for a link that has no rate
    /// any more.
    pub fn drain(&mut self) -> impl Iterator<Item = P> + use<P> {
        let sending = self.sending.take().map(|sending| sending.packet);
        let queues = [&mut self.expedited, &mut self.best_effort].map(std::mem::take);
        let waiting = queues.into_iter().flat_map(|queue| queue.packets);
        sending
            .into_iter()
            .chain(waiting.map(|waiting| waiting.packet))
    }

    /// How many bytes wait, without the packet that is being sent.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.expedited.bytes + self.best_effort.bytes
    }

    /// How many packets wait, without the one that is being sent.
    #[must_use]
    pub fn waiting_packets(&self) -> usize {
        self.expedited.packets.len() + self.best_effort.packets.len()
    }

    fn send(&mut self, from: Duration, waiting: Waiting<P>) {
        self.sending = Some(Sending {
            ends_at: from + self.rate.transmission_time(waiting.size_bytes),
            packet: waiting.packet,
        });
    }
}

impl<P> Queue<P> {
    fn push(&mut self, waiting: Waiting<P>, bound: QueueConfig) -> Result<(), P> {
        let bytes = self.bytes + waiting.size_bytes;
        let fits = match bound {
            QueueConfig::Bytes(most) => bytes <= most.get() as usize,
            QueueConfig::Packets(most) => self.packets.len() < most.get() as usize,
        };
        if !fits {
            return Err(waiting.packet);
        }
        self.bytes = bytes;
        self.packets.push_back(waiting);
        Ok(())
    }

    fn pop(&mut self) -> Option<Waiting<P>> {
        let waiting = self.packets.pop_front()?;
        self.bytes -= waiting.size_bytes;
        Some(waiting)
    }
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests;
