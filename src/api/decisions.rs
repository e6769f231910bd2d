//! Why the last invocations went where they went.

use http::{Response, StatusCode};
use serde::Serialize;

use crate::proxy::answer::{Refused, json};
use crate::proxy::decision::DecisionDocument;
use crate::proxy::response_body::ResponseBody;
use crate::state::State;

use super::wire::function_in_query;

#[derive(Serialize)]
struct DecisionsDocument<'a> {
    decisions: Vec<DecisionDocument<'a>>,
}

/// `GET /decisions`: those that are kept, the newest first, of all functions or of one.
pub(super) fn decisions(
    state: &State,
    query: Option<&str>,
) -> Result<Response<ResponseBody>, Refused> {
    let latest = state.decisions.latest(function_in_query(query)?);
    let documents = latest.iter().map(|explained| DecisionDocument::new(explained, usize::MAX));
    Ok(json(StatusCode::OK, &DecisionsDocument { decisions: documents.collect() }))
}
