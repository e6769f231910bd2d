//! Where an invocation ran, as answers say it.

use http::{HeaderMap, HeaderValue};

use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;

use super::load_field;
use super::peer;

/// Where an invocation ran, as an answer says.
pub(super) struct Report {
    pub(super) node: String,
    pub(super) hop: u8,
    pub(super) load: Option<LoadReport>,
}

impl Report {
    /// What the headers of a peer's answer say; `asked` is whom we asked, `hop` how far it was.
    pub(super) fn of(headers: &HeaderMap, asked: &str, hop: u8) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            node: text(peer::NODE).unwrap_or(asked).to_owned(),
            hop: text(peer::HOP).and_then(|hop| hop.parse().ok()).unwrap_or(hop.saturating_add(1)),
            load: headers.get(peer::LOAD).and_then(load_field::read),
        }
    }

    pub(super) fn write(&self, headers: &mut HeaderMap, architecture: Architecture) {
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
