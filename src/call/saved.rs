//! What an application stores of its call, so that it can go on after the app was killed (pure).

use serde::{Deserialize, Serialize};

use super::negotiation::Side;
use crate::signaling::message::{CallId, PeerName};

/// A call, as far as an app that is started again must know it. It holds no secret but the call's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCall {
    /// The call.
    pub call: CallId,
    /// The other side.
    pub peer: PeerName,
    /// Who began it.
    pub side: Side,
    /// How far it had come.
    pub stage: SavedStage,
}

/// How far a stored call had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedStage {
    /// It rang.
    Ringing,
    /// It was answered.
    Answered,
}
