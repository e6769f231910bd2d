//! Turns and deadlines, seen from outside.

use std::time::Duration;

use super::*;
use crate::sim::Sample;

const SHARED: &str = "decentralized+predictive";
const QUEUED: &str = "decentralized+predictive+queue";

fn took_ms(run: &Run) -> Vec<u128> {
    run.samples.iter().map(|sample| sample.took.as_millis()).collect()
}

#[test]
fn those_that_wait_start_one_after_the_other() {
    let three = one_node(
        1,
        "{name: f, demand: {constant_ms: 100}}",
        "closed: {concurrency: [3]}",
        "hopwise: {queue: {running: 1}}\nlength: {invocations: 0, seconds: 20, warm_up_seconds: 0}",
    );
    let queued = took_ms(&run(&three, QUEUED, 1));
    assert_eq!(queued[..3], [100, 200, 300], "each starts when the one before it ends");
    assert!(queued[3..].iter().all(|ms| *ms == 300), "as many come as go");
    let shared = took_ms(&run(&three, SHARED, 1));
    assert!(shared.iter().all(|ms| *ms == 300), "they share the core: {shared:?}");
    assert!(queued.len().abs_diff(shared.len()) <= 3, "the same is done");
}

#[test]
fn what_finds_no_room_fails_at_once() {
    let crowd = one_node(
        1,
        "{name: f, demand: {constant_ms: 100}}",
        "closed: {concurrency: [5]}",
        "hopwise: {queue: {waiting: 1}}\nlength: {invocations: 0, seconds: 20, warm_up_seconds: 0}",
    );
    let run = run(&crowd, QUEUED, 1);
    let (good, bad): (Vec<&Sample>, Vec<&Sample>) =
        run.samples.iter().partition(|sample| sample.good);
    assert!(good.len() > 190, "the core is never idle: {}", good.len());
    assert!(good.iter().all(|sample| sample.took <= Duration::from_millis(201)));
    assert!(bad.len() > 100 && bad.iter().all(|sample| sample.took.is_zero()));
}

#[test]
fn nobody_waits_longer_than_the_rule_says() {
    let crowd = one_node(
        1,
        "{name: f, demand: {constant_ms: 100}}",
        "open: {rate: [20]}",
        "hopwise: {queue: {wait_ms: 1000}}\nlength: {invocations: 0, seconds: 20, warm_up_seconds: 0}",
    );
    let run = run(&crowd, QUEUED, 1);
    let good = run.samples.iter().filter(|sample| sample.good).count();
    assert!((190..=200).contains(&good), "{good} of 400 in 20 s, at 10 per second");
    let longest = run.samples.iter().map(|sample| sample.took).max().unwrap();
    assert!(longest <= Duration::from_millis(1100), "{longest:?}");
    let waited_out = run.samples.iter().filter(|sample| !sample.good);
    assert!(waited_out.clone().count() > 100);
    assert!(waited_out.clone().all(|sample| sample.took == Duration::from_secs(1)));
}

#[test]
fn who_is_not_answered_by_the_deadline_goes_and_takes_the_work_along() {
    let hopeless = one_node(
        1,
        "{name: f, demand: {constant_ms: 500}, deadline_ms: 200}",
        "closed: {concurrency: [1]}",
        "length: {invocations: 0, seconds: 20, warm_up_seconds: 0}",
    );
    for policy in [SHARED, QUEUED, "clairvoyant"] {
        let run = run(&hopeless, policy, 1);
        assert!(run.samples.iter().all(|sample| !sample.good), "{policy}");
        assert!(run.samples.iter().all(|s| s.took == Duration::from_millis(200)), "{policy}");
        let served_s = run.served.as_secs_f64();
        let expected_s = 0.2 * run.samples.len() as f64;
        assert!((served_s - expected_s).abs() < 0.3, "{policy}: {served_s} {expected_s}");
    }
}

#[test]
fn those_in_a_hurry_are_served_in_time_where_all_together_would_be_late() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sim/deadlines.yaml"),
    );
    let study = read(&text.unwrap(), Path::new("")).unwrap();
    let filter = |policy: &str, seed| Filter {
        policies: vec![policy.to_owned()],
        seeds: vec![seed],
        concurrency: vec![40.0],
        ..Filter::default()
    };
    for seed in [1, 2, 3] {
        let [shared, queued] =
            ["federated+predictive", "federated+predictive+queue"].map(|policy| {
                let trials = grid::trials(&study, &filter(policy, seed)).unwrap();
                let run = sim::run(&trials[0], &mut |_, _| {});
                let late = run.samples.iter().filter(|sample| !sample.good).count();
                late as f64 / run.samples.len() as f64
            });
        assert!(queued < 0.4 * shared, "{seed}: {queued} {shared}");
    }
}

#[test]
fn turns_are_neither_lost_nor_given_twice_whatever_happens() {
    for kind in [
        "slowed, factor: 20",
        "stopped",
        "cut_off",
        "partitioned",
        "left",
        "silent, probability: 0.5",
        "failing, probability: 0.5",
    ] {
        let fault = format!("{{node: edge1, kind: {kind}, at_s: 5, lasts_s: 3, every_s: 7}}");
        let study = study(&format!(
            "length: {{invocations: 0, seconds: 60, warm_up_seconds: 0}}
cells: [{{name: ill, faults: [{fault}]}}]
hopwise: {{queue: {{waiting: 2}}}}
"
        ));
        let filter = |policy: &str| Filter {
            policies: vec![policy.to_owned()],
            entries: vec!["distributed".into()],
            concurrency: vec![6.0],
            seeds: vec![1],
            ..Filter::default()
        };
        let [shared, queued] =
            ["federated+predictive", "federated+predictive+queue"].map(|policy| {
                sim::run(&grid::trials(&study, &filter(policy)).unwrap()[0], &mut |_, _| {})
            });
        let good = |run: &Run, from_s| {
            let from = Duration::from_secs(from_s);
            run.samples.iter().filter(|sample| sample.good && sample.issued >= from).count()
        };
        // Were a turn lost, a machine would stand still for ever.
        let late = [good(&shared, 50), good(&queued, 50)];
        assert!(late[1] * 10 > late[0] * 7, "{kind}: {late:?}");
    }
}
