//! When one node is left alone, and when it comes back.

use super::*;

const RULE: HealthRule = HealthRule {
    failures: 5,
    failure_share: 0.5,
    answers_min: 20,
    window: Duration::from_secs(10),
    ejection: HealthRule::EJECTION,
    ejection_max: HealthRule::EJECTION_MAX,
    jitter: 0.0,
    ejected_share_max: 0.5,
    absent: Duration::from_secs(10),
    probes: false,
    probe_interval: Duration::from_millis(250),
};

fn secs(secs: f64) -> Time {
    Time::from_secs_f64(secs)
}

fn lose(health: &mut Health, started: Time, now: Time) -> bool {
    health.mark_lost(started, false, &RULE, 0.0, now)
}

#[test]
fn a_lost_node_is_left_alone_longer_each_time_and_forgiven_at_once() {
    let mut health = Health::default();
    let mut now = secs(1.0);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert!(lose(&mut health, now, now));
        assert!(!lose(&mut health, now, now), "a burst of failures is one failure");
        let soon = now + Duration::from_millis(1);
        assert!(!lose(&mut health, soon, soon), "and so is a last resort that fails too");
        assert!(health.is_paused(now));
        let pause = health.pause.unwrap();
        pauses.push(pause.length.as_millis());
        now = pause.until();
        assert!(!health.is_paused(now), "it is tried again when the pause ends");
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert!(health.mark_answered(false, now), "any answer shows that it is there");
    lose(&mut health, now, now);
    assert_eq!(health.pause.unwrap().length, RULE.ejection);
}

#[test]
fn one_invocation_finds_out_for_all() {
    let mut health = Health::default();
    lose(&mut health, secs(1.0), secs(1.0));
    assert!(!health.is_paused(secs(1.5)));
    health.mark_sent(secs(1.6));
    assert!(health.is_paused(secs(1.7)), "it is being tried");
    assert!(!health.is_paused(secs(1.6) + TRIAL_LIFE), "it takes too long to wait for");
    health.mark_untold(secs(1.0));
    assert!(health.is_paused(secs(1.7)), "that was another");
    health.mark_untold(secs(1.6));
    assert!(!health.is_paused(secs(1.7)), "it was broken off, so the next one tries");
    health.mark_sent(secs(1.7));
    health.mark_answered(true, secs(1.7));
    assert!(!health.is_paused(secs(1.8)));
}

#[test]
fn calls_that_wait_for_a_connection_in_vain_together_are_one_failure() {
    let mut health = Health::default();
    // A call every 50 ms, each of which fails after two seconds.
    for i in 0..40 {
        let started = f64::from(i) * 0.05;
        lose(&mut health, secs(started), secs(started + 2.0));
    }
    assert!(health.is_paused(secs(2.49)) && !health.is_paused(secs(2.5)));
    lose(&mut health, secs(2.5), secs(4.5));
    assert!(health.is_paused(secs(5.49)) && !health.is_paused(secs(5.5)));
}

#[test]
fn where_there_are_probes_no_invocation_tries_before_one_has_found_the_node() {
    let mut health = Health::default();
    health.mark_lost(secs(1.0), true, &RULE, 0.0, secs(1.0));
    assert!(!health.begin_probe(secs(1.4)), "its time is not over");
    assert!(health.is_paused(secs(1.5)) && health.is_paused(secs(100.0)));
    assert!(health.begin_probe(secs(1.5)));
    assert!(!health.begin_probe(secs(1.6)), "one at a time");
    assert!(!health.end_probe(secs(1.4)), "that was another");
    assert!(health.end_probe(secs(1.5)));
    health.pause.as_mut().unwrap().awaits_probe = false;
    assert!(!health.is_paused(secs(1.7)));
    health.mark_sent(secs(1.7));
    assert!(health.is_paused(secs(1.8)), "one invocation tries it");
}

#[test]
fn a_pause_is_longer_by_chance() {
    let rule = HealthRule { jitter: 0.2, ..RULE };
    let mut health = Health::default();
    health.mark_lost(secs(1.0), false, &rule, 0.5, secs(1.0));
    assert_eq!(health.pause.unwrap().length, Duration::from_millis(550));
}

/// Answers of one node, and the fleet's with it; whether the last deserves an ejection.
fn judged(answers: &[bool], others: [u32; 2]) -> bool {
    let mut health = Health::default();
    let mut fleet = Tally { now: others, ..Tally::default() };
    let mut deserved = false;
    for (i, &good) in answers.iter().enumerate() {
        let now = secs(1.0 + i as f64 * 0.01);
        fleet.record(good, RULE.window / 2, now);
        deserved = health.judge(good, now, fleet, &RULE, now);
    }
    deserved
}

#[test]
fn a_node_is_ejected_for_failures_in_a_row_or_for_their_share() {
    let calm = [100, 0];
    let alternating: Vec<bool> = (0..20).map(|i| i % 2 == 0).collect();
    for (answers, others, deserved) in [
        (&[false; 5][..], calm, true),
        (&[false; 4][..], calm, false),
        (&[true, false, false, false, false][..], calm, false),
        (&alternating[..], calm, true),
        (&alternating[..18], calm, false),
        (&[false; 5][..], [0, 0], true),
        (&[false; 50][..], [0, 100], false),
        (&[false; 50][..], [50, 50], false),
        (&alternating[..], [90, 10], true),
    ] {
        assert_eq!(judged(answers, others), deserved, "{answers:?} among {others:?}");
    }
}

#[test]
fn old_answers_do_not_count() {
    let mut tally = Tally::default();
    let half = Duration::from_secs(5);
    for (now, failures) in [(1.0, 1), (4.0, 2), (6.0, 3), (10.9, 4), (11.0, 3), (30.0, 1)] {
        tally.record(false, half, secs(now));
        assert_eq!(tally.failures(), failures, "{now}");
    }
}

#[test]
fn only_a_good_answer_to_a_later_question_forgives_failures_and_they_are_not_forgotten() {
    let mut health = Health::default();
    let mut now = secs(1.0);
    for times in 0..3 {
        health.leave_alone(Cause::Failing, false, &RULE, 0.0, now);
        let pause = health.pause.unwrap();
        assert_eq!(pause.length, RULE.ejection * (1 << times));
        assert!(!health.mark_answered(true, now), "it was asked before");
        assert!(!health.mark_answered(false, pause.until()));
        now = pause.until();
        assert!(health.mark_answered(true, now));
    }
    now = now + RULE.ejection_max;
    health.leave_alone(Cause::Failing, false, &RULE, 0.0, now);
    assert_eq!(health.pause.unwrap().length, RULE.ejection, "that was long ago");
}

#[test]
fn who_fails_when_tried_again_is_ejected_again_whatever_the_others_do() {
    let mut health = Health::default();
    health.leave_alone(Cause::Failing, false, &RULE, 0.0, secs(1.0));
    let fleet = Tally { now: [0, 1000], ..Tally::default() };
    assert!(!health.judge(false, secs(0.9), fleet, &RULE, secs(1.1)), "it was asked before");
    assert!(health.judge(false, secs(1.5), fleet, &RULE, secs(1.6)));
}
