//! One sample from each source through which a run could leak.
//!
//! A run records the sample as an event, so that a leak changes the digest even where the call
//! itself did not happen to use it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the canary breathes exactly what a run must not"
)]

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};

use super::capture;
use super::plug::Plug;

/// Enough `select!`s among four branches to fill 64 bits.
const SELECTS: u32 = 32;

/// Spawned tasks whose order fills 64 bits, at four bits each.
const TASKS: u64 = 16;

/// Draws one sample from each source, by name, always in the same order.
///
/// Within a run of one seed the values are the same every time. A change to the list changes the
/// digest of every run. It advances no clock but for its readings, and ends without waiting for
/// anything but its own tasks.
///
/// With [`Plug::Threads`] left out, another OS thread draws a sample too, as a library that makes
/// one would; with the plug on, that would fail the run by name and so needs no sample.
///
/// # Panics
///
/// Outside a tokio runtime with time enabled, or without entropy.
pub async fn sample() -> Vec<(&'static str, u64)> {
    vec![
        ("hash-map", hash_map_order()),
        ("rand", rand::random()),
        ("ring", ring_bytes()),
        ("fastrand", fastrand::u64(..)),
        ("system-time", system_time()),
        ("std-instant", std_instant()),
        ("tokio-instant", tokio_instant().await),
        ("select", select_order().await),
        ("uuid", uuid::Uuid::new_v4().as_u64_pair().0),
        ("spawn-order", spawn_order().await),
        ("os-thread", os_thread()),
    ]
}

fn hash_map_order() -> u64 {
    let map: HashMap<u8, u8> = (0..32).map(|key| (key, key)).collect();
    let mut hasher = DefaultHasher::new();
    for key in map.keys() {
        key.hash(&mut hasher);
    }
    hasher.finish()
}

fn ring_bytes() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system has entropy");
    u64::from_le_bytes(bytes)
}

/// Nanoseconds since the Unix epoch.
fn system_time() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    saturating(since_epoch.as_nanos())
}

/// Nanoseconds since the capture began.
fn std_instant() -> u64 {
    let start = capture::started().unwrap_or_else(Instant::now);
    saturating(start.elapsed().as_nanos())
}

/// Nanoseconds of tokio's clock while other tasks have their turn: none when it is paused.
async fn tokio_instant() -> u64 {
    let start = tokio::time::Instant::now();
    tokio::task::yield_now().await;
    saturating(start.elapsed().as_nanos())
}

async fn select_order() -> u64 {
    let mut order = 0;
    for _ in 0..SELECTS {
        // Without `biased`, on purpose: the order is what is sampled.
        let branch = tokio::select! {
            () = std::future::ready(()) => 0,
            () = std::future::ready(()) => 1,
            () = std::future::ready(()) => 2,
            () = std::future::ready(()) => 3,
        };
        order = order << 2 | branch;
    }
    order
}

async fn spawn_order() -> u64 {
    let order = Arc::new(Mutex::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                let mut order = order.lock().unwrap_or_else(PoisonError::into_inner);
                *order = *order << 4 | task;
            })
        })
        .collect();
    for task in tasks {
        // A task that could not run leaves its number out of the order.
        let _ = task.await;
    }
    *order.lock().unwrap_or_else(PoisonError::into_inner)
}

fn os_thread() -> u64 {
    if capture::plugs().is_none_or(|plugs| plugs.contains(Plug::Threads)) {
        return 0;
    }
    std::thread::spawn(hash_map_order)
        .join()
        .unwrap_or_default()
}

fn saturating(nanoseconds: u128) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}
