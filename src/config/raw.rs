//! Every key there is, with its range; what each means is told in `config/reference.yaml`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_yaml::Value;

use super::access_log::read_access_log;
use super::reader::{Fault, Section, read_document, shape_of};
use super::routes::{Routes, read_routes};
use super::rules::{
    read_dynamic, read_health, read_hedge, read_queue, read_retries, read_tail_scheduler,
};
use super::tls::Files;
use super::{
    AccessLogRule, Authority, FunctionRule, HeaderCase, Interception, Limits, Listen, Timeouts,
    WORKERS_MAX,
};
use crate::problem::Problem;
use crate::scheduling::FunctionName;
use crate::scheduling::health::HealthRule;
use crate::scheduling::policy::{
    AdaptiveRule, DynamicRule, HedgeRule, HopLimit, Mode, OffloadRule, Selection, TailRatioRule,
};
use crate::scheduling::queue::QueueRule;
use crate::scheduling::retry::RetryRule;
use crate::topology::{Address, NodeId, NodeSpec, Role, Zone};

const LOAD_THRESH_MAX: f64 = 1e6;
const ENTRY_BODY_BYTES_MAX: usize = 1 << 30;
const REPLAY_BODY_BYTES_MAX: usize = 16 << 20;
const HEADERS: RangeInclusive<usize> = 16..=4096;
const CONNECTIONS_MAX: usize = 1_000_000;
const IN_FLIGHT_MAX: usize = 1_000_000;
const CLIENT_SHARE: RangeInclusive<f64> = 0.001..=1.0;
const FUNCTIONS_MAX: usize = 1_000_000;
/// Most functions that have something said of them.
const FUNCTIONS_NAMED_MAX: usize = 10_000;
const IDLE_CONNECTIONS_MAX: usize = 65_536;
const DECISIONS_MAX: usize = 1000;
const METRIC_NAMES_MAX: usize = 10_000;
const PEER_REQUESTS_MAX: u32 = 1_000_000;
pub(super) const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
const HOST_BYTES_MAX: usize = 253;
/// What the kernel takes, less its end and the process id that is added in between.
const UNIX_SOCKET_BYTES_MAX: usize = 95;

/// How the names begin that stand in for those that cannot be read.
pub(super) const STAND_IN: &str = "unreadable-";

/// The file as read: each value in its range, or its default where a problem was noted.
pub(super) struct Raw<'a> {
    pub(super) mode: Mode,
    pub(super) node_id: Option<&'a str>,
    pub(super) nodes: Vec<RawNode>,
    pub(super) selection: Selection,
    pub(super) hop_limit: HopLimit,
    pub(super) rule: DynamicRule,
    pub(super) adaptive: AdaptiveRule,
    pub(super) tail_ratio: TailRatioRule,
    pub(super) hedge: HedgeRule,
    pub(super) queue: QueueRule,
    pub(super) retries: RetryRule,
    pub(super) health: HealthRule,
    /// What is said of functions, where it is not what holds for all.
    pub(super) functions: HashMap<FunctionName, FunctionRule>,
    pub(super) routes: Routes,
    pub(super) data: Option<SocketAddr>,
    pub(super) admin: SocketAddr,
    pub(super) handover: Option<Arc<Path>>,
    pub(super) gateway: Option<Authority>,
    pub(super) workers: Option<NonZeroUsize>,
    pub(super) cores: Option<NonZeroU16>,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) peer_key_file: Option<&'a str>,
    pub(super) tls: RawTls,
    pub(super) admin_token_file: Option<&'a str>,
    pub(super) interception: Option<Interception>,
    pub(super) header_case: HeaderCase,
    pub(super) access_log: AccessLogRule,
}

/// Most cores of a node.
pub(super) const CORES_MAX: u16 = 4096;

/// Where certificates are kept, where they are.
pub(super) struct RawTls {
    pub(super) clients: Option<Files>,
    pub(super) peers: Option<Files>,
    pub(super) operators: Option<Files>,
}

/// A node as written, and when it offloads.
pub(super) struct RawNode {
    pub(super) spec: NodeSpec,
    pub(super) offload: OffloadRule,
}

/// The keys of `document`, and every problem with them.
pub(super) fn read<'a>(document: &'a Value) -> (Raw<'a>, Vec<Problem>) {
    read_document(document, read_all)
}

/// The JSON Schema of what [`read`] reads.
pub(super) fn shape() -> serde_json::Value {
    shape_of(|s| drop(read_all(s)))
}

fn read_all<'a>(s: &mut Section<'a>) -> Raw<'a> {
    let mode = s.choice("architecture", &Mode::ALL, Mode::as_str);
    let tail_ratio = s.section("tail_scheduler", read_tail_scheduler);
    let (rule, adaptive, tail_ratio) = s.section("dynamic", |s| read_dynamic(s, tail_ratio));
    let (data, admin, clients) = s.section("listen", |s| {
        let admin = s.parsed("admin", socket).unwrap_or(Listen::ADMIN_DEFAULT);
        (s.parsed("data", socket), admin, read_tls(s, "listen.tls", Callers::Anyone))
    });
    let (peer_key_file, peers) = s.section("peers", |s| {
        (s.secret_file("key_file"), read_tls(s, "peers.tls", Callers::Certified))
    });
    let (admin_token_file, operators) = s.section("admin", |s| {
        (s.secret_file("token_file"), read_tls(s, "admin.tls", Callers::MayBeCertified))
    });
    Raw {
        mode: mode.unwrap_or(Mode::Dynamic),
        node_id: s.section("node", |s| s.text("id")),
        nodes: s.list("topology", read_node).into_iter().flatten().collect(),
        selection: s.choice("selection", &Selection::ALL, Selection::as_str).unwrap_or_default(),
        hop_limit: HopLimit(s.whole("hop_limit", HopLimit::DEFAULT.0, 0..=HopLimit::MAX)),
        rule,
        adaptive,
        tail_ratio,
        hedge: s.section("hedge", read_hedge),
        queue: s.section("queue", read_queue),
        retries: s.section("retries", read_retries),
        health: s.section("health", read_health),
        functions: read_functions(s),
        routes: read_routes(s),
        data,
        admin,
        handover: s.section("handover", |s| s.parsed("socket", unix_socket)),
        gateway: s.parsed("gateway", authority),
        // Zero is out of range, so it is what is left where the key is.
        workers: NonZeroUsize::new(s.whole("workers", 0, 1..=WORKERS_MAX)),
        cores: NonZeroU16::new(s.whole("cores", 0, 1..=CORES_MAX)),
        limits: s.section("limits", read_limits),
        timeouts: s.section("timeouts", read_timeouts),
        peer_key_file,
        tls: RawTls { clients, peers, operators },
        admin_token_file,
        interception: s.section("interception", read_interception),
        header_case: s
            .choice("header_case", &HeaderCase::ALL, HeaderCase::as_str)
            .unwrap_or_default(),
        access_log: s.section("access_log", read_access_log),
    }
}

/// A node; what cannot be read is replaced, so that nodes keep their places in later problems.
fn read_node(s: &mut Section<'_>, i: usize) -> Option<RawNode> {
    const NAME: &str = "use 1 to 63 characters of [-a-zA-Z0-9_.]";
    let stand_in = format!("{STAND_IN}{i}");
    for (key, remedy) in [
        ("id", "give the node a name of its own"),
        ("role", "write cloud-controller, edge-controller or worker"),
        ("zone", "name the zone the node stands in"),
        ("address", "write the host name or IP address of the node"),
    ] {
        s.require(key, remedy);
    }
    let id = s.parsed("id", |t| NodeId::new(t).map_err(|_| Fault::new("is not a name", NAME)));
    let role = s.choice("role", &Role::ALL, Role::as_str);
    let zone = s.parsed("zone", |t| Zone::new(t).map_err(|_| Fault::new("is not a name", NAME)));
    let address = Address {
        host: s.parsed("address", host).unwrap_or_else(|| stand_in.as_str().into()),
        port: s.whole("port", Address::PORT_DEFAULT, 1..=u16::MAX),
        gateway_port: s.whole("gateway_port", Address::GATEWAY_PORT_DEFAULT, 1..=u16::MAX),
    };
    let offload = s.section("offload", |s| OffloadRule {
        enabled: s.flag("enabled", OffloadRule::default().enabled),
        cpu_thresh: s.number("cpu_thresh", OffloadRule::CPU_THRESH, 0.0..=1.0),
        load_thresh: s.number("load_thresh", OffloadRule::LOAD_THRESH, 0.0..=LOAD_THRESH_MAX),
    });
    let spec = NodeSpec {
        id: id.or_else(|| NodeId::new(&stand_in).ok())?,
        role: role.unwrap_or(Role::Worker),
        zone: zone.or_else(|| Zone::new(&stand_in).ok())?,
        address,
    };
    Some(RawNode { spec, offload })
}

/// The functions that are named, where something is said of them.
fn read_functions(s: &mut Section<'_>) -> HashMap<FunctionName, FunctionRule> {
    let parse = |name: &str| {
        let remedy = "use 1 to 63 characters of [-a-zA-Z0-9_.], as the function is called";
        FunctionName::new(name).map_err(|_| Fault::new("is not a function's name", remedy))
    };
    let named = s.named("functions", FUNCTIONS_NAMED_MAX, parse, |s, name| {
        let deadline_ms = s.whole("deadline_ms", 0, 1..=DAY_MS);
        let rule = FunctionRule {
            idempotent: s.flag("idempotent", false),
            deadline: (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms)),
        };
        (name, rule)
    });
    named.into_iter().filter(|(_, rule)| *rule != FunctionRule::default()).collect()
}

fn read_limits(s: &mut Section<'_>) -> Limits {
    let Limits {
        entry_body_bytes,
        replay_body_bytes,
        headers,
        connections,
        in_flight,
        client_share,
        functions,
        idle_connections,
        peer_requests,
        peer_connects,
        metric_names,
        decisions,
    } = Limits::DEFAULT;
    let functions_max = s.whole("functions", functions.get(), 1..=FUNCTIONS_MAX);
    Limits {
        entry_body_bytes: s.whole("entry_body_bytes", entry_body_bytes, 1..=ENTRY_BODY_BYTES_MAX),
        replay_body_bytes: s.whole(
            "replay_body_bytes",
            replay_body_bytes,
            0..=REPLAY_BODY_BYTES_MAX,
        ),
        headers: s.whole("headers", headers, HEADERS),
        connections: s.whole("connections", connections, 1..=CONNECTIONS_MAX),
        in_flight: s.whole("in_flight", in_flight, 1..=IN_FLIGHT_MAX),
        client_share: s.number("client_share", client_share, CLIENT_SHARE),
        functions: NonZeroUsize::new(functions_max).unwrap_or(functions),
        idle_connections: s.whole("idle_connections", idle_connections, 0..=IDLE_CONNECTIONS_MAX),
        peer_requests: s.whole("peer_requests", peer_requests, 1..=PEER_REQUESTS_MAX),
        peer_connects: s.whole("peer_connects", peer_connects, 1..=PEER_REQUESTS_MAX),
        metric_names: s.whole("metric_names", metric_names, 0..=METRIC_NAMES_MAX),
        decisions: s.whole("decisions", decisions, 0..=DECISIONS_MAX),
    }
}

fn read_timeouts(s: &mut Section<'_>) -> Timeouts {
    let default = Timeouts::DEFAULT;
    let mut wait = |key, default: Duration, range_ms| {
        Duration::from_millis(s.whole(key, default.as_millis() as u64, range_ms))
    };
    Timeouts {
        connect: wait("connect_ms", default.connect, 1..=10 * MINUTE_MS),
        silence: wait("silence_ms", default.silence, 1..=10 * MINUTE_MS),
        request_header: wait("request_header_ms", default.request_header, 1..=10 * MINUTE_MS),
        request_body: wait("request_body_ms", default.request_body, 1..=DAY_MS),
        keep_alive: wait("keep_alive_ms", default.keep_alive, 1..=60 * MINUTE_MS),
        answer: wait("answer_ms", default.answer, 1..=DAY_MS),
        answer_body: wait("answer_body_ms", default.answer_body, 1..=DAY_MS),
        client_read: wait("client_read_ms", default.client_read, 1..=DAY_MS),
        total: wait("total_ms", default.total, 1..=7 * DAY_MS),
        tunnel: wait("tunnel_ms", default.tunnel, 1..=7 * DAY_MS),
        idle: wait("idle_ms", default.idle, 1..=60 * MINUTE_MS),
        drain: wait("drain_ms", default.drain, 0..=60 * MINUTE_MS),
        name_fresh: wait("name_fresh_ms", default.name_fresh, 1..=DAY_MS),
        name_stale: wait("name_stale_ms", default.name_stale, 1..=7 * DAY_MS),
        drain_idle: wait("drain_idle_ms", default.drain_idle, 0..=60 * MINUTE_MS),
        // Zero is out of range, so it is what is left where the key is.
        deadline: Some(wait("deadline_ms", Duration::ZERO, 1..=DAY_MS)).filter(|d| !d.is_zero()),
    }
}

/// Whether callers show certificates too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callers {
    Anyone,
    MayBeCertified,
    Certified,
}

/// The files of certificates below `tls`; `path` is where that stands.
fn read_tls(s: &mut Section<'_>, path: &'static str, callers: Callers) -> Option<Files> {
    s.section("tls", |s| {
        let certificate = s.text("certificate_file");
        let key = s.secret_file("key_file");
        let ca = if callers == Callers::Anyone { None } else { s.text("ca_file") };
        if certificate.is_none() && key.is_none() && ca.is_none() {
            return None;
        }
        for (name, remedy) in [
            ("certificate_file", "name the PEM file of this node's certificate"),
            ("key_file", "name the PEM file of the certificate's key"),
        ] {
            s.require(name, remedy);
        }
        if callers == Callers::Certified {
            s.require("ca_file", "name the PEM file of the CA that issues the nodes' certificates");
            ca?;
        }
        let ca = ca.map(str::to_owned);
        Some(Files {
            section: path,
            certificate: certificate?.to_owned(),
            key: key?.to_owned(),
            ca,
        })
    })
}

fn read_interception(s: &mut Section<'_>) -> Option<Interception> {
    let enabled = s.flag("enabled", false);
    let mark = s.whole("mark", Interception::MARK_DEFAULT, 1..=u32::MAX);
    enabled.then_some(Interception { mark })
}

fn socket(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            "is not an IP address and a port",
            "write it as in 127.0.0.1:31113 or [::1]:31113",
        )
    })
}

fn unix_socket(text: &str) -> Result<Arc<Path>, Fault> {
    if !text.is_empty() && text.len() <= UNIX_SOCKET_BYTES_MAX && !text.contains('\0') {
        return Ok(Path::new(text).into());
    }
    let fault = format!("is not a path of 1 to {UNIX_SOCKET_BYTES_MAX} bytes");
    Err(Fault::new(fault, "write one as in /run/hopwise/handover.sock"))
}

fn host(text: &str) -> Result<Arc<str>, Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_ip = text.parse::<std::net::IpAddr>().is_ok();
    let is_name = (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if is_ip || is_name {
        return Ok(text.into());
    }
    let remedy = "write a host name or an IP address alone; ports go into port and gateway_port";
    Err(Fault::new("is not a host", remedy))
}

fn authority(text: &str) -> Result<Authority, Fault> {
    let fault = || {
        let remedy = "write host:port or http://host:port, as in 127.0.0.1:31112";
        Fault::new("is not a host and a port", remedy)
    };
    if text.starts_with("https://") {
        let remedy = "name a gateway that speaks plain HTTP, as in 127.0.0.1:31112";
        return Err(Fault::new("needs TLS, which is not spoken to gateways", remedy));
    }
    let text = text.strip_prefix("http://").unwrap_or(text);
    let (name, port) = text.strip_suffix('/').unwrap_or(text).rsplit_once(':').ok_or_else(fault)?;
    let name = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.contains(':')).ok_or_else(fault)?,
        None if name.contains(':') => return Err(fault()),
        None => name,
    };
    let all_digits = port.bytes().all(|b| b.is_ascii_digit());
    match (host(name), port.parse()) {
        (Ok(host), Ok(port)) if all_digits && port > 0 => Ok(Authority { host, port }),
        _ => Err(fault()),
    }
}
