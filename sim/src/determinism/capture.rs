//! The state of a captured thread: its entropy, its clock, its plugs.
//!
//! The hooks of [`interposition`](super::interposition) read this state from inside any call of the
//! C library, also while another thread-local is being built or destroyed. What they need is
//! therefore kept in constant-initialised cells without destructors, which exist as long as the
//! thread does.

#![expect(
    clippy::disallowed_methods,
    reason = "the first reading of a capture is what its clocks are checked against"
)]

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use tokio::runtime::{Builder, RngSeed, Runtime};

use super::plug::{Plug, Plugs};
use super::{interposition, violation};
use crate::seed::Seed;

/// What `SystemTime` shows at virtual time zero, as time since the Unix epoch:
/// 2026-01-01T00:00:00Z.
pub const REALTIME_AT_START: Duration = Duration::from_hours(20_454 * 24);

/// What the clocks without an epoch show at virtual time zero. It is small on purpose: the
/// standard library waits on a condition until a reading of this clock plus the time-out, and the
/// kernel compares that with the real clock. A time long past ends such a wait at once, a later one
/// would hang the run.
const MONOTONIC_AT_START: Duration = Duration::from_secs(1);

/// Two readings never show the same time: webrtc-util's router, for one, waits for the clock to
/// move on from the reading it stored.
const READING: Duration = Duration::from_nanos(1);

thread_local! {
    /// `None` on every thread that is not captured.
    static PLUGS: Cell<Option<Plugs>> = const { Cell::new(None) };
    /// The generator owns no memory: its destructor only wipes it, and would keep the hooks from the
    /// cell once the thread ends.
    static ENTROPY: Cell<Option<ManuallyDrop<ChaCha8Rng>>> = const { Cell::new(None) };
    static CLOCK: Cell<Clock> = const { Cell::new(Clock::AT_START) };
    static STARTED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The one store with a destructor: the hooks reach it by `try_with` only.
    static DRAWS: RefCell<Vec<EntropyDraw>> = const { RefCell::new(Vec::new()) };
}

/// A thread whose entropy and clocks come from a seed, for as long as this value lives.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ringtrue_sim::determinism::{self, Capture, Plugs};
/// use ringtrue_sim::seed::Seed;
///
/// let token = |seed| {
///     determinism::run_on_own_thread("run", move || {
///         let _capture = Capture::enter(Seed::new(seed), Plugs::all()).expect("a fresh thread");
///         let start = Instant::now();
///         determinism::set_now(Duration::from_secs(60));
///         assert_eq!(start.elapsed().as_millis(), 60_000);
///         rand::random::<u64>()
///     })
///     .expect("the run neither panics nor makes threads")
/// };
/// assert_eq!(token(1), token(1));
/// assert_ne!(token(1), token(2));
/// ```
#[derive(Debug)]
#[must_use = "the thread is captured only as long as this lives"]
pub struct Capture {
    seed: Seed,
    plugs: Plugs,
    /// A capture belongs to its thread and must end there.
    not_send: PhantomData<*const ()>,
}

/// A thread that could not be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// One capture at a time: a second seed on the thread would silence the first.
    #[error("this thread is captured already")]
    AlreadyCaptured,
    /// Calls to a function of the C library do not reach the hook, so the run would leak.
    #[error(
        "`{symbol}` is not captured in this binary: link ringtrue-sim statically into the executable that makes the run"
    )]
    NotInterposed {
        /// The function of the C library.
        symbol: &'static str,
    },
}

impl Capture {
    /// Captures the calling thread from virtual time zero.
    ///
    /// The thread should be fresh: generators and hash keys that it has drawn before stay as they
    /// are.
    ///
    /// # Errors
    ///
    /// [`CaptureError`], with nothing captured.
    pub fn enter(seed: Seed, plugs: Plugs) -> Result<Self, CaptureError> {
        if PLUGS.get().is_some() {
            return Err(CaptureError::AlreadyCaptured);
        }
        interposition::verify().map_err(|symbol| CaptureError::NotInterposed { symbol })?;

        violation::prepare();
        DRAWS.with_borrow_mut(Vec::clear);
        if plugs.contains(Plug::Fastrand) {
            fastrand::seed(seed.stream("fastrand").next_u64());
        }
        let entropy = || ManuallyDrop::new(seed.stream("entropy"));
        ENTROPY.set(plugs.contains(Plug::Entropy).then(entropy));
        CLOCK.set(Clock::AT_START);
        PLUGS.set(Some(plugs));
        STARTED.set(Some(Instant::now()));
        Ok(Self {
            seed,
            plugs,
            not_send: PhantomData,
        })
    }

    /// The root seed of the run.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The plugs that are on.
    #[must_use]
    pub fn plugs(&self) -> Plugs {
        self.plugs
    }

    /// A tokio runtime for this thread: paused, without I/O driver, its `select!` seeded from
    /// `label`.
    ///
    /// A panic of a task does not end it: whoever drives it asks [`has_panicked`] between two steps.
    /// Tokio's own `UnhandledPanic::ShutdownRuntime` would drop the other tasks while its scheduler is
    /// borrowed, and a drop that wakes another task then aborts the process (tokio 1.54).
    ///
    /// [`has_panicked`]: super::has_panicked
    ///
    /// `configure` adds what the caller needs, such as `on_thread_park`.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    pub fn runtime(
        &self,
        label: &str,
        configure: impl FnOnce(&mut Builder),
    ) -> io::Result<Runtime> {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        if self.plugs.contains(Plug::SelectSeed) {
            let key = self.seed.stream_key(&format!("select/{label}"));
            builder.rng_seed(RngSeed::from_bytes(&key));
        }
        configure(&mut builder);
        builder.build()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        PLUGS.set(None);
        ENTROPY.set(None);
        STARTED.set(None);
    }
}

/// Random bytes that the run took from the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyDraw {
    /// How many bytes.
    pub bytes: usize,
    /// The first eight of them, little endian, zeros where there are fewer.
    pub head: u64,
}

/// The draws of this thread since the last call, oldest first. Draws of no bytes, by which
/// libraries ask once a process whether the call exists, are left out.
///
/// With [`Plug::Entropy`] left out these are the real bytes, so that the leak shows.
#[must_use]
pub fn take_entropy_draws() -> Vec<EntropyDraw> {
    DRAWS.take()
}

/// The virtual time of this thread since its capture began. Asking does not move it. Zero on a
/// thread that was never captured.
#[must_use]
pub fn now() -> Duration {
    CLOCK.get().now
}

/// Moves the virtual time of this thread to `now` after the beginning of its capture. Time never
/// goes back: an earlier time leaves it as it is.
pub fn set_now(now: Duration) {
    let clock = CLOCK.get();
    CLOCK.set(Clock {
        now: clock.now.max(now),
        ..clock
    });
}

/// The captured clock of one application. Several take turns on the thread of a run, each up to the
/// end of a step, and none may see that another has been further already.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock(Clock);

impl VirtualClock {
    /// A clock that shows the virtual time `now`.
    #[must_use]
    pub fn showing(now: Duration) -> Self {
        Self(Clock {
            now,
            ..Clock::AT_START
        })
    }
}

/// Puts `clock` in the place of this thread's clock, which is returned to be put back later.
#[must_use = "the clock that was replaced has to come back"]
pub fn swap_clock(clock: VirtualClock) -> VirtualClock {
    VirtualClock(CLOCK.replace(clock.0))
}

/// The plugs of this thread, `None` if it is not captured.
pub(super) fn plugs() -> Option<Plugs> {
    PLUGS.try_with(Cell::get).ok().flatten()
}

/// The reading of the monotonic clock with which the capture began.
pub(super) fn started() -> Option<Instant> {
    STARTED.get()
}

/// Whether this thread draws from the seed.
pub(super) fn is_entropy_captured() -> bool {
    plugs().is_some_and(|plugs| plugs.contains(Plug::Entropy))
}

/// Fills `bytes` from the seed. `false`, with `bytes` untouched, on a thread whose entropy is not
/// captured.
pub(super) fn fill_entropy(bytes: &mut [u8]) -> bool {
    // The generator is out of its cell while it works: a signal handler that draws in the middle
    // finds none and is passed through.
    let Some(mut generator) = ENTROPY.try_with(Cell::take).ok().flatten() else {
        return false;
    };
    generator.fill_bytes(bytes);
    let _ = ENTROPY.try_with(|cell| cell.set(Some(generator)));
    true
}

/// Notes a draw of this thread, if it is captured.
pub(super) fn record_draw(bytes: &[u8]) {
    if bytes.is_empty() || plugs().is_none() {
        return;
    }
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    let draw = EntropyDraw {
        bytes: bytes.len(),
        head: u64::from_le_bytes(head),
    };
    let _ = DRAWS.try_with(|draws| {
        if let Ok(mut draws) = draws.try_borrow_mut() {
            draws.push(draw);
        }
    });
}

/// One reading of the clock `id`, `None` where the real one is to be read: on a thread whose
/// clocks are not captured, for clocks of other processes and for numbers that are no clock's.
///
/// Processor time counts as virtual time too, since the real one differs from run to run.
pub(super) fn read_clock(id: libc::clockid_t) -> Option<Duration> {
    if !plugs()?.contains(Plug::Clock) {
        return None;
    }
    let base = match id {
        libc::CLOCK_REALTIME
        | libc::CLOCK_REALTIME_COARSE
        | libc::CLOCK_REALTIME_ALARM
        | libc::CLOCK_TAI => REALTIME_AT_START,
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME
        | libc::CLOCK_BOOTTIME_ALARM
        | libc::CLOCK_PROCESS_CPUTIME_ID
        | libc::CLOCK_THREAD_CPUTIME_ID => MONOTONIC_AT_START,
        _ => return None,
    };
    let (clock, reading) = CLOCK.try_with(Cell::get).ok()?.read();
    CLOCK.try_with(|cell| cell.set(clock)).ok()?;
    Some(base + reading)
}

/// Whether this thread may not make another; if so, that it tried is recorded.
pub(super) fn refuse_thread() -> bool {
    let Some(plugs) = plugs().filter(|plugs| plugs.contains(Plug::Threads)) else {
        return false;
    };
    // Looking up symbols must not draw from the seed or read the captured clock.
    let captured = PLUGS.replace(None);
    let entropy = ENTROPY.take();
    violation::record_os_thread();
    ENTROPY.set(entropy);
    PLUGS.set(captured);
    debug_assert_eq!(captured, Some(plugs));
    true
}

/// Virtual time, and how often it was read.
#[derive(Clone, Copy, Debug)]
struct Clock {
    now: Duration,
    /// How far the readings have run ahead of `now`. It never shrinks, so that between two readings
    /// at least the virtual time passes: a timer that has just fired finds its time-out over.
    ahead: Duration,
}

impl Clock {
    const AT_START: Self = Self {
        now: Duration::ZERO,
        ahead: Duration::ZERO,
    };

    fn read(self) -> (Self, Duration) {
        let ahead = self.ahead + READING;
        (Self { ahead, ..self }, self.now + ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_the_clock_strictly_increase() {
        let (clock, first) = Clock::AT_START.read();
        let (_, second) = clock.read();
        assert!(Duration::ZERO < first && first < second);
    }

    #[test]
    fn no_less_than_the_virtual_time_passes_between_two_readings() {
        let (clock, first) = Clock::AT_START.read();
        let (clock, _) = clock.read();
        let moved = Clock {
            now: Duration::from_secs(5),
            ..clock
        };
        assert!(moved.read().1 >= first + Duration::from_secs(5));
    }

    #[test]
    fn virtual_time_never_goes_back() {
        let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        set_now(Duration::from_secs(5));
        set_now(Duration::from_secs(4));
        assert_eq!(now(), Duration::from_secs(5));
    }

    #[test]
    fn a_thread_is_captured_once_at_a_time() {
        let first = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        let second = Capture::enter(Seed::new(2), Plugs::all()).map(drop);
        assert_eq!(second, Err(CaptureError::AlreadyCaptured));
        drop(first);
        Capture::enter(Seed::new(2), Plugs::all())
            .map(drop)
            .expect("the first has ended");
    }

    #[test]
    fn draws_are_reported_with_their_length_and_first_bytes() {
        let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        assert_eq!(take_entropy_draws(), []);
        let mut expected = [0; 8];
        Seed::new(1).stream("entropy").fill_bytes(&mut expected);

        let mut drawn = [0; 20];
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut drawn).expect("entropy");
        let head = u64::from_le_bytes(expected);
        assert_eq!(take_entropy_draws(), [EntropyDraw { bytes: 20, head }]);
        assert_eq!(drawn[..8], expected);
    }
}
