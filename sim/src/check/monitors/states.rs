//! Whether calls go from state to state as they may.
//!
//! The table below is written down a second time on purpose: a change of the client's table that nobody
//! wanted is one that this one does not have.

use std::collections::BTreeMap;

use crate::trace::{AppEvent, Event, EventKind, HostName};

/// From which state a call comes to which other one, and by what. Whatever is not in it changes nothing;
/// `*` is every state but `ended`.
const TABLE: &str = "
    calling        | RemoteRinging  | remote ringing
    calling        | RemoteAnswer   | connecting
    calling        | RemoteHangUp   | ended
    calling        | Unanswered     | ended
    remote ringing | RemoteAnswer   | connecting
    remote ringing | RemoteHangUp   | ended
    remote ringing | Unanswered     | ended
    announced      | RemoteOffer    | incoming
    announced      | LocalAnswer    | accepted
    announced      | Unanswered     | ended
    announced      | RemoteBusy     | ended
    announced      | RemoteHangUp   | ended
    accepted       | RemoteOffer    | connecting
    accepted       | Unanswered     | ended
    accepted       | RemoteBusy     | ended
    accepted       | RemoteHangUp   | ended
    incoming       | LocalAnswer    | connecting
    incoming       | Unanswered     | ended
    incoming       | RemoteBusy     | ended
    incoming       | RemoteHangUp   | ended
    connecting     | AudioConnected | talking
    connecting     | RemoteBusy     | ended
    connecting     | RemoteHangUp   | ended
    connecting     | Undelivered    | ended
    talking        | AudioSilent    | interrupted
    talking        | RemoteBusy     | ended
    talking        | RemoteHangUp   | ended
    interrupted    | AudioConnected | talking
    interrupted    | RemoteBusy     | ended
    interrupted    | RemoteHangUp   | ended
    calling        | Undelivered    | ended
    remote ringing | Undelivered    | ended
    announced      | Undelivered    | ended
    accepted       | Undelivered    | ended
    incoming       | Undelivered    | ended
    *              | LocalHangUp    | ended
    *              | MediaFailed    | ended
";

/// The states in which a call can begin: it is made, or told of before its offer comes, and in the latter
/// case the user may have agreed already.
const BEGINNINGS: [&str; 3] = ["calling", "announced", "accepted"];

const ENDED: &str = "ended";

/// Where each call of each host stands, and which steps were against the table.
#[derive(Debug, Clone, Default)]
pub struct StateWatch {
    calls: BTreeMap<(HostName, String), String>,
    broken: Vec<String>,
}

/// One step of a call, as the client's log has it.
struct Step<'a> {
    call: &'a str,
    from: &'a str,
    to: &'a str,
    input: &'a str,
}

impl StateWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        match &event.kind {
            // Who is started again knows nothing of what was.
            EventKind::App(AppEvent::Started) => {
                self.calls.retain(|(host, _), _| *host != event.host);
            }
            EventKind::Log { target, text, .. } if target.starts_with("ringtrue::call") => {
                if let Some(step) = Step::read(text) {
                    self.take(event, &step);
                }
            }
            _ => {}
        }
    }

    /// How many calls were followed.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.calls.len()
    }

    /// What was against the table, oldest first.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.broken.clone()
    }

    fn take(&mut self, event: &Event, step: &Step<'_>) {
        let key = (event.host.clone(), step.call.to_owned());
        let before = self.calls.insert(key, step.to.to_owned());
        let begins = BEGINNINGS.contains(&step.from);
        let wrong = match before {
            Some(before) if before != step.from => Some(format!("it was {before} before")),
            None if !begins => Some("no call begins so".to_owned()),
            _ if after(step.from, step.input) != step.to => Some(format!(
                "it should be {} then",
                after(step.from, step.input)
            )),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let Step {
                from, to, input, ..
            } = step;
            self.broken.push(format!(
                "{} at {:?}: a call went from {from} to {to} by {input}, and {wrong}",
                event.host, event.at
            ));
        }
    }
}

impl<'a> Step<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (call, rest) = text.strip_prefix("call call=")?.split_once(" from=")?;
        let (from, rest) = rest.split_once(" to=")?;
        let (to, input) = rest.split_once(" input=")?;
        Some(Self {
            call,
            from,
            to,
            input,
        })
    }
}

/// Where the table leads.
fn after<'a>(from: &'a str, input: &str) -> &'a str {
    let is_meant = |row: &&[&str; 3]| {
        let from_here = row[0] == from || (row[0] == "*" && from != ENDED);
        from_here && row[1] == input
    };
    rows().find(|row| is_meant(&row)).map_or(from, |row| row[2])
}

fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    TABLE.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim);
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

#[cfg(test)]
mod tests {
    use ringtrue::call::state::{CallState, Input, transition};

    use super::super::tests::{event, line};
    use super::*;

    const SESSION: &str = "ringtrue::call::session::table";

    #[track_caller]
    fn check(steps: &[&str], said: &[&str]) {
        let mut watch = StateWatch::default();
        for step in steps {
            watch.note(&line(1000, "bob", SESSION, &format!("call call=c1 {step}")));
        }
        assert_eq!(watch.broken(), said);
    }

    #[test]
    fn a_call_that_is_made_answered_and_ended_is_in_order() {
        check(
            &[
                "from=calling to=remote ringing input=RemoteRinging",
                "from=remote ringing to=remote ringing input=RemoteRinging",
                "from=remote ringing to=connecting input=RemoteAnswer",
                "from=connecting to=talking input=AudioConnected",
                "from=talking to=ended input=LocalHangUp",
                "from=ended to=ended input=RemoteHangUp",
            ],
            &[],
        );
    }

    #[test]
    fn a_step_that_the_table_does_not_have_is_found() {
        let said = "bob at 1s: a call went from calling to talking by AudioConnected, and it should be \
                    calling then";
        check(&["from=calling to=talking input=AudioConnected"], &[said]);
        let said = "bob at 1s: a call went from calling to calling by RemoteAnswer, and it should be \
                    connecting then";
        check(&["from=calling to=calling input=RemoteAnswer"], &[said]);
    }

    #[test]
    fn a_step_from_where_the_call_was_not_is_found() {
        let said = "bob at 1s: a call went from announced to incoming by RemoteOffer, and it was ended \
                    before";
        check(
            &[
                "from=announced to=ended input=LocalHangUp",
                "from=announced to=incoming input=RemoteOffer",
            ],
            &[said],
        );
        let said =
            "bob at 1s: a call went from talking to ended by RemoteHangUp, and no call begins so";
        check(&["from=talking to=ended input=RemoteHangUp"], &[said]);
    }

    #[test]
    fn an_app_that_is_started_again_begins_anew() {
        let mut watch = StateWatch::default();
        let step = |from| {
            let text = format!("call call=c1 from={from} to=ended input=LocalHangUp");
            line(1, "bob", SESSION, &text)
        };
        watch.note(&step("calling"));
        watch.note(&event(2, "bob", EventKind::App(AppEvent::Started)));
        watch.note(&step("accepted"));
        assert_eq!(watch.broken(), [""; 0]);
    }

    #[test]
    fn the_table_is_the_clients() {
        for state in CallState::ALL {
            for input in Input::ALL {
                let next = transition(state, input).next.to_string();
                let from = state.to_string();
                assert_eq!(
                    after(&from, &format!("{input:?}")),
                    next,
                    "{from} {input:?}"
                );
            }
        }
    }
}
