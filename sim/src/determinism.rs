//! What keeps a run from depending on anything but its scenario and its seed.
//!
//! A run lives on one OS thread of its own ([`run_on_own_thread`]). A [`Capture`] takes over what
//! that thread, and no other, learns from the operating system:
//!
//! | leak | plug | how |
//! |---|---|---|
//! | `getrandom`, `getentropy`, `SYS_getrandom`: `HashMap` keys, every rand, ring, uuid | [`Plug::Entropy`] | one seeded stream |
//! | `clock_gettime`: `Instant`, `SystemTime` | [`Plug::Clock`] | virtual time, moved by [`set_now`] |
//! | tokio's order of ready `select!` branches, seeded from a count of the process | [`Plug::SelectSeed`] | `rng_seed` in [`Capture::runtime`] |
//! | fastrand, seeded from the number of the thread | [`Plug::Fastrand`] | seeded on entering |
//! | another OS thread, which nothing orders against this one | [`Plug::Threads`] | refused, and named as a [`Violation`] |
//!
//! Runs go in parallel in one process, since nothing of a capture is shared between threads.
//!
//! Three leaks cannot be plugged from here. Memory addresses differ between processes, so nothing
//! may be ordered or hashed by address. Counts of the process go on from run to run and from one run to
//! another beside it, so they may not be printed into a trace; of tokio's task numbers comes the order in
//! which a runtime drops its tasks at its end, of which therefore nothing may show. And a lazily built static `HashMap` moves the
//! hash keys of the run that happens to build it, so such statics are best built before the first
//! run. The [`canary`] shows the first sign of any of them.
//!
//! `gettimeofday` and `time` are left alone: neither the standard library nor any crate of the
//! client calls them on Linux.

// rustdoc does not get the flags under `[build]`, and compiles no body that needs them.
#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "ringtrue-sim needs tokio's seeded scheduler: put `rustflags = [\"--cfg\", \"tokio_unstable\"]` under `[build]` \
     in .cargo/config.toml (a RUSTFLAGS variable replaces that file's flags, so add `--cfg tokio_unstable` there too)"
);

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(target_feature = "crt-static")
)))]
compile_error!(
    "ringtrue-sim captures clocks and entropy by the symbols of a dynamically linked glibc on Linux (x86-64 or \
     aarch64): elsewhere, run it in a container, for example `docker run --rm -it -v \"$PWD\":/work -w /work rust:1.95 \
     cargo test`. The client crate `ringtrue` builds everywhere"
);

pub mod canary;
mod capture;
#[allow(unsafe_code)]
mod interposition;
mod plug;
mod thread;
mod violation;

pub use self::capture::{
    Capture, CaptureError, EntropyDraw, REALTIME_AT_START, VirtualClock, now, set_now, swap_clock,
    take_entropy_draws,
};
pub use self::plug::{Plug, Plugs, UnknownPlug};
pub use self::thread::{RunError, RunPanic, has_panicked, run_on_own_thread, take_panics};
pub use self::violation::{Violation, take_violations};
