//! The task behind a connection: obeys its owner, listens to ICE, starts the transport.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::transport::Transport;
use super::{AudioPacket, IceRole, IceState, PeerEvent, dtls_role};
use crate::candidates::{CandidateAttribute, CandidateType};
use crate::config::IceConfig;
use crate::key_log::KeyLog;
use crate::net::{Net, TrafficClass};
use crate::peer::dtls::Certificate;
use crate::peer::failure::{CandidateTypes, PeerFailure, Suspicion};
use crate::peer::generation::{Generation, GenerationEvent};
use crate::peer::sdp::{IceCredentials, SessionDescription};
use crate::redaction;
use crate::signaling::message::TrickledCandidate;

/// How long the transport may take to say goodbye.
const TRANSPORT_CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What the owner asks for.
#[derive(Debug)]
pub(super) enum Command {
    Gather,
    AddCandidate(CandidateAttribute),
    Start,
    Close(oneshot::Sender<()>),
}

/// What a connection is made with, and shares with its owner.
pub(super) struct Setting {
    pub(super) net: Arc<dyn Net>,
    pub(super) ice: IceConfig,
    pub(super) class: TrafficClass,
    pub(super) role: IceRole,
    pub(super) credentials: IceCredentials,
    pub(super) certificate: Certificate,
    pub(super) ssrc: u32,
    pub(super) key_log: KeyLog,
    pub(super) remote: Arc<OnceLock<SessionDescription>>,
    pub(super) secured: Arc<AtomicBool>,
    pub(super) events: mpsc::UnboundedSender<PeerEvent>,
}

/// The task that owns everything. Dropping it drops everything.
pub(super) struct Actor {
    setting: Setting,
    /// Taken by the transport when checks begin, which happens once.
    audio_to_send: Option<mpsc::Receiver<AudioPacket>>,
    generation: Option<Generation>,
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
    local_kinds: BTreeSet<CandidateType>,
    remote_kinds: BTreeSet<CandidateType>,
    was_connected: bool,
}

impl Actor {
    pub(super) fn new(setting: Setting, audio_to_send: mpsc::Receiver<AudioPacket>) -> Self {
        Self {
            setting,
            audio_to_send: Some(audio_to_send),
            generation: None,
            tasks: JoinSet::new(),
            closing: watch::Sender::new(false),
            local_kinds: BTreeSet::new(),
            remote_kinds: BTreeSet::new(),
            was_connected: false,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (reports, mut reported) = mpsc::unbounded_channel();
        let done = loop {
            let outcome = tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => break None,
                    Some(Command::Close(done)) => break Some(done),
                    Some(command) => self.obey(command, &reports).await,
                },
                Some(event) = reported.recv() => {
                    self.forward(event);
                    Ok(())
                }
            };
            if let Err(failure) = outcome {
                self.tell(PeerEvent::Failed(failure));
            }
        };
        self.close().await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    async fn obey(
        &mut self,
        command: Command,
        reports: &mpsc::UnboundedSender<GenerationEvent>,
    ) -> Result<(), PeerFailure> {
        if self.generation.is_none() {
            let generation = Generation::new(
                Arc::clone(&self.setting.net),
                &self.setting.ice,
                self.setting.class,
                &self.setting.credentials,
                reports.clone(),
            );
            self.generation = Some(generation.await?);
        }
        let Some(generation) = &self.generation else {
            return Ok(());
        };
        match command {
            Command::Gather => generation.gather()?,
            Command::AddCandidate(attribute) => {
                self.remote_kinds.insert(attribute.kind);
                match generation.add_remote(&attribute) {
                    Ok(()) => {
                        let remote = self.setting.remote.get();
                        let remote = remote.map_or("", |remote| remote.credentials.ufrag());
                        tracing::info!(
                            candidate = %redaction::candidate(&attribute),
                            local = self.setting.credentials.ufrag(),
                            remote,
                            "✅ Added remote ICE candidate"
                        );
                    }
                    Err(reason) => {
                        tracing::debug!(candidate = %redaction::candidate(&attribute), %reason, "remote candidate not used");
                    }
                }
            }
            Command::Start => {
                generation.gather()?;
                self.start()?;
            }
            Command::Close(_) => {}
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), PeerFailure> {
        let (Some(generation), Some(remote), Some(audio_to_send)) = (
            &self.generation,
            self.setting.remote.get(),
            self.audio_to_send.take(),
        ) else {
            return Ok(());
        };
        let dtls_role = dtls_role(self.setting.role, remote.setup)
            .map_err(|error| PeerFailure::Internal(error.to_string()))?;
        let (keep_checking, cancel) = mpsc::channel(1);
        let path = generation.connect(self.setting.role, &remote.credentials, cancel);
        let transport = Transport {
            certificate: self.setting.certificate.clone(),
            dtls_role,
            remote: remote.clone(),
            ssrc: self.setting.ssrc,
            key_log: self.setting.key_log.clone(),
            secured: Arc::clone(&self.setting.secured),
            events: self.setting.events.clone(),
            closing: self.closing.subscribe(),
        };
        self.tasks.spawn(async move {
            let _keep_checking = keep_checking;
            transport.run(path, audio_to_send).await;
        });
        Ok(())
    }

    fn forward(&mut self, event: GenerationEvent) {
        match event {
            GenerationEvent::LocalCandidate(attribute) => {
                self.local_kinds.insert(attribute.kind);
                let mid = match self.setting.role {
                    IceRole::Controlling => "0",
                    IceRole::Controlled => {
                        self.setting.remote.get().map_or("0", |offer| &offer.mid)
                    }
                };
                self.tell(PeerEvent::LocalCandidate(TrickledCandidate {
                    candidate: attribute.to_string(),
                    sdp_mid: mid.to_owned(),
                    username_fragment: self.setting.credentials.ufrag().to_owned(),
                }));
            }
            GenerationEvent::LocalCandidatesComplete => {
                self.tell(PeerEvent::LocalCandidatesComplete);
            }
            GenerationEvent::State(state) => {
                self.was_connected |= state == IceState::Connected;
                self.tell(PeerEvent::IceStateChanged(state));
                if state == IceState::Failed {
                    self.tell(PeerEvent::Failed(self.ice_failure()));
                }
            }
            GenerationEvent::SocketLost(address) => self.tell(PeerEvent::SocketLost { address }),
            GenerationEvent::ConsentLost => self.tell(PeerEvent::ConsentLost),
            GenerationEvent::Selected(selected) => self.tell(PeerEvent::Selected {
                local: selected.local.0,
                remote: selected.remote.0,
                local_address: selected.local.1,
                remote_address: selected.remote.1,
            }),
        }
    }

    fn ice_failure(&self) -> PeerFailure {
        if self.was_connected {
            PeerFailure::PathLost(
                self.setting.ice.receiving_timeout + self.setting.ice.failed_timeout,
            )
        } else {
            let local = CandidateTypes(self.local_kinds.clone());
            let remote = CandidateTypes(self.remote_kinds.clone());
            let suspicion = Suspicion::of(&local, &remote, self.setting.ice.servers.len());
            PeerFailure::NoPairWorked {
                local,
                remote,
                suspicion,
            }
        }
    }

    async fn close(&mut self) {
        self.setting.secured.store(false, Ordering::Release);
        self.closing.send_replace(true);
        let goodbye = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(TRANSPORT_CLOSE_TIMEOUT, goodbye).await.is_err() {
            self.tasks.shutdown().await;
        }
        if let Some(generation) = self.generation.take() {
            generation.close().await;
        }
        self.tell(PeerEvent::IceStateChanged(IceState::Closed));
    }

    fn tell(&self, event: PeerEvent) {
        // An owner that does not listen any more is about to drop the connection.
        let _ = self.setting.events.send(event);
    }
}
