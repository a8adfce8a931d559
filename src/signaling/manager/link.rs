//! The states of the link to a server, as a table.
//!
//! ```text
//!          wanted            opened             unwanted           closed
//!  Idle ───────────▶ Opening ──────▶ Open ────────────────▶ Closing ─────▶ Idle
//!                     ▲  │            │
//!            elapsed  │  │ lost       │ lost
//!                     │  ▼            │
//!                    Waiting ◀────────┘
//! ```

/// What the link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// Nothing: no socket wants to be connected, or none may try any more.
    Idle,
    /// An attempt is under way.
    Opening,
    /// A connection is open.
    Open,
    /// A connection that nobody wants any more says farewell.
    Closing,
    /// The next attempt comes after a wait.
    Waiting,
}

/// What happens to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkInput {
    /// A socket wants to be connected.
    Wanted,
    /// No socket wants to be connected any more.
    Unwanted,
    /// The attempt succeeded.
    Opened,
    /// The attempt failed or the connection ended, against the will of this side.
    Lost(Retry),
    /// The farewell is said.
    Closed,
    /// The time that the state has is up.
    Elapsed,
    /// The host's network is another one now.
    Renewed,
}

/// Whether another attempt follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After a wait.
    Later,
    /// Now.
    AtOnce,
    /// No.
    Never,
}

/// What has to be done to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEffect {
    /// Drop it, and with it all of its streams.
    Abandon,
    /// Start to open one.
    Open,
    /// Close it politely.
    Close,
}

/// Where an input leads. The old connection is always dropped before another is opened.
#[must_use]
pub fn step(state: LinkState, input: LinkInput) -> (LinkState, &'static [LinkEffect]) {
    use LinkEffect as Effect;
    use LinkInput as Input;
    use LinkState as State;
    match (state, input) {
        (State::Idle, Input::Wanted) | (State::Waiting, Input::Elapsed | Input::Renewed) => {
            (State::Opening, &[Effect::Open])
        }
        (State::Opening, Input::Opened) => (State::Open, &[]),
        (State::Opening | State::Open, Input::Lost(Retry::Later)) => {
            (State::Waiting, &[Effect::Abandon])
        }
        (State::Opening | State::Open, Input::Lost(Retry::AtOnce) | Input::Renewed) => {
            (State::Opening, &[Effect::Abandon, Effect::Open])
        }
        (State::Opening | State::Open, Input::Lost(Retry::Never))
        | (State::Opening, Input::Unwanted)
        | (State::Closing, Input::Elapsed | Input::Renewed | Input::Lost(_)) => {
            (State::Idle, &[Effect::Abandon])
        }
        (State::Open, Input::Unwanted) => (State::Closing, &[Effect::Close]),
        (State::Closing, Input::Closed) | (State::Waiting, Input::Unwanted) => (State::Idle, &[]),
        // What concerns a connection that there is not, or says what is known.
        (state, _) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const STATES: [LinkState; 5] = [
        LinkState::Idle,
        LinkState::Opening,
        LinkState::Open,
        LinkState::Closing,
        LinkState::Waiting,
    ];

    const INPUTS: [LinkInput; 9] = [
        LinkInput::Wanted,
        LinkInput::Unwanted,
        LinkInput::Opened,
        LinkInput::Lost(Retry::Later),
        LinkInput::Lost(Retry::AtOnce),
        LinkInput::Lost(Retry::Never),
        LinkInput::Closed,
        LinkInput::Elapsed,
        LinkInput::Renewed,
    ];

    #[test]
    fn the_table_is_as_agreed() {
        let mut table = String::new();
        for state in STATES {
            for input in INPUTS {
                let (next, effects) = step(state, input);
                let (state, input) = (format!("{state:?}"), format!("{input:?}"));
                let line = format!("{state:8} {input:13} {next:?} {effects:?}");
                let line = line.trim_end_matches(" []");
                writeln!(table, "{line}").expect("writing to a text");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn no_connection_is_opened_beside_another() {
        for state in STATES {
            for input in INPUTS {
                let (next, effects) = step(state, input);
                let mut held = match state {
                    LinkState::Idle | LinkState::Waiting => 0,
                    LinkState::Opening | LinkState::Open | LinkState::Closing => 1,
                };
                for effect in effects {
                    match effect {
                        LinkEffect::Abandon => held = 0,
                        LinkEffect::Open => held += 1,
                        LinkEffect::Close => {}
                    }
                    assert!(held <= 1, "{state:?} {input:?}");
                }
                let is_free = matches!(next, LinkState::Idle | LinkState::Waiting);
                // A farewell that is said holds nothing any more.
                let is_closed = (state, input) == (LinkState::Closing, LinkInput::Closed);
                assert_eq!(is_free, held == 0 || is_closed, "{state:?} {input:?}");
            }
        }
    }
}
