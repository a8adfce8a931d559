use ringtrue::signaling::message::TrickledCandidate;

use super::*;

const HOST: &str = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host";

fn says(body: CallMessage) -> Envelope {
    Envelope {
        from: "alice".into(),
        to: "bob".into(),
        call: CallId("c1".into()),
        body,
    }
}

fn candidate(text: &str, ufrag: &str) -> Envelope {
    says(CallMessage::Candidate(TrickledCandidate {
        candidate: text.into(),
        sdp_mid: "0".into(),
        username_fragment: ufrag.into(),
    }))
}

/// A description of the generation `ufrag`.
fn sdp(ufrag: &str) -> String {
    let fingerprint = ["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:0\r\na=rtcp-mux\r\n\
         a=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n"
    )
}

fn offer(ufrag: &str) -> Envelope {
    says(CallMessage::offer(sdp(ufrag)))
}

fn answer(ufrag: &str) -> Envelope {
    says(CallMessage::answer(sdp(ufrag)))
}

/// How many messages of the other side reach a client that makes this mistake, one by one.
#[track_caller]
fn check_passing(flaw: &mut dyn Flaw, messages: &[Envelope], expected: &[usize]) {
    let passing: Vec<_> = messages
        .iter()
        .map(|message| flaw.incoming(message.clone()).len())
        .collect();
    assert_eq!(passing, expected);
}

#[test]
fn without_a_buffer_what_comes_before_its_own_description_is_lost() {
    let messages = [
        candidate(HOST, "genA"),
        offer("genA"),
        candidate(HOST, "genA"),
        candidate(HOST, "genB"),
        offer("genB"),
        candidate(HOST, "genB"),
    ];
    check_passing(&mut NoBuffer::default(), &messages, &[0, 1, 1, 0, 1, 1]);
}

#[test]
fn what_is_flushed_too_early_is_lost_to_the_caller() {
    let messages = [
        candidate(HOST, "genA"),
        answer("genA"),
        candidate(HOST, "genA"),
    ];
    check_passing(&mut FlushedTooEarly::default(), &messages, &[0, 1, 1]);
}

#[test]
fn what_is_flushed_too_early_is_in_time_for_the_callee() {
    let mut flaw = FlushedTooEarly::default();
    check_passing(
        &mut flaw,
        &[candidate(HOST, "genA"), offer("genA")],
        &[0, 1],
    );
    let (passage, flushed) = flaw.outgoing(&answer("genB"));
    assert_eq!(
        (passage, flushed),
        (Passage::Goes, vec![candidate(HOST, "genA")])
    );
    check_passing(&mut flaw, &[candidate(HOST, "genA")], &[1]);
}

#[test]
fn a_candidate_of_any_generation_goes_to_the_newest_description() {
    let mut flaw = GenerationIgnored::default();
    assert_eq!(
        flaw.incoming(candidate(HOST, "genA")),
        [candidate(HOST, "genA")]
    );
    check_passing(&mut flaw, &[offer("genA")], &[1]);
    assert_eq!(
        flaw.incoming(candidate(HOST, "genB")),
        [candidate(HOST, "genA")]
    );
}

#[test]
fn a_bad_candidate_is_a_hang_up_and_a_good_one_is_none() {
    let hang_up = says(CallMessage::HangUp {
        reason: HangUpReason::Other,
    });
    let mut flaw = BadCandidateFatal;
    for bad in ["", "candidate:x"] {
        let passing = flaw.incoming(candidate(bad, "genA"));
        assert_eq!(passing.as_slice(), std::slice::from_ref(&hang_up));
    }
    assert_eq!(
        flaw.incoming(candidate(HOST, "genA")),
        [candidate(HOST, "genA")]
    );
}

#[test]
fn without_restarts_only_the_offer_that_calls_is_made() {
    let mut flaw = NoRestart;
    let mut passage = |aim| {
        let offer = CallMessage::Offer {
            sdp: sdp("genA"),
            aim,
            replaces: None,
        };
        flaw.outgoing(&says(offer)).0
    };
    assert_eq!(passage(OfferAim::Call), Passage::Goes);
    assert_eq!(passage(OfferAim::Restart), Passage::Unsaid);
    assert_eq!(passage(OfferAim::Upgrade), Passage::Unsaid);
}

#[test]
fn a_late_handler_misses_the_first_candidate_of_each_generation() {
    let mut flaw = LateHandler::default();
    let mut passage = |text, ufrag| flaw.outgoing(&candidate(text, ufrag)).0;
    assert_eq!(passage(HOST, "genA"), Passage::Unsaid);
    assert_eq!(passage(HOST, "genA"), Passage::Goes);
    assert_eq!(passage(HOST, "genB"), Passage::Unsaid);
}

#[test]
fn an_agent_that_is_wedged_takes_no_candidate_that_has_a_description_either() {
    let messages = [
        offer("genA"),
        candidate(HOST, "genA"),
        candidate(HOST, "genB"),
        offer("genB"),
        candidate(HOST, "genB"),
        candidate(HOST, "genA"),
    ];
    check_passing(
        &mut EarlyCandidateWedges::default(),
        &messages,
        &[1, 1, 0, 1, 0, 0],
    );
}

#[test]
fn an_offer_that_crosses_ones_own_becomes_its_answer() {
    let mut flaw = CrossedOffers::default();
    assert_eq!(
        flaw.incoming(offer("genA")),
        [offer("genA")],
        "nobody is called"
    );
    let ours = Envelope {
        from: "bob".into(),
        to: "alice".into(),
        call: CallId("c2".into()),
        body: CallMessage::offer(sdp("genB")),
    };
    assert_eq!(flaw.outgoing(&ours), (Passage::Goes, Vec::new()));
    let taken = flaw.incoming(offer("genA")).remove(0);
    let active = sdp("genA").replace("actpass", "active");
    assert_eq!(taken.body, CallMessage::answer(active));
    assert_eq!(taken.call, ours.call);
    let added = flaw.incoming(candidate(HOST, "genA")).remove(0);
    assert_eq!(
        added.call, ours.call,
        "what belongs to their call belongs to ours"
    );
}
