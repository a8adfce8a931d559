use super::*;

const EI: Filtering = Filtering::EndpointIndependent;
const APD: Filtering = Filtering::AddressAndPortDependent;

fn home(id: &str, mapping: Mapping, filtering: Filtering) -> Layer {
    Layer::nat(id, mapping, filtering, Hairpin::Translated)
}

fn cone(id: &str) -> Layer {
    home(id, Mapping::EndpointIndependent, APD)
}

fn symmetric(id: &str) -> Layer {
    home(id, Mapping::AddressAndPortDependent, APD)
}

fn blocked(id: &str) -> Layer {
    cone(id).with_udp(Passage::Blocked)
}

fn side(name: &str, ipv4: Vec<Layer>) -> Side {
    Side {
        name: name.to_owned(),
        ipv4,
        ipv6: None,
    }
}

fn sides(alices: Vec<Layer>, bobs: Vec<Layer>) -> [Side; 2] {
    [side("alice", alices), side("bob", bobs)]
}

fn predict(sides: [Side; 2], servers: Servers) -> Prediction {
    World::new(sides, servers)
        .expect("the world is sound")
        .predict()
}

#[track_caller]
fn check(alices: Vec<Layer>, bobs: Vec<Layer>, reach: Reach) {
    let prediction = predict(sides(alices, bobs), Servers::ALL);
    assert_eq!(prediction.reach, reach, "{}", prediction.reason);
}

/// The rule of thumb for two homes with a NAT each, which the enumeration does not know.
fn rule_of_thumb(first: (Mapping, Filtering), second: (Mapping, Filtering)) -> Reach {
    let depends = |mapping| mapping != Mapping::EndpointIndependent;
    let is_direct = match (depends(first.0), depends(second.0)) {
        (false, false) => true,
        (true, false) => second.1 != APD,
        (false, true) => first.1 != APD,
        (true, true) => {
            let one_by_address = [first.0, second.0].contains(&Mapping::AddressDependent);
            let one_open = first.1 == EI && second.1 != APD || second.1 == EI && first.1 != APD;
            one_by_address && one_open
        }
    };
    if is_direct {
        Reach::Direct
    } else {
        Reach::Relayed
    }
}

#[test]
fn the_enumeration_of_all_81_pairs_comes_to_the_rule_of_thumb() {
    let behaviours: Vec<_> = Mapping::ALL
        .into_iter()
        .flat_map(|mapping| Filtering::ALL.map(|filtering| (mapping, filtering)))
        .collect();
    let mut differing = Vec::new();
    for first in &behaviours {
        for second in &behaviours {
            let predicted = predict(
                sides(
                    vec![home("a", first.0, first.1)],
                    vec![home("b", second.0, second.1)],
                ),
                Servers::ALL,
            );
            if predicted.reach != rule_of_thumb(*first, *second) {
                differing.push((first, second, predicted));
            }
        }
    }
    assert_eq!(differing, []);
}

#[test]
fn public_hosts_and_hosts_of_one_network_reach_each_other() {
    check(vec![], vec![], Reach::Direct);
    check(vec![], vec![symmetric("b")], Reach::Direct);
    check(
        vec![symmetric("home")],
        vec![symmetric("home")],
        Reach::Direct,
    );
    // Also where the router that they share lets no UDP out.
    check(vec![blocked("home")], vec![blocked("home")], Reach::Direct);
}

#[test]
fn blocked_udp_leaves_turn_over_tcp_and_nothing_else() {
    let sides = sides(vec![blocked("hotel")], vec![cone("b")]);
    let over_tcp = predict(sides.clone(), Servers::ALL);
    assert_eq!(over_tcp.reach, Reach::Relayed, "{}", over_tcp.reason);
    assert!(over_tcp.reason.contains("hotel blocks UDP"), "{over_tcp:?}");
    let over_udp_only = Servers {
        turn_tcp: Availability::Down,
        ..Servers::ALL
    };
    let prediction = predict(sides.clone(), over_udp_only);
    assert_eq!(prediction.reach, Reach::Unreachable);
    assert!(
        prediction.reason.contains("only bob reaches"),
        "{prediction:?}"
    );
    let [mut alice, bob] = sides;
    alice.ipv4[0].turn_tcp = Passage::Blocked;
    assert_eq!(
        predict([alice, bob], Servers::ALL).reach,
        Reach::Unreachable
    );
}

#[test]
fn two_hotels_that_block_udp_meet_at_their_relays() {
    check(vec![blocked("a")], vec![blocked("b")], Reach::Relayed);
}

#[test]
fn without_turn_who_needs_it_is_unreachable_and_the_reason_says_so() {
    let no_turn = Servers {
        turn_udp: Availability::Down,
        turn_tcp: Availability::Down,
        ..Servers::ALL
    };
    let prediction = predict(sides(vec![symmetric("a")], vec![symmetric("b")]), no_turn);
    assert_eq!(prediction.reach, Reach::Unreachable);
    assert!(
        prediction.reason.contains("no TURN server is up"),
        "{prediction:?}"
    );
    let prediction = predict(sides(vec![cone("a")], vec![cone("b")]), no_turn);
    assert_eq!(prediction.reach, Reach::Direct, "{}", prediction.reason);
}

#[test]
fn without_stun_cones_need_a_relay() {
    let no_stun = Servers {
        stun: Availability::Down,
        ..Servers::ALL
    };
    let prediction = predict(sides(vec![cone("a")], vec![cone("b")]), no_stun);
    assert_eq!(prediction.reach, Reach::Relayed, "{}", prediction.reason);
}

#[test]
fn homes_behind_one_carrier_need_its_hairpin() {
    let carrier = |hairpin| Layer::nat("carrier", Mapping::EndpointIndependent, EI, hairpin);
    for (hairpin, reach) in [
        (Hairpin::Translated, Reach::Direct),
        (Hairpin::Refused, Reach::Relayed),
    ] {
        check(
            vec![cone("a"), carrier(hairpin)],
            vec![cone("b"), carrier(hairpin)],
            reach,
        );
    }
}

#[test]
fn homes_behind_a_carrier_each_are_as_good_as_their_worst_layer() {
    check(
        vec![cone("a"), cone("carrier-a")],
        vec![cone("b"), cone("carrier-b")],
        Reach::Direct,
    );
    check(
        vec![cone("a"), symmetric("carrier-a")],
        vec![cone("b"), cone("carrier-b")],
        Reach::Relayed,
    );
    check(
        vec![symmetric("a"), cone("carrier-a")],
        vec![cone("b"), cone("carrier-b")],
        Reach::Relayed,
    );
}

#[test]
fn ipv6_behind_stateful_firewalls_is_direct_where_ipv4_is_not() {
    for filtering in Filtering::ALL {
        let with_ipv6 = |name, nat: Layer| Side {
            ipv6: Some(vec![Layer::firewall(nat.id.clone(), filtering)]),
            ..side(name, vec![nat])
        };
        let both = [
            with_ipv6("alice", symmetric("a")),
            with_ipv6("bob", symmetric("b")),
        ];
        assert_eq!(predict(both.clone(), Servers::ALL).reach, Reach::Direct);
        let [alice, mut bob] = both;
        bob.ipv6 = None;
        assert_eq!(predict([alice, bob], Servers::ALL).reach, Reach::Relayed);
    }
}

#[test]
fn a_box_that_leads_to_two_places_is_no_world() {
    let error = World::new(
        sides(vec![cone("a"), cone("carrier")], vec![cone("a")]),
        Servers::ALL,
    );
    assert_eq!(error, Err(WorldError::SharedLayer { id: "a".to_owned() }));
    let error = World::new(sides(vec![cone("a"), cone("a")], vec![]), Servers::ALL);
    assert!(matches!(error, Err(WorldError::RepeatedLayer { .. })));
}

#[test]
fn reasons_are_sentences() {
    let prediction = predict(
        sides(vec![symmetric("office")], vec![cone("home")]),
        Servers::ALL,
    );
    insta::assert_snapshot!(prediction.reason, @"no direct check is answered, since home filters, office filters; a check from alice's host candidate to bob's relay address is answered");
}
