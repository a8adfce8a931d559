//! What a NAT makes of TCP: how far a connection has come (RFC 7857 section 2), and what is said to
//! segments that belong to none.

use serde::Deserialize;

use super::Verdict;
use super::expiry::Side;
use crate::net::cause::DropCause;
use crate::net::flow::TcpSignal;

/// What a NAT does with a TCP segment, other than the first of a connection, that belongs to no
/// connection that it knows: it came too late, or the NAT has restarted. A reset is never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownTcp {
    /// It is dropped without a word (RFC 6146 section 3.5.2.2 discards it), so that the sender finds
    /// out by its own timers.
    #[default]
    Silent,
    /// It is dropped and its sender gets a reset, so that the sender connects anew at once.
    Reset,
    /// From inside it is taken for the middle of a connection and gets a mapping, as Linux does
    /// (`nf_conntrack_tcp_loose`): with a preserved port the connection goes on. From outside it is
    /// dropped without a word.
    Adopted,
}

impl UnknownTcp {
    pub(super) fn verdict(self, cause: DropCause, signal: TcpSignal) -> Verdict {
        match self {
            Self::Reset if !signal.rst => Verdict::Refuse(cause),
            Self::Silent | Self::Reset | Self::Adopted => Verdict::Drop(cause),
        }
    }
}

/// What a NAT does with the first segment of a TCP connection from outside that its filter does not
/// admit (RFC 5382 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnsolicitedSyn {
    /// It is dropped without a word. RFC 5382 REQ-4 demands silence for 6 s, in which an attempt
    /// from inside may meet it (simultaneous open), and lets a security policy keep it (REQ-4 b).
    #[default]
    Silent,
    /// Its sender gets a reset at once, which breaks simultaneous open. REQ-4 forbids it.
    Reset,
}

impl UnsolicitedSyn {
    pub(super) fn verdict(self, cause: DropCause) -> Verdict {
        match self {
            Self::Silent => Verdict::Drop(cause),
            Self::Reset => Verdict::Refuse(cause),
        }
    }
}

/// How far a TCP connection has come, as far as a NAT can tell (RFC 7857 section 2, RFC 6146
/// section 3.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum TcpPhase {
    /// Only this side has spoken.
    Opening(Side),
    /// Both sides have spoken.
    Established,
    /// This side has sent its FIN.
    HalfClosed(Side),
    /// Both sides have sent a FIN.
    Closing,
    /// One side has sent a reset. It may be forged, so what follows shows whether it holds.
    Reset,
}

impl TcpPhase {
    pub(in crate::net) fn after(self, side: Side, signal: TcpSignal) -> Self {
        if signal.rst {
            return match self {
                Self::Closing => Self::Closing,
                _ => Self::Reset,
            };
        }
        match self {
            Self::Opening(first) if first != side => Self::Established,
            Self::Established if signal.fin => Self::HalfClosed(side),
            Self::HalfClosed(first) if signal.fin && first != side => Self::Closing,
            // The same two endpoints may begin anew.
            Self::HalfClosed(_) | Self::Closing | Self::Reset if signal.is_connection_attempt() => {
                Self::Opening(side)
            }
            Self::Reset => Self::Established,
            unchanged => unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase_after(segments: &[(Side, TcpSignal)]) -> TcpPhase {
        segments
            .iter()
            .fold(TcpPhase::Opening(Side::Inside), |phase, (side, signal)| {
                phase.after(*side, *signal)
            })
    }

    #[test]
    fn a_connection_is_established_by_an_answer_and_closing_after_both_fins() {
        let mut segments = vec![(Side::Inside, TcpSignal::SYN)];
        assert_eq!(phase_after(&segments), TcpPhase::Opening(Side::Inside));
        segments.push((Side::Outside, TcpSignal::SYN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::Established);
        segments.push((Side::Outside, TcpSignal::FIN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::HalfClosed(Side::Outside));
        segments.push((Side::Outside, TcpSignal::FIN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::HalfClosed(Side::Outside));
        segments.push((Side::Inside, TcpSignal::FIN_ACK));
        assert_eq!(phase_after(&segments), TcpPhase::Closing);
        segments.push((Side::Inside, TcpSignal::SYN));
        assert_eq!(phase_after(&segments), TcpPhase::Opening(Side::Inside));
    }

    #[test]
    fn a_reset_from_either_side_ends_a_connection_unless_it_goes_on() {
        for side in [Side::Inside, Side::Outside] {
            let mut segments = vec![(Side::Outside, TcpSignal::SYN_ACK), (side, TcpSignal::RST)];
            assert_eq!(phase_after(&segments), TcpPhase::Reset);
            segments.push((Side::Inside, TcpSignal::ACK));
            assert_eq!(phase_after(&segments), TcpPhase::Established);
        }
    }

    #[test]
    fn a_reset_is_never_answered() {
        let cause = DropCause::NatUnknownTcp;
        assert_eq!(
            UnknownTcp::Reset.verdict(cause, TcpSignal::RST),
            Verdict::Drop(cause)
        );
        assert_eq!(
            UnknownTcp::Reset.verdict(cause, TcpSignal::ACK),
            Verdict::Refuse(cause)
        );
    }

    #[track_caller]
    fn check(before: TcpPhase, side: Side, signal: TcpSignal, after: TcpPhase) {
        assert_eq!(
            before.after(side, signal),
            after,
            "{before:?} on {signal:?}"
        );
    }

    #[test]
    fn what_changes_nothing_leaves_a_connection_where_it_is() {
        use Side::{Inside, Outside};
        use TcpPhase::{Closing, Established, HalfClosed, Opening};
        check(Opening(Inside), Inside, TcpSignal::SYN, Opening(Inside));
        check(Opening(Outside), Outside, TcpSignal::SYN, Opening(Outside));
        for side in [Inside, Outside] {
            check(Established, side, TcpSignal::ACK, Established);
            check(HalfClosed(Inside), side, TcpSignal::ACK, HalfClosed(Inside));
            check(Closing, side, TcpSignal::ACK, Closing);
            check(Closing, side, TcpSignal::RST, Closing);
        }
    }

    #[test]
    fn a_connection_that_ends_may_begin_anew_from_either_side() {
        for side in [Side::Inside, Side::Outside] {
            for ending in [
                TcpPhase::HalfClosed(Side::Inside),
                TcpPhase::Closing,
                TcpPhase::Reset,
            ] {
                check(ending, side, TcpSignal::SYN, TcpPhase::Opening(side));
            }
        }
    }

    #[test]
    fn what_opens_nothing_is_refused_only_where_configured() {
        let cause = DropCause::NatUnsolicitedTcp;
        assert_eq!(UnsolicitedSyn::Silent.verdict(cause), Verdict::Drop(cause));
        assert_eq!(UnsolicitedSyn::Reset.verdict(cause), Verdict::Refuse(cause));
    }
}
