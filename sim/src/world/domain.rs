//! A tokio runtime of the world: the applications that live and die together.
//!
//! Every peer application has a domain of its own, so that it can be killed (drop the domain) while
//! the rest of the world goes on; all servers share one. A domain runs in steps: it is given what
//! its hosts receive during the step, runs on its own paused clock to the end of the step, and
//! leaves behind what its hosts sent, each packet with the virtual time at which it was sent.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};
use turmoil_net::{EnterGuard, Packet, Transport};

use crate::determinism::{self, Capture, VirtualClock, swap_clock};
use crate::trace::{EventKind, HostName, Recorder};

/// What the hosts of the world sent and the fabric has not seen yet, each with its time.
#[derive(Clone)]
pub struct Egress {
    /// Weak, since kernels keep wakers of tasks that wait on their sockets, tasks keep their
    /// runtime, and each runtime has one of these: nothing of it would ever end.
    kernel: Weak<EnterGuard>,
    signal: SendSignal,
    sent: Arc<Mutex<Vec<(Duration, Packet)>>>,
}

/// Raised by whatever makes a kernel want to send. Asking every socket of every host is the dearest
/// thing that the world does, and mostly for nothing.
#[derive(Clone, Debug, Default)]
pub struct SendSignal(Arc<AtomicBool>);

/// One runtime and its clock.
pub struct Domain {
    name: HostName,
    runtime: Runtime,
    clock: Arc<DomainClock>,
    /// What the domain's code reads of the operating system's clocks, while others run.
    readings: Cell<VirtualClock>,
}

/// The relation between a runtime's own clock and the world's.
struct DomainClock {
    started: Duration,
    origin: OnceLock<Instant>,
}

impl Egress {
    /// Collects from the kernels that `kernel` guards, as long as somebody holds it.
    #[must_use]
    pub fn new(kernel: &Arc<EnterGuard>) -> Self {
        Self {
            kernel: Arc::downgrade(kernel),
            signal: SendSignal::default(),
            sent: Arc::default(),
        }
    }

    /// Whether there may be anything to [`collect`](Self::collect).
    #[must_use]
    pub fn has_some(&self) -> bool {
        self.signal.is_raised()
    }

    /// Takes over what the kernels want to send, as sent at `now`.
    pub fn collect(&self, now: Duration) {
        if !self.signal.lower() {
            return;
        }
        let Some(kernel) = self.kernel.upgrade() else {
            return;
        };
        let mut packets = Vec::new();
        kernel.egress_all(&mut packets);
        if !packets.is_empty() {
            self.sent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(packets.into_iter().map(|packet| (now, packet)));
        }
    }

    /// Everything collected since the last call, in the order of sending.
    #[must_use]
    pub fn take(&self) -> Vec<(Duration, Packet)> {
        let mut sent =
            std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        // Domains run one after the other, so the list is in order within each of them only. The
        // sort is stable: what two domains sent at the same time stays in the order of domains.
        sent.sort_by_key(|(at, _)| *at);
        sent
    }

    /// Hands a packet to the kernel of its destination.
    pub fn hand_over(&self, packet: Packet) {
        if matches!(packet.payload, Transport::Tcp(_)) {
            // It may be answered by an acknowledgment or a reset.
            self.signal.raise();
        }
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.deliver(packet);
        }
    }

    /// What sockets raise when they send.
    #[must_use]
    pub fn signal(&self) -> SendSignal {
        self.signal.clone()
    }
}

impl SendSignal {
    /// Some kernel may want to send.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn lower(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Domain {
    /// Makes a runtime whose clock shows `started` now.
    ///
    /// # Panics
    ///
    /// When the runtime cannot be made, which takes nothing from the operating system.
    #[must_use]
    pub fn new(
        name: HostName,
        capture: &Capture,
        started: Duration,
        egress: &Egress,
        recorder: &Recorder,
    ) -> Self {
        let clock = Arc::new(DomainClock {
            started,
            origin: OnceLock::new(),
        });
        let label = format!("{name} from {started:?}");
        let runtime = capture.runtime(&label, |builder| {
            let (egress, idle) = (egress.clone(), Arc::clone(&clock));
            builder.on_thread_park(move || {
                // Every task is idle: whatever they sent, they sent now.
                if egress.has_some()
                    && let Some(now) = idle.now()
                {
                    egress.collect(now);
                }
            });
            let (recorder, woken, name) = (recorder.clone(), Arc::clone(&clock), name.clone());
            builder.on_thread_unpark(move || {
                if let Some(now) = woken.now()
                    && now > determinism::now()
                {
                    determinism::set_now(now);
                    recorder.record(now, &name, EventKind::Timer);
                }
            });
        });
        let runtime = runtime.expect("a runtime without an I/O driver can always be made");
        let readings = Cell::new(VirtualClock::showing(started));
        let domain = Self {
            name,
            runtime,
            clock,
            readings,
        };
        domain.enter(|runtime| {
            runtime.block_on(async {
                let _ = domain.clock.origin.set(Instant::now());
            });
        });
        domain
    }

    /// The domain's name: that of its only host, or of the servers.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs every task up to `until`, calling `deliver` for each of `deliveries` (in order of time)
    /// as its time comes.
    pub fn run_until<D>(
        &self,
        until: Duration,
        deliveries: Vec<(Duration, D)>,
        egress: &Egress,
        mut deliver: impl FnMut(Duration, D),
    ) {
        self.enter(|runtime| {
            runtime.block_on(async {
                for (at, delivery) in deliveries {
                    sleep_until(self.clock.instant(at)).await;
                    deliver(at, delivery);
                }
                sleep_until(self.clock.instant(until)).await;
            });
        });
        egress.collect(until);
    }

    /// Goes on at `now` after having stood still: every timer of the time between is due at once.
    pub fn resume(&self, now: Duration) {
        self.enter(|runtime| {
            determinism::set_now(now);
            runtime.block_on(async {
                let stood_still = self
                    .clock
                    .instant(now)
                    .saturating_duration_since(Instant::now());
                tokio::time::advance(stood_still).await;
            });
        });
    }

    /// Drops every task where it stands.
    pub fn end(self) {
        let clock = swap_clock(self.readings.get());
        drop(self.runtime);
        let _ended = swap_clock(clock);
    }

    /// Runs something by the domain's own clocks.
    fn enter(&self, run: impl FnOnce(&Runtime)) {
        let others = swap_clock(self.readings.get());
        run(&self.runtime);
        self.readings.set(swap_clock(others));
    }
}

impl DomainClock {
    /// The world's time by this runtime's clock; `None` while the runtime is being made.
    fn now(&self) -> Option<Duration> {
        let origin = self.origin.get()?;
        Some(self.started + origin.elapsed())
    }

    fn instant(&self, at: Duration) -> Instant {
        let origin = self
            .origin
            .get()
            .expect("the origin is set when the domain is made");
        *origin + at.saturating_sub(self.started)
    }
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Domain({})", self.name)
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Egress").finish_non_exhaustive()
    }
}
