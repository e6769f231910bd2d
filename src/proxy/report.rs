//! Where an invocation ran, as answers say it: to a peer in one field, `hopwise-report`,
//! `node=cloud, hop=1` and how busy that node is ([`load_field`]); to clients that ask in one for each.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::topology::{NodeIndex, Topology};

use super::load_field;
use super::parts::{self, Parts};
use super::peer;

/// Where an invocation ran, as an answer says.
pub(super) struct Report<'a> {
    /// The id of the node,
    pub(super) node: Cow<'a, str>,
    /// and its place, if this topology knows it.
    pub(super) runner: Option<NodeIndex>,
    pub(super) hop: u8,
    pub(super) load: Option<LoadReport>,
}

/// What a peer's answer says of itself beside what the function answers.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    /// That the invocation did not run, and why.
    pub(super) refusal: Option<&'a HeaderValue>,
    pub(super) report: Option<&'a HeaderValue>,
}

impl<'a> Told<'a> {
    /// What is among `headers`, in one pass.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut told = Self::default();
        for (name, value) in headers {
            if *name == peer::REPORT {
                told.report.get_or_insert(value);
            } else if *name == peer::REFUSAL {
                told.refusal.get_or_insert(value);
            }
        }
        told
    }

    /// How busy the node is that answers, if it says so.
    pub(super) fn load(&self) -> Option<LoadReport> {
        read(self.report?)?.load
    }
}

/// The parts of a report.
#[derive(Default)]
struct Said<'a> {
    node: Option<&'a str>,
    hop: Option<u8>,
    load: Option<LoadReport>,
}

/// What the field says; a part that makes no sense makes none of it count.
fn read(value: &HeaderValue) -> Option<Said<'_>> {
    let mut said = Said::default();
    for part in parts::each(parts::text(value)?) {
        match part? {
            ("node", node) => said.node = Some(node),
            ("hop", hop) => said.hop = Some(parts::whole(hop)?),
            (name, value) => {
                let mut load = said.load.unwrap_or_default();
                if load_field::read(&mut load, name, value)? {
                    said.load = Some(load);
                }
            }
        }
    }
    Some(said)
}

impl<'a> Report<'a> {
    /// What a peer's answer says; `asked` is whom we asked, `hop` how far it was.
    pub(super) fn of(told: &Told<'_>, topology: &'a Topology, asked: NodeIndex, hop: u8) -> Self {
        let said = told.report.and_then(read).unwrap_or_default();
        let asked_id = topology.node(asked).id.as_str();
        let (node, runner) = match said.node {
            Some(node) if node != asked_id => {
                let runner = topology.index_of(node);
                let known = runner.map(|runner| topology.node(runner).id.as_str());
                (known.map_or_else(|| Cow::Owned(node.to_owned()), Cow::Borrowed), runner)
            }
            _ => (Cow::Borrowed(asked_id), Some(asked)),
        };
        let hop = said.hop.unwrap_or(hop.saturating_add(1));
        Self { node, runner, hop, load: said.load }
    }

    /// Tells a peer.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let mut parts = Parts::new();
        parts.begin("node");
        parts.text(&self.node);
        parts.begin("hop");
        parts.whole(u64::from(self.hop));
        if let Some(load) = &self.load {
            load_field::write(&mut parts, load);
        }
        if let Some(value) = parts.value() {
            headers.insert(peer::REPORT, value);
        }
    }

    /// Tells a client.
    pub(super) fn show(&self, headers: &mut HeaderMap, architecture: Architecture) {
        if let Ok(node) = HeaderValue::from_str(&self.node) {
            headers.insert(peer::NODE, node);
        }
        headers.insert(peer::HOP, HeaderValue::from(u16::from(self.hop)));
        headers.insert(peer::ARCHITECTURE, HeaderValue::from_static(architecture.as_str()));
        if let Some(load) = self.load.as_ref().and_then(load_field::value) {
            headers.insert(peer::LOAD, load);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Snapshot;

    const NODES: &str = "node: {id: a}\ntopology:\n\
        - {id: a, role: worker, zone: z, address: 192.0.2.1}\n\
        - {id: b, role: worker, zone: z, address: 192.0.2.2}\n\
        - {id: c, role: worker, zone: z, address: 192.0.2.3}\n";

    #[test]
    fn a_report_survives_the_field() {
        let snapshot = Snapshot::from_yaml(NODES, None).unwrap();
        let topology = &snapshot.site.topology;
        let asked = topology.index_of("b").unwrap();
        let load = Some(LoadReport { in_flight: 3, cores: 2, ..LoadReport::default() });
        for (node, runner) in [("b", Some(asked)), ("c", topology.index_of("c")), ("d", None)] {
            let mut headers = HeaderMap::new();
            Report { node: node.into(), runner, hop: 2, load }.tell(&mut headers);
            let read = Report::of(&Told::of(&headers), topology, asked, 0);
            assert_eq!((&*read.node, read.runner, read.hop, read.load), (node, runner, 2, load));
        }
        for bad in ["node", "node=c, hop=x", "node=c, in-flight=-1"] {
            let mut headers = HeaderMap::new();
            headers.insert(peer::REPORT, HeaderValue::from_static(bad));
            let read = Report::of(&Told::of(&headers), topology, asked, 0);
            assert_eq!((&*read.node, read.hop, read.load), ("b", 1, None), "{bad}");
        }
    }
}
