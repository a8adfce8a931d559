//! Where the signaling server is, as the configuration says it (pure).

use http::Uri;
use thiserror::Error;

use crate::config::SignalingConfig;

/// A server and the path of its Engine.IO endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    request: String,
}

/// Why a server's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// The text is no URL.
    #[error("signaling url {url:?} is invalid; it must be http://host[:port]")]
    Invalid {
        /// The URL.
        url: String,
    },
    /// The URL asks for encryption.
    #[error("signaling url {url:?} is not supported yet: TLS; use http:// or ws://")]
    TlsNotSupported {
        /// The URL.
        url: String,
    },
    /// The URL has a path, which would name a Socket.IO namespace.
    #[error("signaling url {url:?} has a path; set the endpoint's path in signaling.path")]
    PathInUrl {
        /// The URL.
        url: String,
    },
    /// The path of the endpoint is no absolute path.
    #[error("signaling path {path:?} is invalid; it must start with / and have no ? or #")]
    Path {
        /// The path.
        path: String,
    },
}

impl Endpoint {
    /// Reads the server's address from the configuration.
    ///
    /// # Errors
    ///
    /// Every [`EndpointError`].
    pub fn from_config(config: &SignalingConfig) -> Result<Self, EndpointError> {
        let url = || config.url.clone();
        let uri: Uri = config
            .url
            .parse()
            .map_err(|_| EndpointError::Invalid { url: url() })?;
        match uri.scheme_str() {
            Some("http" | "ws") => {}
            Some("https" | "wss") => return Err(EndpointError::TlsNotSupported { url: url() }),
            _ => return Err(EndpointError::Invalid { url: url() }),
        }
        let authority = uri
            .authority()
            .filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
            .ok_or_else(|| EndpointError::Invalid { url: url() })?;
        if !matches!(uri.path(), "" | "/") {
            return Err(EndpointError::PathInUrl { url: url() });
        }
        let path = &config.path;
        let user_query = uri.query().map(|query| format!("&{query}"));
        let request = format!(
            "ws://{authority}{path}?EIO=4&transport=websocket{}",
            user_query.unwrap_or_default()
        );
        if !path.starts_with('/') || path.contains(['?', '#']) || request.parse::<Uri>().is_err() {
            return Err(EndpointError::Path { path: path.clone() });
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).into(),
            port: authority.port_u16().unwrap_or(80),
            request,
        })
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

    /// The URL that the WebSocket request asks for.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str, path: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::from_config(&SignalingConfig {
            url: url.into(),
            path: path.into(),
            ..SignalingConfig::default()
        })
    }

    #[test]
    fn the_request_names_protocol_and_transport() {
        let plain = endpoint("http://relay.example", "/socket.io/").expect("valid");
        assert_eq!(
            plain.request(),
            "ws://relay.example/socket.io/?EIO=4&transport=websocket"
        );
        assert_eq!((plain.host.as_str(), plain.port), ("relay.example", 80));
        let literal = endpoint("ws://[2001:db8::1]:3000/?app=1", "/x/").expect("valid");
        assert_eq!(
            literal.request(),
            "ws://[2001:db8::1]:3000/x/?EIO=4&transport=websocket&app=1"
        );
        assert_eq!((literal.host.as_str(), literal.port), ("2001:db8::1", 3000));
    }

    #[test]
    fn unusable_addresses_say_why() {
        for url in ["https://relay.example", "wss://relay.example"] {
            assert!(matches!(
                endpoint(url, "/socket.io/"),
                Err(EndpointError::TlsNotSupported { .. })
            ));
        }
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
    }
}
