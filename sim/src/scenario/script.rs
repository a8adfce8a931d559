//! The call script: its default, its order, and the steps that nobody could take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::document::{ActionName, Named, PeerDocument, StepDocument};
use super::error::ProblemKind;
use super::model::{Action, ScriptStep, Trigger};
use super::problems::Problems;
use super::spanned::Spanned;
use super::validate::user_of;

/// How long the callee lets it ring where the file has no script.
const ANSWER_AFTER_RINGING: Duration = Duration::from_secs(1);

/// How long the peers talk, and where the file says so.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) ends: TalkEnd,
    pub(super) written: Option<Range<usize>>,
}

/// When somebody hangs up, where the script does not say it.
#[derive(Debug, Clone, Copy)]
pub(super) enum TalkEnd {
    /// After so much talk.
    After(Duration),
    /// Once the call has settled.
    OnceSettled,
}

impl TalkEnd {
    fn trigger(self) -> Trigger {
        match self {
            Self::After(length) => Trigger::AfterAudio(length),
            Self::OnceSettled => Trigger::AfterSettling(Duration::ZERO),
        }
    }

    fn length(self) -> Option<Duration> {
        match self {
            Self::After(length) => Some(length),
            Self::OnceSettled => None,
        }
    }
}

/// The steps in the order of the model, and how long the talk is that ends with a hang-up written
/// here. `None` where a step cannot be read, with the reason in `problems`. `killed_by_faults` are the
/// peers that cannot be relied on to end the call, as those that the script kills.
pub(super) fn steps(
    documents: Option<&[Spanned<StepDocument>]>,
    peers: &Named<PeerDocument>,
    killed_by_faults: &BTreeSet<String>,
    talk: Talk,
    problems: &mut Problems<'_>,
) -> Option<(Vec<ScriptStep>, Option<Duration>)> {
    let Some(documents) = documents else {
        let mut names = peers.iter();
        let (first, document) = names.next()?;
        let user = user_of(first, document);
        let other = names.find(|(name, document)| user_of(name, document) != user);
        let Some((second, document)) = other else {
            // That one peer is too few is said elsewhere.
            if peers.len() > 1 {
                let allowed = "peers of two users";
                let message = "all peers are devices of one user, and nobody calls themselves";
                problems.push(first.span(), contradiction(message, allowed));
            }
            return None;
        };
        let callee = user_of(second, document).to_owned();
        let (first, second) = (first.get_ref().clone(), second.get_ref().clone());
        let survivor = if killed_by_faults.contains(&first) {
            second.clone()
        } else {
            first.clone()
        };
        let hang_up = hang_up(survivor, talk.ends);
        let steps = default_steps(first, callee, second, hang_up);
        return Some((steps, talk.ends.length()));
    };
    let read: Vec<Option<Step>> = documents
        .iter()
        .map(|document| read_step(document, peers, problems))
        .collect();
    // What is missing from one step would look wrong in the others.
    let mut steps: Vec<Step> = read.into_iter().collect::<Option<_>>()?;
    steps.sort_by_key(|step| step.step.trigger);
    let first_call = check_sequence(&steps, peers, problems)?;

    let hangs_up = steps.iter().any(|step| step.step.action == Action::HangUp);
    let killed = |peer: &String| {
        if killed_by_faults.contains(peer) {
            return true;
        }
        let mut kills = steps.iter().filter(|step| step.step.action == Action::Kill);
        kills.any(|step| step.step.peer == *peer)
    };
    let survivor = first_call.into_iter().find(|peer| !killed(peer));
    let mut script: Vec<ScriptStep> = steps.into_iter().map(|step| step.step).collect();
    if !hangs_up {
        let Some(survivor) = survivor else {
            let message = "both sides of the call are killed, so nobody is sure to end it";
            let allowed = "a script that has a step with `do = \"hang-up\"`";
            problems.push(0..0, contradiction(message, allowed));
            return None;
        };
        script.push(hang_up(survivor, talk.ends));
        script.sort_by_key(|step| step.trigger);
        return Some((script, talk.ends.length()));
    }
    if let Some(span) = talk.written {
        let message = "the script hangs up by itself, so the talk has its length already";
        let allowed = "either `[talk]` or a step with `do = \"hang-up\"`";
        problems.push(span, contradiction(message, allowed));
    }
    Some((script, None))
}

fn default_steps(
    first: String,
    callee: String,
    second: String,
    hang_up: ScriptStep,
) -> Vec<ScriptStep> {
    vec![
        ScriptStep {
            trigger: Trigger::At(Duration::ZERO),
            peer: first,
            action: Action::Call { callee },
        },
        ScriptStep {
            trigger: Trigger::AfterRinging(ANSWER_AFTER_RINGING),
            peer: second,
            action: Action::Answer,
        },
        hang_up,
    ]
}

fn hang_up(peer: String, talk: TalkEnd) -> ScriptStep {
    ScriptStep {
        trigger: talk.trigger(),
        peer,
        action: Action::HangUp,
    }
}

/// A step and where it stands.
struct Step {
    step: ScriptStep,
    /// Of the value of `do`, which is what cannot be done.
    span: Range<usize>,
}

fn read_step(
    document: &Spanned<StepDocument>,
    peers: &Named<PeerDocument>,
    problems: &mut Problems<'_>,
) -> Option<Step> {
    let trigger = read_trigger(document, problems);
    let peer = if let Some(name) = &document.get_ref().peer {
        known_peer(name, peers, problems)
    } else {
        let allowed = "the name of the peer that acts";
        problems.push_missing(document.span(), "peer", allowed);
        None
    };
    let action = read_action(document, peer.as_deref(), peers, problems);
    Some(Step {
        step: ScriptStep {
            trigger: trigger?,
            peer: peer?,
            action: action?,
        },
        span: document.get_ref().action.as_ref()?.span(),
    })
}

fn read_trigger(document: &Spanned<StepDocument>, problems: &mut Problems<'_>) -> Option<Trigger> {
    match (&document.get_ref().at, &document.get_ref().after) {
        (Some(at), None) => Some(Trigger::At(at.get_ref().0)),
        (None, Some(after)) => Some(after.get_ref().0),
        (None, None) => {
            let allowed = "`at = \"TIME\"`, or `after = \"ringing + TIME\"` or `\"audio + TIME\"`";
            problems.push_missing(document.span(), "at", allowed);
            None
        }
        (Some(_), Some(after)) => {
            let allowed = "either `at` or `after`";
            problems.push(
                after.span(),
                contradiction("the step has `at` too", allowed),
            );
            None
        }
    }
}

fn read_action(
    document: &Spanned<StepDocument>,
    peer: Option<&str>,
    peers: &Named<PeerDocument>,
    problems: &mut Problems<'_>,
) -> Option<Action> {
    let step = document.get_ref();
    let Some(action) = &step.action else {
        let allowed = "`call`, `answer`, `hang-up`, `push`, `kill` or `start`";
        problems.push_missing(document.span(), "do", allowed);
        return None;
    };
    let simple = match action.get_ref().0 {
        ActionName::Call => {
            let Some(callee) = &step.callee else {
                problems.push_missing(document.span(), "callee", "the name of the peer to call");
                return None;
            };
            let user = known_user(callee, peers, problems)?;
            if peer.is_some_and(|peer| user_named(peer, peers) == user) {
                let allowed = "another peer";
                problems.push(
                    callee.span(),
                    contradiction("nobody calls themselves", allowed),
                );
            }
            let callee = user;
            return Some(Action::Call { callee });
        }
        ActionName::Push => {
            let Some(caller) = &step.caller else {
                problems.push_missing(document.span(), "caller", "the name of the peer who calls");
                return None;
            };
            let caller = known_peer(caller, peers, problems)?;
            return Some(Action::Push { caller });
        }
        ActionName::Answer => Action::Answer,
        ActionName::HangUp => Action::HangUp,
        ActionName::Kill => Action::Kill,
        ActionName::Start => Action::Start,
    };
    let unused = [
        (&step.callee, "`callee` with `do = \"call\"` only"),
        (&step.caller, "`caller` with `do = \"push\"` only"),
    ];
    for (name, allowed) in unused {
        let Some(name) = name else { continue };
        let message = format!("this means nothing where `do` is `{simple}`");
        problems.push(name.span(), contradiction(&message, allowed));
    }
    Some(simple)
}

/// Refuses steps that nobody could take. Gives the two sides of the first call, the caller first.
fn check_sequence(
    steps: &[Step],
    peers: &Named<PeerDocument>,
    problems: &mut Problems<'_>,
) -> Option<[String; 2]> {
    let first_call = steps.iter().position(|step| callee_of(step).is_some());
    let Some(first_call) = first_call else {
        match steps.iter().find(|step| step.step.action == Action::HangUp) {
            Some(hang_up) => refuse(hang_up, "there is no call before it", CALL_FIRST, problems),
            None => problems.push_missing(0..0, "script", "a step with `do = \"call\"`"),
        }
        return None;
    };
    let call = &steps[first_call];
    if !is_at_a_moment(call) {
        refuse(
            call,
            "nothing rings before the first call",
            "a first call with `at`",
            problems,
        );
    }
    let users_called: BTreeSet<&str> = steps.iter().filter_map(callee_of).collect();
    let devices = peers.iter();
    let callees: BTreeSet<&str> = devices
        .filter(|(name, document)| users_called.contains(user_of(name, document)))
        .map(|(name, _)| name.get_ref().as_str())
        .collect();
    let calls = steps.iter().filter(|step| callee_of(step).is_some());
    let mut in_a_call: BTreeSet<&str> = calls.map(|step| step.step.peer.as_str()).collect();
    in_a_call.extend(&callees);
    for (position, step) in steps.iter().enumerate() {
        let peer = step.step.peer.as_str();
        match step.step.action {
            Action::Answer | Action::HangUp if position < first_call => {
                refuse(step, "there is no call before it", CALL_FIRST, problems);
            }
            Action::Answer | Action::Push { .. } if !callees.contains(peer) => {
                refuse(
                    step,
                    "nobody calls this peer",
                    "`answer` and `push` of a callee",
                    problems,
                );
            }
            Action::HangUp if !in_a_call.contains(peer) => {
                let allowed = "`hang-up` by a caller or a callee";
                refuse(step, "this peer is in no call", allowed, problems);
            }
            _ => {}
        }
    }
    check_lives(steps, problems);
    let callee = callee_of(call)?;
    let answers = |step: &&Step| {
        step.step.action == Action::Answer && user_named(&step.step.peer, peers) == callee
    };
    // Of several devices the one that answers can end the call.
    let device = steps
        .iter()
        .find(answers)
        .map(|step| step.step.peer.clone());
    let device = device.or_else(|| {
        let mut devices = peers.iter();
        let device = devices.find(|(name, document)| user_of(name, document) == callee);
        device.map(|(name, _)| name.get_ref().clone())
    });
    Some([call.step.peer.clone(), device?])
}

const CALL_FIRST: &str = "a step with `do = \"call\"` that comes earlier";

/// Refuses what dead apps would do. Where a kill or a start waits for an event, the order is known
/// only in the run, and no more is asked than that a started peer is killed somewhere.
fn check_lives(steps: &[Step], problems: &mut Problems<'_>) {
    const KILL_FIRST: &str = "`start` after a `kill` of the same peer";
    const ALIVE: &str = "steps of a peer that was not killed, or was started again";
    let changes_life = |step: &&Step| matches!(step.step.action, Action::Kill | Action::Start);
    let mut order_known: BTreeMap<&str, bool> = BTreeMap::new();
    for step in steps.iter().filter(changes_life) {
        *order_known.entry(&step.step.peer).or_insert(true) &= is_at_a_moment(step);
    }
    let killed_ever: BTreeSet<&str> = steps
        .iter()
        .filter(|step| step.step.action == Action::Kill)
        .map(|step| step.step.peer.as_str())
        .collect();
    let mut dead: BTreeSet<&str> = BTreeSet::new();
    for step in steps {
        let peer = step.step.peer.as_str();
        let certain = order_known.get(peer).copied().unwrap_or_default();
        match step.step.action {
            Action::Start if !killed_ever.contains(peer) || (certain && !dead.remove(peer)) => {
                refuse(step, "this peer's app is running", KILL_FIRST, problems);
            }
            Action::Start => {}
            _ if certain && dead.contains(peer) && is_at_a_moment(step) => {
                refuse(step, "this peer's app is dead by then", ALIVE, problems);
            }
            Action::Kill => {
                dead.insert(peer);
            }
            _ => {}
        }
    }
}

fn is_at_a_moment(step: &Step) -> bool {
    matches!(step.step.trigger, Trigger::At(_))
}

fn callee_of(step: &Step) -> Option<&str> {
    match &step.step.action {
        Action::Call { callee } => Some(callee),
        _ => None,
    }
}

/// Whose device the peer with this name is.
fn user_named(peer: &str, peers: &Named<PeerDocument>) -> String {
    let found = peers.get_key_value(peer);
    let user = found.map(|(name, document)| user_of(name, document));
    user.unwrap_or(peer).to_owned()
}

fn known_user(
    name: &Spanned<String>,
    peers: &Named<PeerDocument>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let users: BTreeSet<&str> = peers
        .iter()
        .map(|(name, document)| user_of(name, document))
        .collect();
    if users.contains(name.get_ref().as_str()) {
        return Some(name.get_ref().clone());
    }
    let kind = ProblemKind::unknown("peer", name.get_ref(), users.iter().copied());
    problems.push(name.span(), kind);
    None
}

fn known_peer(
    name: &Spanned<String>,
    peers: &Named<PeerDocument>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let text = name.get_ref();
    if peers.contains_key(text.as_str()) {
        return Some(text.clone());
    }
    let known = peers.keys().map(|peer| peer.get_ref().as_str());
    problems.push(name.span(), ProblemKind::unknown("peer", text, known));
    None
}

fn refuse(step: &Step, message: &str, allowed: &'static str, problems: &mut Problems<'_>) {
    problems.push(step.span.clone(), contradiction(message, allowed));
}

fn contradiction(message: &str, allowed: &'static str) -> ProblemKind {
    ProblemKind::Contradiction {
        message: message.to_owned(),
        allowed,
    }
}
