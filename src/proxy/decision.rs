//! A decision as JSON: in an answer's field, and in `GET /decisions`. Times are seconds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use http::{HeaderValue, Response};
use serde::Serialize;

use crate::decisions::Explained;
use crate::scheduling::explanation::{Candidate, Standing};
use crate::scheduling::policy::{Architecture, HopLimit, Mode};
use crate::scheduling::route::Step;
use crate::topology::NodeIndex;

use super::peer;
use super::response_body::ResponseBody;

/// Most bytes of the field; what is too long names fewer candidates.
const FIELD_BYTES_MAX: usize = 4096;

/// What was decided, by whom, and why.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionDocument<'a> {
    /// Seconds since 1970.
    time: f64,
    node: &'a str,
    function: &'a str,
    stage: &'static str,
    hop: u8,
    attempt: usize,
    /// `run_here`, `offload`, `delegate` or `refuse`.
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    why: &'static str,
    architecture: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_from: Option<&'static str>,
    mode: &'static str,
    /// Only in dynamic mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<BTreeMap<&'static str, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contested: Option<bool>,
    selection: &'static str,
    cpu_share: f64,
    in_flight: u32,
    candidates: Vec<CandidateDocument<'a>>,
    /// Candidates that are not named here.
    left_out: usize,
}

/// A node that was looked at.
#[derive(Debug, Serialize)]
struct CandidateDocument<'a> {
    node: &'a str,
    outstanding: u32,
    #[serde(flatten)]
    standing: StandingDocument,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum StandingDocument {
    Predicted {
        price_s: f64,
        completion_s: f64,
        network_s: f64,
        cold_start_s: f64,
        service_s: f64,
        slowdown: f64,
        stretch: f64,
        others: f64,
        success: f64,
    },
    AtLeast {
        at_least_s: f64,
    },
    Compared {
        weight: Option<f64>,
        busy: f64,
        peak_s: f64,
    },
    Excluded {
        excluded: &'static str,
    },
}

impl StandingDocument {
    fn new(standing: &Standing) -> Self {
        match *standing {
            Standing::Predicted(completion) => Self::Predicted {
                price_s: rounded(completion.price_s),
                completion_s: rounded(completion.total_s),
                network_s: rounded(completion.network_s),
                cold_start_s: rounded(completion.cold_start_s),
                service_s: rounded(completion.service_s),
                slowdown: rounded(completion.slowdown),
                stretch: rounded(completion.stretch),
                others: rounded(completion.others),
                success: rounded(completion.success),
            },
            Standing::AtLeast(at_least_s) => Self::AtLeast { at_least_s: rounded(at_least_s) },
            Standing::Compared { weight, busy, peak_s } => Self::Compared {
                weight: weight.map(rounded),
                busy: rounded(busy),
                peak_s: rounded(peak_s),
            },
            Standing::Excluded(exclusion) => Self::Excluded { excluded: exclusion.as_str() },
        }
    }
}

/// To the microsecond, so that a field has room for more candidates.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

impl<'a> DecisionDocument<'a> {
    /// What is known of `explained`, with at most so many candidates.
    pub(crate) fn new(explained: &'a Explained, candidates_max: usize) -> Self {
        let Explained { explanation, topology, .. } = explained;
        let id = |node| topology.node(node).id.as_str();
        let (step, target) = match explained.step {
            Step::RunHere => ("run_here", Some(explained.here)),
            Step::Offload(node) => ("offload", Some(node)),
            Step::Delegate(node) => ("delegate", Some(node)),
            Step::Refuse(_) => ("refuse", None),
        };
        let dynamic = explanation.mode == Mode::Dynamic;
        let shares = explanation.shares.filter(|_| dynamic);
        let noted = &explanation.candidates;
        let mut candidates: Vec<&Candidate> = noted.iter().collect();
        candidates.sort_by(|a, b| in_order(a, b, target));
        candidates.truncate(candidates_max);
        let left_out = explanation.left_out + noted.len() - candidates.len();
        Self {
            time: (explained.unix_s * 1e3).round() / 1e3,
            node: id(explained.here),
            function: explained.function.as_str(),
            stage: explained.stage.as_str(),
            hop: explained.hop,
            attempt: explained.attempt,
            step,
            target: target.map(id),
            why: explained.why.as_str(),
            architecture: explained.architecture.as_str(),
            fallback_from: explained.fallback_from.map(Architecture::as_str),
            mode: explanation.mode.as_str(),
            rule: dynamic.then(|| explanation.rule.as_str()),
            shares: shares.map(|shares| {
                Architecture::ALL.map(|a| (a.as_str(), rounded(shares.of(a)))).into_iter().collect()
            }),
            contested: explanation.contested,
            selection: explanation.selection.as_str(),
            cpu_share: rounded(explanation.cpu_share),
            in_flight: explanation.in_flight,
            candidates: candidates
                .into_iter()
                .map(|candidate| CandidateDocument {
                    node: id(candidate.node),
                    outstanding: candidate.outstanding,
                    standing: StandingDocument::new(&candidate.standing),
                })
                .collect(),
            left_out,
        }
    }
}

/// First the one that was chosen, then what was predicted, the least price first, then the others.
fn in_order(a: &Candidate, b: &Candidate, chosen: Option<NodeIndex>) -> Ordering {
    let key = |candidate: &Candidate| {
        let (kind, secs) = match candidate.standing {
            Standing::Predicted(completion) => (1, completion.price_s),
            Standing::Compared { busy, .. } => (1, busy),
            Standing::AtLeast(at_least_s) => (2, at_least_s),
            Standing::Excluded(_) => (3, 0.0),
        };
        (if chosen == Some(candidate.node) { 0 } else { kind }, secs)
    };
    let ((a_kind, a_secs), (b_kind, b_secs)) = (key(a), key(b));
    a_kind.cmp(&b_kind).then(a_secs.total_cmp(&b_secs))
}

/// `explained` as the value of a field of at most [`FIELD_BYTES_MAX`].
fn field(explained: &Explained) -> Option<HeaderValue> {
    let mut candidates_max = explained.explanation.candidates.len();
    loop {
        let text = serde_json::to_string(&DecisionDocument::new(explained, candidates_max)).ok()?;
        if text.len() <= FIELD_BYTES_MAX || candidates_max == 0 {
            return HeaderValue::try_from(text).ok();
        }
        candidates_max /= 2;
    }
}

/// `response` with what was decided here, before what others say that they have decided.
pub(super) fn told(
    mut response: Response<ResponseBody>,
    explained: &Explained,
) -> Response<ResponseBody> {
    let headers = response.headers_mut();
    let others: Vec<_> = headers.get_all(peer::DECISION).iter().cloned().collect();
    if let Some(own) = field(explained) {
        headers.insert(peer::DECISION, own);
        for other in others {
            headers.append(peer::DECISION, other);
        }
    }
    response
}

/// What the peers that an invocation has passed say that they have decided, as far as they may.
pub(super) fn of_peers<B>(response: &Response<B>) -> Vec<HeaderValue> {
    let told = response.headers().get_all(peer::DECISION).iter();
    let fits = |told: &&HeaderValue| told.len() <= FIELD_BYTES_MAX;
    told.filter(fits).take(HopLimit::MAX.into()).cloned().collect()
}
