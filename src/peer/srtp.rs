//! Encrypted audio: RTP packets (RFC 3550) inside SRTP (RFC 3711), with keys from DTLS (RFC 5764).

use std::fmt;

use bytes::Bytes;
use rtp::header::Header;
use rtp::packet::Packet;
use webrtc_srtp::config::SessionKeys;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::marshal::{Marshal, Unmarshal};

pub use crate::audio::source::{AudioPacket, Marker};
use crate::redaction;

/// How many packets a replayed or late one may lie behind the newest: 2.5 s of 20 ms packets.
const REPLAY_WINDOW_PACKETS: usize = 128;

/// Why a packet could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SrtpError {
    #[error("SRTP: {}", redaction::scrubbed(.0))]
    Srtp(#[from] webrtc_srtp::Error),
    #[error("RTP: {}", redaction::scrubbed(.0))]
    Rtp(#[from] webrtc_util::Error),
    #[error("synchronization source {given:#010x} was not announced")]
    UnknownSource { given: u32 },
    #[error("payload type {given} was not negotiated")]
    UnknownPayload { given: u8 },
}

/// The sending half.
pub(crate) struct Protector {
    context: Context,
    ssrc: u32,
    payload_type: u8,
}

/// The receiving half.
pub(crate) struct Unprotector {
    context: Context,
    /// The source that the other side announced. Checked before decryption, since the library
    /// keeps state for every source it is shown.
    ssrc: Option<u32>,
    payload_type: u8,
}

impl Protector {
    pub(crate) fn new(
        keys: &SessionKeys,
        profile: ProtectionProfile,
        ssrc: u32,
        payload_type: u8,
    ) -> Result<Self, SrtpError> {
        let context = Context::new(
            &keys.local_master_key,
            &keys.local_master_salt,
            profile,
            None,
            None,
        )?;
        Ok(Self {
            context,
            ssrc,
            payload_type,
        })
    }

    pub(crate) fn protect(&mut self, audio: AudioPacket) -> Result<Bytes, SrtpError> {
        let packet = Packet {
            header: Header {
                version: 2,
                marker: audio.marker == Marker::TalkSpurtStart,
                payload_type: self.payload_type,
                sequence_number: audio.sequence_number,
                timestamp: audio.timestamp,
                ssrc: self.ssrc,
                ..Header::default()
            },
            payload: audio.payload,
        };
        Ok(self.context.encrypt_rtp(&packet.marshal()?)?)
    }
}

impl Unprotector {
    pub(crate) fn new(
        keys: &SessionKeys,
        profile: ProtectionProfile,
        ssrc: Option<u32>,
        payload_type: u8,
    ) -> Result<Self, SrtpError> {
        let context = Context::new(
            &keys.remote_master_key,
            &keys.remote_master_salt,
            profile,
            Some(srtp_replay_protection(REPLAY_WINDOW_PACKETS)),
            Some(srtcp_replay_protection(REPLAY_WINDOW_PACKETS)),
        )?;
        Ok(Self {
            context,
            ssrc,
            payload_type,
        })
    }

    pub(crate) fn unprotect(&mut self, datagram: &[u8]) -> Result<AudioPacket, SrtpError> {
        let header = Header::unmarshal(&mut &*datagram)?;
        if self.ssrc.is_some_and(|ssrc| ssrc != header.ssrc) {
            return Err(SrtpError::UnknownSource { given: header.ssrc });
        }
        if header.payload_type != self.payload_type {
            return Err(SrtpError::UnknownPayload {
                given: header.payload_type,
            });
        }
        let decrypted = self.context.decrypt_rtp(datagram)?;
        let packet = Packet::unmarshal(&mut decrypted.clone())?;
        Ok(AudioPacket {
            sequence_number: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: if packet.header.marker {
                Marker::TalkSpurtStart
            } else {
                Marker::Continuation
            },
            payload: packet.payload,
        })
    }
}

impl fmt::Debug for Protector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Protector")
            .field("ssrc", &self.ssrc)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Unprotector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Unprotector")
            .field("ssrc", &self.ssrc)
            .finish_non_exhaustive()
    }
}

/// Whether a datagram with RTP's first byte is RTCP (RFC 5761 section 4).
pub(crate) fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|second| (192..=223).contains(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: ProtectionProfile = ProtectionProfile::AeadAes128Gcm;

    fn halves() -> (Protector, Unprotector) {
        let keys = SessionKeys {
            local_master_key: vec![1; 16],
            local_master_salt: vec![2; 12],
            remote_master_key: vec![1; 16],
            remote_master_salt: vec![2; 12],
        };
        (
            Protector::new(&keys, PROFILE, 7, 111).expect("valid keys"),
            Unprotector::new(&keys, PROFILE, Some(7), 111).expect("valid keys"),
        )
    }

    fn audio(sequence_number: u16) -> AudioPacket {
        AudioPacket {
            sequence_number,
            timestamp: u32::from(sequence_number) * 960,
            marker: Marker::Continuation,
            payload: Bytes::from_static(b"opus"),
        }
    }

    #[test]
    fn audio_comes_out_as_it_went_in_across_the_sequence_wrap() {
        let (mut protector, mut unprotector) = halves();
        for offset in 0..10u16 {
            let sent = audio(65_530u16.wrapping_add(offset));
            let datagram = protector.protect(sent.clone()).expect("encrypts");
            assert_eq!(unprotector.unprotect(&datagram).expect("decrypts"), sent);
        }
    }

    #[test]
    fn replayed_changed_and_foreign_packets_are_refused() {
        let (mut protector, mut unprotector) = halves();
        let datagram = protector.protect(audio(1)).expect("encrypts");
        let mut changed = datagram.to_vec();
        changed[14] ^= 1;
        assert!(unprotector.unprotect(&changed).is_err());
        assert!(unprotector.unprotect(&datagram).is_ok());
        assert!(unprotector.unprotect(&datagram).is_err());
        unprotector.ssrc = Some(8);
        let foreign = protector.protect(audio(2)).expect("encrypts");
        assert!(matches!(
            unprotector.unprotect(&foreign),
            Err(SrtpError::UnknownSource { given: 7 })
        ));
    }
}
