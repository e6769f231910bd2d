//! What must hold between keys that are each right by themselves.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::raw::{Raw, RawNode, STAND_IN};
use super::reader::plain;
use super::rules::{THRESHOLD, above, soft_above_hard};
use super::{Authority, Listen, tls};
use crate::problem::Problem;
use crate::scheduling::policy::{Architecture, Mode, Thresholds};
use crate::topology::{Role, Topology};

/// Most node ids that a remedy lists.
const IDS_SHOWN_MAX: usize = 10;

/// Why `thresholds` cannot be set, by the names of `/update_threshold`.
pub(super) fn thresholds(thresholds: &Thresholds) -> Vec<Problem> {
    let Thresholds { soft_d2f, hard_d2f, soft_f2c, hard_f2c } = *thresholds;
    let named = [
        ("soft_d2f", soft_d2f),
        ("hard_d2f", hard_d2f),
        ("soft_f2c", soft_f2c),
        ("hard_f2c", hard_f2c),
    ];
    let remedy = format!("choose a ratio from {} to {}", THRESHOLD.start(), THRESHOLD.end());
    let outside = named.into_iter().filter(|(_, ratio)| !THRESHOLD.contains(ratio));
    let outside = outside.map(|(key, ratio)| Problem::new(key, ratio, "is out of range", &remedy));
    let crossed = soft_above_hard(thresholds).map(|(soft, hard)| {
        let fault = above(hard.0, hard.1);
        Problem::new(soft.0, soft.1, fault.fault, fault.remedy)
    });
    outside.chain(crossed).collect()
}

/// Where `mode` has nobody to decide in `topology`.
///
/// That is no error: invocations fall back to the next architecture. But it is hardly meant.
pub(super) fn mode(mode: Mode, topology: &Topology) -> Vec<Problem> {
    match mode {
        Mode::Fixed(Architecture::Centralized) if topology.cloud_controllers().is_empty() => {
            vec![Problem::new(
                "architecture",
                mode,
                "needs a cloud-controller, and the topology has none",
                "give one node the role cloud-controller, or choose another architecture",
            )]
        }
        Mode::Fixed(Architecture::Federated) => zones_without_controller(topology),
        Mode::Fixed(_) | Mode::Dynamic => Vec::new(),
    }
}

fn zones_without_controller(topology: &Topology) -> Vec<Problem> {
    let mut told = HashSet::new();
    let nodes = topology.nodes().iter().enumerate();
    nodes
        .filter(|(_, node)| node.role == Role::Worker)
        .filter(|(_, node)| topology.controllers_of(node).is_empty())
        .filter(|(_, node)| told.insert(&node.zone))
        .map(|(i, node)| {
            let fault = "is a zone without controller, and architecture federated needs one";
            let remedy = "give one node of the zone the role edge-controller, or choose another \
                          architecture";
            Problem::new(format!("topology[{i}].zone"), &node.zone, fault, remedy)
        })
        .collect()
}

/// Why no node can be this one, where `id` is what it should be called.
pub(super) fn own_id(id: Option<&str>, nodes: &[RawNode]) -> Problem {
    let ids = nodes.iter().map(|node| node.spec.id.as_str());
    let mut ids: Vec<&str> = ids.filter(|id| !id.starts_with(STAND_IN)).collect();
    let more = if ids.len() > IDS_SHOWN_MAX { ", …" } else { "" };
    ids.truncate(IDS_SHOWN_MAX);
    let remedy = match ids.join(", ") {
        known if known.is_empty() => "list this node under topology".to_owned(),
        known => format!("write the id of this node as in the topology: {known}{more}"),
    };
    match id {
        None => Problem::new("node.id", "", "is missing", remedy),
        Some(id) => Problem::new("node.id", plain(id), "is not in the topology", remedy),
    }
}

/// Which nodes no certificate can name.
pub(super) fn names_in_certificates(nodes: &[RawNode]) -> Vec<Problem> {
    let ids = nodes.iter().map(|node| node.spec.id.as_str()).enumerate();
    ids.filter(|(_, id)| !tls::can_be_named(id))
        .map(|(i, id)| {
            let fault = "cannot be a DNS name, so no certificate can name the node";
            let remedy = "use letters, digits, hyphens and dots, the hyphens not at an end, and \
                          not digits alone after the last dot";
            Problem::new(format!("topology[{i}].id"), id, fault, remedy)
        })
        .collect()
}

/// Why a sidecar cannot listen as `listen` says.
pub(super) fn listen(listen: &Listen, knows_operators: bool) -> Vec<Problem> {
    let Listen { data, admin } = *listen;
    let mut problems = Vec::new();
    let overlap =
        data.ip() == admin.ip() || data.ip().is_unspecified() || admin.ip().is_unspecified();
    if overlap && data.port() == admin.port() && data.port() != 0 {
        let fault = format!("overlaps listen.data = {data}");
        problems.push(Problem::new("listen.admin", admin, fault, "choose another port"));
    }
    if !admin.ip().is_loopback() && !knows_operators {
        problems.push(Problem::new(
            "listen.admin",
            admin,
            "lets others than this machine steer the node, without a token or certificates",
            "set admin.token_file, HOPWISE_ADMIN_TOKEN or admin.tls.ca_file, or listen on 127.0.0.1",
        ));
    }
    problems
}

/// Where invocations would come back to the sidecar that sent them on.
pub(super) fn upstreams(
    raw: &Raw<'_>,
    own: usize,
    gateway: &Authority,
    data: SocketAddr,
) -> Vec<Problem> {
    let address = &raw.nodes[own].spec.address;
    let mut problems = Vec::new();
    let is_own_name =
        gateway.host == address.host && [address.port, data.port()].contains(&gateway.port);
    if is_own_name || reaches(&gateway.host, gateway.port, data) {
        let (key, remedy) = match raw.gateway {
            Some(_) => ("gateway".to_owned(), "name the address of this node's gateway"),
            None => {
                (format!("topology[{own}].gateway_port"), "write the port of this node's gateway")
            }
        };
        let fault = "is where this sidecar itself listens, so calls would go round in circles";
        problems.push(Problem::new(key, gateway, fault, remedy));
    }
    for (i, node) in raw.nodes.iter().enumerate().filter(|(i, _)| *i != own) {
        // A node with this node's very address is told of where the topology is made.
        let other = &node.spec.address;
        if other.host != address.host && reaches(&other.host, other.port, data) {
            problems.push(Problem::new(
                format!("topology[{i}].address"),
                format!("{}:{}", other.host, other.port),
                "is where this sidecar itself listens",
                "write that node's own address and port, or this node's own address in listen.data",
            ));
        }
    }
    problems
}

/// Whether connecting to `host` and `port` on this machine ends at `data`.
fn reaches(host: &str, port: u16, data: SocketAddr) -> bool {
    let bound = data.ip().to_canonical();
    let named = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    let Ok(ip) = named.parse().map(|ip: IpAddr| ip.to_canonical()) else { return false };
    let everywhere = bound.is_unspecified() && (ip.is_loopback() || ip.is_unspecified());
    // Connecting to the unspecified address means this machine.
    port == data.port() && (ip == bound || everywhere || ip.is_unspecified() && bound.is_loopback())
}
