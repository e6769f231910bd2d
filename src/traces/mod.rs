//! Spans of requests, and their way to a collector by OTLP.
//!
//! Off unless an environment variable of OpenTelemetry says where the collector is. A request leaves a
//! few instants on its way, of which its spans are made when it is over; a thread of its own sends them.
//! What it cannot send as fast as it comes is dropped: nobody waits for a collector.

mod collector;
mod context;

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanKind, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample,
    SpanData, SpanProcessor,
};

use collector::Collector;

/// How long a batch may take where no variable says so.
const EXPORT_WAIT: Duration = Duration::from_secs(10);
/// How long the end of a process waits for the last batch.
const END_WAIT: Duration = Duration::from_secs(2);

/// What makes spans of requests, and sends them.
#[derive(Debug)]
pub struct Traces {
    processor: BatchSpanProcessor,
    ids: RandomIdGenerator,
    /// Whether those who call decide what is sampled, where they do.
    parent_based: bool,
    sampler: Sampler,
    /// Who made the spans.
    pub scope: InstrumentationScope,
}

/// The part of a trace that is this sidecar's.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The whole trace.
    pub id: TraceId,
    /// The span it comes from; an invalid one where it begins here.
    pub parent: SpanId,
    /// The span of the request here.
    pub span: SpanId,
    /// What is passed on with it.
    pub flags: TraceFlags,
    /// What others keep with it.
    pub state: TraceState,
}

/// What is to be made of the trace of a request.
#[derive(Debug)]
pub struct Begun {
    id: TraceId,
    /// None where it begins here.
    parent: Option<SpanId>,
    span: SpanId,
    flags: TraceFlags,
    /// Whether there are spans of it.
    pub sampled: bool,
    /// What is passed on, where that is not what came.
    pub traceparent: Option<HeaderValue>,
}

impl Traces {
    /// What the variables `OTEL_*` say, for the node `node`; none where they want no traces, or such as
    /// cannot be had, which is logged.
    pub fn from_environment(node: &str) -> Option<Self> {
        match Self::wanted(node) {
            Ok(traces) => traces,
            Err(error) => {
                tracing::error!(error, "there are no traces");
                None
            }
        }
    }

    fn wanted(node: &str) -> Result<Option<Self>, String> {
        let disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let exporter = variable("OTEL_TRACES_EXPORTER");
        let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        match exporter.as_deref() {
            _ if disabled => return Ok(None),
            Some("none") => return Ok(None),
            None if endpoint.is_none() => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => {
                return Err(format!("OTEL_TRACES_EXPORTER = {other} is not spoken; write otlp"));
            }
        }
        if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.starts_with("http://")) {
            return Err(format!(
                "the endpoint {endpoint} is no plain HTTP; name a collector near by, as in \
                 http://127.0.0.1:4318"
            ));
        }
        let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
            return Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL = {other} is not spoken; write \
                                http/protobuf, and the port for it, mostly 4318"
            ));
        }
        Self::start(node).map(Some)
    }

    fn start(node: &str) -> Result<Self, String> {
        let collector = Collector::new(export_wait()).map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder().with_http().with_http_client(collector).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource(node));
        let (parent_based, sampler) = sampler();
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope::builder("hopwise").with_version(version).build();
        tracing::info!(?sampler, parent_based, "traces are on");
        Ok(Self { processor, ids: RandomIdGenerator::default(), parent_based, sampler, scope })
    }

    /// Takes up the trace that a request belongs to by the one `traceparent` it has, or begins one.
    pub fn begin(&self, traceparent: Option<&HeaderValue>) -> Begun {
        let parent = traceparent.and_then(|value| context::parse(value.as_bytes()));
        let id = parent.map_or_else(|| self.ids.new_trace_id(), |parent| parent.trace);
        let sampled = match parent {
            Some(parent) if self.parent_based => parent.flags.is_sampled(),
            _ => self.samples(id),
        };
        // Nobody has a span there, and nobody has one here: it stays as it came.
        let stays = !sampled && parent.is_some_and(|parent| !parent.flags.is_sampled());
        let flags = parent.map_or(TraceFlags::NOT_SAMPLED, |parent| parent.flags);
        let flags = flags.with_sampled(sampled);
        let span = if stays { SpanId::INVALID } else { self.span_id() };
        let traceparent = if stays { None } else { context::written(id, span, flags) };
        let parent = parent.map(|parent| parent.span);
        Begun { id, parent, span, flags, sampled, traceparent }
    }

    fn samples(&self, id: TraceId) -> bool {
        let sampled = self.sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    /// The id of another span.
    pub fn span_id(&self) -> SpanId {
        self.ids.new_span_id()
    }

    /// Takes in a span that is over, to be sent soon.
    pub fn take_in(&self, span: SpanData) {
        self.processor.on_end(span);
    }

    /// Sends what is there, and no more after it. Waits for that, but not for long.
    pub fn end(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(END_WAIT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl Begun {
    /// Has whoever comes next, who gets `headers`, belong to it; none where it is not sampled. Whether
    /// there is a `tracestate` is known by `with_state`.
    pub fn write(self, with_state: bool, headers: &mut HeaderMap) -> Option<Trace> {
        let Self { id, parent, span, flags, sampled, traceparent } = self;
        if with_state && parent.is_none() {
            // A state belongs to a trace that is known.
            headers.remove(context::TRACESTATE);
        }
        if let Some(value) = traceparent {
            headers.insert(context::TRACEPARENT, value);
        }
        let parent = parent.unwrap_or(SpanId::INVALID);
        sampled.then(|| Trace { id, parent, span, flags, state: context::state(headers) })
    }
}

impl Trace {
    /// Has whoever gets `headers` belong to it, below `span`.
    pub fn pass_on(&self, span: SpanId, headers: &mut HeaderMap) {
        if let Some(value) = context::written(self.id, span, self.flags) {
            headers.insert(context::TRACEPARENT, value);
        }
    }
}

/// The value of a variable; an empty one is none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn export_wait() -> Duration {
    let millis = variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_TIMEOUT"));
    let millis = millis.and_then(|millis| millis.parse().ok());
    millis.map_or(EXPORT_WAIT, Duration::from_millis)
}

/// Who this is: what the variables say, and of what they do not, the name of the program and of the node.
fn resource(node: &str) -> Resource {
    let said = Resource::builder().build();
    let has = |key: &'static str| said.get(&key.into());
    let unnamed =
        has("service.name").is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    // It goes before the one among the attributes, says the specification.
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        builder = builder.with_service_name(name);
    } else if unnamed {
        builder = builder.with_service_name("hopwise");
    }
    for (key, value) in
        [("service.instance.id", node), ("service.version", env!("CARGO_PKG_VERSION"))]
    {
        if has(key).is_none() {
            builder = builder.with_attribute(KeyValue::new(key, value.to_owned()));
        }
    }
    builder.build()
}

/// Whether those who call decide, and what decides otherwise.
fn sampler() -> (bool, Sampler) {
    let said = variable("OTEL_TRACES_SAMPLER_ARG");
    let ratio = said.as_deref().and_then(|ratio| ratio.parse().ok());
    let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
    if let (Some(said), None) = (&said, ratio) {
        tracing::warn!(
            ratio = said,
            "OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1; all are sampled"
        );
    }
    let ratio = ratio.unwrap_or(1.0);
    match variable("OTEL_TRACES_SAMPLER").as_deref() {
        Some("always_on") => (false, Sampler::AlwaysOn),
        Some("always_off") => (false, Sampler::AlwaysOff),
        Some("traceidratio") => (false, Sampler::TraceIdRatioBased(ratio)),
        Some("parentbased_always_off") => (true, Sampler::AlwaysOff),
        Some("parentbased_traceidratio") => (true, Sampler::TraceIdRatioBased(ratio)),
        None | Some("parentbased_always_on") => (true, Sampler::AlwaysOn),
        Some(other) => {
            tracing::warn!(sampler = other, "OTEL_TRACES_SAMPLER is not known; all are sampled");
            (true, Sampler::AlwaysOn)
        }
    }
}
