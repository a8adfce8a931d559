//! Time-limited credentials for TURN servers, which the signaling server gives (pure).
//!
//! They follow draft-uberti-behave-turn-rest-00: an application needs to ship no password, and one
//! that leaks ends by itself.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;

pub use super::relay::turn_credentials::EVENT;
use super::relay::turn_credentials::TurnCredentials as Answer;
use crate::config::{Credentials, IceServer};
use crate::redaction;

/// The least time between two requests, whatever a server says.
const ASK_AGAIN_MIN: Duration = Duration::from_secs(10);

/// The longest that credentials are believed to hold: a server that says more is asked all the same.
const HOLD_MAX: Duration = Duration::from_hours(24 * 7);

/// What a client shows to TURN servers, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnCredentials {
    /// The user name and the password.
    pub credentials: Credentials,
    /// When they end.
    pub expires_at: Instant,
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TurnCredentialsError {
    /// The server gives none.
    #[error(
        "the server gives no turn credentials: {}",
        redaction::scrubbed(message)
    )]
    Refused {
        /// The server's words.
        message: String,
    },
    /// The server's answer cannot be read.
    #[error("the server's answer to {EVENT} cannot be read: {complaint}")]
    Malformed {
        /// What is wrong with it.
        complaint: String,
    },
}

/// When the server is to be asked for credentials.
#[derive(Debug, Default)]
pub struct TurnRefresh {
    ask_at: Option<Instant>,
    /// Whether this server has given any.
    given: Option<TurnCredentials>,
}

impl TurnCredentials {
    /// Reads what the server answers. Which servers it names does not matter: the application says
    /// which are used.
    ///
    /// # Errors
    ///
    /// [`TurnCredentialsError`].
    pub fn from_answer(now: Instant, arguments: &[Value]) -> Result<Self, TurnCredentialsError> {
        let answer = arguments.first().unwrap_or(&Value::Null);
        if let Some(error) = answer.get("error") {
            let message = error.as_str().unwrap_or("no reason given").into();
            return Err(TurnCredentialsError::Refused { message });
        }
        let answer = Answer::deserialize(answer).map_err(|error| {
            // Any other complaint may quote the password.
            let complaint = match error.to_string() {
                missing if missing.starts_with("missing field") => missing,
                _ => "a field of another type".into(),
            };
            TurnCredentialsError::Malformed { complaint }
        })?;
        Ok(Self {
            credentials: Credentials {
                username: answer.username,
                password: answer.credential,
            },
            expires_at: now + Duration::from_secs(answer.ttl).min(HOLD_MAX),
        })
    }

    /// The servers with these credentials wherever a TURN server has none of its own, unless their
    /// time is over. Others are returned as they are.
    #[must_use]
    pub fn supply(&self, now: Instant, servers: &[IceServer]) -> Vec<IceServer> {
        let mut servers = servers.to_vec();
        if now < self.expires_at {
            for server in servers
                .iter_mut()
                .filter(|server| lacks_credentials(server))
            {
                server.credentials = Some(self.credentials.clone());
            }
        }
        servers
    }
}

impl TurnRefresh {
    /// There is a new connection, or the application wants credentials from now on.
    pub fn handle_connected(&mut self, now: Instant) {
        self.ask_at = Some(now);
    }

    /// There is nobody to ask.
    pub fn handle_disconnected(&mut self) {
        self.ask_at = None;
    }

    /// The server is asked.
    pub fn handle_asked(&mut self) {
        self.ask_at = None;
    }

    /// The server gave credentials: they are replaced after three quarters of their time.
    pub fn handle_given(&mut self, now: Instant, given: TurnCredentials) {
        let left = given.expires_at.saturating_duration_since(now);
        self.ask_at = Some(now + (left * 3 / 4).max(ASK_AGAIN_MIN));
        self.given = Some(given);
    }

    /// There was no answer. A server that has answered before is asked again; another one may not
    /// know the question.
    pub fn handle_unanswered(&mut self, now: Instant) {
        if self.given.is_some() {
            self.ask_at = Some(now + ASK_AGAIN_MIN);
        }
    }

    /// When the server is to be asked next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ask_at
    }
}

/// Whether a server is a TURN server of which the application has no credentials.
#[must_use]
pub fn lacks_credentials(server: &IceServer) -> bool {
    let is_turn = server.url.starts_with("turn:") || server.url.starts_with("turns:");
    is_turn && server.credentials.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(ttl: u64) -> Vec<Value> {
        vec![json!({
            "username": "1700000000:anna",
            "credential": "c2VjcmV0",
            "ttl": ttl,
            "uris": ["turn:turn.example"],
        })]
    }

    fn given(now: Instant, ttl: u64) -> TurnCredentials {
        TurnCredentials::from_answer(now, &answer(ttl)).expect("credentials")
    }

    fn server(url: &str, password: Option<&str>) -> IceServer {
        let credentials = password.map(|password| Credentials {
            username: "me".into(),
            password: password.into(),
        });
        IceServer {
            url: url.into(),
            credentials,
        }
    }

    #[test]
    fn turn_servers_without_credentials_are_supplied_with_them() {
        let now = Instant::now();
        let given = given(now, 60);
        let servers = [
            server("stun:stun.example", None),
            server("turn:turn.example", None),
            server("turns:turn.example", None),
            server("turn:own.example", Some("own")),
        ];
        let passwords = |now| -> Vec<Option<String>> {
            let servers = given.supply(now, &servers).into_iter();
            servers
                .map(|server| server.credentials.map(|credentials| credentials.password))
                .collect()
        };
        let (secret, own) = (Some("c2VjcmV0".to_owned()), Some("own".to_owned()));
        let supplied = [None, secret.clone(), secret, own.clone()];
        assert_eq!(passwords(now), supplied);
        assert_eq!(passwords(now + Duration::from_secs(59)), supplied);
        let end = now + Duration::from_mins(1);
        assert_eq!(passwords(end), [None, None, None, own]);
        assert_eq!(given.credentials.username, "1700000000:anna");
    }

    #[test]
    fn an_answer_without_credentials_is_an_error() {
        let now = Instant::now();
        let refused = TurnCredentials::from_answer(now, &[json!({"error": "none"})]);
        let message = "none".into();
        assert_eq!(refused, Err(TurnCredentialsError::Refused { message }));
        for malformed in [
            vec![],
            vec![json!(null)],
            vec![json!({"username": "a", "credential": "b"})],
            vec![json!({"username": "a", "credential": "b", "ttl": -1})],
        ] {
            let read = TurnCredentials::from_answer(now, &malformed);
            assert!(
                matches!(read, Err(TurnCredentialsError::Malformed { .. })),
                "{malformed:?}"
            );
        }
        let forever = TurnCredentials::from_answer(now, &answer(u64::MAX));
        let expires_at = forever.map(|given| given.expires_at);
        assert_eq!(expires_at, Ok(now + HOLD_MAX));
    }

    #[test]
    fn credentials_are_replaced_before_they_end() {
        let now = Instant::now();
        let mut refresh = TurnRefresh::default();
        assert_eq!(refresh.poll_timeout(), None);
        refresh.handle_connected(now);
        assert_eq!(refresh.poll_timeout(), Some(now));
        refresh.handle_asked();
        assert_eq!(refresh.poll_timeout(), None);
        refresh.handle_given(now, given(now, 100));
        let due = now + Duration::from_secs(75);
        assert_eq!(refresh.poll_timeout(), Some(due));
        refresh.handle_asked();
        refresh.handle_unanswered(due);
        assert_eq!(refresh.poll_timeout(), Some(due + ASK_AGAIN_MIN));
        refresh.handle_disconnected();
        assert_eq!(refresh.poll_timeout(), None);
        refresh.handle_given(now, given(now, 0));
        assert_eq!(refresh.poll_timeout(), Some(now + ASK_AGAIN_MIN));
    }

    #[test]
    fn a_server_that_never_gave_any_is_asked_once_for_each_connection() {
        let now = Instant::now();
        let mut refresh = TurnRefresh::default();
        refresh.handle_connected(now);
        refresh.handle_asked();
        refresh.handle_unanswered(now);
        assert_eq!(refresh.poll_timeout(), None);
        refresh.handle_connected(now);
        assert_eq!(refresh.poll_timeout(), Some(now));
    }
}
