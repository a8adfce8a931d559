//! Time-limited credentials for TURN servers (pure).
//!
//! The relay and the TURN servers share a secret (draft-uberti-behave-turn-rest-00): a user name holds
//! the moment at which it ends, and its password is a code of that name that only the secret gives.
//! So the servers need to know no users, and a password that leaks ends by itself.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// The name of the Socket.IO event that asks for [`TurnCredentials`].
pub const EVENT: &str = "turn-credentials";

/// What a client shows to a TURN server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnCredentials {
    /// The user name: when it ends, in seconds since the Unix epoch, then a colon, then the user.
    pub username: String,
    /// The password: HMAC-SHA1 of the user name with the shared secret, in base64.
    pub credential: String,
    /// How long they hold from now on, in seconds.
    pub ttl: u64,
    /// The servers that accept them (RFC 7065).
    pub uris: Vec<String>,
}

/// The secret of a relay and its TURN servers.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnSecret(Vec<u8>);

/// Issues [`TurnCredentials`].
#[derive(Clone)]
pub struct TurnCredentialIssuer {
    secret: TurnSecret,
    uris: Vec<String>,
    ttl: Duration,
    /// It is the caller's: nothing in this crate reads a date by itself.
    date: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl TurnSecret {
    /// A secret of any bytes.
    #[must_use]
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// The password of a user name.
    #[must_use]
    pub fn credential(&self, username: &str) -> String {
        // The draft names no other code, and what SHA-1 is weak in does not weaken HMAC.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        STANDARD.encode(hmac::sign(&key, username.as_bytes()))
    }
}

impl TurnCredentialIssuer {
    /// How long credentials hold unless told otherwise: a day, as the draft recommends. They have to
    /// outlive a call, since they are shown again whenever an allocation is refreshed.
    pub const DEFAULT_TTL: Duration = Duration::from_hours(24);

    /// Issues credentials for the servers at `uris`, which hold for `ttl` in whole seconds from what
    /// `date` says.
    #[must_use]
    pub fn new(
        secret: TurnSecret,
        uris: Vec<String>,
        ttl: Duration,
        date: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self {
            secret,
            uris,
            ttl,
            date: Arc::new(date),
        }
    }

    /// Credentials of a user.
    #[must_use]
    pub fn issue(&self, user: &str) -> TurnCredentials {
        let ends = seconds((self.date)()) + self.ttl.as_secs();
        let username = format!("{ends}:{user}");
        TurnCredentials {
            credential: self.secret.credential(&username),
            username,
            ttl: self.ttl.as_secs(),
            uris: self.uris.clone(),
        }
    }
}

/// A time-limited user name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedUsername<'a> {
    /// When it ends.
    pub ends: SystemTime,
    /// The user.
    pub user: &'a str,
}

impl<'a> TimedUsername<'a> {
    /// Takes a user name apart; `None` where it holds no moment.
    #[must_use]
    pub fn parse(username: &'a str) -> Option<Self> {
        let (ends, user) = username.split_once(':')?;
        // Digits alone: a number may be read with a sign.
        if !ends.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let ends = UNIX_EPOCH.checked_add(Duration::from_secs(ends.parse().ok()?))?;
        Some(Self { ends, user })
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TurnSecret(..)")
    }
}

impl fmt::Debug for TurnCredentialIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TurnCredentialIssuer")
            .field("uris", &self.uris)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// Seconds since the Unix epoch; zero before it.
fn seconds(date: SystemTime) -> u64 {
    date.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn issuer() -> TurnCredentialIssuer {
        TurnCredentialIssuer::new(
            TurnSecret::new("north"),
            vec!["turn:turn.example".into()],
            Duration::from_hours(1),
            || UNIX_EPOCH + Duration::from_millis(1_000_999),
        )
    }

    #[test]
    fn hmac_sha1_has_the_values_of_rfc_2202() {
        // Test cases 1 and 2 of its section 3, written in base64.
        for (secret, text, code) in [
            (vec![0x0b; 20], "Hi There", "thcxhlUFcmTii8C2+zeMjvFGvgA="),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "7/zfauXrL6LSdBbV8YTfnCWafHk=",
            ),
        ] {
            assert_eq!(TurnSecret::new(secret).credential(text), code);
        }
    }

    #[test]
    fn credentials_say_when_they_end() {
        let credentials = issuer().issue("anna:x");
        assert_eq!(credentials.username, "4600:anna:x");
        assert_eq!(credentials.ttl, 3600);
        assert_eq!(credentials.uris, ["turn:turn.example"]);
        let expected = TurnSecret::new("north").credential("4600:anna:x");
        assert_eq!(credentials.credential, expected);
        let timed = TimedUsername::parse(&credentials.username).expect("it holds a moment");
        assert_eq!(timed.ends, UNIX_EPOCH + Duration::from_secs(4600));
        assert_eq!(timed.user, "anna:x");
    }

    #[test]
    fn the_wire_format_is_one_flat_object() {
        let json = serde_json::to_value(issuer().issue("anna")).expect("plain data");
        assert_eq!(json["username"], "4600:anna");
        assert_eq!(json["ttl"], 3600);
        assert_eq!(json["uris"][0], "turn:turn.example");
        assert!(json["credential"].is_string());
    }

    #[test]
    fn what_holds_no_moment_is_not_timed() {
        for username in [
            "ringtrue", "", "anna:1", "+5:anna", "-5:anna", " 5:anna", "5",
        ] {
            assert_eq!(TimedUsername::parse(username), None, "{username:?}");
        }
        let far = "99999999999999999999:anna";
        assert_eq!(TimedUsername::parse(far), None);
    }

    #[test]
    fn the_secret_is_not_printed() {
        let printed = format!("{:?} {:?}", TurnSecret::new("north"), issuer());
        assert!(!printed.contains("north"), "{printed}");
    }

    proptest! {
        #[test]
        fn any_user_name_is_taken_apart_or_not(username in "\\PC*|[0-9]{0,25}:\\PC*") {
            if let Some(timed) = TimedUsername::parse(&username) {
                prop_assert!(username.ends_with(timed.user));
            }
        }
    }
}
