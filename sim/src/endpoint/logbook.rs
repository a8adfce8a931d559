//! Where an application writes down what it does and sees.

use std::collections::BTreeMap;

use ringtrue::audio::sink::{AudioSink, SinkEvent};
use ringtrue::audio::track::OpusTrack;
use ringtrue::signaling::message::CallId;

use crate::determinism;
use crate::trace::{AppEvent, EventKind, HostName, Recorder};

/// What one application does and sees, as the checks read it.
#[derive(Debug)]
pub struct Logbook {
    recorder: Recorder,
    name: HostName,
    voices: BTreeMap<String, OpusTrack>,
    /// Knows the tone of whoever the present call is with.
    ear: Option<AudioSink>,
}

impl Logbook {
    /// An empty one of the application on the host `name`. `voices` are the tones by user.
    #[must_use]
    pub fn new(recorder: Recorder, name: HostName, voices: BTreeMap<String, OpusTrack>) -> Self {
        Self {
            recorder,
            name,
            voices,
            ear: None,
        }
    }

    /// Writes down what the application does or sees now.
    ///
    /// # Panics
    ///
    /// Misuse: that audio was heard is not for the application to say. [`heard`](Self::heard) does.
    pub fn write(&self, event: AppEvent) {
        assert!(
            !matches!(event, AppEvent::Heard | AppEvent::AudioConnected),
            "an application on {} says by itself that it hears audio",
            self.name
        );
        self.record(event);
    }

    /// The application sends a message of this kind in this call, for the first time: what faults wait for
    /// that strike when a peer "sends candidate 2". A [`SignalingClient`] writes it down by itself.
    ///
    /// [`SignalingClient`]: ringtrue::signaling::client::SignalingClient
    pub fn said(kind: &str, call: &CallId) {
        tracing::debug!(kind, %call, "signaling message sent");
    }

    /// The application acts on a message of this kind in this call: that it does so once is checked. A
    /// [`SignalingClient`] writes it down by itself.
    ///
    /// [`SignalingClient`]: ringtrue::signaling::client::SignalingClient
    pub fn told(kind: &str, call: &CallId) {
        tracing::debug!(kind, %call, "signaling message received");
    }

    /// A call with the user `other` begins, whose tone is all that counts from now on.
    pub fn begin_call(&mut self, other: &str) {
        self.ear = self.voices.get(other).cloned().map(AudioSink::expecting);
    }

    /// An audio packet of the other side has arrived: its RTP sequence number, and its payload as it was
    /// before it was encrypted. It counts where its content is the other side's tone.
    pub fn heard(&mut self, sequence_number: u16, payload: &[u8]) {
        let Some(ear) = self.ear.as_mut() else {
            return;
        };
        let matched_before = ear.reception().matched;
        let event = ear.received(determinism::now(), sequence_number, payload);
        let matched = ear.reception().matched;
        for _ in matched_before..matched {
            self.record(AppEvent::Heard);
        }
        if event == Some(SinkEvent::AudioConnected) {
            self.record(AppEvent::AudioConnected);
        }
    }

    fn record(&self, event: AppEvent) {
        self.recorder
            .record(determinism::now(), &self.name, EventKind::App(event));
    }
}
