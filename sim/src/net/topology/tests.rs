//! Who gets which address.

use super::*;

fn translated() -> NetworkConfig {
    NetworkConfig {
        nat: Some(NatConfig::default()),
        ..NetworkConfig::default()
    }
}

#[test]
fn addresses_follow_the_plan_in_order_of_declaration() {
    let mut topology = Topology::new();
    let home = topology.add_network("home", translated()).expect("free");
    let open = topology
        .add_network("open", NetworkConfig::default())
        .expect("free");
    let office = topology.add_network("office", translated()).expect("free");
    let mut host = |name: &str, network| {
        topology
            .add_host(name, network, LinkPair::default())
            .expect("free")
    };
    let hosts = [
        host("alice", home),
        host("bob", office),
        host("carol", home),
        host("dave", open),
    ];
    let server = topology
        .add_server("stun", LinkPair::default(), Families::V4)
        .expect("free");
    assert_eq!(
        hosts.map(|host| topology.addresses(host)[0].to_string()),
        ["192.168.1.2", "192.168.2.2", "192.168.1.3", "203.0.113.3"]
    );
    assert_eq!(topology.addresses(server)[0].to_string(), "192.0.2.1");
    let external = [home, open, office].map(|network| {
        let externals = topology.externals(network).iter();
        externals.map(ToString::to_string).collect::<Vec<_>>()
    });
    assert_eq!(
        external,
        [
            vec!["203.0.113.1".to_owned()],
            vec![],
            vec!["203.0.113.2".to_owned()]
        ]
    );
}

#[test]
fn a_full_plan_is_an_error_and_not_a_duplicate_address() {
    let mut topology = Topology::new();
    let open = topology
        .add_network("open", NetworkConfig::default())
        .expect("free");
    let mut addresses = BTreeSet::new();
    for index in 0..508 {
        let host = topology
            .add_host(&format!("host {index}"), open, LinkPair::default())
            .expect("an address is left");
        assert!(addresses.insert(topology.addresses(host)[0]));
    }
    let error = topology.add_host("one more", open, LinkPair::default());
    assert_eq!(
        error.expect_err("the plan is full").to_string(),
        "no address left for \"one more\": at most 508 public hosts are possible"
    );
}

#[test]
fn names_are_used_once_among_networks_hosts_and_servers() {
    let mut topology = Topology::new();
    topology.add_network("home", translated()).expect("free");
    topology
        .add_server("home", LinkPair::default(), Families::V4)
        .expect_err("taken");
}

#[test]
fn a_home_behind_a_carrier_has_its_external_address_from_it() {
    let mut topology = Topology::new();
    let carrier = topology.add_carrier("carrier", translated()).expect("free");
    let home = |topology: &mut Topology, name| {
        let config = NetworkConfig {
            behind: Some(carrier),
            subnet: Some(Ipv4Addr::new(192, 168, 0, 0)),
            ..translated()
        };
        topology.add_network(name, config).expect("free")
    };
    let homes = [home(&mut topology, "a"), home(&mut topology, "b")];
    let externals = homes.map(|home| topology.externals(home)[0].to_string());
    assert_eq!(externals, ["100.64.1.2", "100.64.1.3"]);
    assert_eq!(topology.externals(carrier)[0].to_string(), "203.0.113.1");
    let hosts = homes.map(|home| {
        let name = format!("host of {home:?}");
        let host = topology.add_host(&name, home, LinkPair::default());
        topology.addresses(host.expect("free"))[0].to_string()
    });
    assert_eq!(hosts, ["192.168.0.2", "192.168.0.2"], "the same in both");
}

#[test]
fn a_dual_stack_host_has_an_address_of_each_family() {
    let mut topology = Topology::new();
    let config = NetworkConfig {
        families: Families::Dual,
        ..translated()
    };
    let home = topology.add_network("home", config).expect("free");
    let host = topology
        .add_host("alice", home, LinkPair::default())
        .expect("free");
    let addresses: Vec<String> = topology
        .addresses(host)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["192.168.1.2", "2001:db8:1::1"]);
}
