//! Machines and clients beside what queueing theory says of them.

use std::time::Duration;

use super::{mean_s, one_node, run};

/// One core at `rate` invocations per second, for so many seconds.
fn open(demand: &str, cores: u16, rate: f64, seconds: u64) -> crate::simulate::read::Study {
    one_node(
        cores,
        &format!("{{name: f, demand: {demand}}}"),
        &format!("open: {{rate: [{rate}]}}"),
        &format!("length: {{invocations: 0, seconds: {seconds}, warm_up_seconds: 0}}"),
    )
}

/// Distributions with a mean of 50 ms.
const DEMANDS: [&str; 4] = [
    "{constant_ms: 50}",
    "{lognormal: {mean_ms: 50, sigma: 1.0}}",
    "{pareto: {mean_ms: 50, shape: 3}}",
    "{bimodal: {usual_ms: 25, rare_ms: 275, probability: 0.1}}",
];

/// Processor sharing: the mean time at the machine is E\[S\]/(1 - rho), whatever the distribution.
#[test]
fn one_core_keeps_invocations_as_long_as_theory_says() {
    for demand in DEMANDS {
        for (load, seconds) in [(0.5, 6_000), (0.8, 12_000)] {
            let run = run(&open(demand, 1, load / 0.05, seconds), "decentralized+random", 1);
            let expected_s = 0.05 / (1.0 - load);
            let ratio = mean_s(&run) / expected_s;
            assert!((0.95..1.05).contains(&ratio), "{demand} {load}: {ratio}");
        }
    }
}

/// With several cores as many are at the machine as in a queue with as many servers (Erlang C).
#[test]
fn two_cores_keep_invocations_as_long_as_theory_says() {
    let load = 0.7_f64;
    let expected_s = 0.05 / (1.0 - load * load);
    for demand in DEMANDS {
        let run = run(&open(demand, 2, 2.0 * load / 0.05, 6_000), "decentralized+random", 2);
        let ratio = mean_s(&run) / expected_s;
        assert!((0.95..1.05).contains(&ratio), "{demand}: {ratio}");
    }
}

/// What machines serve is what comes in: rate times mean demand.
#[test]
fn machines_serve_what_comes_in() {
    for demand in DEMANDS {
        let run = run(&open(demand, 1, 10.0, 6_000), "decentralized+random", 3);
        let busy = run.served.as_secs_f64() / 6_000.0;
        assert!((0.48..0.52).contains(&busy), "{demand}: {busy}");
    }
}

/// Little's law for a closed circle: clients = throughput times (response time + pause).
#[test]
fn clients_are_either_waiting_or_pausing() {
    for (clients, think_ms) in [(3, 0), (10, 200), (40, 1000)] {
        let study = one_node(
            2,
            "{name: f, demand: {lognormal: {mean_ms: 50, sigma: 0.5}}}",
            &format!("closed: {{concurrency: [{clients}], think_ms: {think_ms}}}"),
            "length: {invocations: 0, seconds: 1000, warm_up_seconds: 0}",
        );
        let run = run(&study, "decentralized+random", 1);
        let per_second = run.samples.len() as f64 / run.total.as_secs_f64();
        let circle_s = mean_s(&run) + Duration::from_millis(think_ms).as_secs_f64();
        let ratio = per_second * circle_s / f64::from(clients);
        assert!((0.97..1.03).contains(&ratio), "{clients} {think_ms}: {ratio}");
    }
}
