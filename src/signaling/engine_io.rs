//! Engine.IO v4, the protocol under Socket.IO (pure): packets, the payloads that carry several of them
//! over HTTP, the heartbeat that tells a dead path, and the move of a session to another transport.

pub mod heartbeat;
pub mod packet;
pub mod payload;
pub mod upgrade;

pub use heartbeat::Heartbeat;
pub use packet::{EngineIoError, EngineIoPacket, Frame, OpenPacket, PING_SETTING_MAX};
