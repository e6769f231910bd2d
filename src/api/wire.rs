//! Requests as they are written: read strictly, so that an error names field, value and remedy.

use http::StatusCode;
use http::header::HeaderValue;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::ThresholdsPatch;
use crate::proxy::answer::Refused;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::{Architecture, Mode};

/// Most bytes in the tag of an invocation.
const TAG_BYTES_MAX: usize = 256;

/// Most bytes of a value that an error repeats.
const SHOWN_BYTES_MAX: usize = 80;

const BY_MODE: &str = "dynamic";
const THRESHOLD_FIELDS: &str = "soft_d2f, hard_d2f, soft_f2c, hard_f2c";

/// An invocation as `/entry` and `/schedule` are asked for it.
#[derive(Debug)]
pub(super) struct EntryRequest {
    /// The function called.
    pub(super) function: FunctionName,
    /// What it is called with.
    pub(super) payload: Payload,
    /// The architecture, unless the mode is to say.
    pub(super) architecture: Option<Architecture>,
    /// Offloads so far.
    pub(super) hop: Option<u8>,
    /// Unix seconds after which nobody wants the answer.
    pub(super) deadline: Option<f64>,
    /// Comes back with the answer.
    pub(super) tag: Option<String>,
}

/// What a function is called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing.
    Empty,
    /// A string: its text is the body.
    Text(Bytes),
    /// Any other JSON: the body, byte by byte as the client wrote it.
    Json(Bytes),
}

/// The fields as written; those we do not know are ignored, since earlier clients send more.
#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow)]
    fn_name: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    arch: Option<&'a RawValue>,
    #[serde(borrow)]
    hop: Option<&'a RawValue>,
    #[serde(borrow)]
    deadline: Option<&'a RawValue>,
    #[serde(borrow)]
    tag: Option<&'a RawValue>,
}

impl EntryRequest {
    /// The invocation that `body` asks for.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refused> {
        let remedy = "send a JSON object like {\"fn_name\": \"echo\", \"payload\": \"hello\"}";
        let raw: RawEntry<'_> = object(body, remedy)?;
        let name =
            raw.fn_name.ok_or_else(|| bad("fn_name", "", "is missing", "name a function"))?;
        Ok(Self {
            function: function_name(name)?,
            payload: raw.payload.map_or(Ok(Payload::Empty), payload)?,
            architecture: raw.arch.map(architecture).transpose()?.flatten(),
            hop: raw.hop.map(hop).transpose()?,
            deadline: raw.deadline.map(deadline).transpose()?,
            tag: raw.tag.map(tag).transpose()?,
        })
    }
}

impl Payload {
    /// The media type under which it is sent.
    pub(super) fn content_type(&self) -> Option<HeaderValue> {
        match self {
            Self::Empty => None,
            Self::Text(_) => Some(HeaderValue::from_static("text/plain; charset=utf-8")),
            Self::Json(_) => Some(HeaderValue::from_static("application/json")),
        }
    }

    /// How many bytes are sent.
    pub(super) fn length_bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Text(bytes) | Self::Json(bytes) => bytes.len(),
        }
    }

    /// The bytes to send.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Text(bytes) | Self::Json(bytes) => bytes,
        }
    }
}

fn function_name(raw: &RawValue) -> Result<FunctionName, Refused> {
    let remedy = "send the name under which it is deployed";
    let Some(name) = text(raw) else {
        return Err(bad("fn_name", raw.get(), "is no string", remedy));
    };
    FunctionName::new(&name).map_err(|error| bad("fn_name", raw.get(), error, remedy))
}

fn payload(raw: &RawValue) -> Result<Payload, Refused> {
    if !raw.get().starts_with('"') {
        return Ok(Payload::Json(Bytes::copy_from_slice(raw.get().as_bytes())));
    }
    let remedy = "escape it as JSON demands, surrogates in pairs";
    let text = text(raw).ok_or_else(|| bad("payload", raw.get(), "is no text", remedy))?;
    Ok(if text.is_empty() { Payload::Empty } else { Payload::Text(text.into()) })
}

fn architecture(raw: &RawValue) -> Result<Option<Architecture>, Refused> {
    match text(raw).as_deref() {
        Some(BY_MODE) => Ok(None),
        name => name.and_then(|name| name.parse().ok()).map(Some).ok_or_else(|| {
            let remedy = "send centralized, federated or decentralized, or leave it out";
            bad("arch", raw.get(), "is no architecture", remedy)
        }),
    }
}

fn hop(raw: &RawValue) -> Result<u8, Refused> {
    serde_json::from_str(raw.get()).map_err(|_| {
        bad("hop", raw.get(), "is no count of offloads", "send a whole number from 0 to 255")
    })
}

fn deadline(raw: &RawValue) -> Result<f64, Refused> {
    serde_json::from_str(raw.get()).ok().filter(|deadline: &f64| deadline.is_finite()).ok_or_else(
        || bad("deadline", raw.get(), "is no time", "send Unix seconds, with a fraction or not"),
    )
}

fn tag(raw: &RawValue) -> Result<String, Refused> {
    text(raw).filter(|tag| tag.len() <= TAG_BYTES_MAX).ok_or_else(|| {
        let fault = format!("is no string of at most {TAG_BYTES_MAX} bytes");
        bad("tag", raw.get(), fault, "shorten it or leave it out")
    })
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// What `/reload` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReloadRequest {
    /// Read the file again.
    File,
    /// Change the mode.
    Mode(Mode),
}

impl ReloadRequest {
    /// What `body` asks for; nothing at all, or an empty object, asks for the file.
    pub(super) fn parse(query: Option<&str>, body: &[u8]) -> Result<Self, Refused> {
        if let Some(query) = query {
            let remedy = "send {\"architecture\": \"federated\"} as the body";
            return Err(bad("the query", query, "is not read", remedy));
        }
        if body.trim_ascii().is_empty() {
            return Ok(Self::File);
        }
        let remedy = "send {\"architecture\": \"federated\"} to switch the mode, or no body at all \
                      to read the file again";
        let fields: Map<String, Value> = object(body, remedy)?;
        let mut request = Self::File;
        for (name, value) in &fields {
            if name != "architecture" {
                return Err(bad(name, &value.to_string(), "is no field of this call", remedy));
            }
            let mode = value.as_str().and_then(|mode| mode.parse().ok());
            request = Self::Mode(mode.ok_or_else(|| {
                let remedy = "send centralized, federated, decentralized or dynamic";
                bad(name, &value.to_string(), "is no architecture", remedy)
            })?);
        }
        Ok(request)
    }
}

/// The thresholds that the body of `/update_threshold` changes.
pub(super) fn parse_thresholds(body: &[u8]) -> Result<ThresholdsPatch, Refused> {
    let remedy = "send any of soft_d2f, hard_d2f, soft_f2c, hard_f2c, like {\"soft_d2f\": 1.2}";
    let fields: Map<String, Value> = object(body, remedy)?;
    if fields.is_empty() {
        return Err(bad("the body", "{}", "names no threshold", remedy));
    }
    let mut patch = ThresholdsPatch::default();
    for (name, value) in &fields {
        let shown = value.to_string();
        let threshold = match name.as_str() {
            "soft_d2f" => &mut patch.soft_d2f,
            "hard_d2f" => &mut patch.hard_d2f,
            "soft_f2c" => &mut patch.soft_f2c,
            "hard_f2c" => &mut patch.hard_f2c,
            _ => {
                let remedy = format!("there are {THRESHOLD_FIELDS}");
                return Err(bad(name, &shown, "is no threshold", &remedy));
            }
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        let remedy = "send a JSON number, without quotes";
        *threshold = Some(number.ok_or_else(|| bad(name, &shown, "is no number", remedy))?);
    }
    Ok(patch)
}

/// The level that `/logging` is asked for: by its query or by its body. Where both name one, both
/// are read, and the query counts.
pub(super) fn parse_level(query: Option<&str>, body: &[u8]) -> Result<String, Refused> {
    let remedy = "send {\"level\": \"debug\"}, or ?level=debug and no body";
    let mut pairs = query.unwrap_or_default().split('&');
    let asked = pairs.find_map(|pair| pair.strip_prefix("level=")).map(percent_decoded);
    let mut level = None;
    if !body.trim_ascii().is_empty() {
        let fields: Map<String, Value> = object(body, remedy)?;
        for (name, value) in &fields {
            match value.as_str().filter(|_| name == "level") {
                Some(text) => level = Some(text.to_owned()),
                None => return Err(bad(name, &value.to_string(), "is no level", remedy)),
            }
        }
        if level.is_none() {
            return Err(bad("level", "", "is missing", remedy));
        }
    }
    asked.or(level).ok_or_else(|| bad("level", "", "is missing", remedy))
}

/// `text` with each `%2C` as the byte it stands for; what stands for none stays.
fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The function that the query of `/durations` or `/clusters` names.
pub(super) fn function_in_query(query: Option<&str>) -> Result<Option<FunctionName>, Refused> {
    let pairs = query.unwrap_or_default().split('&');
    let Some(name) = pairs.filter_map(|pair| pair.strip_prefix("fn_name=")).next() else {
        return Ok(None);
    };
    FunctionName::new(name).map(Some).map_err(|error| {
        bad("fn_name", name, error, "send the name under which it is deployed, or no fn_name")
    })
}

/// `body` as a JSON object, whatever its content type says.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8], remedy: &str) -> Result<T, Refused> {
    let malformed = |fault: String| bad("the body", "", fault, remedy);
    match body.trim_ascii_start().first() {
        None => return Err(malformed("is empty".to_owned())),
        // serde would take an array for an object whose fields come in the order declared.
        Some(first) if *first != b'{' => {
            return Err(malformed("is no JSON object".to_owned()));
        }
        Some(_) => {}
    }
    serde_json::from_slice(body).map_err(|error| malformed(format!("is no valid JSON: {error}")))
}

fn bad(field: &str, value: &str, fault: impl std::fmt::Display, remedy: &str) -> Refused {
    let field = shortened(field);
    let message = if value.is_empty() {
        format!("{field}: {fault}; {remedy}")
    } else {
        format!("{field} = {}: {fault}; {remedy}", shortened(value))
    };
    Refused::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// The beginning of `text`: enough to recognise it.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)])
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
