//! The field `hopwise-call`, in which a sidecar tells the next what it sends it:
//! `hop=1, stage=execute, architecture=federated, via=edge2 edge1, deadline-ms=250`, and how busy it is
//! itself ([`load_field`]).
//!
//! One field, since what a hop costs beside a pass is mostly the number of fields: each is written,
//! parsed, looked up and removed on its way.

use std::time::Duration;

use http::HeaderValue;

use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Stage;

use super::load_field;
use super::parts::{self, Parts};

/// What a sidecar says of an invocation it sends.
#[derive(Debug)]
pub(crate) struct Said<'a> {
    /// Offloads so far.
    pub(super) hop: u8,
    /// What is asked of this node.
    pub(super) stage: Stage,
    /// The architecture chosen at its entry.
    pub(super) architecture: Option<Architecture>,
    /// The ids it has passed, parted by spaces; the last sent it.
    pub(super) via: &'a str,
    /// Time left to answer.
    pub(super) deadline: Option<Duration>,
    /// How busy the node is that sent it.
    pub(super) load: Option<LoadReport>,
}

/// The part that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(super) &'static str);

/// What `value` says. Parts that are not known are left out: another version may have more.
pub(super) fn read(value: &HeaderValue) -> Result<Said<'_>, Malformed> {
    let text = parts::text(value).ok_or(Malformed("not text"))?;
    let (architecture, deadline) = (None, None);
    let mut said =
        Said { hop: 0, stage: Stage::Entry, architecture, via: "", deadline, load: None };
    for part in parts::each(text) {
        let (name, value) = part.ok_or(Malformed("a part without ="))?;
        match name {
            "hop" => said.hop = parts::whole(value).ok_or(Malformed("hop"))?,
            "stage" => {
                let stages = [Stage::Schedule, Stage::Execute];
                let found = stages.into_iter().find(|stage| stage.as_str() == value);
                said.stage = found.ok_or(Malformed("stage"))?;
            }
            "architecture" => {
                let found = value.parse().map_err(|()| Malformed("architecture"))?;
                said.architecture = Some(found);
            }
            "via" => said.via = value,
            "deadline-ms" => {
                let left = parts::whole(value).ok_or(Malformed("deadline-ms"))?;
                said.deadline = Some(Duration::from_millis(left));
            }
            _ => {
                let mut load = said.load.unwrap_or_default();
                if load_field::read(&mut load, name, value).ok_or(Malformed("the load"))? {
                    said.load = Some(load);
                }
            }
        }
    }
    Ok(said)
}

/// The ids in `via`.
pub(super) fn passed(via: &str) -> impl Iterator<Item = &str> {
    via.split_ascii_whitespace()
}

/// What an invocation takes along to the next sidecar.
#[derive(Debug)]
pub(super) struct Onward<'a> {
    pub(super) hop: u8,
    pub(super) stage: Stage,
    pub(super) architecture: Architecture,
    /// The ids it has passed so far,
    pub(super) via: &'a str,
    /// this node,
    pub(super) here: &'a str,
    /// and the next.
    pub(super) to: &'a str,
    pub(super) deadline: Option<Duration>,
    /// What this node says of itself, so that who places for it knows its load as it is.
    pub(super) load: LoadReport,
}

/// The field for the next sidecar.
///
/// A decider may send an invocation back to a node it came from, to run there. That node is taken
/// off the path, so that meeting one's own id on it always means a circle nobody intended.
pub(super) fn value(onward: &Onward<'_>) -> Option<HeaderValue> {
    let mut parts = Parts::new();
    parts.begin("hop");
    parts.whole(u64::from(onward.hop));
    parts.begin("stage");
    parts.text(onward.stage.as_str());
    parts.begin("architecture");
    parts.text(onward.architecture.as_str());
    parts.begin("via");
    let back = |id: &str| onward.stage == Stage::Execute && id == onward.to;
    for id in passed(onward.via).filter(|id| !back(id)) {
        parts.text(id);
        parts.text(" ");
    }
    parts.text(onward.here);
    if let Some(left) = onward.deadline {
        parts.begin("deadline-ms");
        let millis = u64::from(left.subsec_millis());
        parts.whole(left.as_secs().saturating_mul(1000).saturating_add(millis));
    }
    load_field::write(&mut parts, &onward.load);
    parts.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn onward(via: &'static str, stage: Stage) -> Onward<'static> {
        Onward {
            hop: 2,
            stage,
            architecture: Architecture::Federated,
            via,
            here: "edge1",
            to: "edge2",
            deadline: Some(Duration::from_micros(1_250_999)),
            load: LoadReport { in_flight: 3, cores: 2, ..LoadReport::default() },
        }
    }

    #[test]
    fn a_call_survives_the_field() {
        let written = value(&onward("edge2 edge4", Stage::Schedule)).unwrap();
        assert_eq!(
            written,
            "hop=2, stage=schedule, architecture=federated, via=edge2 edge4 edge1, \
             deadline-ms=1250, in-flight=3, cores=2"
        );
        let said = read(&written).unwrap();
        assert_eq!((said.hop, said.stage), (2, Stage::Schedule));
        assert_eq!(said.architecture, Some(Architecture::Federated));
        assert_eq!(passed(said.via).collect::<Vec<_>>(), ["edge2", "edge4", "edge1"]);
        assert_eq!(said.deadline, Some(Duration::from_millis(1250)));
        assert_eq!(said.load, Some(onward("", Stage::Execute).load));
    }

    #[test]
    fn whom_it_is_sent_back_to_is_taken_off_the_path() {
        let path = |via, stage| {
            let written = value(&onward(via, stage)).unwrap();
            read(&written).unwrap().via.to_owned()
        };
        assert_eq!(path("", Stage::Execute), "edge1");
        assert_eq!(path("edge2 edge4", Stage::Execute), "edge4 edge1");
        assert_eq!(path("edge2", Stage::Schedule), "edge2 edge1");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, name) in [
            ("hop=x", "hop"),
            ("hop=256", "hop"),
            ("hop=-1", "hop"),
            ("hop=1, stage=entry", "stage"),
            ("architecture=nonsense", "architecture"),
            ("deadline-ms=", "deadline-ms"),
            ("hop=1, cores=many", "the load"),
            ("hop", "a part without ="),
            ("hop=1,,", "a part without ="),
        ] {
            let read = read(&HeaderValue::from_str(text).unwrap()).map(|said| said.hop);
            assert_eq!(read, Err(Malformed(name)), "{text}");
        }
        assert!(read(&HeaderValue::from_bytes(b"via=\xff").unwrap()).is_err());
        let unknown = HeaderValue::from_static("hop=1, weather=fine");
        let said = read(&unknown).unwrap();
        assert_eq!((said.hop, said.stage, said.load), (1, Stage::Entry, None));
    }
}
