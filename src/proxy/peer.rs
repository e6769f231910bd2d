//! What sidecars tell each other, and how they know each other.

use std::time::Duration;

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};

use crate::config::Snapshot;
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Stage;
use crate::topology::NodeIndex;

use super::client::{Client, Port, Transport};
use super::load_field;
use super::signature;
use super::tls::Certified;

pub(crate) const HOP: HeaderName = HeaderName::from_static("hopwise-hop");
pub(crate) const VIA: HeaderName = HeaderName::from_static("hopwise-via");
pub(crate) const ARCHITECTURE: HeaderName = HeaderName::from_static("hopwise-architecture");
pub(crate) const STAGE: HeaderName = HeaderName::from_static("hopwise-stage");
pub(crate) const DEADLINE_MS: HeaderName = HeaderName::from_static("hopwise-deadline-ms");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("hopwise-signature");
pub(crate) const EXPLAIN: HeaderName = HeaderName::from_static("hopwise-explain");
/// On an answer: what was decided and why, by each decider in turn.
pub(crate) const DECISION: HeaderName = HeaderName::from_static("hopwise-decision");
pub(crate) const NODE: HeaderName = HeaderName::from_static("hopwise-node");
pub(crate) const LOAD: HeaderName = HeaderName::from_static("hopwise-load");
/// On an answer that a sidecar gives instead of running the invocation; names the error.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("hopwise-refusal");

/// Who sent a request, as far as the headers between sidecars are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A sidecar of this topology.
    Peer,
    /// Anyone else: internal headers do not count.
    Stranger,
    /// Somebody who wants to be known as a sidecar, and what to answer.
    Greets(HeaderValue),
    /// Somebody who says that they are a sidecar and cannot prove it; what is wrong, with its remedy.
    Forged(&'static str),
}

/// What a peer says of an invocation it sends.
#[derive(Debug, Clone)]
pub(crate) struct PeerContext {
    /// Offloads so far.
    pub(crate) hop: u8,
    /// The ids it has passed, as sent on.
    pub(crate) via: String,
    /// Those of them that this topology knows.
    pub(crate) path: Vec<NodeIndex>,
    /// What is asked of this node.
    pub(crate) stage: Stage,
    /// The architecture chosen at its entry.
    pub(crate) architecture: Option<Architecture>,
    /// Time left to answer.
    pub(crate) deadline: Option<Duration>,
    /// What the sidecar that sent it says of itself, if this topology knows it.
    pub(crate) sender: Option<(NodeIndex, LoadReport)>,
}

/// Whether the sender of a request is a peer.
pub(super) fn standing<B>(snapshot: &Snapshot, request: &Request<B>, client: &Client) -> Standing {
    let headers = request.headers();
    if let (Transport::Certified(shown), Port::Data) = (&client.transport, client.port) {
        return certified_standing(snapshot, shown, headers);
    }
    let Some(key) = &snapshot.peer_key else {
        // Where there are certificates, an address vouches for nobody.
        let known = snapshot.tls.peers.is_none()
            && snapshot.peer_addresses.binary_search(&client.address.ip().to_canonical()).is_ok();
        return if known { Standing::Peer } else { Standing::Stranger };
    };
    let Some(signature) = headers.get(&SIGNATURE) else { return Standing::Stranger };
    let mut session = client.session.borrow_mut();
    let known = session.as_mut().is_some_and(|session| {
        session.is_of(key) && session.verify(request.method(), request.uri(), headers, signature)
    });
    if known {
        return Standing::Peer;
    }
    *session = None;
    if signature::is_greeting(signature)
        && let Some((answer, begun)) =
            signature::answer(key, snapshot.site.node().id.as_str(), signature)
    {
        *session = Some(begun);
        return Standing::Greets(answer);
    }
    Standing::Forged(
        "the signature does not verify; give all nodes the same peers.key_file, and let nothing \
         between them share their connections",
    )
}

/// The standing of whoever `shown` is the certificate of: it speaks for the nodes it names alone.
fn certified_standing(snapshot: &Snapshot, shown: &Certified, headers: &HeaderMap) -> Standing {
    let speaks = [&HOP, &VIA, &STAGE].into_iter().any(|name| headers.contains_key(name));
    if !snapshot.tls.peers.as_ref().is_some_and(|endpoint| shown.counts_for(endpoint)) {
        return if speaks {
            Standing::Forged("the certificate does not count any more; renew it, or call again")
        } else {
            Standing::Stranger
        };
    }
    if !shown.names_one_of(&snapshot.site.topology) {
        return Standing::Stranger;
    }
    let via = headers.get(&VIA).and_then(|via| via.to_str().ok()).unwrap_or_default();
    if speaks && !passed(via).last().is_some_and(|sender| shown.names(sender)) {
        return Standing::Forged(
            "the certificate names another node than the one that sent this; give each node a \
             certificate whose subjectAltName is its id",
        );
    }
    Standing::Peer
}

/// What the headers of a peer's request say, or the name of the one that makes no sense.
pub(crate) fn read(
    snapshot: &Snapshot,
    headers: &HeaderMap,
) -> Result<Option<PeerContext>, HeaderName> {
    let text = |name: &HeaderName| -> Result<Option<&str>, HeaderName> {
        headers.get(name).map(|value| value.to_str().map_err(|_| name.clone())).transpose()
    };
    if !headers.contains_key(&HOP) && !headers.contains_key(&VIA) && !headers.contains_key(&STAGE) {
        return Ok(None);
    }
    let hop = text(&HOP)?.map_or(Ok(0), |hop| hop.parse().map_err(|_| HOP))?;
    let via = text(&VIA)?.unwrap_or_default().to_owned();
    let stage = match text(&STAGE)? {
        None => Stage::Entry,
        Some("schedule") => Stage::Schedule,
        Some("execute") => Stage::Execute,
        Some(_) => return Err(STAGE),
    };
    let architecture = text(&ARCHITECTURE)?.map(str::parse).transpose();
    let deadline = text(&DEADLINE_MS)?.map(str::parse).transpose();
    let topology = &snapshot.site.topology;
    let mut sender = None;
    let known = passed(&via).filter_map(|id| {
        sender = topology.index_of(id);
        sender
    });
    let path: Vec<NodeIndex> = known.collect();
    let sender = sender.zip(headers.get(&LOAD).and_then(load_field::read));
    Ok(Some(PeerContext {
        hop,
        path,
        via,
        stage,
        architecture: architecture.map_err(|()| ARCHITECTURE)?,
        deadline: deadline.map_err(|_| DEADLINE_MS)?.map(Duration::from_millis),
        sender,
    }))
}

fn passed(via: &str) -> impl Iterator<Item = &str> {
    via.split(',').map(str::trim).filter(|id| !id.is_empty())
}

/// What an invocation takes along to the next sidecar.
#[derive(Debug)]
pub(super) struct Onward<'a> {
    pub(super) hop: u8,
    pub(super) via: &'a str,
    pub(super) architecture: Architecture,
    pub(super) stage: Stage,
    pub(super) deadline: Option<Duration>,
    pub(super) to: &'a str,
    /// Whether the answer is to tell what was decided there.
    pub(super) explain: bool,
    /// What this node says of itself, so that who places for it knows its load as it is.
    pub(super) load: LoadReport,
}

/// Writes the headers for the next sidecar.
///
/// A decider may send an invocation back to a node it came from, to run there. That node is taken
/// off the path, so that meeting one's own id on it always means a circle nobody intended.
pub(super) fn write(snapshot: &Snapshot, headers: &mut HeaderMap, onward: &Onward<'_>) {
    headers.insert(HOP, HeaderValue::from(u16::from(onward.hop)));
    if let Ok(value) = via_value(snapshot.site.node().id.as_str(), onward) {
        headers.insert(VIA, value);
    }
    headers.insert(ARCHITECTURE, HeaderValue::from_static(onward.architecture.as_str()));
    headers.insert(STAGE, HeaderValue::from_static(onward.stage.as_str()));
    if let Some(load) = load_field::value(&onward.load) {
        headers.insert(LOAD, load);
    }
    if onward.explain {
        headers.insert(EXPLAIN, HeaderValue::from_static("1"));
    }
    if let Some(left) = onward.deadline {
        headers.insert(DEADLINE_MS, HeaderValue::from(left.as_millis() as u64));
    }
}

/// The path taken, and `here` at its end.
fn via_value(here: &str, onward: &Onward<'_>) -> Result<HeaderValue, InvalidHeaderValue> {
    if onward.via.is_empty() {
        return HeaderValue::from_str(here);
    }
    let mut via = String::with_capacity(onward.via.len() + ", ".len() + here.len());
    let back = |id: &str| onward.stage == Stage::Execute && id == onward.to;
    for id in passed(onward.via).filter(|id| !back(id)) {
        via.push_str(id);
        via.push_str(", ");
    }
    via.push_str(here);
    HeaderValue::from_str(&via)
}

/// Takes the headers for the next sidecar off again.
pub(super) fn remove(headers: &mut HeaderMap) {
    for name in [HOP, VIA, ARCHITECTURE, STAGE, DEADLINE_MS, LOAD, EXPLAIN, SIGNATURE] {
        headers.remove(name);
    }
}
