//! `hopwise simulate`, as somebody at a terminal runs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::TempFile;

const SMALL: &str = "\
name: small
nodes:
  - {id: cloud, role: cloud-controller, zone: cloud, cores: 4}
  - {id: edge1, role: edge-controller, zone: A, cores: 2}
delays_ms: {within_zone: 10, between_zones: 20, to_cloud: 60}
functions: [{name: work, demand: {lognormal: {mean_ms: 50, sigma: 0.5}}}]
entries: [{name: single, node: edge1}]
loads: {closed: {concurrency: [2, 6]}}
length: {invocations: 100, seconds: 5, warm_up_seconds: 1}
policies: [federated+predictive, clairvoyant]
seeds: [1, 2]
";

fn simulate(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_hopwise");
    Command::new(program).arg("simulate").args(arguments).output().unwrap()
}

fn out(output: &Output) -> &str {
    let told = str::from_utf8(&output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    str::from_utf8(&output.stdout).unwrap()
}

/// Fails unless `arguments` are refused, in words that have all of `parts`.
fn assert_refused(arguments: &[&str], parts: &[&str]) {
    let output = simulate(arguments);
    let told = str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for part in parts {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

fn path_of(file: &TempFile) -> &str {
    file.0.to_str().unwrap()
}

#[test]
fn rows_have_the_keys_they_are_to_have() {
    let file = TempFile::new(SMALL);
    let output = simulate(&["--scenario", path_of(&file), "--json"]);
    let rows: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(rows.len(), 2 * 2 * 2, "loads, policies, seeds");
    for row in &rows {
        let mut told: BTreeSet<&str> =
            row.as_object().unwrap().keys().map(String::as_str).collect();
        for (key, is_right) in [
            ("scenario", Value::is_string as fn(&Value) -> bool),
            ("cell", Value::is_string),
            ("entry", Value::is_string),
            ("concurrency", Value::is_u64),
            ("policy", Value::is_string),
            ("seed", Value::is_u64),
            ("p50_ms", Value::is_f64),
            ("p95_ms", Value::is_f64),
            ("p99_ms", Value::is_f64),
            ("total_s", Value::is_f64),
            ("failed", Value::is_u64),
            ("samples", Value::is_u64),
            ("warm_up_p95_ms", Value::is_f64),
            ("trace_hash", Value::is_string),
        ] {
            assert!(is_right(&row[key]), "{key}: {row}");
            told.remove(key);
        }
        // One function and a load that never changes have no lists of their own.
        assert!(told.is_empty(), "nobody was told of {told:?}");
        assert!(row["p50_ms"].as_f64() <= row["p95_ms"].as_f64());
    }
    let policies: Vec<_> = rows.iter().map(|row| row["policy"].as_str().unwrap()).collect();
    assert!(policies.contains(&"clairvoyant") && policies.contains(&"federated+predictive"));
}

#[test]
fn the_number_of_threads_changes_not_a_byte() {
    let file = TempFile::new(SMALL);
    let told = ["1", "3"].map(|threads| {
        out(&simulate(&["--scenario", path_of(&file), "--json", "--threads", threads])).to_owned()
    });
    assert_eq!(told[0], told[1]);
}

/// A file that somebody else writes, gone with its guard.
struct Written(PathBuf);

impl Written {
    fn new(ending: &str) -> Self {
        let name = format!("hopwise-it-simulate-{}.{ending}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn samples_and_charts_are_written_beside_the_table() {
    let file = TempFile::new(SMALL);
    let (csv, svg) = (Written::new("csv"), Written::new("svg"));
    let output = simulate(&[
        "--scenario",
        path_of(&file),
        "--csv",
        csv.0.to_str().unwrap(),
        "--plot",
        svg.0.to_str().unwrap(),
    ]);
    let table = out(&output);
    for word in ["federated+predictive", "clairvoyant", "single", "P95"] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
    let samples = std::fs::read_to_string(&csv.0).unwrap();
    let mut lines = samples.lines();
    assert!(lines.next().unwrap().starts_with("scenario,cell,entry,concurrency,policy,seed,"));
    assert!(lines.clone().count() >= 8 * 100, "a hundred invocations per trial");
    assert!(lines.all(|line| line.starts_with("small,steady,single,")));
    let chart = std::fs::read_to_string(&svg.0).unwrap();
    assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"));
    assert!(chart.contains("clairvoyant") && chart.contains("P95"));
}

#[test]
fn the_command_line_narrows_a_scenario_down() {
    let file = TempFile::new(SMALL);
    let output = simulate(&[
        "--scenario",
        path_of(&file),
        "--json",
        "--concurrency",
        "6",
        "--policy",
        "dynamic-adaptive+predictive+queue",
        "--seed",
        "9",
    ]);
    let rows: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["concurrency"].as_u64(), rows[0]["seed"].as_u64()), (Some(6), Some(9)));
    assert_eq!(rows[0]["policy"], "dynamic-adaptive+predictive+queue");
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_its_remedy() {
    assert_refused(
        &["--scenario", "/nowhere/at/all.yaml"],
        &["/nowhere/at/all.yaml", "name a file"],
    );
    assert_refused(&["--policy", "best"], &["--policy = best", "write one of clairvoyant,"]);
    assert_refused(&["--seed", "minus one"], &["minus one", "--seed"]);
    for (good, bad, parts) in [
        ("cores: 4", "coers: 4", &[":3:", "nodes[0].coers", "unknown field", "remove it"][..]),
        ("role: cloud-controller", "role: boss", &["nodes[0].role = boss", "edge-controller"]),
        ("mean_ms: 50", "mean_ms: -50", &["functions[0].demand.lognormal.mean_ms = -50"]),
        ("node: edge1", "node: edge9", &["entries[0].node = edge9"]),
        ("federated+predictive", "federated+best", &["policies[0] = federated+best", "hedge"]),
    ] {
        assert!(SMALL.contains(good));
        let file = TempFile::new(&SMALL.replace(good, bad));
        let named = [&[path_of(&file)], parts].concat();
        assert_refused(&["--scenario", path_of(&file)], &named);
    }
}

#[test]
fn a_file_that_is_no_scenario_is_told_from_one_with_mistakes() {
    for (text, parts) in [
        ("", &[":1:", "missing field `name`", "see config/sim"][..]),
        ("- cores: 4\n", &[":1:", "invalid type: sequence", "see config/sim"]),
        ("name: small\n\tnodes: []\n", &[":2:", "found a tab character"]),
        ("name: small\nname: large\n", &["duplicate", "name"]),
    ] {
        let file = TempFile::new(text);
        assert_refused(&["--scenario", path_of(&file)], &[&[path_of(&file)], parts].concat());
    }
}

#[test]
fn all_that_is_wrong_with_what_was_asked_is_told_at_once() {
    let file = TempFile::new(SMALL);
    let arguments =
        ["--scenario", path_of(&file), "--cell", "heavy", "--entry", "edge9", "--concurrency", "3"];
    assert_refused(
        &arguments,
        &[
            "--cell = heavy: is not in this scenario; write one of steady",
            "--entry = edge9: is not in this scenario; write one of single",
            "--concurrency = 3: is not in this scenario; write one of 2, 6",
        ],
    );
    assert_refused(&["--threads", "0"], &["--threads", "'0'"]);
    assert_refused(&["--sede", "1"], &["--sede", "--help"]);
}

/// Hours of computing are not begun for a file that cannot be written: nothing stands in the other.
#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_runs() {
    let file = TempFile::new(SMALL);
    let other = Written::new("other");
    for options in [["--csv", "--plot"], ["--plot", "--csv"]] {
        let [bad, good] = options;
        let path = other.0.to_str().unwrap();
        let arguments = ["--scenario", path_of(&file), bad, "/nowhere/at/all", good, path];
        let output = simulate(&arguments);
        let told = str::from_utf8(&output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("cannot write /nowhere/at/all"), "{told}");
        let written = std::fs::read_to_string(&other.0).unwrap_or_default();
        assert!(output.stdout.is_empty() && written.is_empty(), "{options:?}: {written}");
    }
}

#[test]
fn help_lists_what_it_takes() {
    let output = simulate(&["--help"]);
    let help = out(&output);
    let options = help.lines().filter_map(|line| line.trim().strip_prefix("--"));
    let listed: Vec<&str> = options.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        listed,
        [
            "scenario",
            "cell",
            "entry",
            "concurrency",
            "policy",
            "seed",
            "threads",
            "json",
            "csv",
            "plot",
            "progress",
        ]
    );
}

#[test]
fn scenarios_that_come_along_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sim");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // What ten thousand nodes believe of one another takes many gigabytes at once.
        if name == "fleet-10000" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Only as long as it takes to see that they do.
        let begin = text.find("\nlength:").unwrap() + 1;
        let end = begin + text[begin..].find('\n').unwrap();
        let length = "length: {invocations: 50, seconds: 1, warm_up_seconds: 0}";
        let file = TempFile::new(&format!("{}{length}{}", &text[..begin], &text[end..]));
        let policy = "dynamic-adaptive+predictive";
        let arguments = ["--scenario", path_of(&file), "--json", "--policy", policy, "--seed", "1"];
        let rows: Vec<Value> = serde_json::from_str(out(&simulate(&arguments))).unwrap();
        assert!(rows.iter().all(|row| row["samples"].as_u64() >= Some(40)), "{name}: {rows:?}");
        assert!(rows.iter().all(|row| row["scenario"] == *name), "{name}: {rows:?}");
        names.push(name);
    }
    assert!(names.len() >= 10, "{names:?}");
}
