//! What stays and what goes when the topology, or the room for functions, changes.

use super::*;
use crate::scheduling::policy::Architecture::Decentralized;

fn workers(ids: &[&str], previous: Option<&Topology>) -> Arc<Topology> {
    let specs = ids.iter().map(|id| spec(id, Role::Worker, "z")).collect();
    Arc::new(Topology::new(specs, previous).unwrap())
}

#[test]
fn an_outcome_that_comes_after_its_node_has_left_changes_nothing_at_the_next_owner() {
    let outcomes =
        [Outcome::Good, Outcome::Failed, Outcome::Lost, Outcome::Unreachable, Outcome::Cancelled];
    for outcome in outcomes {
        let before = workers(&["a", "b"], None);
        let site_before = site(&before, "a", fixed(Decentralized));
        let mut scheduler = scheduler(&before, 1);
        let b = before.index_of("b").unwrap();
        let mut send = || {
            let step = Step::Offload(b);
            scheduler.issue_ticket(&site_before, &entering(), Decentralized, step, Time::ZERO)
        };
        let (old, older) = (send().unwrap(), send().unwrap());

        let after = workers(&["a", "c"], Some(&before));
        scheduler.adopt(&after);
        let c = after.node(after.index_of("c").unwrap()).slot;
        assert_eq!(c.index, before.node(b).slot.index, "c has b's old slot");
        assert_eq!(scheduler.in_flight(c), 0);

        let site_after = site(&after, "a", fixed(Decentralized));
        let step = Step::Offload(after.index_of("c").unwrap());
        let new = scheduler.issue_ticket(&site_after, &entering(), Decentralized, step, Time::ZERO);
        let report = LoadReport {
            in_flight: 9,
            cores: 1,
            execution: Some(Duration::ZERO),
            ..LoadReport::default()
        };
        for ticket in [old, older] {
            scheduler.record(ticket, outcome, Some(report), at(1.0));
        }
        scheduler.observe(before.node(b).slot, report, at(1.0));

        let view = scheduler.view_nodes(&site_after, at(1.0)).pop().unwrap();
        assert_eq!((view.id.as_str(), view.outstanding), ("c", 1), "{outcome:?}");
        assert_eq!((view.executed, view.network, view.reported), (None, None, None));
        assert!(!view.unreachable && view.success == 1.0, "{outcome:?}: {view:?}");
        scheduler.record(new.unwrap(), Outcome::Good, None, at(1.0));
        assert_eq!(scheduler.in_flight(c), 0);
    }
}

#[test]
fn what_is_known_of_a_node_that_stays_is_kept() {
    let before = workers(&["a", "b", "c"], None);
    let mut scheduler = scheduler(&before, 1);
    let site_before = site(&before, "a", fixed(Decentralized));
    let step = Step::Offload(before.index_of("c").unwrap());
    let ticket =
        scheduler.issue_ticket(&site_before, &entering(), Decentralized, step, Time::ZERO).unwrap();

    let after = workers(&["c", "d", "a"], Some(&before));
    scheduler.adopt(&after);
    let c = after.node(after.index_of("c").unwrap()).slot;
    assert_eq!(scheduler.in_flight(c), 1);
    scheduler.record(ticket, Outcome::Good, None, at(0.2));
    assert_eq!(scheduler.in_flight(c), 0);
    let site_after = site(&after, "a", fixed(Decentralized));
    let views = scheduler.view_nodes(&site_after, at(1.0));
    assert_eq!(views[0].executed.unwrap().mean, Duration::from_millis(200));
}

/// An invocation that has read the configuration before a reload decides by it afterwards too.
#[test]
fn a_decision_by_the_configuration_before_never_burdens_the_next_owner() {
    let before = workers(&["a", "b"], None);
    let after = workers(&["a", "c"], Some(&before));
    let site_before = site(&before, "a", fixed(Decentralized));
    for seed in 0..100 {
        let mut scheduler = scheduler(&before, seed);
        scheduler.adopt(&after);
        let decision = scheduler.decide(&site_before, &entering(), 1.0, Time::ZERO);
        let c = after.node(after.index_of("c").unwrap()).slot;
        assert_eq!(scheduler.in_flight(c), 0, "seed {seed}");
        scheduler.record(decision.ticket.unwrap(), Outcome::Unreachable, None, at(1.0));
        assert!(!scheduler.estimate(c).unwrap().is_ejected(at(1.0)), "seed {seed}");
    }
}

/// It neither profits from what is known of the next owner nor suffers for it.
#[test]
fn a_decision_by_the_configuration_before_knows_nothing_of_the_next_owner() {
    let before = workers(&["a", "b"], None);
    let after = workers(&["a", "c"], Some(&before));
    let site_before = site(&before, "a", fixed(Decentralized));
    let site_after = site(&after, "a", fixed(Decentralized));
    let c = after.index_of("c").unwrap();
    let a = [before.index_of("a").unwrap()];
    let mut scheduler = scheduler(&before, 1);
    scheduler.adopt(&after);
    let step = Step::Offload(c);
    let lost =
        scheduler.issue_ticket(&site_after, &entering(), Decentralized, step, Time::ZERO).unwrap();
    scheduler.record(lost, Outcome::Unreachable, None, Time::ZERO);
    let retried = Invocation { avoid: &a, ..entering() };
    let by_old = scheduler.decide(&site_before, &retried, 0.0, Time::ZERO);
    assert_eq!(short(&before, by_old.step), ">b", "c is down, b may not be");
    let by_new = scheduler.decide(&site_after, &retried, 0.0, Time::ZERO);
    assert_eq!(by_new.why, Why::LastResort);
}

fn remembered(scheduler: &mut Scheduler<Pcg64>) -> Vec<String> {
    scheduler.view_functions(Time::ZERO).iter().map(|view| view.name.to_string()).collect()
}

#[test]
fn of_too_many_functions_the_least_recently_used_go() {
    let topology = five_nodes();
    let site = site(&topology, "edge1", fixed(Decentralized));
    let three = NonZeroUsize::new(3).unwrap();
    let mut scheduler = Scheduler::new(three, Pcg64::seed_from_u64(1));
    scheduler.adopt(&topology);
    for name in ["a", "b", "c", "a", "d"] {
        let invocation = Invocation { function: function(name), ..entering() };
        let _ = scheduler.decide(&site, &invocation, 0.0, Time::ZERO);
    }
    assert_eq!(remembered(&mut scheduler), ["a", "c", "d"]);
    scheduler.forget(function("c"));
    assert_eq!(remembered(&mut scheduler), ["a", "d"]);
    scheduler.remember_functions(NonZeroUsize::MIN);
    assert_eq!(remembered(&mut scheduler), ["d"]);
    for i in 0..1000 {
        let invocation = Invocation { function: function(&format!("f{i}")), ..entering() };
        let decision = scheduler.decide(&site, &invocation, 0.0, Time::ZERO);
        scheduler.record(decision.ticket.unwrap(), Outcome::Good, None, Time::ZERO);
        assert_eq!(scheduler.functions.len(), 1);
    }
}
