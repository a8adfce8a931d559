//! Who may connect (pure).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use crate::signaling::message::PeerName;

/// Who may connect.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum TokenPolicy {
    /// Everybody, under any name.
    #[default]
    Any,
    /// These users, each with this token.
    Listed(BTreeMap<PeerName, String>),
}

/// Why a connection is refused. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// What authenticates the client cannot be read.
    #[error("auth must be an object with the texts user and token")]
    Malformed,
    /// The user has no name.
    #[error("user is empty")]
    EmptyUser,
    /// The device is given and has no name.
    #[error("device is empty")]
    EmptyDevice,
    /// The name of the user or of its device is too long.
    #[error("{field} has {bytes} bytes, and {max} are allowed")]
    NameTooLong {
        /// Which name: `user` or `device`.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// The user is not known, or the token is another one; which of them is not told.
    #[error("user {user:?} has no such token")]
    WrongToken {
        /// The user's name.
        user: PeerName,
    },
    /// The user has as many other devices as are allowed.
    #[error("user {user:?} has {max} devices already")]
    TooManyDevices {
        /// The user's name.
        user: PeerName,
        /// How many are allowed.
        max: usize,
    },
    /// The relay accepts nobody any more.
    #[error("the relay is shutting down")]
    ShuttingDown,
}

/// The payload of a client's CONNECT.
#[derive(Debug, Deserialize)]
pub(super) struct Auth {
    pub(super) user: PeerName,
    #[serde(default)]
    token: String,
    /// A random name of one running client. Other clients than ours may have none.
    pub(super) device: Option<String>,
}

impl Auth {
    /// Checks everything that needs no knowledge of other connections.
    pub(super) fn check(
        &self,
        tokens: &TokenPolicy,
        name_bytes_max: usize,
    ) -> Result<(), AdmissionError> {
        let device = self.device.as_deref();
        for (field, name) in [("user", Some(self.user.as_str())), ("device", device)] {
            let bytes = name.map_or(0, str::len);
            if bytes > name_bytes_max {
                return Err(AdmissionError::NameTooLong {
                    field,
                    bytes,
                    max: name_bytes_max,
                });
            }
        }
        if device.is_some_and(str::is_empty) {
            return Err(AdmissionError::EmptyDevice);
        }
        tokens.admit(&self.user, &self.token)
    }
}

impl TokenPolicy {
    /// Checks a user's token. How long that takes does not tell how much of the token is right.
    ///
    /// # Errors
    ///
    /// [`AdmissionError::EmptyUser`] or [`AdmissionError::WrongToken`].
    pub fn admit(&self, user: &str, token: &str) -> Result<(), AdmissionError> {
        if user.is_empty() {
            return Err(AdmissionError::EmptyUser);
        }
        match self {
            Self::Any => Ok(()),
            Self::Listed(tokens) => match tokens.get(user) {
                Some(listed) if same(listed.as_bytes(), token.as_bytes()) => Ok(()),
                _ => Err(AdmissionError::WrongToken { user: user.into() }),
            },
        }
    }
}

impl fmt::Debug for TokenPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("Any"),
            Self::Listed(tokens) => formatter
                .debug_tuple("Listed")
                .field(&tokens.keys().collect::<Vec<_>>())
                .finish(),
        }
    }
}

/// Compares without an early end; only the length can be learned from the time that it takes.
fn same(left: &[u8], right: &[u8]) -> bool {
    let different = |(left, right): (&u8, &u8)| left ^ right;
    let pairs = left.iter().zip(right).map(different);
    left.len() == right.len() && pairs.fold(0, |seen, bits| seen | bits) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(auth: &str, expected: &Result<(), AdmissionError>) {
        let tokens = BTreeMap::from([("anna".into(), "secret".into())]);
        let auth: Auth = serde_json::from_str(auth).expect("an auth object");
        assert_eq!(&auth.check(&TokenPolicy::Listed(tokens), 8), expected);
    }

    #[test]
    fn a_user_needs_its_own_token() {
        check(r#"{"user":"anna","token":"secret"}"#, &Ok(()));
        check(r#"{"user":"anna","token":"secret","device":"d1"}"#, &Ok(()));
        for token in ["", "secre", "secret1", "Secret"] {
            let auth = format!(r#"{{"user":"anna","token":"{token}"}}"#);
            let user = "anna".into();
            check(&auth, &Err(AdmissionError::WrongToken { user }));
        }
        let user = "boris".into();
        check(
            r#"{"user":"boris","token":"secret"}"#,
            &Err(AdmissionError::WrongToken { user }),
        );
    }

    #[test]
    fn names_have_a_length() {
        check(r#"{"user":""}"#, &Err(AdmissionError::EmptyUser));
        check(
            r#"{"user":"anna","device":""}"#,
            &Err(AdmissionError::EmptyDevice),
        );
        let too_long = |field| AdmissionError::NameTooLong {
            field,
            bytes: 9,
            max: 8,
        };
        check(r#"{"user":"123456789"}"#, &Err(too_long("user")));
        check(
            r#"{"user":"anna","device":"123456789"}"#,
            &Err(too_long("device")),
        );
    }

    #[test]
    fn tokens_are_not_printed() {
        let tokens = BTreeMap::from([("anna".into(), "secret".into())]);
        let printed = format!("{:?}", TokenPolicy::Listed(tokens));
        assert_eq!(printed, r#"Listed(["anna"])"#);
    }
}
