//! What parts of the data path cost by themselves: reading the configuration in force, asking and
//! telling the scheduler under its lock, the one pass over header fields, and signatures.
//!
//! `cargo bench --bench parts` measures time; what a whole decision costs is in `bench/decide.rs`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has to say so")]
#![allow(missing_docs, reason = "nobody links to a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use hopwise::config::{Secret, Snapshot};
use hopwise::proxy::headers::{
    append_forwarded_for, forwarded_for, note_forwarded, remove_connection_fields,
};
use hopwise::proxy::signature::Session;
use hopwise::scheduling::FunctionName;
use hopwise::scheduling::retry::Again;
use hopwise::scheduling::route::{Invocation, Outcome, Stage};
use hopwise::state::State;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use rand::SeedableRng;
use rand_pcg::Pcg64;

const CONFIG: &str = include_str!("../config/example.yaml");

fn state() -> Arc<State> {
    let snapshot = Snapshot::from_yaml(CONFIG, None).unwrap();
    Arc::new(State::new(snapshot, None, Pcg64::seed_from_u64(1)))
}

/// One invocation as a worker thread asks for it and tells of it.
fn invoke(state: &State, function: FunctionName) {
    let snapshot = state.snapshot();
    let invocation = Invocation {
        function,
        hop: 0,
        stage: Stage::Entry,
        architecture: None,
        path: &[],
        passed_here: false,
        avoid: &[],
        again: Again::No,
        timed: true,
    };
    let decision = state.decide(&snapshot, &invocation);
    if let Some(ticket) = black_box(decision).ticket {
        let now = state.now();
        state.record(ticket, Outcome::Good, None, None, 200, now);
    }
}

fn shared(criterion: &mut Criterion) {
    let state = state();
    let function = FunctionName::new("echo").unwrap();
    let mut group = criterion.benchmark_group("state");
    group.bench_function("snapshot", |bencher| bencher.iter(|| black_box(state.snapshot())));
    group.bench_function("decide_record", |b| b.iter(|| invoke(&state, function)));
    contended(&mut group, &state, function);
    group.finish();
}

/// The same while another thread does nothing else either: more than two workers ever would.
fn contended(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    state: &Arc<State>,
    function: FunctionName,
) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                invoke(state, function);
            }
        });
        group.bench_function("decide_record_contended", |b| b.iter(|| invoke(state, function)));
        done.store(true, Ordering::Relaxed);
    });
}

fn fields(of: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    of.iter().map(field).collect()
}

fn header_pass(criterion: &mut Criterion) {
    let plain = fields(&[("host", "gateway:8080"), ("user-agent", "curl/8"), ("accept", "*/*")]);
    let browser = fields(&[
        ("host", "gateway.example:8080"),
        ("connection", "keep-alive"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-US,en;q=0.5"),
        ("cookie", "session=0123456789abcdef"),
        ("content-type", "application/json"),
        ("content-length", "1234"),
        ("x-forwarded-for", "192.0.2.1"),
    ]);
    let client = forwarded_for([192, 0, 2, 7].into());
    let mut group = criterion.benchmark_group("header_pass");
    for (name, headers) in [("plain", plain), ("browser", browser)] {
        group.bench_function(name, |bencher| {
            let pass = |headers: &mut HeaderMap| {
                let removed = remove_connection_fields(headers);
                append_forwarded_for(headers, &client);
                note_forwarded(headers, "http");
                removed
            };
            bencher.iter_batched_ref(|| headers.clone(), pass, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// What a signed hop costs beside the hop: signing at the caller, checking at the node called.
fn signatures(criterion: &mut Criterion) {
    let key = Secret::new(b"0123456789abcdef0123456789abcdef");
    let session = || Session::new(&key, "edge1", &[1; 16], &[2; 16]);
    let uri = Uri::from_static("/function/echo");
    let mut headers = fields(&[
        ("host", "gateway:8080"),
        ("content-type", "application/json"),
        (
            "hopwise-call",
            "hop=1, stage=execute, architecture=decentralized, via=edge2, in-flight=3, cores=2",
        ),
    ]);
    let mut group = criterion.benchmark_group("signature");
    let mut caller = session();
    group.bench_function("sign", |bencher| {
        bencher.iter(|| caller.sign(&Method::POST, &uri, &mut headers));
    });
    let mut called = session();
    let signature = headers["hopwise-signature"].clone();
    let call = headers.get("hopwise-call");
    group.bench_function("verify", |bencher| {
        bencher.iter(|| black_box(called.verify(&Method::POST, &uri, call, &signature)));
    });
    group.finish();
}

criterion_group!(benches, shared, header_pass, signatures);
criterion_main!(benches);
