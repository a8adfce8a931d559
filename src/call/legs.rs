//! The media connections of one call: the one that carries audio, and those that come and go beside it.
//!
//! A call that looks for another path makes the new connection before it breaks the old one (RFC 8445
//! section 9): audio is received from both, and sent over the newest that works.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::recovery::Path;
use crate::audio::source::AudioPacket;
use crate::candidates::CandidateType;
use crate::peer::{PeerConnection, PeerError, PeerEvent};
use crate::signaling::message::TrickledCandidate;

/// How long a connection that was replaced is kept. The other side may still send over it, and its
/// candidates must not be freed sooner (RFC 8445 section 8.3.1).
const RETIRE_AFTER: Duration = Duration::from_secs(3);

/// Tells one connection of a call from another; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LegId(u64);

/// What a connection was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The offer that rings. It goes on looking for a path beside any other.
    Ringing,
    /// Another path for a call that was answered.
    Attempt,
}

/// One media connection.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) origin: Origin,
    pub(super) connection: PeerConnection,
    /// The user name fragment of the other side's description, once that is set.
    pub(super) remote_ufrag: Option<String>,
    /// The kinds of both candidates of the selected pair, ours first.
    pub(super) selected: Option<(CandidateType, CandidateType)>,
    events: mpsc::UnboundedReceiver<PeerEvent>,
    /// Whether a later one has taken its place.
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It may carry audio.
    Candidate,
    /// A later one was taken, over which nothing has come yet.
    Superseded,
    /// A later one works.
    Retiring { at: Instant },
}

/// All connections of one call.
#[derive(Debug, Default)]
pub(super) struct Legs {
    /// In the order in which they were made.
    made: Vec<Leg>,
    next: u64,
    in_use: Option<LegId>,
    /// The pair that the application was told of last.
    told: Option<(CandidateType, CandidateType)>,
}

impl Leg {
    /// How audio travels over it, once a pair is selected.
    pub(super) fn path(&self) -> Option<Path> {
        let (local, remote) = self.selected?;
        let is_relayed = [local, remote].contains(&CandidateType::Relayed);
        Some(if is_relayed {
            Path::Relayed
        } else {
            Path::Direct
        })
    }

    /// Whether another one has taken its place.
    pub(super) fn is_retired(&self) -> bool {
        self.standing != Standing::Candidate
    }

    fn retires_at(&self) -> Option<Instant> {
        match self.standing {
            Standing::Retiring { at } => Some(at),
            Standing::Candidate | Standing::Superseded => None,
        }
    }

    /// Hands a remote candidate of its generation to the connection.
    pub(super) fn add_candidate(&self, candidate: &TrickledCandidate) {
        if let Err(error) = self.connection.add_remote_candidate(candidate) {
            tracing::warn!(%error, "remote candidate refused");
        }
    }
}

impl Legs {
    /// Adds a connection that was just made.
    pub(super) fn add(
        &mut self,
        origin: Origin,
        (connection, events): (PeerConnection, mpsc::UnboundedReceiver<PeerEvent>),
    ) -> &mut Leg {
        let id = LegId(self.next);
        self.next += 1;
        self.made.push(Leg {
            id,
            origin,
            connection,
            remote_ufrag: None,
            selected: None,
            events,
            standing: Standing::Candidate,
        });
        self.made.last_mut().expect("one was just pushed")
    }

    /// The connection over which audio is sent.
    pub(super) fn in_use(&self) -> Option<&Leg> {
        let id = self.in_use?;
        self.made.iter().find(|leg| leg.id == id)
    }

    /// Whether audio is sent over this one.
    pub(super) fn is_in_use(&self, id: LegId) -> bool {
        self.in_use == Some(id)
    }

    /// The connection that was made last and does not carry audio yet.
    pub(super) fn coming(&mut self) -> Option<&mut Leg> {
        let in_use = self.in_use;
        let last = self.made.last_mut()?;
        (Some(last.id) != in_use && !last.is_retired()).then_some(last)
    }

    /// The application is told of this pair now; `false` where that is what it knows.
    pub(super) fn tell(&mut self, selected: (CandidateType, CandidateType)) -> bool {
        self.told.replace(selected) != Some(selected)
    }

    pub(super) fn get(&mut self, id: LegId) -> Option<&mut Leg> {
        self.made.iter_mut().find(|leg| leg.id == id)
    }

    /// The connection whose other side has this user name fragment.
    pub(super) fn of_generation(&self, ufrag: &str) -> Option<&Leg> {
        let mut legs = self.made.iter();
        legs.find(|leg| leg.remote_ufrag.as_deref() == Some(ufrag))
    }

    /// Audio is sent over this one from now on; those made before it are about to go.
    pub(super) fn take_over(&mut self, id: LegId) {
        self.in_use = Some(id);
        for leg in self.made.iter_mut().filter(|leg| leg.id < id) {
            if leg.standing == Standing::Candidate {
                leg.standing = Standing::Superseded;
            }
        }
    }

    /// Audio came over this one. Those that it has superseded are not needed any more.
    pub(super) fn handle_audio(&mut self, now: Instant, id: LegId) {
        for leg in self.made.iter_mut().filter(|leg| leg.id < id) {
            if leg.standing == Standing::Superseded {
                leg.standing = Standing::Retiring {
                    at: now + RETIRE_AFTER,
                };
            }
        }
    }

    /// Takes out the connection that was made last, if it has this origin and does not carry audio.
    pub(super) fn abandon_coming(&mut self, origin: Origin) -> Option<Leg> {
        self.coming().filter(|leg| leg.origin == origin)?;
        self.made.pop()
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: LegId) -> Option<Leg> {
        let position = self.made.iter().position(|leg| leg.id == id)?;
        self.in_use.take_if(|in_use| *in_use == id);
        Some(self.made.remove(position))
    }

    /// Takes out one whose time is over.
    pub(super) fn retired(&mut self, now: Instant) -> Option<Leg> {
        let is_due = |leg: &Leg| leg.retires_at().is_some_and(|at| at <= now);
        let position = self.made.iter().position(is_due)?;
        Some(self.made.remove(position))
    }

    /// When the next one's time is over.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.made.iter().filter_map(Leg::retires_at).min()
    }

    /// Sends one packet of audio.
    ///
    /// # Errors
    ///
    /// [`PeerError::NotConnected`] where none can carry it, or what the connection says.
    pub(super) fn send_audio(&self, packet: AudioPacket) -> Result<(), PeerError> {
        let leg = self.in_use().ok_or(PeerError::NotConnected)?;
        leg.connection.send_audio(packet)
    }

    /// The next event of any of them, or never while there is none. `None` if a connection has ended.
    pub(super) async fn next_event(&mut self) -> (LegId, Option<PeerEvent>) {
        poll_fn(|context| {
            for leg in &mut self.made {
                if let Poll::Ready(event) = leg.events.poll_recv(context) {
                    return Poll::Ready((leg.id, event));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// All connections, to be closed.
    pub(super) fn into_connections(self) -> impl Iterator<Item = PeerConnection> {
        self.made.into_iter().map(|leg| leg.connection)
    }
}
