//! What differs between two generations of the configuration, for people.

use std::fmt::Display;

use crate::config::Snapshot;
use crate::topology::Node;

/// One line for each thing that differs: small values in full, the rest by key, secrets never.
pub(super) fn differences(before: &Snapshot, next: &Snapshot) -> Vec<String> {
    let (old, new) = (&before.site.policy, &next.site.policy);
    let (old_at, new_at) = (&old.tail_ratio.thresholds, &new.tail_ratio.thresholds);
    let thresholds_aside =
        crate::scheduling::policy::TailRatioRule { thresholds: *new_at, ..old.tail_ratio };
    let valued = [
        value("mode", old.mode, new.mode),
        value("selection", old.selection.as_str(), new.selection.as_str()),
        value("hop_limit", old.hop_limit.0, new.hop_limit.0),
        value("soft_d2f", old_at.soft_d2f, new_at.soft_d2f),
        value("hard_d2f", old_at.hard_d2f, new_at.hard_d2f),
        value("soft_f2c", old_at.soft_f2c, new_at.soft_f2c),
        value("hard_f2c", old_at.hard_f2c, new_at.hard_f2c),
        value("gateway", &before.gateway, &next.gateway),
    ];
    let awaits = |snapshot: &Snapshot, key| snapshot.restart_needed().contains(&key);
    let awaited = |key| (key, awaits(before, key) != awaits(next, key));
    let named = [
        ("node", before.site.node().id != next.site.node().id),
        ("topology", !same_nodes(before, next)),
        ("offload", old.offload != new.offload),
        ("tail_scheduler", thresholds_aside != new.tail_ratio),
        awaited("listen"),
        awaited("handover"),
        awaited("workers"),
        awaited("cores"),
        ("limits", before.limits != next.limits),
        ("timeouts", before.timeouts != next.timeouts),
        awaited("interception"),
        ("peer key", before.peer_key != next.peer_key),
        ("certificates", before.tls != next.tls),
        ("admin token", before.admin_token != next.admin_token),
        ("drained nodes", before.drained != next.drained),
    ];
    let named = named.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned());
    valued.into_iter().flatten().chain(named).collect()
}

fn value<T: PartialEq + Display>(key: &str, old: T, new: T) -> Option<String> {
    (old != new).then(|| format!("{key}: {old} -> {new}"))
}

/// Whether all nodes are as they were; their slots are no matter of configuration.
fn same_nodes(before: &Snapshot, next: &Snapshot) -> bool {
    let (old, new) = (before.site.topology.nodes(), next.site.topology.nodes());
    let parts = |node: &Node| (node.id.clone(), node.role, node.zone.clone(), node.address.clone());
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| parts(a) == parts(b))
}
