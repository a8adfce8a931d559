//! The key log: the secrets of encrypted connections, for whoever reads their packets.
//!
//! A capture of a call holds its DTLS handshake encrypted from the middle on, and over TLS its signaling
//! from the beginning. Tools such as Wireshark read both where they are given the secrets, in the format
//! of the files that browsers write where `SSLKEYLOGFILE` is set (draft-ietf-tls-keylogfile).
//!
//! It is off unless an application turns it on, for one person who looks at their own calls. **Whoever
//! has the lines can decrypt the connections**: the call's audio too, since the keys of SRTP follow from
//! those of DTLS (RFC 5764 section 4.2). So they belong into no log that is kept or sent anywhere.
//!
//! ```
//! use std::sync::mpsc;
//!
//! use ringtrue::config::ClientConfig;
//! use ringtrue::key_log::KeyLog;
//!
//! let (lines, collected) = mpsc::channel();
//! let mut config = ClientConfig::default();
//! config.log_keys(&KeyLog::new(move |line| {
//!     // A reader that is gone wants no more.
//!     let _ = lines.send(line.to_owned());
//! }));
//! # drop(config);
//! # assert!(collected.recv().is_err());
//! ```

use std::fmt;
use std::sync::Arc;

/// The label of a master secret, as up to TLS 1.2 and DTLS 1.2 there is one.
const MASTER_SECRET: &str = "CLIENT_RANDOM";

/// Where the secrets go. The default is nowhere.
#[derive(Clone, Default)]
pub struct KeyLog(Option<Arc<Write>>);

type Write = dyn Fn(&str) + Send + Sync;

impl KeyLog {
    /// Hands each line to `write`, without a line break, when a secret is known. It is called from the tasks
    /// of the client and must not block.
    #[must_use]
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(write)))
    }

    /// Whether anybody wants the secrets.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn master_secret(&self, client_random: &[u8], secret: &[u8]) {
        self.secret(MASTER_SECRET, client_random, secret);
    }

    /// `label` says which of the secrets of a connection it is.
    pub(crate) fn secret(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if let Some(write) = &self.0 {
            write(&format!("{label} {} {}", Hex(client_random), Hex(secret)));
        }
    }
}

/// Two are equal where they write to the same place.
impl PartialEq for KeyLog {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            _ => false,
        }
    }
}

impl Eq for KeyLog {}

impl fmt::Debug for KeyLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_on() { "on" } else { "off" };
        write!(formatter, "KeyLog({state})")
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_secret_is_one_line_in_the_format_of_browsers() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let log = KeyLog::new(move |line| kept.lock().expect("no panic").push(line.to_owned()));
        log.master_secret(&[0x00, 0xab], &[0x0f]);
        assert_eq!(
            *lines.lock().expect("no panic"),
            ["CLIENT_RANDOM 00ab 0f".to_owned()]
        );
    }

    #[test]
    fn it_shows_no_secret_and_equals_its_clones_only() {
        let on = KeyLog::new(|_| {});
        assert_eq!(
            format!("{on:?} {:?}", KeyLog::default()),
            "KeyLog(on) KeyLog(off)"
        );
        assert_eq!(on, on.clone());
        assert_ne!(on, KeyLog::new(|_| {}));
        assert_ne!(on, KeyLog::default());
    }
}
