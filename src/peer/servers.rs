//! STUN and TURN URLs (RFC 7064, RFC 7065), and which of them can be used.

use std::str::FromStr;

use thiserror::Error;

use crate::config::{Credentials, IceServer};
use crate::redaction;

/// The port of STUN and TURN where the URL names none.
const DEFAULT_PORT: u16 = 3478;

/// A server that candidates can be gathered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsableServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// TCP only for TURN: a STUN server asked over TCP tells nothing about UDP.
    pub(crate) transport: Transport,
    /// Present for TURN, absent for STUN.
    pub(crate) turn: Option<Credentials>,
}

impl UsableServer {
    /// Whether it is a TURN server over UDP.
    pub(crate) fn relays_over_udp(&self) -> bool {
        self.turn.is_some() && self.transport == Transport::Udp
    }
}

/// Why a URL names no server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("ICE server {} has {problem}", redaction::url(url))]
pub struct ServerUrlError {
    url: String,
    problem: &'static str,
}

/// The URL of a STUN or TURN server, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// What is spoken.
    pub scheme: Scheme,
    /// The host name, or an address without brackets.
    pub host: String,
    /// The port, 3478 where the URL names none.
    pub port: u16,
    /// What it is spoken over.
    pub transport: Transport,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `stun` (RFC 7064).
    Stun,
    /// `turn` (RFC 7065).
    Turn,
    /// `stuns` and `turns`.
    Secure,
}

/// What STUN and TURN go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The default.
    Udp,
    /// `?transport=tcp`.
    Tcp,
}

/// The servers of a configuration that can be used, in its order. The others are logged: one bad
/// entry must not cost the rest.
pub(crate) fn usable(servers: &[IceServer]) -> Vec<UsableServer> {
    servers.iter().filter_map(usable_one).collect()
}

fn usable_one(server: &IceServer) -> Option<UsableServer> {
    let url = match server.url.parse::<ServerUrl>() {
        Ok(url) => url,
        Err(error) => {
            tracing::warn!(%error, "ICE server skipped");
            return None;
        }
    };
    let (transport, turn) = match url.scheme {
        // Such a URL has no transport (RFC 7064 section 3.1).
        Scheme::Stun => (Transport::Udp, None),
        Scheme::Turn => {
            if server.credentials.is_none() {
                tracing::warn!(url = %redaction::url(&server.url), "TURN server without credentials skipped");
                return None;
            }
            (url.transport, server.credentials.clone())
        }
        Scheme::Secure => {
            tracing::warn!(
                url = %redaction::url(&server.url),
                "STUN and TURN over TLS are not available yet: server skipped"
            );
            return None;
        }
    };
    Some(UsableServer {
        host: url.host,
        port: url.port,
        transport,
        turn,
    })
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let wrong = |problem| ServerUrlError {
            url: url.chars().take(200).collect(),
            problem,
        };
        let (scheme, rest) = url.split_once(':').ok_or_else(|| wrong("no scheme"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "stun" => Scheme::Stun,
            "turn" => Scheme::Turn,
            "stuns" | "turns" => Scheme::Secure,
            _ => return Err(wrong("a scheme other than stun, stuns, turn and turns")),
        };
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = match query {
            "" | "transport=udp" => Transport::Udp,
            "transport=tcp" => Transport::Tcp,
            _ => return Err(wrong("a query other than transport=udp and transport=tcp")),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed
                    .split_once(']')
                    .ok_or_else(|| wrong("an unclosed bracket"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() || host.contains('/') {
            return Err(wrong("no host"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("a port outside 1 to 65535"))?,
        };
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
            transport,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IceConfig;

    fn server(url: &str) -> IceServer {
        IceServer {
            url: url.into(),
            credentials: None,
        }
    }

    #[test]
    fn every_server_of_the_field_list_is_used() {
        let servers = usable(&IceConfig::default().servers);
        let count = |turn, transport| {
            let alike =
                |each: &&UsableServer| each.turn.is_some() == turn && each.transport == transport;
            servers.iter().filter(alike).count()
        };
        assert_eq!(count(false, Transport::Udp), 2);
        assert_eq!(count(true, Transport::Udp), 2);
        assert_eq!(count(true, Transport::Tcp), 2);
        assert_eq!(servers.len(), IceConfig::default().servers.len());
        assert_eq!(
            (servers[0].host.as_str(), servers[0].port),
            ("stun.l.google.com", 19302)
        );
    }

    #[test]
    fn turn_without_credentials_costs_nothing_else() {
        let servers = usable(&[server("turn:a.example"), server("stun:b.example")]);
        assert_eq!(servers.len(), 1);
        assert_eq!(
            (servers[0].host.as_str(), servers[0].port),
            ("b.example", 3478)
        );
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named() {
        for (url, named) in [
            ("stun.example", "no scheme"),
            ("http:x", "scheme other"),
            ("stun:", "no host"),
            ("stun://x", "no host"),
            ("stun:x:0", "port outside"),
            ("turn:x?transport=sctp", "query other"),
        ] {
            let error = url.parse::<ServerUrl>().expect_err("malformed");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
