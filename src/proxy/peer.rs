//! What sidecars tell each other, and how they know each other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use sha2::Sha256;

use crate::config::{Secret, Snapshot};
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Stage;
use crate::topology::NodeIndex;

use super::admit::{Client, Port, Transport};
use super::load_field;
use super::tls::Certified;

pub(crate) const HOP: HeaderName = HeaderName::from_static("hopwise-hop");
pub(crate) const VIA: HeaderName = HeaderName::from_static("hopwise-via");
pub(crate) const ARCHITECTURE: HeaderName = HeaderName::from_static("hopwise-architecture");
pub(crate) const STAGE: HeaderName = HeaderName::from_static("hopwise-stage");
pub(crate) const DEADLINE_MS: HeaderName = HeaderName::from_static("hopwise-deadline-ms");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("hopwise-signature");
pub(crate) const EXPLAIN: HeaderName = HeaderName::from_static("hopwise-explain");
pub(crate) const NODE: HeaderName = HeaderName::from_static("hopwise-node");
pub(crate) const LOAD: HeaderName = HeaderName::from_static("hopwise-load");
/// On an answer that a sidecar gives instead of running the invocation; names the error.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("hopwise-refusal");

/// How far apart the clocks of two nodes may be for a signature to count.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// Who sent a request, as far as the headers between sidecars are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A sidecar of this topology.
    Peer,
    /// Anyone else: internal headers do not count.
    Stranger,
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
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    if let (Transport::Certified(shown), Port::Data) = (&client.transport, client.port) {
        return certified_standing(snapshot, shown, headers);
    }
    let Some(key) = &snapshot.peer_key else {
        // Where there are certificates, an address vouches for nobody.
        let known = snapshot.tls.peers.is_none()
            && snapshot.peer_addresses.binary_search(&client.address.ip().to_canonical()).is_ok();
        return if known { Standing::Peer } else { Standing::Stranger };
    };
    match headers.get(&SIGNATURE) {
        None => Standing::Stranger,
        Some(signature) if verify(key, method, uri, headers, signature, unix_now()) => {
            Standing::Peer
        }
        Some(_) => Standing::Forged(
            "the signature does not verify; give all nodes the same peers.key_file and clocks that \
             agree to five minutes",
        ),
    }
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
pub(super) fn read(
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
    /// What this node says of itself, so that who places for it knows its load as it is.
    pub(super) load: LoadReport,
}

/// Writes the headers for the next sidecar.
///
/// A decider may send an invocation back to a node it came from, to run there. That node is taken
/// off the path, so that meeting one's own id on it always means a circle nobody intended.
pub(super) fn write(
    snapshot: &Snapshot,
    method: &Method,
    uri: &Uri,
    headers: &mut HeaderMap,
    onward: &Onward<'_>,
) {
    let here = snapshot.site.node().id.as_str();
    let mut via: Vec<&str> = passed(onward.via).collect();
    if onward.stage == Stage::Execute {
        via.retain(|id| *id != onward.to);
    }
    via.push(here);
    headers.insert(HOP, HeaderValue::from(u16::from(onward.hop)));
    if let Ok(value) = HeaderValue::from_str(&via.join(", ")) {
        headers.insert(VIA, value);
    }
    headers.insert(ARCHITECTURE, HeaderValue::from_static(onward.architecture.as_str()));
    headers.insert(STAGE, HeaderValue::from_static(onward.stage.as_str()));
    if let Some(load) = load_field::value(&onward.load) {
        headers.insert(LOAD, load);
    }
    if let Some(left) = onward.deadline {
        headers.insert(DEADLINE_MS, HeaderValue::from(left.as_millis() as u64));
    }
    if let Some(key) = &snapshot.peer_key {
        let time = unix_now();
        let code = to_hex(&mac(key, method, uri, headers, time).finalize().into_bytes());
        if let Ok(value) = HeaderValue::from_str(&format!("t={time}, mac={code}")) {
            headers.insert(SIGNATURE, value);
        }
    }
}

/// Takes the headers for the next sidecar off again.
pub(super) fn remove(headers: &mut HeaderMap) {
    for name in [HOP, VIA, ARCHITECTURE, STAGE, DEADLINE_MS, LOAD, SIGNATURE] {
        headers.remove(name);
    }
}

fn mac(key: &Secret, method: &Method, uri: &Uri, headers: &HeaderMap, time: u64) -> Hmac<Sha256> {
    // An HMAC takes keys of any length, so this key cannot be refused.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    for part in [method.as_str().as_bytes(), target.as_bytes(), time.to_string().as_bytes()] {
        mac.update(part);
        mac.update(b"\n");
    }
    for name in [HOP, VIA, ARCHITECTURE, STAGE, DEADLINE_MS, LOAD] {
        mac.update(headers.get(name).map_or(b"".as_slice(), HeaderValue::as_bytes));
        mac.update(b"\n");
    }
    mac
}

fn verify(
    key: &Secret,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    signature: &HeaderValue,
    now: u64,
) -> bool {
    let parts = || {
        let (time, code) = signature.to_str().ok()?.split_once(", ")?;
        let time: u64 = time.strip_prefix("t=")?.parse().ok()?;
        Some((time, from_hex(code.strip_prefix("mac=")?)?))
    };
    let Some((time, code)) = parts() else { return false };
    now.abs_diff(time) <= CLOCK_SKEW_MAX.as_secs()
        && mac(key, method, uri, headers, time).verify_slice(&code).is_ok()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &Secret, time: u64) -> (HeaderMap, HeaderValue) {
        let mut headers = HeaderMap::new();
        headers.insert(HOP, HeaderValue::from_static("1"));
        headers.insert(VIA, HeaderValue::from_static("edge1"));
        let uri = Uri::from_static("/function/echo?a=1");
        let code = to_hex(&mac(key, &Method::POST, &uri, &headers, time).finalize().into_bytes());
        (headers, HeaderValue::from_str(&format!("t={time}, mac={code}")).unwrap())
    }

    #[test]
    fn a_signature_covers_method_target_headers_and_time() {
        let key = Secret::new(b"0123456789abcdef");
        let (headers, signature) = signed(&key, 1000);
        let uri = Uri::from_static("/function/echo?a=1");
        let ok = |key: &Secret, method: &Method, uri: &Uri, headers: &HeaderMap, now| {
            verify(key, method, uri, headers, &signature, now)
        };
        assert!(ok(&key, &Method::POST, &uri, &headers, 1000));
        assert!(ok(&key, &Method::POST, &uri, &headers, 1300));
        assert!(!ok(&key, &Method::POST, &uri, &headers, 1301), "too old");
        assert!(!ok(&key, &Method::GET, &uri, &headers, 1000), "another method");
        let other = Uri::from_static("/function/echo?a=2");
        assert!(!ok(&key, &Method::POST, &other, &headers, 1000), "another target");
        assert!(!ok(&Secret::new(b"another key 1234"), &Method::POST, &uri, &headers, 1000));
        let mut changed = headers.clone();
        changed.insert(HOP, HeaderValue::from_static("0"));
        assert!(!ok(&key, &Method::POST, &uri, &changed, 1000), "another hop");
        let mut added = headers.clone();
        added.insert(STAGE, HeaderValue::from_static("execute"));
        assert!(!ok(&key, &Method::POST, &uri, &added, 1000), "a header that was not there");
        for bad in ["", "t=1000", "t=1000, mac=00", "t=x, mac=zz"] {
            let bad = HeaderValue::from_static(bad);
            assert!(!verify(&key, &Method::POST, &uri, &headers, &bad, 1000), "{bad:?}");
        }
    }
}
