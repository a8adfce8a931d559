//! Where the peers are, and which servers live.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::case::{LinkCase, NetworkCase, ServersCase, Time};

/// Where a peer is: its own network, a carrier's around it, and the one that it may move to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    home: NetworkCase,
    carrier: Option<NetworkCase>,
    other: NetworkCase,
}

impl Place {
    /// Adds the networks around a peer to `networks`; the name of its own is returned.
    pub(super) fn add_to(
        &self,
        networks: &mut BTreeMap<String, NetworkCase>,
        peer: &str,
    ) -> String {
        let name = home_of(peer).to_owned();
        let mut home = self.home.clone();
        if let Some(carrier) = &self.carrier {
            let carrier_name = format!("{peer}s-carrier");
            home.behind = Some(carrier_name.clone());
            networks.insert(carrier_name, carrier.clone());
        }
        networks.insert(name.clone(), home);
        name
    }

    /// Adds the network that a peer moves to.
    pub(super) fn add_other_to(&self, networks: &mut BTreeMap<String, NetworkCase>, peer: &str) {
        networks.insert(other_of(peer).to_owned(), self.other.clone());
    }

    /// Whether the peer's own gateway translates addresses.
    #[must_use]
    pub(super) fn has_nat(&self) -> bool {
        self.home.nat.is_some()
    }
}

/// The network where a peer starts.
#[must_use]
pub(super) fn home_of(peer: &str) -> &'static str {
    if peer == super::PEERS[0] {
        "alices"
    } else {
        "bobs"
    }
}

/// The network that a peer moves to.
#[must_use]
pub(super) fn other_of(peer: &str) -> &'static str {
    if peer == super::PEERS[0] {
        "alices-other"
    } else {
        "bobs-other"
    }
}

/// Any place from which a call can be made.
pub(super) fn place() -> impl Strategy<Value = Place> {
    (
        network(),
        proptest::option::weighted(0.15, carrier()),
        network(),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(mut home, carrier, other, dual)| {
            // A home behind a carrier translates for itself.
            if carrier.is_some() {
                home.nat = home.nat.or(Some("home"));
                home.proxy = None;
            } else if dual {
                home.ip = Some("dual");
            }
            Place {
                home,
                carrier,
                other: NetworkCase {
                    proxy: None,
                    ..other
                },
            }
        })
}

/// A place from which STUN is enough: a NAT that maps independently of the destination.
pub(super) fn easy_place() -> impl Strategy<Value = Place> {
    let nat = proptest::sample::select(vec![
        "full-cone",
        "address-restricted",
        "port-restricted",
        "home",
    ]);
    (nat, 5_u64..80).prop_map(|(nat, delay)| Place {
        home: NetworkCase {
            nat: Some(nat),
            uplink: Some(LinkCase::Settings {
                delay: Some(Time::from_millis(delay)),
                loss: None,
            }),
            ..NetworkCase::default()
        },
        carrier: None,
        other: NetworkCase::default(),
    })
}

/// The dead entries in the list of servers. One server of each kind lives, but for the cases in which no
/// TURN server does.
pub(super) fn servers() -> impl Strategy<Value = Option<ServersCase>> {
    let stun = proptest::option::of(proptest::sample::select(vec![
        "stun.l.google.com",
        "stun.voipbuster.com",
    ]));
    // The first and the third serve TCP.
    let turn = proptest::option::of(proptest::sample::select(vec![
        "global.relay.metered.ca",
        "turn.bistri.com",
        "turn.anyfirewall.com",
    ]));
    let dead = (stun, turn).prop_map(|(stun, turn)| {
        let dead: Vec<_> = stun.into_iter().chain(turn).collect();
        (!dead.is_empty()).then_some(ServersCase { dead, turn: None })
    });
    let no_turn = Just(Some(ServersCase {
        dead: Vec::new(),
        turn: Some("down"),
    }));
    prop_oneof![
        14 => Just(None),
        5 => dead,
        1 => no_turn,
    ]
}

fn network() -> impl Strategy<Value = NetworkCase> {
    let nat = prop_oneof![
        2 => Just(None),
        14 => proptest::sample::select(vec![
            "full-cone",
            "home",
            "port-restricted",
            "address-restricted",
            "linux-router",
            "symmetric",
            "corporate",
            "mobile",
            "bsd-router",
        ]).prop_map(Some),
    ];
    let walls = prop_oneof![
        14 => Just((None, None)),
        2 => Just((Some("blocked"), None)),
        1 => Just((Some("blocked"), Some(vec![80, 443]))),
    ];
    let proxy = prop_oneof![19 => Just(None), 1 => Just(Some("breaks-websocket"))];
    (nat, walls, proxy, uplink()).prop_map(|(nat, (udp, tcp_ports), proxy, uplink)| NetworkCase {
        nat,
        udp,
        tcp_ports,
        proxy,
        uplink,
        ..NetworkCase::default()
    })
}

fn carrier() -> impl Strategy<Value = NetworkCase> {
    proptest::sample::select(vec!["carrier-grade", "mobile"]).prop_map(|nat| NetworkCase {
        nat: Some(nat),
        ..NetworkCase::default()
    })
}

fn uplink() -> impl Strategy<Value = Option<LinkCase>> {
    let loss = prop_oneof![
        6 => Just(None),
        1 => Just(Some("1%".to_owned())),
        1 => Just(Some("3%".to_owned())),
        1 => Just(Some("2% in bursts of 3".to_owned())),
    ];
    let settings =
        (prop_oneof![4 => 5_u64..60, 1 => 60_u64..150], loss).prop_map(|(delay, loss)| {
            LinkCase::Settings {
                delay: Some(Time::from_millis(delay)),
                loss,
            }
        });
    let preset = proptest::sample::select(vec!["fibre", "dsl", "lte", "3g"]);
    prop_oneof![
        3 => Just(None),
        4 => settings.prop_map(Some),
        2 => preset.prop_map(|preset| Some(LinkCase::Preset(preset))),
    ]
}
