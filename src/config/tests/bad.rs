//! What is refused: where it stands and what is said about it.

use rand::{RngExt, SeedableRng};

use super::*;

/// Line, key, and a part of what is said.
type Expected<'a> = &'a [(Option<usize>, &'a str, &'a str)];

fn expect(text: &str, expected: Expected<'_>) {
    let problems = load(text).expect_err(text);
    let told = render(&problems, "file");
    let found: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    let wanted: Vec<_> = expected.iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(found, wanted, "{text}\n{told}");
    for (problem, (_, _, part)) in problems.iter().zip(expected) {
        assert!(problem.to_string().contains(part), "{part:?} in {problem}");
        assert!(!problem.fault.is_empty() && !problem.remedy.is_empty(), "{problem}");
        assert!(!problem.to_string().contains('\n'), "{problem}");
    }
}

fn expect_based(more: &str, expected: Expected<'_>) {
    expect(&format!("{BASE}{more}"), expected);
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    for (more, line, key, part) in [
        ("architectur: dynamic", 6, "architectur", "did you mean architecture"),
        ("colour: blue", 6, "colour", "known here: architecture"),
        ("timeouts:\n  connect: 5", 7, "timeouts.connect", "did you mean connect_ms"),
        ("limits: {header: 5}", 6, "limits.header", "did you mean headers"),
        ("listen: {port: 5}", 6, "listen.port", "remove it"),
        ("tail_scheduler: {soft_d2f: 2}", 6, "tail_scheduler.soft_d2f", "soft_d2f_threshold"),
        ("dynamic: {smoothing: 1}", 6, "dynamic.smoothing", "did you mean smoothing_"),
        ("peers: {key-file: x}", 6, "peers.key-file", "did you mean key_file"),
        ("admin: {token: x}", 6, "admin.token", "did you mean token_file"),
        ("hedge: {budged: 1}", 6, "hedge.budged", "did you mean budget"),
        ("functions: {f: {idempotant: true}}", 6, "functions.f.idempotant", "mean idempotent"),
        ("functions:\n  idempotent: true", 7, "functions.idempotent", "not a mapping"),
        ("queue: {limit: 1}", 6, "queue.limit", "known here: enabled, running, waiting, wait_ms"),
        ("functions: {f: {deadline: 1}}", 6, "functions.f.deadline", "did you mean deadline_ms"),
        ("access_log: {file: x}", 6, "access_log.file", "known here: slow_ms, format, path"),
        ("interception: {marc: 1}", 6, "interception.marc", "did you mean mark"),
        ("5: x", 6, "5", "is not a key"),
        ("[a, b]: x", 6, "(a list)", "is not a key"),
        ("<<: {a: 1}", 6, "<<", "is not a key"),
    ] {
        let line = if key == "(a list)" { None } else { Some(line) };
        expect_based(more, &[(line, key, part)]);
    }
}

#[test]
fn values_of_the_wrong_kind_or_size_are_refused() {
    for (more, key, part) in [
        ("architecture: decentralised", "architecture", "did you mean decentralized"),
        ("architecture: 5", "architecture", "is not text"),
        ("access_log: {format: yaml}", "access_log.format", "write off or json or text"),
        ("access_log: {path: /var/log/}", "access_log.path", "is not the path of a file"),
        ("access_log: {format: text, path: /no/a.log}", "access_log.path", "make the directory"),
        ("access_log: {format: json, path: /tmp}", "access_log.path", "not in a directory"),
        ("access_log: {sample: 2}", "access_log.sample", "from 0 to 1"),
        ("architecture: [dynamic]", "architecture", "(a list)"),
        (
            "selection: fastest",
            "selection",
            "write weighted or predictive or least_request or peak_ewma or random",
        ),
        ("selection: predictve", "selection", "is not known"),
        ("hop_limit: 9", "hop_limit", "from 0 to 8"),
        ("hop_limit: -1", "hop_limit", "= -1: is out of range"),
        ("hop_limit: 1.5", "hop_limit", "is not a whole number"),
        ("hop_limit: '2'", "hop_limit", "is not a whole number"),
        ("hop_limit: 18446744073709551615", "hop_limit", "is out of range"),
        ("workers: 0", "workers", "from 1 to 256"),
        ("workers: 257", "workers", "from 1 to 256"),
        ("cores: 0", "cores", "from 1 to 4096"),
        ("cores: 4097", "cores", "from 1 to 4096"),
        ("workers: auto", "workers", "is not a whole number"),
        ("tail_scheduler: 5", "tail_scheduler", "is not a mapping"),
        ("tail_scheduler: {min_samples: 0}", "tail_scheduler.min_samples", "from 1"),
        ("tail_scheduler: {sample_interval: 0}", "tail_scheduler.sample_interval", "0.001"),
        ("tail_scheduler: {sample_interval: 2s}", "tail_scheduler.sample_interval", "not a number"),
        ("tail_scheduler: {soft_d2f_threshold: 0}", "tail_scheduler.soft_d2f_threshold", "range"),
        ("tail_scheduler: {soft_d2f_threshold: .nan}", "tail_scheduler.soft_d2f_threshold", "nan"),
        ("tail_scheduler: {hard_f2c_threshold: .inf}", "tail_scheduler.hard_f2c_threshold", "inf"),
        ("tail_scheduler: {hard_f2c_threshold: yes}", "tail_scheduler.hard_f2c_threshold", "not a"),
        ("tail_scheduler: {soft_d2f_threshold: 2.6}", "tail_scheduler.soft_d2f_threshold", "above"),
        ("tail_scheduler: {hard_f2c_threshold: 1}", "tail_scheduler.soft_f2c_threshold", "above"),
        ("dynamic: {rule: adaptiv}", "dynamic.rule", "is not known"),
        ("dynamic: {min_rate_d2f: -0.1}", "dynamic.min_rate_d2f", "from 0"),
        ("dynamic: {smoothing_floor: 0.3}", "dynamic.smoothing_range", "add up to"),
        ("limits: {entry_body_bytes: 16 MiB}", "limits.entry_body_bytes", "not a whole number"),
        ("limits: {functions: 0}", "limits.functions", "from 1"),
        ("limits: {headers: 5}", "limits.headers", "from 16"),
        ("timeouts: {answer_ms: 0}", "timeouts.answer_ms", "from 1"),
        ("timeouts: {connect_ms: 600001}", "timeouts.connect_ms", "to 600000"),
        ("listen: {data: localhost:80}", "listen.data", "IP address and a port"),
        ("listen: {admin: 127.0.0.1}", "listen.admin", "IP address and a port"),
        ("listen: {data: 127.0.0.1:70000}", "listen.data", "IP address and a port"),
        ("gateway: localhost", "gateway", "host:port"),
        ("gateway: 'localhost:0'", "gateway", "host:port"),
        ("gateway: 'localhost:+80'", "gateway", "host:port"),
        ("gateway: ':80'", "gateway", "host:port"),
        ("gateway: '::1:80'", "gateway", "host:port"),
        ("gateway: 'http://gateway:80/path'", "gateway", "host:port"),
        ("gateway: 'user@gateway:80'", "gateway", "host:port"),
        ("gateway: 'https://gateway:443'", "gateway", "TLS"),
        ("handover: {socket: ''}", "handover.socket", "1 to 95 bytes"),
        (&format!("handover: {{socket: /{}}}", "x".repeat(95)), "handover.socket", "1 to 95 bytes"),
        ("interception: {enabled: 1}", "interception.enabled", "true or false"),
        ("interception: {enabled: on}", "interception.enabled", "true or false"),
        ("interception: {mark: 0}", "interception.mark", "from 1 to 4294967295"),
        ("interception: {mark: 0x100000000}", "interception.mark", "from 1 to 4294967295"),
        ("peers: {key_file: /no/such/file}", "peers.key_file", "cannot be read"),
        ("peers: {key_file: /}", "peers.key_file", "cannot be read"),
        ("admin: {token_file: 5}", "admin.token_file", "is not text"),
    ] {
        expect_based(more, &[(Some(6), key, part)]);
    }
}

#[test]
fn nodes_are_checked_each_and_against_each_other() {
    for (node, found) in [
        ("{id: a b, role: worker, zone: A, address: h}", ("topology[3].id", "[-a-zA-Z0-9_.]")),
        ("{id: 7, role: worker, zone: A, address: h}", ("topology[3].id", "in quotes")),
        ("{id: edge2, role: worker, zone: A, address: h}", ("topology[3].id", "topology[2]")),
        (
            "{id: x, role: boss, zone: A, address: h}",
            ("topology[3].role", "write cloud-controller"),
        ),
        ("{id: x, role: wroker, zone: A, address: h}", ("topology[3].role", "mean worker")),
        ("{id: x, role: worker, zone: '', address: h}", ("topology[3].zone", "is not a name")),
        ("{id: x, role: worker, zone: A}", ("topology[3].address", "is missing")),
        ("{id: x, role: worker, zone: A, address: null}", ("topology[3].address", "is missing")),
        ("{id: x, role: worker, zone: A, address: 'h:1'}", ("topology[3].address", "not a host")),
        ("{id: x, role: worker, zone: A, address: '[::1]'}", ("topology[3].address", "not a host")),
        ("{id: x, role: worker, zone: A, address: 10.0.2.101}", ("topology[3].address", "data")),
        ("{id: x, role: worker, zone: A, address: 127.0.0.1}", ("topology[3].address", "itself")),
        ("{id: x, role: worker, zone: A, address: h, port: 0}", ("topology[3].port", "from 1")),
        (
            "{id: x, role: worker, zone: A, address: h, offload: {cpu_thresh: 90}}",
            ("topology[3].offload.cpu_thresh", "from 0 to 1"),
        ),
        (
            "{id: x, role: worker, zone: A, address: h, offload: {cpu_treshold: 1}}",
            ("topology[3].offload.cpu_treshold", "did you mean cpu_thresh"),
        ),
        (
            "{id: x, role: worker, zone: A, address: h, offload: true}",
            ("topology[3].offload", "not a mapping"),
        ),
        ("edge3", ("topology[3]", "not a mapping")),
    ] {
        let text = format!("{BASE}  - {node}\n");
        let problems = load(&text).expect_err(&text);
        let (key, part) = found;
        assert_eq!((problems[0].line, problems[0].key.as_str()), (Some(6), key), "{problems:?}");
        assert!(problems[0].to_string().contains(part), "{part:?} in {}", problems[0]);
        assert!(node == "edge3" || problems.len() == 1, "{problems:?}");
    }
}

#[test]
fn this_node_must_be_one_of_the_topology() {
    let nodes = BASE.split_once('\n').unwrap().1;
    expect(nodes, &[(None, "node.id", "cloud, edge1, edge2")]);
    expect(
        &format!("node: {{id: edge9}}\n{nodes}"),
        &[(Some(1), "node.id", "not in the topology")],
    );
    expect(&format!("node:\n{nodes}"), &[(Some(1), "node.id", "is missing")]);
    expect("", &[(None, "node.id", "list this node"), (None, "topology", "has no node")]);
    expect(
        "node: {id: x}\ntopology: {}",
        &[(Some(1), "node.id", "not in the topology"), (Some(2), "topology", "is not a list")],
    );
    expect(
        &BASE.replace("node: {id: edge1}", "node: {id: 1}").replace("id: edge2", "id: e 2"),
        &[(Some(1), "node.id", "is not text"), (Some(5), "topology[2].id", "is not a name")],
    );
    let many: String = (0..20)
        .map(|i| format!("\n  - {{id: n{i}, role: worker, zone: A, address: h{i}}}"))
        .collect();
    expect(&format!("topology:{many}"), &[(None, "node.id", "n8, n9, …")]);
    let problems = build::snapshot(BASE, Some("edge8".into()), None, None).unwrap_err();
    assert_eq!(problems[0].value, "edge8");
}

#[test]
fn calls_never_come_back_to_where_they_were_sent_from() {
    for gateway in [
        "127.0.0.1:31113",
        "localhost:31113",
        "http://10.0.2.100:31113/",
        "0.0.0.0:31113",
        "'[::1]:31113'",
        "127.8.8.8:31113",
    ] {
        let more = format!("gateway: {gateway}");
        expect_based(&more, &[(Some(6), "gateway", "in circles")]);
    }
    let bound = "listen: {data: 10.9.9.9:31113}\ngateway: ";
    expect_based(&format!("{bound}10.9.9.9:31113"), &[(Some(7), "gateway", "in circles")]);
    based(&format!("{bound}127.0.0.1:31113")).expect("another socket than the one bound");
    let loopback = "listen: {data: 127.0.0.2:31113}\ngateway: 127.0.0.3:31113";
    based(loopback).expect("another loopback address than the one bound");
    based("gateway: 10.0.2.101:31113").expect("another machine");

    let own = BASE.replace("10.0.2.100}", "10.0.2.100, gateway_port: 31113}");
    expect(&own, &[(Some(4), "topology[1].gateway_port", "in circles")]);
    let moved = "listen: {data: 10.0.2.101:31113}";
    expect_based(moved, &[(Some(5), "topology[2].address", "itself listens")]);
}

#[test]
fn listeners_do_not_overlap_and_the_admin_port_is_guarded() {
    for (more, part) in [
        ("listen: {data: '127.0.0.1:5', admin: '127.0.0.1:5'}", "overlaps"),
        ("listen: {admin: '127.0.0.1:31113'}", "overlaps"),
        ("listen: {admin: '0.0.0.0:31114'}", "without a token"),
        ("listen: {admin: '[::]:31114'}", "without a token"),
        ("listen: {admin: '10.0.2.100:31114'}", "without a token"),
    ] {
        expect_based(more, &[(Some(6), "listen.admin", part)]);
    }
    based("listen: {data: '127.0.0.1:0', admin: '127.0.0.1:0'}").expect("any two free ports");
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = "\
architecture: dynamc
node: {id: edge3, name: x}
topology:
  - id: cloud
    role: cloud-controler
    address: 10.0.1.100
    offload:
      cpu_thresh: 1.5
      load_tresh: 2
  - {id: cloud, role: worker, zone: A, address: 10.0.1.100}
tail_scheduler:
  soft_d2f_threshold: 3
  soft_f2c_threshold: high
timeouts: 5
";
    expect(
        text,
        &[
            (Some(1), "architecture", "did you mean dynamic"),
            (Some(2), "node.id", "topology: cloud"),
            (Some(2), "node.name", "is not a key"),
            (Some(4), "topology[0].zone", "is missing"),
            (Some(5), "topology[0].role", "did you mean cloud-controller"),
            (Some(8), "topology[0].offload.cpu_thresh", "from 0 to 1"),
            (Some(9), "topology[0].offload.load_tresh", "did you mean load_thresh"),
            (Some(10), "topology[1].id", "topology[0]"),
            (Some(10), "topology[1].address", "topology[0]"),
            (Some(12), "tail_scheduler.soft_d2f_threshold", "3: is above"),
            (Some(13), "tail_scheduler.soft_f2c_threshold", "high: is not a number"),
            (Some(14), "timeouts", "(a number)"),
        ],
    );
}

#[test]
fn text_that_is_not_one_yaml_mapping_is_one_problem_with_its_line() {
    for (text, line) in [
        ("a: [1, 2\nb: 3", Some(2)),
        ("node: {id: a}\n\tb: 1", Some(2)),
        ("a: 'x\n", Some(1)),
        ("a: *nowhere", Some(1)),
        ("a: 1\n---\nb: 2", None),
        ("a: 99999999999999999999", Some(1)),
    ] {
        let problems = load(text).expect_err(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].key.as_str(), problems[0].line), ("configuration", line), "{text}");
    }
    let problems = load("- a").expect_err("a list");
    assert!(problems.iter().any(|p| p.fault == "is not a mapping"), "{problems:?}");
    expect_based(
        "node: {id: edge2}\nlimits:\n  headers: 20\n  headers: 21",
        &[
            (Some(6), "node", "stands in line 1 already"),
            (Some(9), "limits.headers", "stands in line 8 already"),
        ],
    );
}

#[test]
fn hostile_text_costs_little() {
    let bomb: String = (1..30).map(|i| format!("a{i}: &a{i} [*a{0},*a{0}]\n", i - 1)).collect();
    let list = "1,".repeat(100_000);
    let names = "*x,".repeat(100_000);
    for (text, part) in [
        (" ".repeat(parse::TEXT_BYTES_MAX + 1), "bytes"),
        (format!("a0: &a0 [1]\n{bomb}"), "values"),
        (format!("a: &x [{list}]\nb: [{names}]"), "values"),
        ("[".repeat(100_000), "cannot be read"),
        (format!("a: {}1{}", "[".repeat(200), "]".repeat(200)), "cannot be read"),
        ("- ".repeat(100_000), "cannot be read"),
        ("a: &a [*a]".to_owned(), "cannot be read"),
    ] {
        let problems = load(&text).expect_err(part);
        assert!(problems[0].fault.contains(part), "{part} in {}", problems[0]);
    }
    let keys: String = (0..10_000).map(|i| format!("key{i}: 1\n")).collect();
    assert_eq!(load(&keys).unwrap_err().len(), lines::PROBLEMS_MAX);
    let long_key = format!("{BASE}{}: 1", "a.".repeat(500));
    assert!(load(&long_key).unwrap_err()[0].key.len() <= 64);
}

#[test]
fn what_is_said_of_second_copies_is_checked() {
    for (more, key, part) in [
        ("hedge: {enabled: yes}", "hedge.enabled", "= yes: is not a truth value; write true"),
        ("hedge: {budget: 5}", "hedge.budget", "= 5: is out of range; write a number from 0 to 1"),
        ("hedge: {budget: 5%}", "hedge.budget", "is not a number"),
        ("hedge: true", "hedge", "is not a mapping"),
        ("functions: [f]", "functions", "is not a mapping"),
        ("functions: {f: {idempotent: 1}}", "functions.f.idempotent", "true or false"),
        ("functions: {a b: {}}", "functions.a b", "= a b: is not a function's name; use 1 to 63"),
        ("functions: {[f]: {}}", "functions.(a list)", "is not a function's name"),
    ] {
        expect_based(more, &[(Some(6), key, part)]);
    }
}

#[test]
fn what_is_said_of_the_queue_is_checked() {
    for (more, key, part) in [
        ("queue: {running: 0}", "queue.running", "= 0: is out of range; write a number from 1"),
        ("queue: {running: 1.5}", "queue.running", "= 1.5: is not a whole number"),
        ("queue: {waiting: -1}", "queue.waiting", "= -1: is out of range; write a number from 0"),
        ("queue: {wait_ms: 600001}", "queue.wait_ms", "write a number from 1 to 600000"),
        ("functions: {f: {deadline_ms: 0}}", "functions.f.deadline_ms", "from 1 to 86400000"),
    ] {
        expect_based(more, &[(Some(6), key, part)]);
    }
}

#[test]
fn functions_are_bounded_in_number() {
    let named = |count| {
        let names: String = (0..count).map(|i| format!("  f{i}: {{idempotent: true}}\n")).collect();
        format!("functions:\n{names}")
    };
    assert_eq!(based(&named(10_000)).unwrap().functions.len(), 10_000);
    expect_based(&named(10_001), &[(Some(6), "functions", "= 10001: are too many; name at most")]);
}

#[test]
fn secrets_are_long_enough_and_never_repeated() {
    const SECRET: &str = "hunter2";
    let short = Scratch::new("short", format!("  {SECRET}\n"));
    let long = Scratch::new("long", "x".repeat(5000));
    let blank = Scratch::new("blank", "words with blanks in them");
    for (more, key, part) in [
        (format!("peers: {{key_file: {}}}", short.path()), "peers.key_file", "fewer than 16"),
        (format!("admin: {{token_file: {}}}", short.path()), "admin.token_file", "fewer than 16"),
        (format!("admin: {{token_file: {}}}", long.path()), "admin.token_file", "more than 4096"),
        (format!("admin: {{token_file: {}}}", blank.path()), "admin.token_file", "no header"),
        (format!("admin: {{token_file: {SECRET}}}"), "admin.token_file", "cannot be read"),
        (format!("admin: {SECRET}"), "admin", "is not a mapping"),
        (format!("admin: {{token: {SECRET}}}"), "admin.token", "is not a key"),
        (format!("admin_token: {SECRET}"), "admin_token", "is not a key"),
        (format!("peers: [{SECRET}]"), "peers", "is not a mapping"),
    ] {
        expect_based(&more, &[(Some(6), key, part)]);
        let told = format!("{:?}", based(&more).unwrap_err());
        assert!(!told.contains(SECRET), "{told}");
    }
    let problems = build::snapshot(BASE, None, Some(SECRET.into()), None).unwrap_err();
    assert_eq!(problems[0].key, "HOPWISE_ADMIN_TOKEN");
    assert!(!format!("{problems:?}").contains(SECRET));
}

#[test]
fn garbled_files_are_refused_with_reasons_and_never_panic() {
    const ROUNDS: u64 = 1000;
    const PIECES: [&str; 12] =
        ["{", "]", ": ", "\n", "- ", "*a", "&a ", "\t", "'", "!!int ", "\u{0}", "é"];
    for seed in 0..ROUNDS {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        let mut text: Vec<char> = format!("{BASE}limits: {{headers: 20}}\n").chars().collect();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..text.len());
            let end = (at + rng.random_range(0..12)).min(text.len());
            text.splice(at..end, PIECES[rng.random_range(0..PIECES.len())].chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = load(&text) {
            assert!(!problems.is_empty(), "seed {seed}: {text}");
            let last = text.lines().count() + 1;
            assert!(problems.iter().all(|p| p.line <= Some(last)), "seed {seed}: {problems:?}");
        }
    }
}

#[test]
fn problems_are_listed_as_a_compiler_lists_them() {
    let problems = based("hop_limit: 9\nselection: x").unwrap_err();
    let listed = "\
f.yaml:6:1: hop_limit = 9: is out of range; write a number from 0 to 8
f.yaml:7:1: selection = x: is not known here; write weighted or predictive or least_request or peak_ewma or random
";
    assert_eq!(render(&problems, "f.yaml"), listed);
    let nowhere = [Problem::new("node.id", "", "is missing", "write it")];
    assert_eq!(render(&nowhere, "f"), "f: node.id: is missing; write it\n");
}
