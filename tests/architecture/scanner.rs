//! The scanner itself: it must be able to fail, and must not cry wolf.

use crate::rules::{FUNCTION_LINES_MAX, impurities, long_functions, wrong_arrows};
use crate::tokens::{paths, tokens};

#[test]
fn impure_snippets_are_found() {
    let bad = [
        "use std::time::Instant;",
        "use std::time::{Duration, Instant};",
        "use std::{collections::{BTreeMap, BTreeSet}, time::{Duration, SystemTime}};",
        "fn f() { let now = std::time::Instant::now(); }",
        "use std::fs;",
        "use std::{fs, fmt};",
        "fn f() { std::thread::sleep(d) }",
        "use std::net::IpAddr;",
        "use std::io::Read as _;",
        "use std::env::var;",
        "use std::sync::{Arc, Mutex};",
        "use tokio::sync::mpsc;",
        "fn f() { tracing::info!(\"x\"); }",
        "use log::info;",
        "use serde::Serialize;",
        "#[derive(serde::Serialize)] struct A;",
        "#[derive(Deserialize)] struct A;",
        "async fn f() {}",
        "fn f() { g().await }",
        "fn f() { let mut rng = rand::rng(); }",
        "use rand::{Rng, rng};",
        "fn f() { rand::thread_rng() }",
        "fn f() { Pcg64::from_os_rng() }",
        "fn f() { getrandom::fill(&mut b) }",
        "static mut COUNT: u32 = 0;",
        "static CACHE: OnceLock<u32> = OnceLock::new();",
        "thread_local! { }",
        "fn f() { println!(\"x\"); }",
        "fn f() { eprintln!(\"x\"); }",
        "#[cfg(test)] mod tests { } use std::fs;",
        "#[cfg(test)] mod tests; use std::fs;",
        "// a \" in a comment\nuse std::fs;",
        "const A: &str = \"\\\"\"; use std::fs;",
        "const A: char = '\"'; use std::fs;",
        "const A: &str = r#\"\"#; use std::fs;",
        "/* /* nested */ */ use std::fs;",
        "fn f<'a>(x: &'a str) { std::fs::read(x) }",
    ];
    for snippet in bad {
        assert!(!impurities(snippet).is_empty(), "not found: {snippet}");
    }
}

#[test]
fn visits_to_hash_maps_are_found() {
    let bad = [
        "struct A { m: HashMap<u8, u8> } fn f(a: A) { a.m.iter() }",
        "struct A { m: HashMap<u8, u8> } fn f(&self) { self.m\n    .values()\n    .sum() }",
        "fn f(m: &HashMap<u8, u8>) { for (k, v) in m { } }",
        "fn f(m: &mut std::collections::HashMap<u8, u8>) { m.drain() }",
        "fn f() { let mut m = HashMap::new(); for x in &m { } }",
        "fn f() { let m: HashMap<u8, u8> = HashMap::new(); for x in m.keys() { } }",
        "struct A { s: HashSet<u8> } fn f(a: &A) { for x in &a.s { } }",
        "fn f() { let s = std::collections::HashSet::new(); s.into_iter() }",
    ];
    for snippet in bad {
        assert!(!impurities(snippet).is_empty(), "not found: {snippet}");
    }
}

#[test]
fn pure_snippets_are_left_alone() {
    let good = [
        "use std::time::Duration; use std::sync::Arc;",
        "// std::fs, Instant::now() and println!\nfn f() {}",
        "/// async fn, tokio::spawn\nfn f() {}",
        "const A: &str = \"std::fs::read and async\";",
        "const A: &str = r#\"a \" std::fs\"#;",
        "fn f() -> &'static str { \"x\" }",
        "fn f(x: &'static str, y: char) { y == '\\'' }",
        "fn f(x: f64) { x.log(2.0); rng.random::<f64>() }",
        "fn f(log: Vec<u8>) { for x in log { } }",
        "struct A { m: HashMap<u8, u8>, v: Vec<u8> } fn f(a: A) { a.m.get(&1); a.v.iter() }",
        "fn f(m: &HashMap<u8, Vec<u8>>) { for x in m.get(&1) { } }",
        "#[cfg(test)] mod tests { use std::fs; fn f() { println!() } }",
        "#[cfg(test)] use std::fs; fn f() {}",
        "fn f() { self.per_second[1..]; \"it's\"; }",
    ];
    for snippet in good {
        assert_eq!(impurities(snippet), Vec::<String>::new(), "{snippet}");
    }
}

#[test]
fn arrows_that_point_up_are_found() {
    let bad = [
        ("topology.rs", "use crate::scheduling::Time;"),
        ("problem.rs", "use crate::topology::Topology;"),
        ("scheduling/mod.rs", "use crate::config::Snapshot;"),
        ("scheduling/view.rs", "fn f() { crate::config::load() }"),
        ("scheduling/view.rs", "use super::super::state::State;"),
        ("topology.rs", "use super::scheduling::Time;"),
        ("scheduling/mod.rs", "use crate::{problem::Problem, config::Snapshot};"),
        ("config/mod.rs", "use crate::state::State;"),
        ("sim/mod.rs", "use crate::state::State;"),
        ("sim/clock.rs", "use crate::metrics::Metrics;"),
        ("state.rs", "use crate::sim::World;"),
        ("app.rs", "use crate::sim::World;"),
        ("host_load.rs", "use crate::state::State;"),
        ("metrics.rs", "use crate::state::State;"),
        ("proxy/dispatch.rs", "use crate::api::Api;"),
        ("api/mod.rs", "use crate::app::run;"),
        ("app.rs", "use crate::demo::run;"),
        ("novelty.rs", ""),
        ("api/mod.rs", "use crate::novelty::New;"),
    ];
    for (path, snippet) in bad {
        assert!(!wrong_arrows(path, snippet).is_empty(), "not found: {path}: {snippet}");
    }
}

#[test]
fn arrows_that_point_down_are_left_alone() {
    let good = [
        ("topology.rs", "use crate::problem::Problem;"),
        ("scheduling/view.rs", "use super::{Time, window::Window}; use crate::topology::Slot;"),
        ("scheduling/tests.rs", "#[cfg(test)] mod a { use crate::state::State; }"),
        ("scheduling/view.rs", "use crate::scheduling::Time;"),
        ("config/mod.rs", "use crate::{problem::Problem, scheduling::Site};"),
        ("sim/mod.rs", "use crate::config::Snapshot; use self::clock::Clock;"),
        ("state.rs", "use crate::metrics::Metrics; use crate::host_load::HostLoad;"),
        ("demo/mod.rs", "use crate::app::run; use crate::sim::World;"),
        ("main.rs", "use hopwise::{app, sim, demo};"),
        ("proxy/mod.rs", "pub(super) fn f() {} pub(crate) fn g() {}"),
    ];
    for (path, snippet) in good {
        assert_eq!(wrong_arrows(path, snippet), Vec::<String>::new(), "{path}: {snippet}");
    }
}

#[test]
fn long_functions_are_found_by_name() {
    let of = |lines: usize| format!("fn f(a: [u8; 2]) {{\n{}}}\n", "x;\n".repeat(lines - 2));
    assert_eq!(long_functions(&of(FUNCTION_LINES_MAX)), Vec::<String>::new());
    let [fault] = &long_functions(&of(FUNCTION_LINES_MAX + 1))[..] else { panic!("not found") };
    assert!(fault.contains("fn f has 71 lines"), "{fault}");
    let inner = format!("trait A {{ fn a(&self); }} impl A {{\n{}}}", of(80));
    assert_eq!(long_functions(&inner).len(), 1);
    let around = format!("type F = fn(u8) -> u8; mod a {{\n{}}}", "fn g() {}\n".repeat(99));
    assert_eq!(long_functions(&around), Vec::<String>::new());
}

#[test]
fn trees_are_spelled_out_with_their_lines() {
    let read = paths(&tokens("use a::{\n    b,\n    c::{d, e as f, self},\n    *,\n};\nx::y(z)"));
    let written: Vec<(String, usize)> =
        read.into_iter().map(|path| (path.segments.join("::"), path.line)).collect();
    for expected in [("a::b", 2), ("a::c::d", 3), ("a::c::e", 3), ("a::*", 4), ("x::y", 6)] {
        let expected = (expected.0.to_owned(), expected.1);
        assert!(written.contains(&expected), "{expected:?} is not among {written:?}");
    }
}
