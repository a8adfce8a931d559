//! What the logs may say of a call.
//!
//! Logs leave the device: in a bug report, or to a collector. So no line of this library, at any
//! level, has an IP address, a candidate, a session description or text of them, and no error says one
//! when it is displayed: it has `[address]` or `[text]` in its place. Who looks for a fault in a network
//! of their own asks for them with [`reveal_addresses`].
//!
//! Credentials are never shown, asked or not: passwords of TURN servers, tokens, ICE passwords and SRTP
//! keys are given to no line and no error, and what may carry them in a URL is cut out of it.
//!
//! This holds for lines whose target begins with `ringtrue`. The libraries beneath, such as
//! `webrtc_ice`, write lines of their own through the `log` crate, with addresses in them; an application
//! that keeps logs should filter by target. `Debug` of a type that *is* an address, a candidate or a
//! description shows it too: it is for programmers.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{DisplayValue, display};

use crate::candidates::CandidateAttribute;

/// What stands for an address.
const ADDRESS: &str = "[address]";

/// What stands for text of the other side, which may quote addresses.
const TEXT: &str = "[text]";

static REVEALED: AtomicBool = AtomicBool::new(false);

/// Lets logs and errors of the whole process show addresses, candidates and what the other side sent,
/// from now on and for good.
///
/// It is for people who debug their own network, and for simulated ones. It counts for the process
/// because a log does: a line does not say which client it is of, and errors are displayed far from
/// the client that they came from. For the same reason there is no way back, which nobody could rely on
/// while other threads write.
///
/// ```standalone_crate
/// use ringtrue::peer::servers::ServerUrl;
///
/// let error = "http:192.0.2.1".parse::<ServerUrl>().expect_err("no STUN server");
/// assert!(error.to_string().contains("http:[address]"));
/// ringtrue::redaction::reveal_addresses();
/// assert!(error.to_string().contains("http:192.0.2.1"));
/// ```
pub fn reveal_addresses() {
    REVEALED.store(true, Ordering::Relaxed);
}

/// An address, or `[address]`.
pub(crate) fn address<T: Display>(value: T) -> Redacted<T> {
    Redacted {
        value,
        stand_in: ADDRESS,
    }
}

/// Text that the other side wrote, as a string literal, or `[text]`.
pub(crate) fn text(value: &str) -> impl Display {
    Redacted {
        value: Quoted(value),
        stand_in: TEXT,
    }
}

/// A candidate, or no more of it than `udp srflx [address]`.
pub(crate) fn candidate(attribute: &CandidateAttribute) -> impl Display {
    RedactedCandidate(attribute)
}

/// Words that are not ours, such as a library's, with `[address]` for each address in them.
pub(crate) fn scrubbed<T: Display>(value: T) -> Scrubbed<T> {
    Scrubbed(value)
}

/// An error and all that caused it, scrubbed.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> Scrubbed<Chain<'a>> {
    scrubbed(Chain(error))
}

/// What caused an error, scrubbed: for a field of a log line.
pub(crate) fn cause(error: &dyn Error) -> Option<DisplayValue<Scrubbed<Chain<'_>>>> {
    Some(display(chain(error.source()?)))
}

/// A URL, scrubbed, and without what may be a credential in it: its user and its query.
pub(crate) fn url(url: &str) -> impl Display {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let shown_query = match query {
        "" => "",
        "transport=udp" => "?transport=udp",
        "transport=tcp" => "?transport=tcp",
        _ => "?[query]",
    };
    let shown = match place.rsplit_once('@') {
        Some((_, host)) => format!("[user]@{host}{shown_query}"),
        None => format!("{place}{shown_query}"),
    };
    scrubbed(shown)
}

/// A value that is shown only where addresses may be.
#[derive(Clone, Copy)]
pub(crate) struct Redacted<T> {
    value: T,
    stand_in: &'static str,
}

/// Words in which addresses are shown only where they may be.
#[derive(Clone, Copy)]
pub(crate) struct Scrubbed<T>(T);

/// An error and all that caused it, with colons between.
#[derive(Clone, Copy)]
pub(crate) struct Chain<'a>(&'a (dyn Error + 'static));

struct Quoted<'a>(&'a str);

struct RedactedCandidate<'a>(&'a CandidateAttribute);

fn is_revealed() -> bool {
    REVEALED.load(Ordering::Relaxed)
}

impl<T: Display> Display for Redacted<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if is_revealed() {
            self.value.fmt(formatter)
        } else {
            formatter.write_str(self.stand_in)
        }
    }
}

impl<T: Display> Display for Scrubbed<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if is_revealed() {
            self.0.fmt(formatter)
        } else {
            scrub(&self.0.to_string(), formatter)
        }
    }
}

impl Display for Chain<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        match self.0.source() {
            None => Ok(()),
            Some(source) => write!(formatter, ": {}", Chain(source)),
        }
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl Display for RedactedCandidate<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self(attribute) = self;
        if is_revealed() {
            return attribute.fmt(formatter);
        }
        // The transport is whatever the other side wrote.
        let transport = match attribute.transport.as_str() {
            known @ ("udp" | "tcp") => known,
            _ => TEXT,
        };
        write!(formatter, "{transport} {} {ADDRESS}", attribute.kind)
    }
}

/// Writes `text` with a stand-in for each address in it.
fn scrub(text: &str, out: &mut Formatter<'_>) -> fmt::Result {
    let is_part = |symbol: char| symbol.is_ascii_hexdigit() || symbol == '.' || symbol == ':';
    let mut before = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !is_part(first) {
            out.write_char(first)?;
            before = Some(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (run, after) = rest.split_at(rest.find(|each| !is_part(each)).unwrap_or(rest.len()));
        let in_word = |neighbour: Option<char>| {
            neighbour.is_some_and(|each| each.is_alphanumeric() || each == '_')
        };
        // A path such as `webrtc_ice::Error` has what could be an IPv6 address in it.
        let stands_alone = !in_word(before) && !in_word(after.chars().next());
        scrub_run(run, stands_alone, out)?;
        before = run.chars().last();
        rest = after;
    }
    Ok(())
}

/// Writes a run of hexadecimal digits, dots and colons.
fn scrub_run(run: &str, stands_alone: bool, out: &mut Formatter<'_>) -> fmt::Result {
    let end = run.trim_end_matches('.').len();
    let (address, stop) = run.split_at(end);
    // A colon may follow an address, as in `2001:db8::1: connection refused`.
    let is_v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok_and(|_| text.len() > 2);
    if stands_alone && is_v6(address) {
        return write!(out, "{ADDRESS}{stop}");
    }
    if let Some(address) = address.strip_suffix(':')
        && stands_alone
        && is_v6(address)
    {
        return write!(out, "{ADDRESS}:{stop}");
    }
    for (index, part) in run.split(':').enumerate() {
        if index > 0 {
            out.write_char(':')?;
        }
        let digits = part.trim_start_matches(|symbol: char| !symbol.is_ascii_digit());
        let digits = digits.trim_end_matches(|symbol: char| !symbol.is_ascii_digit());
        match digits.parse::<Ipv4Addr>() {
            Ok(_) => out.write_str(&part.replacen(digits, ADDRESS, 1))?,
            Err(_) => out.write_str(part)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod lines;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(scrubbed(text).to_string(), expected);
    }

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        check("192.0.2.1", "[address]");
        check("to 192.0.2.1:5000, lost", "to [address]:5000, lost");
        check("turn:192.0.2.1:3478", "turn:[address]:3478");
        check("node192.0.2.1.", "node[address].");
        check("[2001:db8::1]:443 refused", "[[address]]:443 refused");
        check("fe80::1%eth0: no route.", "[address]%eth0: no route.");
        check("from ::ffff:192.0.2.1: no", "from [address]: no");
    }

    #[test]
    fn other_words_stay_as_they_are() {
        for text in [
            "webrtc_ice::Error: closed at 12:30:45",
            "version 1.2.3 of ice::agent",
            "{1, ::}, signaling.example:443 — déjà",
            "os error 111",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn urls_lose_what_may_be_a_credential() {
        for (given, shown) in [
            ("wss://signaling.example/", "wss://signaling.example/"),
            (
                "ws://192.0.2.1:80?token=secret",
                "ws://[address]:80?[query]",
            ),
            ("turn:user:secret@turn.example", "[user]@turn.example"),
            (
                "turn:turn.example?transport=tcp",
                "turn:turn.example?transport=tcp",
            ),
        ] {
            assert_eq!(url(given).to_string(), shown);
        }
    }

    #[test]
    fn a_candidate_keeps_its_kind_alone() {
        let attribute = "candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr 10.0.0.1 rport 9";
        let attribute = attribute.parse().expect("a candidate");
        assert_eq!(candidate(&attribute).to_string(), "udp srflx [address]");
        assert_eq!(address("192.0.2.1:9").to_string(), "[address]");
        assert_eq!(text("192.0.2.1").to_string(), "[text]");
    }

    proptest! {
        #[test]
        fn no_address_passes(before in "[ (\"='/]{0,2}", address: std::net::IpAddr, after in "[ )\",/]{0,2}") {
            prop_assume!(address.to_string().len() > 2);
            let shown = scrubbed(format!("{before}{address}{after}")).to_string();
            prop_assert_eq!(shown, format!("{before}[address]{after}"));
        }

        #[test]
        fn no_text_panics(text in ".{0,100}") {
            let _ = scrubbed(text).to_string();
        }
    }
}
