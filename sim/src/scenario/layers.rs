//! Networks behind networks, and the addresses that they can have.

use std::collections::BTreeMap;

use super::document::{Named, NetworkDocument};
use super::error::ProblemKind;
use super::model::{Families, MOST_LAYERS, Network};
use super::problems::Problems;
use super::spanned::Spanned;

/// Refuses what no network can be: behind itself, behind one without a NAT, or with addresses of a
/// family that it does not have.
pub(super) fn check(
    documents: &Named<NetworkDocument>,
    networks: &BTreeMap<String, Network>,
    problems: &mut Problems<'_>,
) {
    for (name, document) in documents {
        let Some(network) = networks.get(name.get_ref()) else {
            continue;
        };
        let document = document.get_ref();
        if let Some(behind) = &document.behind
            && let Err(kind) = check_carrier(name.get_ref(), behind.get_ref(), network, networks)
        {
            problems.push(behind.span(), kind);
        }
        let subnet = document.subnet.as_ref().map(Spanned::span);
        let carrier = network.behind.as_ref().and_then(|name| networks.get(name));
        if let Some(span) = subnet
            && let Some((message, allowed)) = misplaced_subnet(network, carrier)
        {
            problems.push(span, contradiction(message.to_owned(), allowed));
        }
        if let Some(firewall) = &document.ipv6
            && network.families == Families::V4
        {
            let message = "this network has no IPv6".to_owned();
            let allowed = "`ipv6` with `ip = \"v6\"` or `ip = \"dual\"`";
            problems.push(firewall.span(), contradiction(message, allowed));
        }
        let boxes = [
            document.portal.as_ref().map(Spanned::span),
            document.proxy.as_ref().map(Spanned::span),
        ];
        for span in boxes.into_iter().flatten() {
            if network.families == Families::V6 {
                let message = "portals and proxies intercept IPv4, which this network has not";
                let allowed = "`portal` and `proxy` with `ip = \"v4\"` or `ip = \"dual\"`";
                problems.push(span, contradiction(message.to_owned(), allowed));
            }
        }
        if network.families == Families::V6 && network.has_nat() {
            let message = "this network has a NAT and no IPv4 for it to translate".to_owned();
            let allowed = "`ip = \"v6\"` without `nat`, or `ip = \"dual\"`";
            problems.push(name.span(), contradiction(message, allowed));
        }
    }
}

fn check_carrier(
    name: &str,
    behind: &str,
    network: &Network,
    networks: &BTreeMap<String, Network>,
) -> Result<(), ProblemKind> {
    let Some(carrier) = networks.get(behind) else {
        let known = networks.keys().map(String::as_str);
        return Err(ProblemKind::unknown("network", behind, known));
    };
    let mut layers = 1;
    let mut above = Some(behind);
    while let Some(outer) = above {
        if outer == name {
            let message = "this leads back to the network itself".to_owned();
            let allowed = "networks whose way leads to the core";
            return Err(contradiction(message, allowed));
        }
        layers += 1;
        // A circle above this network is refused where it is.
        if layers > networks.len() {
            return Ok(());
        }
        above = networks
            .get(outer)
            .and_then(|network| network.behind.as_deref());
    }
    if layers > MOST_LAYERS {
        let message = format!("this is layer {layers}, counted from the core");
        let allowed = "at most 3 gateways between a host and the core";
        return Err(contradiction(message, allowed));
    }
    if !carrier.has_nat() {
        let message = "that network has no NAT".to_owned();
        let allowed = "a network whose `nat` is another than `none`";
        return Err(contradiction(message, allowed));
    }
    if network.families != Families::V4 && carrier.families != Families::Dual {
        let message = "that network has no IPv6, which this one has".to_owned();
        let allowed = "a network with `ip = \"dual\"`";
        return Err(contradiction(message, allowed));
    }
    Ok(())
}

fn misplaced_subnet(
    network: &Network,
    carrier: Option<&Network>,
) -> Option<(&'static str, &'static str)> {
    if network.families == Families::V6 {
        return Some((
            "this network has no IPv4",
            "`subnet` with `ip = \"v4\"` or `ip = \"dual\"`",
        ));
    }
    if !network.has_nat() {
        return Some((
            "without a NAT the hosts have public addresses",
            "`subnet` with a `nat` other than `none`",
        ));
    }
    carrier
        .is_some_and(|carrier| carrier.subnet == network.subnet)
        .then_some((
            "this is the subnet on the other side of the gateway too",
            "a subnet other than that of the network it is behind",
        ))
}

fn contradiction(message: String, allowed: &'static str) -> ProblemKind {
    ProblemKind::Contradiction { message, allowed }
}
