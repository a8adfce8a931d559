//! The production client, used as an application uses it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ringtrue::call::saved::SavedCall;
use ringtrue::client::{CallClient, ClientEvent};
use ringtrue::signaling::message::CallId;
use tokio::sync::mpsc;

use super::{Command, Endpoint, Logbook, Seat};
use crate::trace::AppEvent;

/// The client that ships.
#[derive(Debug, Clone, Copy, Default)]
pub struct RingtrueEndpoint;

impl Endpoint for RingtrueEndpoint {
    fn run(&self, seat: Seat) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (client, events) = CallClient::start(
                Arc::clone(&seat.net),
                seat.config.clone(),
                seat.identity(),
                seat.voice().clone(),
            );
            drive(seat, client, events).await;
        })
    }
}

/// Drives a client as the script says, and writes down what it reports: the application around any
/// [`CallClient`], however that was started.
pub async fn drive(
    seat: Seat,
    client: CallClient,
    mut events: mpsc::UnboundedReceiver<ClientEvent>,
) {
    let Seat {
        storage,
        mut commands,
        logbook,
        ..
    } = seat;
    let mut app = App {
        client,
        logbook,
        call: None,
    };
    if let Some(saved) = storage.get() {
        app.resume(saved).await;
    }
    let mut saved = app.client.saved_call();
    loop {
        tokio::select! {
            biased;
            Ok(()) = saved.changed() => {
                let stored = saved.borrow_and_update().clone();
                storage.set(stored);
            }
            command = commands.recv() => match command {
                Some(command) => app.act(command).await,
                None => return,
            },
            event = events.recv() => match event {
                Some(event) => app.see(event),
                None => return,
            },
        }
    }
}

/// An application and its view of its call.
struct App {
    client: CallClient,
    logbook: Logbook,
    call: Option<CallId>,
}

impl App {
    async fn resume(&mut self, saved: SavedCall) {
        let other = saved.peer.clone();
        match self.client.resume(saved).await {
            Ok(id) => {
                self.enter(id, &other);
                self.logbook.write(AppEvent::Resumed);
            }
            Err(error) => self.logbook.write(AppEvent::Refused {
                what: format!("resume: {error}"),
            }),
        }
    }

    async fn act(&mut self, command: Command) {
        let current = self.call.clone();
        let refused = match (&command, current) {
            (Command::Call { callee }, _) => match self.client.call(callee.clone()).await {
                Ok(id) => {
                    self.enter(id, callee);
                    self.logbook.write(AppEvent::Calling {
                        callee: callee.clone(),
                    });
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            (Command::Push { caller, call: id }, _) => {
                let announced = self.client.announce(id, caller.clone()).await;
                if announced.is_ok() && self.call.as_ref() != Some(id) {
                    self.enter(id.clone(), caller);
                    self.logbook.write(AppEvent::Pushed {
                        from: caller.clone(),
                    });
                }
                announced.err().map(|error| error.to_string())
            }
            (Command::Answer, Some(id)) => {
                self.client.answer(&id).await.err().map(|e| e.to_string())
            }
            (Command::HangUp, Some(id)) => {
                self.client.hang_up(&id).await.err().map(|e| e.to_string())
            }
            (Command::Answer | Command::HangUp, None) => Some("there is no call".into()),
        };
        if let Some(error) = refused {
            self.logbook.write(AppEvent::Refused {
                what: format!("{command:?}: {error}"),
            });
        }
    }

    fn see(&mut self, event: ClientEvent) {
        let seen = match event {
            ClientEvent::SignalingConnected => AppEvent::SignalingConnected,
            ClientEvent::SignalingLost { reason } => AppEvent::SignalingLost { reason },
            ClientEvent::SignalingRejected { message } => AppEvent::SignalingLost {
                reason: format!("rejected: {message}"),
            },
            ClientEvent::Incoming { call: id, from } => {
                self.enter(id, &from);
                AppEvent::Incoming { from }
            }
            ClientEvent::RemoteRinging { .. } => AppEvent::RemoteRinging,
            ClientEvent::Answered { .. } => AppEvent::Answered,
            ClientEvent::PathSelected { local, remote, .. } => {
                AppEvent::PathSelected { local, remote }
            }
            // The checker believes content only, see `Logbook::heard`.
            ClientEvent::AudioConnected { .. } => AppEvent::AudioReported,
            ClientEvent::AudioInterrupted { .. } => AppEvent::AudioInterrupted,
            ClientEvent::Replaced { call: id, .. } => {
                self.call = Some(id);
                AppEvent::Replaced
            }
            ClientEvent::Audio {
                sequence_number,
                payload,
                ..
            } => {
                return self.logbook.heard(sequence_number, &payload);
            }
            ClientEvent::Ended { reason, .. } => {
                self.call = None;
                AppEvent::Ended { reason }
            }
        };
        self.logbook.write(seen);
    }

    fn enter(&mut self, call: CallId, other: &str) {
        self.call = Some(call);
        self.logbook.begin_call(other);
    }
}
