//! Workers: greetings and refusals.

use super::test_leader::*;
use crate::{
    leader::engine::event::{JobEvent, Stall},
    plan::StepPlan,
    registry::{Refusal, Verb},
    wire::ReturnReason,
};

#[test]
fn a_forged_presence_does_not_harm_a_job() {
    let mut leader = TestLeader::new();
    leader.presence(1, u32::MAX);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 9);
    while !leader.published.is_empty() {
        let task = leader.take();
        leader.confirmed(&task);
        leader.echo(&task);
    }
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn the_death_of_a_worker_is_an_event_unless_the_leader_itself_was_cut_off() {
    let mut leader = TestLeader::new();
    leader.presence(1, 1);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 2);
    let task = leader.take();
    leader.echo(&task);
    leader.connected(false);
    leader.wait(60 * SECOND);
    leader.connected(true);
    leader.wait(2 * SECOND);
    let lost = |event: &JobEvent| matches!(event, JobEvent::WorkerLost { worker: it, .. } if *it == worker(1));
    assert!(!leader.events.iter().any(lost), "no worker was heard from, but none could be");
    leader.wait(15 * SECOND);
    assert_eq!(leader.events.iter().filter(|event| lost(event)).count(), 1);
}

#[test]
fn a_new_worker_is_greeted_unless_the_leader_is_disconnected() {
    let mut leader = TestLeader::new();
    leader.hello(1);
    leader.connected(false);
    leader.hello(2);
    assert_eq!(leader.greeted, [worker(1)]);
}

const OTHER: (&str, u64) = ("test::Other", 1);

fn unknown() -> ReturnReason {
    let known = vec![OTHER.0.to_owned()];
    ReturnReason::Refused(Refusal::UnknownOperation { name: "test::Map".to_owned(), known })
}

/// A job of one element over these steps, whose task worker 1 has refused.
fn refused(steps: Vec<StepPlan>) -> TestLeader {
    let mut leader = TestLeader::new();
    leader.lists(1, &[]);
    leader.start(1, plan(steps, stream()), 1, 1);
    let task = leader.take();
    leader.returned(&task, 1, unknown());
    assert!(leader.engine.asks_for_operations());
    leader
}

/// The second at which the job fails; worker 1 refuses each copy of its task. `each_second` is
/// what the other workers do.
fn fails_at(leader: &mut TestLeader, each_second: impl Fn(&mut TestLeader)) -> Option<u32> {
    for second in 0..60 {
        if !leader.ended.is_empty() {
            return Some(second);
        }
        if let Some(task) = leader.published.pop() {
            leader.returned(&task, 1, unknown());
        }
        each_second(leader);
        leader.wait(SECOND);
    }
    None
}

/// Only one of them ever takes a task of the job: the others are busy.
#[test]
fn a_stage_that_no_live_worker_can_run_fails_its_job_after_ten_seconds_however_many_they_are() {
    for workers in [1, 3, 10] {
        let mut leader = refused(vec![step(Verb::Map)]);
        let others =
            |leader: &mut TestLeader| (1..=workers).for_each(|n| leader.lists(n, &[OTHER]));
        let second = fails_at(&mut leader, others).unwrap();
        assert!((10..=12).contains(&second), "{second}");
        let failure = leader.failure();
        let expected = if workers == 1 { "no live worker of" } else { "live workers of" };
        assert!(failure.contains(expected) && failure.contains("known: test::Other"), "{failure}");
    }
}

#[test]
fn one_live_worker_that_can_run_a_refused_stage_keeps_its_job_alive() {
    let mut leader = refused(vec![step(Verb::Map)]);
    let map = step(Verb::Map).reference;
    let second = fails_at(&mut leader, |leader| {
        leader.lists(1, &[OTHER]);
        leader.lists(2, &[OTHER, (&map.name, map.fingerprint)]);
    });
    assert_eq!(second, None);
    let refused = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::Refused { workers: 1, .. }));
    assert!(leader.events.iter().any(refused), "the refusal is reported");
}

#[test]
fn a_live_worker_that_lists_nothing_is_waited_for_half_a_minute() {
    let mut leader = refused(vec![step(Verb::Map)]);
    let second = fails_at(&mut leader, |leader| {
        leader.lists(1, &[OTHER]);
        leader.presence(2, 1);
    });
    assert!((30..=32).contains(&second.unwrap()), "{second:?}");
}

#[test]
fn a_worker_with_only_some_operations_of_a_stage_or_other_versions_of_them_cannot_run_it() {
    let (map, filter) = (step(Verb::Map), step(Verb::Filter));
    let (one, two) = (map.reference.clone(), filter.reference.clone());
    assert_ne!(one.name, two.name);
    let mut leader = refused(vec![map, filter]);
    let second = fails_at(&mut leader, |leader| {
        leader.lists(1, &[(&one.name, one.fingerprint)]);
        leader.lists(2, &[(&one.name, one.fingerprint), (&two.name, two.fingerprint + 1)]);
    });
    assert!((10..=12).contains(&second.unwrap()), "{second:?}");
}

#[test]
fn a_result_of_a_refused_stage_shows_that_a_worker_can_run_it() {
    let mut leader = TestLeader::new();
    leader.lists(1, &[OTHER]);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 3);
    for second in 0..27 {
        let task = leader.take();
        if second % 9 == 8 {
            leader.echo(&task);
        } else {
            leader.returned(&task, 1, unknown());
            leader.lists(1, &[OTHER]);
        }
        assert!(!matches!(leader.ended[..], [(_, Err(_))]), "{}", leader.failure());
        leader.wait(SECOND);
    }
    assert!(!leader.engine.asks_for_operations());
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_damaged_message_is_no_refusal_of_its_stage() {
    let mut leader = TestLeader::new();
    leader.lists(1, &[OTHER]);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let damaged = || Refusal::Message { reason: "the header is cut off".to_owned() };
    leader.returned(&task, 1, ReturnReason::Refused(damaged()));
    assert!(!leader.engine.asks_for_operations());
    let mut times = 1;
    while leader.ended.is_empty() {
        let task = leader.take();
        leader.returned(&task, 1, ReturnReason::Refused(damaged()));
        times += 1;
    }
    assert_eq!(times, 10);
    assert!(leader.failure().contains("the header is cut off"), "{}", leader.failure());
}
