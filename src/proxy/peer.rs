//! What sidecars tell each other, and how they know each other.

use std::time::Duration;

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Snapshot;
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Stage;
use crate::topology::NodeIndex;

use super::call_field::{Malformed, Onward, Said, passed, read, value};
use super::client::{Client, Port, Transport};
use super::headers::is_internal;
use super::signature;
use super::tls::Certified;

/// What a sidecar says of an invocation it sends; see [`super::call_field`].
pub(crate) const CALL: HeaderName = HeaderName::from_static("hopwise-call");
/// What it is answered; see [`super::report`].
pub(crate) const REPORT: HeaderName = HeaderName::from_static("hopwise-report");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("hopwise-signature");
pub(crate) const EXPLAIN: HeaderName = HeaderName::from_static("hopwise-explain");
/// On an answer: what was decided and why, by each decider in turn.
pub(crate) const DECISION: HeaderName = HeaderName::from_static("hopwise-decision");
pub(crate) const NODE: HeaderName = HeaderName::from_static("hopwise-node");
pub(crate) const HOP: HeaderName = HeaderName::from_static("hopwise-hop");
pub(crate) const ARCHITECTURE: HeaderName = HeaderName::from_static("hopwise-architecture");
pub(crate) const LOAD: HeaderName = HeaderName::from_static("hopwise-load");
/// On an answer that a sidecar gives instead of running the invocation; names the error.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("hopwise-refusal");
/// Only sidecars of before `hopwise-call` send it; they say things that must not be missed.
const STAGE: HeaderName = HeaderName::from_static("hopwise-stage");

/// Our own fields on a request.
#[derive(Debug, Default)]
pub(crate) struct Ours<'a> {
    /// What a sidecar says of it,
    call: Option<&'a HeaderValue>,
    /// and what that comes to.
    pub(super) said: Option<Result<Said<'a>, Malformed>>,
    signature: Option<&'a HeaderValue>,
    /// Whether it is to be told what was decided.
    pub(super) explain: bool,
    outdated: bool,
}

impl<'a> Ours<'a> {
    /// Those among `headers`, in one pass: most requests have none.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut ours = Self::default();
        for (name, value) in headers {
            if !is_internal(name.as_str()) {
                continue;
            }
            if *name == CALL {
                ours.call.get_or_insert(value);
            } else if *name == SIGNATURE {
                ours.signature.get_or_insert(value);
            } else if *name == EXPLAIN {
                ours.explain = !matches!(value.as_bytes(), b"0" | b"false");
            } else if *name == STAGE {
                ours.outdated = true;
            }
        }
        ours.said = ours.call.map(read);
        ours
    }
}

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
pub(super) fn standing<B>(
    snapshot: &Snapshot,
    request: &Request<B>,
    ours: &Ours<'_>,
    client: &Client,
) -> Standing {
    if let (Transport::Certified(shown), Port::Data) = (&client.transport, client.port) {
        return certified_standing(snapshot, shown, ours);
    }
    let Some(key) = &snapshot.peer_key else {
        // Where there are certificates, an address vouches for nobody.
        let known = snapshot.tls.peers.is_none()
            && snapshot.peer_addresses.binary_search(&client.address.ip().to_canonical()).is_ok();
        return match known {
            // What it asks for is in fields that are not read any more. It knows this refusal, and
            // that nothing ran, so while a fleet is changed node by node it asks somebody else.
            true if ours.outdated => Standing::Forged(
                "the header hopwise-stage is that of an earlier version; run the same version on \
                 all nodes",
            ),
            true => Standing::Peer,
            false => Standing::Stranger,
        };
    };
    let Some(signature) = ours.signature else { return Standing::Stranger };
    let mut session = client.session.borrow_mut();
    let known = session.as_mut().is_some_and(|session| {
        session.is_of(key) && session.verify(request.method(), request.uri(), ours.call, signature)
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
fn certified_standing(snapshot: &Snapshot, shown: &Certified, ours: &Ours<'_>) -> Standing {
    if !snapshot.tls.peers.as_ref().is_some_and(|endpoint| shown.counts_for(endpoint)) {
        return if ours.call.is_some() {
            Standing::Forged("the certificate does not count any more; renew it, or call again")
        } else {
            Standing::Stranger
        };
    }
    if !shown.names_one_of(&snapshot.site.topology) {
        return Standing::Stranger;
    }
    if let Some(Ok(said)) = &ours.said
        && !passed(said.via).last().is_some_and(|sender| shown.names(sender))
    {
        return Standing::Forged(
            "the certificate names another node than the one that sent this; give each node a \
             certificate whose subjectAltName is its id",
        );
    }
    Standing::Peer
}

/// What a peer's fields say, or what makes no sense of them.
pub(crate) fn heard(snapshot: &Snapshot, ours: Ours<'_>) -> Result<Option<PeerContext>, String> {
    match ours.said {
        Some(Ok(said)) => Ok(Some(PeerContext::new(snapshot, &said))),
        Some(Err(Malformed(part))) => Err(format!(
            "the header {CALL} makes no sense ({part}); run the same version on all nodes"
        )),
        None => Ok(None),
    }
}

impl PeerContext {
    /// What `said` means in this topology.
    pub(crate) fn new(snapshot: &Snapshot, said: &Said<'_>) -> Self {
        let topology = &snapshot.site.topology;
        let mut sender = None;
        let known = passed(said.via).filter_map(|id| {
            sender = topology.index_of(id);
            sender
        });
        let path: Vec<NodeIndex> = known.collect();
        let Said { hop, stage, architecture, via, deadline, load } = *said;
        let sender = sender.zip(load);
        Self { hop, via: via.to_owned(), path, stage, architecture, deadline, sender }
    }
}

/// Writes the fields for the next sidecar.
pub(super) fn write(headers: &mut HeaderMap, onward: &Onward<'_>, explain: bool) {
    if let Some(value) = value(onward) {
        headers.insert(CALL, value);
    }
    if explain {
        headers.insert(EXPLAIN, HeaderValue::from_static("1"));
    }
}

/// Takes the fields for the next sidecar off again.
pub(super) fn remove(headers: &mut HeaderMap) {
    for name in [CALL, EXPLAIN, SIGNATURE] {
        headers.remove(name);
    }
}
