//! Connection state recovery: what a reconnect tells the server, so that it can take up the session
//! before.

use serde_json::{Map, Value};

use super::received::Recovered;

/// What is known of the session to take up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The server's private name for the session, if it can recover it.
    pid: Option<String>,
    /// How far in the server's stream of events this client is.
    offset: Option<String>,
}

impl Recovery {
    /// What CONNECT carries: the session to take up, and `auth`, whose own keys come first.
    #[must_use]
    pub fn connect_payload(&self, auth: &Map<String, Value>) -> Option<Map<String, Value>> {
        let mut payload = Map::new();
        if let Some(pid) = &self.pid {
            payload.insert("pid".into(), Value::String(pid.clone()));
            if let Some(offset) = &self.offset {
                payload.insert("offset".into(), Value::String(offset.clone()));
            }
        }
        payload.extend(auth.clone());
        Some(payload).filter(|payload| !payload.is_empty())
    }

    /// Takes in the `pid` of a reply to CONNECT. The session is the one before if its name is.
    pub fn on_joined(&mut self, pid: Option<String>) -> Recovered {
        if pid.is_some() && pid == self.pid {
            return Recovered::Yes;
        }
        *self = Self { pid, offset: None };
        Recovered::No
    }

    /// Takes the offset off the arguments of an event without acknowledgement id. A server that named
    /// a `pid` adds it to all of them but volatile ones, which cannot be told apart: where a server
    /// recovers sessions, its volatile events must not end in a text.
    pub fn take_offset(&mut self, arguments: &mut Vec<Value>) {
        if self.pid.is_some()
            && let Some(Value::String(offset)) = arguments.pop_if(|last| last.is_string())
        {
            self.offset = Some(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: &Value) -> Option<Map<String, Value>> {
        value.as_object().cloned()
    }

    #[test]
    fn a_session_is_recovered_by_pid_and_offset() {
        let mut recovery = Recovery::default();
        let auth = object(&json!({"token": "t"})).expect("an object");
        let mut arguments = vec![json!("text")];
        recovery.take_offset(&mut arguments);
        assert_eq!(arguments, ["text"]);
        assert_eq!(recovery.connect_payload(&auth), Some(auth.clone()));

        assert_eq!(recovery.on_joined(Some("p".into())), Recovered::No);
        assert_eq!(
            recovery.connect_payload(&auth),
            object(&json!({"pid": "p", "token": "t"}))
        );
        let mut arguments = vec![json!("text"), json!("offset")];
        recovery.take_offset(&mut arguments);
        assert_eq!(arguments, ["text"]);
        let mut arguments = vec![json!(1)];
        recovery.take_offset(&mut arguments);
        assert_eq!(arguments, [json!(1)]);
        assert_eq!(
            recovery.connect_payload(&auth),
            object(&json!({"pid": "p", "offset": "offset", "token": "t"}))
        );

        assert_eq!(recovery.on_joined(Some("p".into())), Recovered::Yes);
        assert_eq!(recovery.on_joined(Some("q".into())), Recovered::No);
        assert_eq!(
            recovery.connect_payload(&Map::new()),
            object(&json!({"pid": "q"}))
        );
        assert_eq!(recovery.on_joined(None), Recovered::No);
        assert_eq!(recovery.connect_payload(&Map::new()), None);
    }
}
