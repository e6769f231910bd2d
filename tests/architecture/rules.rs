//! The rules, each a function from the text of a file to what breaks it.

use crate::tokens::{Token, block_end, matches, paths, tokens, without_tests};

/// Most lines in a file.
pub(crate) const FILE_LINES_MAX: usize = 450;
/// Most lines in a function, from its name to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// Paths a pure file may not name, and why.
const IMPURE_PATHS: [(&str, &str); 20] = [
    ("std::fs", "IO"),
    ("std::io", "IO"),
    ("std::net", "IO"),
    ("std::env", "IO"),
    ("std::process", "IO"),
    ("std::thread", "threads"),
    ("std::sync::Mutex", "threads"),
    ("std::sync::RwLock", "threads"),
    ("std::sync::mpsc", "threads"),
    ("std::sync::atomic", "threads"),
    ("std::future", "async"),
    ("std::time::UNIX_EPOCH", "wall clock"),
    ("tokio", "async"),
    ("tracing", "logging"),
    ("log", "logging"),
    ("serde", "serde"),
    ("serde_json", "serde"),
    ("serde_yaml", "serde"),
    ("rand::rng", "OS entropy"),
    ("rand::random", "OS entropy"),
];

/// Words a pure file may not contain, and why.
const IMPURE_WORDS: [(&str, &str); 16] = [
    ("async", "async"),
    ("await", "async"),
    ("Instant", "wall clock"),
    ("SystemTime", "wall clock"),
    ("thread_rng", "OS entropy"),
    ("ThreadRng", "OS entropy"),
    ("from_os_rng", "OS entropy"),
    ("from_entropy", "OS entropy"),
    ("OsRng", "OS entropy"),
    ("SysRng", "OS entropy"),
    ("getrandom", "OS entropy"),
    ("static", "globals"),
    ("OnceLock", "globals"),
    ("LazyLock", "globals"),
    ("thread_local", "globals"),
    ("Deserialize", "serde"),
];

const IMPURE_MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// Methods that visit a map in its own, arbitrary order.
const VISITS: [&str; 11] = [
    "iter",
    "iter_mut",
    "into_iter",
    "keys",
    "into_keys",
    "values",
    "values_mut",
    "into_values",
    "drain",
    "retain",
    "extract_if",
];

/// What a pure file does that it may not.
pub(crate) fn impurities(source: &str) -> Vec<String> {
    let tokens = without_tests(&tokens(source));
    let mut found = Vec::new();
    for path in paths(&tokens) {
        // `core` and `alloc` have under the same names what `std` passes on.
        let written = path.segments.join("::").replacen("core::", "std::", 1);
        for (impure, why) in IMPURE_PATHS {
            let below = written.strip_prefix(impure).is_some_and(|rest| rest.starts_with("::"));
            if below || (written == impure && impure.contains("::")) {
                found.push(format!("line {}: {written} ({why})", path.line));
            }
        }
    }
    for (i, Token { text, line }) in tokens.iter().enumerate() {
        for (word, why) in IMPURE_WORDS {
            if text == word {
                found.push(format!("line {line}: {word} ({why})"));
            }
        }
        if matches(&tokens, i + 1, &["!"]) && IMPURE_MACROS.contains(&&**text) {
            found.push(format!("line {line}: {text}! (IO)"));
        }
    }
    found.extend(map_visits(&tokens));
    found
}

/// Visits to hash maps and sets declared in the same file.
fn map_visits(tokens: &[Token]) -> Vec<String> {
    let maps = map_names(tokens);
    let is_map = |i: usize| tokens.get(i).is_some_and(|t| maps.contains(&t.text));
    let mut found = Vec::new();
    for (i, Token { text, line }) in tokens.iter().enumerate() {
        let called = is_map(i)
            && matches(tokens, i + 1, &["."])
            && tokens.get(i + 2).is_some_and(|t| VISITS.contains(&&*t.text));
        if called {
            found.push(format!("line {line}: {text}.{} (order of a map)", tokens[i + 2].text));
        }
        let body = (text == "in").then(|| (i..tokens.len()).find(|&j| tokens[j].text == "{"));
        if let Some(Some(body)) = body
            && is_map(body - 1)
        {
            found.push(format!("line {line}: for … in {} (order of a map)", tokens[body - 1].text));
        }
    }
    found
}

/// Names declared with a type or an initial value that is a hash map or set.
fn map_names(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        if !matches!(&*token.text, "HashMap" | "HashSet") {
            continue;
        }
        // Back over `&`, `mut`, `std::collections::` to the single `:` or `=` of a declaration.
        let mut j = i;
        while j > 0 {
            match &*tokens[j - 1].text {
                "&" | "mut" | "std" | "collections" => j -= 1,
                ":" if j > 1 && tokens[j - 2].text == ":" => j -= 2,
                _ => break,
            }
        }
        if j > 1 && matches!(&*tokens[j - 1].text, ":" | "=") {
            names.push(tokens[j - 2].text.clone());
        }
    }
    names
}

/// How far up a module stands; each may import those below it only. `None` for unknown modules.
fn rank(module: &str) -> Option<u8> {
    Some(match module {
        "problem" => 0,
        "topology" => 1,
        "scheduling" => 2,
        "config" => 3,
        "sim" | "access_log" | "clients" | "decisions" | "host_load" | "logging" | "metrics"
        | "record" | "traces" | "turns" => 4,
        "state" => 5,
        "proxy" => 6,
        "api" => 7,
        "app" => 8,
        "demo" | "simulate" | "fuzzing" => 9,
        "cli" => 10,
        "main" | "lib" => 11,
        _ => return None,
    })
}

fn may_import(from: &str, to: &str) -> bool {
    let live = |module| {
        matches!(
            module,
            "access_log"
                | "clients"
                | "decisions"
                | "host_load"
                | "logging"
                | "metrics"
                | "record"
                | "traces"
                | "turns"
                | "state"
                | "proxy"
                | "api"
                | "app"
        )
    };
    match (rank(from), rank(to)) {
        (Some(above), Some(below)) => from == to || (above > below && !(live(from) && to == "sim")),
        _ => false,
    }
}

/// The top-level module of the file at `path`, which is relative to `src`.
fn module_of(path: &str) -> &str {
    path.split('/').next().map_or("", |first| first.trim_end_matches(".rs"))
}

/// Imports of the file at `path` (relative to `src`) that go against the arrows.
pub(crate) fn wrong_arrows(path: &str, source: &str) -> Vec<String> {
    let from = module_of(path);
    if rank(from).is_none() {
        return vec![format!("module {from} has no place yet: give it one in `rank`")];
    }
    // The module `a::b` stands two levels below the root; `a/mod.rs` is `a`.
    let depth = path.split('/').filter(|part| *part != "mod.rs").count();
    let tokens = without_tests(&tokens(source));
    let mut found = Vec::new();
    for path in paths(&tokens) {
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        let to = match path.segments.first().map(|first| &**first) {
            Some("crate" | "hopwise") => path.segments.get(1),
            Some("super") if supers >= depth => path.segments.get(supers),
            _ => continue,
        };
        let Some(to) = to else { continue };
        if !may_import(from, to) {
            found.push(format!("line {}: {from} must not import {to}", path.line));
        }
    }
    found
}

/// Functions that are too long, tests included.
pub(crate) fn long_functions(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for i in 0..tokens.len() {
        let Some(name) = tokens.get(i + 1).filter(|_| tokens[i].text == "fn") else { continue };
        let Some(open) = body_of(&tokens, i + 1) else { continue };
        let last = tokens[block_end(&tokens, open) - 1].line;
        let lines = last - name.line + 1;
        if lines > FUNCTION_LINES_MAX {
            found.push(format!("line {}: fn {} has {lines} lines", name.line, name.text));
        }
    }
    found
}

/// The brace that opens the body of the function named at `from`; a declaration has none, and
/// neither has a function's type. The `;` of an array is inside brackets.
fn body_of(tokens: &[Token], from: usize) -> Option<usize> {
    let mut nesting = 0;
    for (i, token) in tokens.iter().enumerate().skip(from) {
        match &*token.text {
            "(" | "[" => nesting += 1,
            ")" | "]" => nesting -= 1,
            "{" if nesting == 0 => return Some(i),
            ";" if nesting == 0 => return None,
            _ => {}
        }
        if nesting < 0 || (i == from && token.text == "(") {
            return None;
        }
    }
    None
}
