//! Session descriptions: one audio section for Opus, written and read as SDP text (pure).
//!
//! What is written is what a browser expects of a WebRTC endpoint (RFC 8829): BUNDLE, rtcp-mux,
//! trickle ICE, a certificate fingerprint and one `sendrecv` Opus stream.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use ::sdp::SessionDescription as SdpText;
use ::sdp::description::media::MediaDescription;
use ::sdp::description::session::TimeDescription;
use thiserror::Error;

use crate::candidates::is_ice_char;
use crate::redaction;
use crate::signaling::message::TrickledCandidate;

/// The payload type offered for Opus; the one that browsers use too.
pub const OPUS_PAYLOAD_TYPE: u8 = 111;

/// The longest description that is read, in bytes. A browser's offer for audio has some 4,000.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The profile of DTLS-SRTP with feedback (RFC 5764 section 8).
const PROTOCOL: [&str; 4] = ["UDP", "TLS", "RTP", "SAVPF"];

/// What one peer says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription {
    /// The session identifier of the origin line.
    pub session_id: u64,
    /// The credentials of the ICE generation.
    pub credentials: IceCredentials,
    /// The fingerprint of the DTLS certificate.
    pub fingerprint: Fingerprint,
    /// Who opens the DTLS connection.
    pub setup: Setup,
    /// The identification of the audio section. Empty where an offer names none.
    pub mid: String,
    /// The RTP payload type that stands for Opus.
    pub payload_type: u8,
    /// The synchronization source of the audio that this peer sends, where it says so.
    pub ssrc: Option<Ssrc>,
    /// Candidates that came with the description instead of being trickled.
    pub candidates: Vec<TrickledCandidate>,
    /// Whether `candidates` are all there will be.
    pub end_of_candidates: bool,
}

/// A synchronization source and the canonical name of its sender (RFC 5576 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssrc {
    /// The RTP synchronization source.
    pub id: u32,
    /// The canonical name: random for each connection (RFC 7022).
    pub cname: String,
}

/// The user name fragment and password of an ICE generation (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    ufrag: String,
    pwd: String,
}

/// A SHA-256 certificate fingerprint (RFC 8122 section 5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Who opens the DTLS connection (RFC 4145 section 4, RFC 8842 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The other side chooses; only in an offer.
    ActPass,
    /// This side sends the first message.
    Active,
    /// This side waits.
    Passive,
}

/// Why a text is no description of a call that can be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Longer than any description.
    #[error("session description has {bytes} bytes, at most {TEXT_BYTES_MAX} are read")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Not SDP at all: what is wrong with it. The text itself stays out of errors, hence out of logs,
    /// since it has an ICE password in it.
    #[error("not a session description: {0}")]
    Syntax(&'static str),
    /// Something that a call needs is not there.
    #[error("session description has no {0}")]
    Missing(&'static str),
    /// Something is there and cannot be used.
    #[error(
        "session description has {field} {}, expected {expected}",
        redaction::text(value)
    )]
    Invalid {
        /// The line or attribute.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

impl IceCredentials {
    /// Checks and keeps a user name fragment and a password.
    ///
    /// # Errors
    ///
    /// [`SdpError::Invalid`] unless these are 4 to 256 and 22 to 256 `ice-char`s.
    pub fn new(ufrag: impl Into<String>, pwd: impl Into<String>) -> Result<Self, SdpError> {
        let (ufrag, pwd) = (ufrag.into(), pwd.into());
        let valid = |text: &str, shortest: usize| {
            (shortest..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
        };
        if !valid(&ufrag, 4) {
            return Err(invalid("ice-ufrag", &ufrag, "4 to 256 ice-chars"));
        }
        if !valid(&pwd, 22) {
            // The password itself stays out of errors, hence out of logs.
            let length = format!("of {} bytes", pwd.len());
            return Err(invalid("ice-pwd", &length, "22 to 256 ice-chars"));
        }
        Ok(Self { ufrag, pwd })
    }

    /// The user name fragment: the name of the generation.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password.
    #[must_use]
    pub fn pwd(&self) -> &str {
        &self.pwd
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .field("pwd", &"…")
            .finish()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(formatter, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || invalid("fingerprint", text, "32 bytes in hexadecimal with colons");
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2);
            *byte = pair
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(wrong)?;
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong()),
        }
    }
}

impl Setup {
    /// The name in the setup attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

impl FromStr for Setup {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::ActPass, Self::Active, Self::Passive]
            .into_iter()
            .find(|setup| setup.as_str() == text)
            .ok_or_else(|| invalid("setup", text, "actpass, active or passive"))
    }
}

impl fmt::Display for SessionDescription {
    /// Writes the SDP text, with CRLF line ends.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_sdp().marshal())
    }
}

impl FromStr for SessionDescription {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SdpError::TooLong { bytes: text.len() });
        }
        let sdp = SdpText::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|error| SdpError::Syntax(what_is_wrong(&error)))?;
        Self::from_sdp(&sdp)
    }
}

impl SessionDescription {
    fn to_sdp(&self) -> SdpText {
        let mut audio = MediaDescription::new_jsep_media_description("audio".into(), Vec::new())
            .with_ice_credentials(self.credentials.ufrag.clone(), self.credentials.pwd.clone())
            .with_value_attribute("ice-options".into(), "trickle".into())
            .with_fingerprint("sha-256".into(), self.fingerprint.to_string())
            .with_value_attribute("setup".into(), self.setup.as_str().into())
            .with_property_attribute("sendrecv".into())
            .with_property_attribute("rtcp-mux".into())
            .with_codec(
                self.payload_type,
                "opus".into(),
                48_000,
                2,
                "minptime=10;useinbandfec=1".into(),
            );
        if !self.mid.is_empty() {
            audio = audio.with_value_attribute("mid".into(), self.mid.clone());
        }
        if let Some(ssrc) = &self.ssrc {
            audio = audio
                .with_value_attribute("msid".into(), format!("{} audio", ssrc.cname))
                .with_value_attribute("ssrc".into(), format!("{} cname:{}", ssrc.id, ssrc.cname));
        }
        for candidate in &self.candidates {
            let value = candidate.candidate.trim_start_matches("candidate:");
            audio = audio.with_candidate(value.to_owned());
        }
        if self.end_of_candidates {
            audio = audio.with_property_attribute("end-of-candidates".into());
        }

        let mut sdp = SdpText::default();
        if !self.mid.is_empty() {
            sdp = sdp.with_value_attribute("group".into(), format!("BUNDLE {}", self.mid));
        }
        sdp = sdp
            .with_value_attribute("msid-semantic".into(), "WMS *".into())
            .with_media(audio);
        sdp.origin.username = "-".into();
        sdp.origin.session_id = self.session_id;
        sdp.origin.session_version = 1;
        sdp.origin.network_type = "IN".into();
        sdp.origin.address_type = "IP4".into();
        // The address is meaningless under ICE and must not be an interface's (RFC 8828 section 3).
        sdp.origin.unicast_address = "0.0.0.0".into();
        sdp.session_name = "-".into();
        sdp.time_descriptions.push(TimeDescription::default());
        sdp
    }

    fn from_sdp(sdp: &SdpText) -> Result<Self, SdpError> {
        let [audio] = sdp.media_descriptions.as_slice() else {
            let count = sdp.media_descriptions.len();
            return Err(match count {
                0 => SdpError::Missing("media section"),
                _ => invalid("media sections", &count.to_string(), "one, for audio"),
            });
        };
        let name = &audio.media_name;
        if name.media != "audio" {
            return Err(invalid("media section", &name.media, "audio"));
        }
        if name.protos != PROTOCOL {
            return Err(invalid(
                "protocol",
                &name.protos.join("/"),
                "UDP/TLS/RTP/SAVPF",
            ));
        }
        if name.port.value == 0 {
            return Err(invalid("audio port", "0", "an accepted audio section"));
        }
        if audio.attribute("rtcp-mux").is_none() {
            return Err(SdpError::Missing("rtcp-mux"));
        }

        // ICE and DTLS attributes may stand at session level for all sections.
        let either = |key: &'static str| {
            value(audio, key)
                .or_else(|| sdp.attribute(key).map(String::as_str))
                .ok_or(SdpError::Missing(key))
        };
        let credentials = IceCredentials::new(either("ice-ufrag")?, either("ice-pwd")?)?;
        let fingerprint = read_fingerprint(either("fingerprint")?)?;
        let setup = either("setup")?.parse()?;
        let mid = value(audio, "mid").unwrap_or_default().to_owned();
        let candidates = audio
            .attributes
            .iter()
            .filter(|attribute| attribute.key == "candidate")
            .filter_map(|attribute| attribute.value.as_deref())
            .map(|value| TrickledCandidate {
                candidate: format!("candidate:{value}"),
                sdp_mid: mid.clone(),
                username_fragment: credentials.ufrag.clone(),
            })
            .collect();

        Ok(Self {
            session_id: sdp.origin.session_id,
            payload_type: opus_payload_type(audio)?,
            ssrc: read_ssrc(audio),
            end_of_candidates: audio.has_attribute("end-of-candidates"),
            credentials,
            fingerprint,
            setup,
            mid,
            candidates,
        })
    }
}

/// The kind of a syntax error. The library's own words quote the line, or the whole text.
fn what_is_wrong(error: &::sdp::Error) -> &'static str {
    match error {
        ::sdp::Error::SdpInvalidSyntax(_) | ::sdp::Error::SyntaxError { .. } => "invalid syntax",
        ::sdp::Error::SdpInvalidValue(_) => "invalid value",
        ::sdp::Error::ParseInt(_) => "a number that cannot be read",
        ::sdp::Error::Utf8(_) => "no UTF-8",
        ::sdp::Error::Io(_) => "an unexpected end",
        _ => "a line that cannot be read",
    }
}

fn value<'a>(media: &'a MediaDescription, key: &str) -> Option<&'a str> {
    media.attribute(key).flatten()
}

fn read_fingerprint(text: &str) -> Result<Fingerprint, SdpError> {
    let (algorithm, digits) = text.split_once(' ').unwrap_or((text, ""));
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return Err(invalid("fingerprint algorithm", algorithm, "sha-256"));
    }
    digits.trim().parse()
}

fn opus_payload_type(audio: &MediaDescription) -> Result<u8, SdpError> {
    audio
        .attributes
        .iter()
        .filter(|attribute| attribute.key == "rtpmap")
        .filter_map(|attribute| attribute.value.as_deref()?.split_once(' '))
        .filter(|(_, codec)| codec.trim().eq_ignore_ascii_case("opus/48000/2"))
        .filter(|(format, _)| audio.media_name.formats.iter().any(|each| each == format))
        .find_map(|(format, _)| format.parse().ok().filter(|each| *each < 128))
        .ok_or(SdpError::Missing("opus/48000/2 in its audio section"))
}

fn read_ssrc(audio: &MediaDescription) -> Option<Ssrc> {
    audio
        .attributes
        .iter()
        .filter(|attribute| attribute.key == "ssrc")
        .filter_map(|attribute| attribute.value.as_deref()?.split_once(" cname:"))
        .find_map(|(id, cname)| {
            Some(Ssrc {
                id: id.parse().ok()?,
                cname: cname.to_owned(),
            })
        })
}

fn invalid(field: &'static str, value: &str, expected: &'static str) -> SdpError {
    SdpError::Invalid {
        field,
        value: value.chars().take(100).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An offer for audio alone as Chrome writes it, shortened to one codec.
    const BROWSER_OFFER: &str = "v=0\r\n\
        o=- 4215775240449105457 2 IN IP4 127.0.0.1\r\n\
        s=-\r\n\
        t=0 0\r\n\
        a=group:BUNDLE 0\r\n\
        a=extmap-allow-mixed\r\n\
        a=msid-semantic: WMS d3b07384\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n\
        c=IN IP4 0.0.0.0\r\n\
        a=rtcp:9 IN IP4 0.0.0.0\r\n\
        a=ice-ufrag:EEtu\r\n\
        a=ice-pwd:FKUYSUvvVVxPz8kY6dNgl4cE\r\n\
        a=ice-options:trickle\r\n\
        a=fingerprint:sha-256 \
        0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9:0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9\r\n\
        a=setup:actpass\r\n\
        a=mid:0\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        a=sendrecv\r\n\
        a=msid:d3b07384 41e2c9a0\r\n\
        a=rtcp-mux\r\n\
        a=rtpmap:111 opus/48000/2\r\n\
        a=rtcp-fb:111 transport-cc\r\n\
        a=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:63 red/48000/2\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n\
        a=ssrc:2004784 cname:Zk1SDOTo\r\n\
        a=ssrc:2004784 msid:d3b07384 41e2c9a0\r\n";

    fn description() -> SessionDescription {
        SessionDescription {
            session_id: 7,
            credentials: IceCredentials::new("abcd", "a".repeat(22)).expect("valid"),
            fingerprint: Fingerprint([0xa5; 32]),
            setup: Setup::ActPass,
            mid: "0".into(),
            payload_type: OPUS_PAYLOAD_TYPE,
            ssrc: Some(Ssrc {
                id: 42,
                cname: "name".into(),
            }),
            candidates: Vec::new(),
            end_of_candidates: false,
        }
    }

    #[test]
    fn a_browsers_offer_is_understood() {
        let offer: SessionDescription = BROWSER_OFFER.parse().expect("valid offer");
        assert_eq!(offer.credentials.ufrag(), "EEtu");
        assert_eq!(offer.setup, Setup::ActPass);
        assert_eq!((offer.mid.as_str(), offer.payload_type), ("0", 111));
        assert_eq!(offer.ssrc.map(|ssrc| ssrc.id), Some(2_004_784));
        assert_eq!(offer.candidates.len(), 1);
        assert_eq!(offer.candidates[0].username_fragment, "EEtu");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut written = description();
        written.end_of_candidates = true;
        written.candidates.push(TrickledCandidate {
            candidate: "candidate:1 1 udp 1 192.0.2.1 5000 typ host".into(),
            sdp_mid: "0".into(),
            username_fragment: "abcd".into(),
        });
        assert_eq!(written.to_string().parse(), Ok(written));
    }

    #[test]
    fn the_text_has_every_line_that_a_browser_demands() {
        let text = description().to_string();
        for line in [
            "v=0",
            "o=- 7 1 IN IP4 0.0.0.0",
            "t=0 0",
            "a=group:BUNDLE 0",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "c=IN IP4 0.0.0.0",
            "a=ice-options:trickle",
            "a=setup:actpass",
            "a=rtcp-mux",
            "a=rtpmap:111 opus/48000/2",
            "a=ssrc:42 cname:name",
        ] {
            assert!(
                text.split("\r\n").any(|each| each == line),
                "{line} in {text}"
            );
        }
    }

    #[test]
    fn each_missing_line_is_named() {
        for (line, named) in [
            ("a=ice-ufrag:EEtu\r\n", "ice-ufrag"),
            ("a=ice-pwd:FKUYSUvvVVxPz8kY6dNgl4cE\r\n", "ice-pwd"),
            ("a=setup:actpass\r\n", "setup"),
            ("a=rtcp-mux\r\n", "rtcp-mux"),
            ("a=rtpmap:111 opus/48000/2\r\n", "opus/48000/2"),
        ] {
            let error = BROWSER_OFFER
                .replace(line, "")
                .parse::<SessionDescription>()
                .expect_err("a line is missing");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn short_credentials_are_refused_and_no_password_is_shown() {
        assert!(IceCredentials::new("abc", "a".repeat(22)).is_err());
        let error = IceCredentials::new("abcd", "secret").expect_err("too short");
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_syntax_error_quotes_nothing_of_a_text_with_a_password_in_it() {
        for broken in [
            "v=0 FKUYSUvvVVxPz8kY6dNgl4cE",
            "v=0\r\nFKUYSUvvVVxPz8kY6dNgl4cE",
        ] {
            let error = broken.parse::<SessionDescription>().expect_err("no SDP");
            assert!(!format!("{error} {error:?}").contains("FKUY"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(.|\r\n){0,400}") {
            let _ = text.parse::<SessionDescription>();
        }

        #[test]
        fn no_damage_to_an_offer_panics_or_is_read_in_two_ways(
            at in 0..BROWSER_OFFER.len(),
            cut in 0..40usize,
            inserted in "[ -~\r\n]{0,12}",
        ) {
            let end = (at + cut).min(BROWSER_OFFER.len());
            let damaged = format!("{}{inserted}{}", &BROWSER_OFFER[..at], &BROWSER_OFFER[end..]);
            // Whatever of it is still understood is understood the same when it is written again.
            if let Ok(read) = damaged.parse::<SessionDescription>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
    }
}
