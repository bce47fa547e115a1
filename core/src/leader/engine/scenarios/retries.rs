//! Failed elements: retries, back-offs, values and skips.

use std::time::Duration;

use super::test_leader::*;
use crate::{
    codec,
    leader::engine::event::{JobEvent, Stall},
    operation::{ErrorKind, Failure, OperationError},
    plan::{End, OnFailure},
    registry::Verb,
    wire::Outcome,
};

#[test]
fn a_transient_failure_is_retried_until_the_budget_of_its_element_is_spent() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 3, 3);
    let task = leader.take();
    leader.reply(&task, &[(1, done(1)), (1, failed(ErrorKind::Transient)), (1, done(1))], &[0, 2]);
    assert_eq!(leader.outputs.len(), 2, "the outputs of its neighbours are kept");
    for tries in 2..=3 {
        assert!(leader.published.is_empty(), "the back-off is not over");
        leader.wait(SECOND);
        let task = leader.take();
        assert_eq!(task.header.ranges[0].tries, tries);
        assert_eq!((task.header.ranges[0].from, &task.payload[..]), (1, &[1][..]));
        leader.reply(&task, &[(1, failed(ErrorKind::Transient))], &[]);
    }
    let failure = leader.failure();
    assert!(failure.contains("test::Map") && failure.contains("element 1"), "{failure}");
    assert!(failure.contains("try 3") && failure.contains(&worker(1).to_string()), "{failure}");
}

#[test]
fn neighbours_that_fail_together_are_retried_in_one_task() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 6, 6);
    let task = leader.take();
    let busy = || (1, failed(ErrorKind::Transient));
    leader.reply(&task, &[busy(), busy(), (1, done(1)), busy(), (2, done(2))], &[2, 4, 5]);
    leader.wait(SECOND);
    let pair = leader.take();
    assert_eq!((&pair.payload[..], pair.header.ranges[0].tries), (&[0, 1][..], 2));
    let single = leader.take();
    assert_eq!(&single.payload[..], &[3], "elements with a gap between them are not neighbours");
    // Each has its own budget: the second of the pair fails again, alone.
    leader.reply(&pair, &[(1, done(1)), busy()], &[0]);
    leader.wait(SECOND);
    let last = leader.take();
    assert_eq!((&last.payload[..], last.header.ranges[0].tries), (&[1][..], 3));
    assert!(leader.published.is_empty());
}

#[test]
fn a_panic_is_not_retried() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Panic))], &[]);
    assert!(leader.failure().contains("no luck"));
}

#[test]
fn a_failed_try_map_becomes_a_value_for_the_steps_after_it() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::TryMap), step(Verb::Map)], stream()), 2, 2);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Fatal)), (1, done(1))], &[7]);
    let rest = leader.take();
    assert_eq!(rest.header.steps.len(), 1, "only the steps after it");
    let value: Result<(), Failure> = codec::decode(&rest.payload).unwrap();
    assert_eq!(value.unwrap_err().error.message(), "no luck");
    leader.reply(&rest, &[(1, done(1))], &[8]);
    assert_eq!(leader.outputs, [(1, vec![7]), (0, vec![8])]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_failed_try_map_in_the_last_step_becomes_an_output() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::TryMap)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Panic))], &[]);
    let value: Result<u64, Failure> = codec::decode(&leader.outputs[0].1).unwrap();
    let failure = value.unwrap_err();
    assert_eq!((failure.tries, failure.error.kind()), (1, ErrorKind::Panic));
    assert!(failure.worker.is_some(), "the worker that replied");
}

#[test]
fn a_skipped_element_is_left_out_and_reported() {
    let mut leader = TestLeader::new();
    let mut skipping = step(Verb::Map);
    skipping.on_failure = OnFailure::Skip;
    leader.start(1, plan(vec![skipping], End::Count), 3, 3);
    let task = leader.take();
    leader.reply(&task, &[(2, done(2)), (1, failed(ErrorKind::Fatal))], &[0, 1]);
    assert_eq!(leader.outputs, [(0, vec![2])], "two elements were counted");
    assert!(leader.events.iter().any(|e| matches!(e, JobEvent::ElementSkipped { index: 2, .. })));
}

#[test]
fn a_failure_that_asks_for_an_excessive_delay_is_reported_as_backing_off() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let error = OperationError::fatal("busy").with_retry_delay(Duration::MAX);
    leader.reply(&task, &[(1, Outcome::Failed { step: 0, error, element: None })], &[]);
    leader.wait(40 * SECOND);
    let reported =
        |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::BackingOff { tasks: 1, .. }));
    assert!(leader.events.iter().any(reported));
}

#[test]
fn back_offs_do_not_elapse_while_the_leader_is_disconnected() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Transient))], &[]);
    leader.connected(false);
    leader.wait(60 * SECOND);
    assert!(leader.published.is_empty());
    leader.connected(true);
    leader.wait(SECOND);
    assert_eq!(leader.published.len(), 1);
}
