//! Where the signaling server is, as the configuration says it (pure).

use http::Uri;
use thiserror::Error;

use super::socket_io::Namespace;
use crate::config::{SignalingConfig, TransportKind};
use crate::redaction;

/// The parameters that the protocol itself sets, whatever the user's query says of them.
const PROTOCOL_PARAMETERS: [&str; 3] = ["EIO", "transport", "sid"];

/// A server and the path of its Engine.IO endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    security: Security,
    host: String,
    port: u16,
    /// Host and port as the URL has them.
    authority: String,
    path: String,
    query: Vec<String>,
}

/// Whether a stream is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// `http:` and `ws:`.
    Plain,
    /// `https:` and `wss:`.
    Tls,
}

/// Why a server's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// The text is no URL.
    #[error(
        "signaling url {} is invalid; it must be http[s]://host[:port] or ws[s]://host[:port]",
        redaction::url(url)
    )]
    Invalid {
        /// The URL.
        url: String,
    },
    /// The URL has a path, which would name a Socket.IO namespace.
    #[error(
        "signaling url {} has a path; set the endpoint's path in signaling.path",
        redaction::url(url)
    )]
    PathInUrl {
        /// The URL.
        url: String,
    },
    /// The URL's path cannot be a Socket.IO namespace.
    #[error(
        "signaling url {} names an invalid namespace; its path must have no comma",
        redaction::url(url)
    )]
    Namespace {
        /// The URL.
        url: String,
    },
    /// The path of the endpoint is no absolute path.
    #[error("signaling path {path:?} is invalid; it must start with / and have no ? or #")]
    Path {
        /// The path.
        path: String,
    },
    /// The server named the session in a way that fits into no URL.
    #[error(
        "a session id of {length} bytes makes the request's url too long; a url has at most 65534 bytes"
    )]
    SessionId {
        /// The length of the session id in bytes.
        length: usize,
    },
}

impl Endpoint {
    /// Reads the server's address from the configuration, whose URL may have no path.
    ///
    /// # Errors
    ///
    /// Every [`EndpointError`] but [`SessionId`](EndpointError::SessionId).
    pub fn from_config(config: &SignalingConfig) -> Result<Self, EndpointError> {
        let (endpoint, namespace) = Self::from_url(&config.url, &config.path)?;
        if namespace == Namespace::root() {
            Ok(endpoint)
        } else {
            let url = config.url.clone();
            Err(EndpointError::PathInUrl { url })
        }
    }

    /// Reads a server's address, `path` being that of its Engine.IO endpoint. The path of the URL
    /// itself is the namespace to join.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Invalid`], [`EndpointError::Namespace`] or [`EndpointError::Path`].
    pub fn from_url(url: &str, path: &str) -> Result<(Self, Namespace), EndpointError> {
        let invalid = || EndpointError::Invalid { url: url.into() };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let (security, default_port) = match uri.scheme_str() {
            Some("http" | "ws") => (Security::Plain, 80),
            Some("https" | "wss") => (Security::Tls, 443),
            _ => return Err(invalid()),
        };
        let authority = uri
            .authority()
            .filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
            .ok_or_else(invalid)?;
        let namespace =
            Namespace::new(uri.path()).map_err(|_| EndpointError::Namespace { url: url.into() })?;
        let user_query = uri.query().unwrap_or_default().split('&');
        let is_of_user = |parameter: &&str| {
            let name = parameter.split('=').next().unwrap_or_default();
            !parameter.is_empty() && !PROTOCOL_PARAMETERS.contains(&name)
        };
        let endpoint = Self {
            security,
            host: authority.host().trim_matches(['[', ']']).into(),
            port: authority.port_u16().unwrap_or(default_port),
            authority: authority.as_str().into(),
            path: path.into(),
            query: user_query.filter(is_of_user).map(Into::into).collect(),
        };
        let is_usable = path.starts_with('/')
            && !path.contains(['?', '#'])
            && endpoint
                .url(TransportKind::WebSocket, None)
                .parse::<Uri>()
                .is_ok();
        if is_usable {
            Ok((endpoint, namespace))
        } else {
            Err(EndpointError::Path { path: path.into() })
        }
    }

    /// Whether streams to the server are protected.
    #[must_use]
    pub fn security(&self) -> Security {
        self.security
    }

    /// The server's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server is told that it was called: its name or address, and the port if the URL has
    /// one.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The URL of a request over `transport`: a first one, or one of the session `sid`.
    ///
    /// # Errors
    ///
    /// [`EndpointError::SessionId`].
    pub fn request(
        &self,
        transport: TransportKind,
        sid: Option<&str>,
    ) -> Result<Uri, EndpointError> {
        let length = sid.map_or(0, str::len);
        let url = self.url(transport, sid).parse();
        url.map_err(|_| EndpointError::SessionId { length })
    }

    fn url(&self, transport: TransportKind, sid: Option<&str>) -> String {
        let scheme = match (transport, self.security) {
            (TransportKind::WebSocket, Security::Plain) => "ws",
            (TransportKind::WebSocket, Security::Tls) => "wss",
            (TransportKind::Polling, Security::Plain) => "http",
            (TransportKind::Polling, Security::Tls) => "https",
        };
        let mut url = format!(
            "{scheme}://{}{}?EIO=4&transport={transport}",
            self.authority, self.path
        );
        if let Some(sid) = sid {
            url.push_str("&sid=");
            append_escaped(&mut url, sid);
        }
        for parameter in &self.query {
            url.push('&');
            url.push_str(parameter);
        }
        url
    }
}

/// Appends `text` with everything escaped that is not unreserved (RFC 3986 section 2.3).
fn append_escaped(url: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            _ => {
                url.push('%');
                for digit in [byte >> 4, byte & 0xf] {
                    url.push(char::from(DIGITS[usize::from(digit)]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(url: &str, path: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::from_config(&SignalingConfig {
            url: url.into(),
            path: path.into(),
            ..SignalingConfig::default()
        })
    }

    fn request(url: &str, transport: TransportKind, sid: Option<&str>) -> String {
        let endpoint = endpoint(url, "/socket.io/").expect("valid");
        endpoint.request(transport, sid).expect("short").to_string()
    }

    #[test]
    fn r01_the_request_names_protocol_transport_and_session() {
        use TransportKind::{Polling, WebSocket};
        assert_eq!(
            request("http://relay.example", WebSocket, None),
            "ws://relay.example/socket.io/?EIO=4&transport=websocket"
        );
        assert_eq!(
            request("wss://relay.example/?app=1&b", Polling, None),
            "https://relay.example/socket.io/?EIO=4&transport=polling&app=1&b"
        );
        assert_eq!(
            request(
                "https://relay.example:8443?app=1",
                WebSocket,
                Some("aZ09-_")
            ),
            "wss://relay.example:8443/socket.io/?EIO=4&transport=websocket&sid=aZ09-_&app=1"
        );
        assert_eq!(
            request(
                "ws://[2001:db8::1]:3000?sid=x&EIO=3&transport=y&&a",
                Polling,
                Some("ä &")
            ),
            "http://[2001:db8::1]:3000/socket.io/?EIO=4&transport=polling&sid=%C3%A4%20%26&a",
        );
    }

    #[test]
    fn host_port_and_security_come_from_the_url() {
        for (url, security, host, port) in [
            ("http://relay.example", Security::Plain, "relay.example", 80),
            ("wss://relay.example", Security::Tls, "relay.example", 443),
            ("https://192.0.2.1:81", Security::Tls, "192.0.2.1", 81),
            (
                "ws://[2001:db8::1]:3000",
                Security::Plain,
                "2001:db8::1",
                3000,
            ),
        ] {
            let endpoint = endpoint(url, "/x/").expect(url);
            let found = (endpoint.security(), endpoint.host(), endpoint.port());
            assert_eq!(found, (security, host, port));
        }
    }

    #[test]
    fn the_path_of_a_url_is_a_namespace() {
        let namespace = |url| Endpoint::from_url(url, "/socket.io/").map(|(_, found)| found);
        for url in ["http://relay.example", "http://relay.example/"] {
            assert_eq!(namespace(url), Ok(Namespace::root()));
        }
        let calls = namespace("http://relay.example/calls?app=1").expect("valid");
        assert_eq!(calls.as_str(), "/calls");
        let url = "http://relay.example/a,b".to_owned();
        assert_eq!(namespace(&url), Err(EndpointError::Namespace { url }));
    }

    #[test]
    fn unusable_addresses_say_why() {
        for url in [
            "",
            "relay.example",
            "ftp://relay.example",
            "http://",
            "http://a@b",
            "http://a b",
        ] {
            assert!(
                matches!(
                    endpoint(url, "/socket.io/"),
                    Err(EndpointError::Invalid { .. })
                ),
                "{url}"
            );
        }
        assert!(matches!(
            endpoint("http://relay.example/calls", "/socket.io/"),
            Err(EndpointError::PathInUrl { .. })
        ));
        for path in ["", "socket.io", "/a?b", "/a b"] {
            assert!(matches!(
                endpoint("http://relay.example", path),
                Err(EndpointError::Path { .. })
            ));
        }
        let usable = endpoint("http://relay.example", "/socket.io/").expect("valid");
        assert_eq!(
            usable.request(TransportKind::Polling, Some(&"a".repeat(70_000))),
            Err(EndpointError::SessionId { length: 70_000 })
        );
    }

    proptest! {
        #[test]
        fn every_session_id_makes_one_parameter(sid in "\\PC{1,40}") {
            let url = request("http://relay.example?app=1", TransportKind::Polling, Some(&sid));
            let query = url.split_once('?').expect("a query").1;
            prop_assert_eq!(query.split('&').count(), 4);
            prop_assert!(query.split('&').nth(2).is_some_and(|found| found.starts_with("sid=")));
        }
    }
}
