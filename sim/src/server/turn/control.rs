//! The switch of a TURN server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes a TURN server refuse what it would grant, while it runs. All clones are one switch.
#[derive(Debug, Clone, Default)]
pub struct TurnControl(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    service: Service,
    refused: u64,
}

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Service {
    #[default]
    Serving,
    RefusingCredentials,
    QuotaReached,
}

impl TurnControl {
    /// The server serves, as it does from the start.
    pub fn serve(&self) {
        self.lock().service = Service::Serving;
    }

    /// Every request of TURN is answered with 401 (RFC 8489 section 9.2.4), as if the credentials
    /// had expired: none is refreshed, and what is allocated ends with its lifetime. STUN goes on.
    pub fn refuse_credentials(&self) {
        self.lock().service = Service::RefusingCredentials;
    }

    /// Every request for a new allocation is answered with 486 (RFC 8656 section 7.2); allocations
    /// that exist go on.
    pub fn reach_quota(&self) {
        self.lock().service = Service::QuotaReached;
    }

    /// How many requests with credentials were refused so far, by this switch and by
    /// [`TurnConfig::allocations_max`](super::TurnConfig::allocations_max). The 401 that asks
    /// for credentials is no refusal.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    pub(super) fn service(&self) -> Service {
        self.lock().service
    }

    pub(super) fn count_refusal(&self) {
        self.lock().refused += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
