//! Reads the sources and reports what goes against the design: impurity in the core, imports
//! against the arrows, and files and functions that have grown too long.

// A test that cannot read the sources has to fail, and `unwrap` says where.
#![allow(clippy::unwrap_used)]

mod rules;
mod scanner;
mod tokens;

use std::fs;
use std::path::Path;

use rules::{FILE_LINES_MAX, impurities, long_functions, wrong_arrows};

/// Every file under `src`: its path from there, and its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(found.iter().any(|(name, _)| name == "scheduling/mod.rs"), "looked in the wrong place");
    found
}

fn is_pure(path: &str) -> bool {
    let pure = ["topology.rs", "topology/", "scheduling/", "sim.rs", "sim/"];
    pure.iter().any(|start| path.starts_with(start))
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
}

/// Asserts that `rule` finds nothing in any file that `applies`.
fn assert_clean(applies: impl Fn(&str) -> bool, rule: impl Fn(&str, &str) -> Vec<String>) {
    let mut found = Vec::new();
    for (path, source) in sources().iter().filter(|(path, _)| applies(path)) {
        found.extend(rule(path, source).into_iter().map(|fault| format!("src/{path}: {fault}")));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_core_is_pure() {
    assert_clean(|path| is_pure(path) && !is_test(path), |_, source| impurities(source));
}

#[test]
fn arrows_point_one_way() {
    assert_clean(|path| !is_test(path), wrong_arrows);
}

#[test]
fn files_are_short() {
    assert_clean(
        |_| true,
        |_, source| {
            let lines = source.lines().count();
            let fault = || format!("{lines} lines are more than {FILE_LINES_MAX}: split by noun");
            (lines > FILE_LINES_MAX).then(fault).into_iter().collect()
        },
    );
}

#[test]
fn functions_are_short() {
    assert_clean(|_| true, |_, source| long_functions(source));
}
