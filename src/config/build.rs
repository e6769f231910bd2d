//! From what is written to a [`Snapshot`].

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;

use super::lines::PROBLEMS_MAX;
use super::raw::Raw;
use super::reader::Fault;
use super::tls::{Endpoint, Files, Tls};
use super::{Authority, Listen, Secret, Snapshot, WORKERS_MAX, checks, lines, parse, raw, secrets};
use crate::problem::Problem;
use crate::scheduling::Site;
use crate::scheduling::policy::{OffloadRule, Policy};
use crate::topology::{Address, NodeSpec, Topology};

/// What some editors put in front of a text; the YAML crate takes it for a document of its own.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The first snapshot that `text` describes, or all that stands against it.
///
/// `token` is the admin token where the text names no file with one; `previous` hands its slots on.
pub(super) fn snapshot(
    text: &str,
    id_override: Option<Arc<str>>,
    token: Option<OsString>,
    previous: Option<&Topology>,
) -> Result<Snapshot, Vec<Problem>> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let document = parse::parse(text)?;
    let (mut raw, mut problems) = raw::read(&document);
    let peer_key = raw
        .peer_key_file
        .and_then(|path| noted(secrets::read_file(path), "peers.key_file", &mut problems));
    let knows_operators = raw.admin_token_file.is_some()
        || token.is_some()
        || raw.tls.operators.as_ref().is_some_and(|files| files.ca.is_some());
    let admin_token = admin_token(&raw, token, &mut problems);

    let id = id_override.as_deref().or(raw.node_id);
    let own = raw.nodes.iter().position(|node| id == Some(node.spec.id.as_str()));
    let address = own.map(|own| &raw.nodes[own].spec.address);
    let listen = listen(&raw, address);
    let gateway = gateway(&raw, address);
    problems.extend(checks::listen(&listen, knows_operators));
    match own {
        Some(own) => problems.extend(checks::upstreams(&raw, own, &gateway, listen.data)),
        None => problems.push(checks::own_id(id, &raw.nodes)),
    }
    let offload = own.map(|own| raw.nodes[own].offload).unwrap_or_default();
    let policy = policy(&raw, offload);
    let tls = tls(&mut raw, id, &mut problems);
    let specs: Vec<NodeSpec> = raw.nodes.into_iter().map(|node| node.spec).collect();
    let topology = topology(specs, previous, &mut problems);
    let site = topology.zip(id).and_then(|(topology, id)| {
        Some(Site { here: topology.index_of(id)?, topology: Arc::new(topology), policy })
    });
    match site {
        Some(site) if problems.is_empty() => Ok(Snapshot {
            generation: 1,
            peer_addresses: ips_of(&site.topology),
            site,
            gateway,
            listen,
            handover: raw.handover,
            workers: raw.workers.unwrap_or_else(workers_default),
            cores: raw.cores.unwrap_or_else(cores_default),
            limits: raw.limits,
            timeouts: raw.timeouts,
            peer_key,
            tls,
            admin_token,
            interception: raw.interception,
            header_case: raw.header_case,
            access_log: raw.access_log,
            functions: raw.functions,
            routes: raw.routes,
            drained: Box::default(),
            restart_needed: Vec::new(),
            text: text.into(),
            id_override,
        }),
        _ => Err(arranged(problems, text)),
    }
}

/// The problems by their line, and one per key: what follows from another is not told.
fn arranged(mut problems: Vec<Problem>, text: &str) -> Vec<Problem> {
    let mut told = HashSet::new();
    problems.retain(|problem| told.insert(problem.key.clone()));
    problems.truncate(PROBLEMS_MAX);
    lines::locate(text, &mut problems);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

fn topology(
    specs: Vec<NodeSpec>,
    previous: Option<&Topology>,
    problems: &mut Vec<Problem>,
) -> Option<Topology> {
    Topology::new(specs, previous).map_err(|found| problems.extend(found)).ok()
}

fn policy(raw: &Raw<'_>, offload: OffloadRule) -> Policy {
    Policy {
        mode: raw.mode,
        hop_limit: raw.hop_limit,
        offload,
        selection: raw.selection,
        rule: raw.rule,
        adaptive: raw.adaptive,
        tail_ratio: raw.tail_ratio,
        hedge: raw.hedge,
        queue: raw.queue,
        retries: raw.retries,
        health: raw.health,
    }
}

fn listen(raw: &Raw<'_>, own: Option<&Address>) -> Listen {
    let port = own.map_or(Address::PORT_DEFAULT, |own| own.port);
    let data = raw.data.unwrap_or(SocketAddr::new(Listen::DATA_DEFAULT_IP, port));
    Listen { data, admin: raw.admin }
}

fn gateway(raw: &Raw<'_>, own: Option<&Address>) -> Authority {
    raw.gateway.clone().unwrap_or_else(|| Authority {
        host: Ipv4Addr::LOCALHOST.to_string().into(),
        port: own.map_or(Address::GATEWAY_PORT_DEFAULT, |own| own.gateway_port),
    })
}

fn admin_token(
    raw: &Raw<'_>,
    token: Option<OsString>,
    problems: &mut Vec<Problem>,
) -> Option<Secret> {
    if let Some(path) = raw.admin_token_file {
        let secret = secrets::read_file(path).and_then(secrets::accept_token);
        return noted(secret, "admin.token_file", problems);
    }
    let secret = secrets::accept(token?.as_encoded_bytes()).and_then(secrets::accept_token);
    noted(secret, secrets::ADMIN_TOKEN_VARIABLE, problems)
}

/// What the files of certificates make, for the node `id`.
fn tls(raw: &mut Raw<'_>, id: Option<&str>, problems: &mut Vec<Problem>) -> Tls {
    if raw.tls.peers.is_some() {
        problems.extend(checks::names_in_certificates(&raw.nodes));
    }
    let mut read = |files: Option<Files>, id: Option<&str>| -> Option<Arc<Endpoint>> {
        files?.read(id, problems).map(Arc::new)
    };
    Tls {
        clients: read(raw.tls.clients.take(), None),
        peers: read(raw.tls.peers.take(), id),
        operators: read(raw.tls.operators.take(), None),
    }
}

/// The secret, or a problem without a value: that might be the secret by mistake.
fn noted(secret: Result<Secret, Fault>, key: &str, problems: &mut Vec<Problem>) -> Option<Secret> {
    secret.map_err(|f| problems.push(Problem::new(key, "", f.fault, f.remedy))).ok()
}

fn ips_of(topology: &Topology) -> Box<[IpAddr]> {
    let hosts = topology.nodes().iter().map(|node| &node.address.host);
    let ips = hosts.filter_map(|host| host.parse().ok()).map(|ip: IpAddr| ip.to_canonical());
    ips.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Cores this process may use; the quota of its cgroup is taken into account.
fn cores_here() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// One thread per core.
fn workers_default() -> NonZeroUsize {
    NonZeroUsize::new(WORKERS_MAX).map_or(cores_here(), |max| cores_here().min(max))
}

fn cores_default() -> NonZeroU16 {
    let cores = u16::try_from(cores_here().get()).unwrap_or(raw::CORES_MAX);
    NonZeroU16::new(cores.min(raw::CORES_MAX)).unwrap_or(NonZeroU16::MIN)
}
