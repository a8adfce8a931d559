//! A peer application: the production client, used as an application uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ringtrue::audio::sink::{AudioSink, SinkEvent};
use ringtrue::audio::track::OpusTrack;
use ringtrue::call::saved::SavedCall;
use ringtrue::client::{CallClient, ClientEvent};
use ringtrue::config::ClientConfig;
use ringtrue::net::Net;
use ringtrue::signaling::client::Identity;
use ringtrue::signaling::message::CallId;
use tokio::sync::mpsc;

use crate::determinism;
use crate::trace::{AppEvent, EventKind, HostName, Recorder};

/// Everything that an application is started with.
#[derive(Debug)]
pub struct App {
    /// The host's name.
    pub name: HostName,
    /// The user's name.
    pub user: String,
    /// The host's network.
    pub net: Arc<dyn Net>,
    /// The client's settings.
    pub config: ClientConfig,
    /// What each user plays into calls.
    pub voices: BTreeMap<String, OpusTrack>,
    /// What it stores on its device.
    pub storage: Storage,
    /// Where it writes down what it does and sees.
    pub recorder: Recorder,
}

/// What an application stores of its call on its device, where it outlives the application. Clones are
/// the same storage.
#[derive(Debug, Clone, Default)]
pub struct Storage(Arc<Mutex<Option<SavedCall>>>);

impl Storage {
    /// What is stored.
    #[must_use]
    pub fn get(&self) -> Option<SavedCall> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, saved: Option<SavedCall>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = saved;
    }
}

/// What the script makes a person do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Call somebody.
    Call {
        /// The callee's name.
        callee: String,
    },
    /// Answer the call that rings.
    Answer,
    /// Get a push message that somebody calls.
    Push {
        /// The caller's name.
        caller: String,
        /// The call.
        call: CallId,
    },
    /// End the call, or refuse it.
    HangUp,
}

impl App {
    /// Runs the application until its runtime is dropped or `commands` is closed.
    pub async fn run(self, mut commands: mpsc::UnboundedReceiver<Command>) {
        self.record(AppEvent::Started);
        let identity = Identity {
            name: self.user.clone(),
            token: format!("token-of-{}", self.user),
        };
        let (client, mut events) = CallClient::start(
            Arc::clone(&self.net),
            self.config.clone(),
            identity,
            self.voices[&self.user].clone(),
        );
        let mut call = Call::default();
        if let Some(saved) = self.storage.get() {
            self.resume(&client, saved, &mut call).await;
        }
        let mut saved = client.saved_call();
        loop {
            tokio::select! {
                biased;
                Ok(()) = saved.changed() => {
                    let stored = saved.borrow_and_update().clone();
                    self.storage.set(stored);
                }
                command = commands.recv() => match command {
                    Some(command) => self.act(&client, command, &mut call).await,
                    None => return,
                },
                event = events.recv() => match event {
                    Some(event) => self.see(event, &mut call),
                    None => return,
                },
            }
        }
    }

    async fn resume(&self, client: &CallClient, saved: SavedCall, call: &mut Call) {
        let other = saved.peer.clone();
        match client.resume(saved).await {
            Ok(id) => {
                *call = self.call_with(id, &other);
                self.record(AppEvent::Resumed);
            }
            Err(error) => self.record(AppEvent::Refused {
                what: format!("resume: {error}"),
            }),
        }
    }

    async fn act(&self, client: &CallClient, command: Command, call: &mut Call) {
        let current = call.id.clone();
        let refused = match (&command, current) {
            (Command::Call { callee }, _) => match client.call(callee.clone()).await {
                Ok(id) => {
                    *call = self.call_with(id, callee);
                    self.record(AppEvent::Calling {
                        callee: callee.clone(),
                    });
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            (Command::Push { caller, call: id }, _) => {
                let announced = client.announce(id, caller.clone()).await;
                if announced.is_ok() && call.id.as_ref() != Some(id) {
                    *call = self.call_with(id.clone(), caller);
                    self.record(AppEvent::Pushed {
                        from: caller.clone(),
                    });
                }
                announced.err().map(|error| error.to_string())
            }
            (Command::Answer, Some(id)) => client.answer(&id).await.err().map(|e| e.to_string()),
            (Command::HangUp, Some(id)) => client.hang_up(&id).await.err().map(|e| e.to_string()),
            (Command::Answer | Command::HangUp, None) => Some("there is no call".into()),
        };
        if let Some(error) = refused {
            self.record(AppEvent::Refused {
                what: format!("{command:?}: {error}"),
            });
        }
    }

    fn see(&self, event: ClientEvent, call: &mut Call) {
        self.record(match event {
            ClientEvent::SignalingConnected => AppEvent::SignalingConnected,
            ClientEvent::SignalingLost { reason } => AppEvent::SignalingLost { reason },
            ClientEvent::SignalingRejected { message } => AppEvent::SignalingLost {
                reason: format!("rejected: {message}"),
            },
            ClientEvent::Incoming { call: id, from } => {
                *call = self.call_with(id, &from);
                AppEvent::Incoming { from }
            }
            ClientEvent::RemoteRinging { .. } => AppEvent::RemoteRinging,
            ClientEvent::Answered { .. } => AppEvent::Answered,
            ClientEvent::PathSelected { local, remote, .. } => {
                AppEvent::PathSelected { local, remote }
            }
            // The checker believes content only, see `hear`.
            ClientEvent::AudioConnected { .. } => AppEvent::AudioReported,
            ClientEvent::AudioInterrupted { .. } => AppEvent::AudioInterrupted,
            ClientEvent::Replaced { call: id, .. } => {
                call.id = Some(id);
                AppEvent::Replaced
            }
            ClientEvent::Audio {
                sequence_number,
                payload,
                ..
            } => {
                self.hear(sequence_number, &payload, call);
                return;
            }
            ClientEvent::Ended { reason, .. } => {
                call.id = None;
                AppEvent::Ended { reason }
            }
        });
    }

    fn hear(&self, sequence_number: u16, payload: &[u8], call: &mut Call) {
        let Some(ear) = call.ear.as_mut() else {
            return;
        };
        let matched_before = ear.reception().matched;
        let event = ear.received(determinism::now(), sequence_number, payload);
        for _ in matched_before..ear.reception().matched {
            self.record(AppEvent::Heard);
        }
        if event == Some(SinkEvent::AudioConnected) {
            self.record(AppEvent::AudioConnected);
        }
    }

    /// A call with `other`, whose tone is all that counts.
    fn call_with(&self, id: CallId, other: &str) -> Call {
        Call {
            id: Some(id),
            ear: self.voices.get(other).cloned().map(AudioSink::expecting),
        }
    }

    fn record(&self, event: AppEvent) {
        self.recorder
            .record(determinism::now(), &self.name, EventKind::App(event));
    }
}

/// The application's view of its call.
#[derive(Default)]
struct Call {
    id: Option<CallId>,
    ear: Option<AudioSink>,
}
