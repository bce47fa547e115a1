//! Folds: leaves, partial results and combinations.

use bytes::Bytes;

use super::test_leader::*;
use crate::{
    broker::Pool,
    leader::engine::protocol::Input,
    operation::ErrorKind,
    plan::{End, Plan, Stage},
    registry::Verb,
    wire::{MAX_MESSAGE_BYTES, NotRunReason, Outcome, ResultMessage, ReturnReason, TaskKind},
};

#[test]
fn a_fold_of_no_elements_is_its_identity_and_a_reduce_of_none_has_no_value() {
    for (empty, outputs) in [(Some(Bytes::from_static(b"e")), 1), (None, 0)] {
        let mut leader = TestLeader::new();
        let end = End::Fold { empty, deterministic: false };
        leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 0);
        assert_eq!(leader.outputs.len(), outputs);
        assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    }
}

#[test]
fn a_combination_is_retried_and_its_permanent_failure_is_named() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    let end = End::Fold { empty: None, deterministic: false };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 2);
    for task in std::mem::take(&mut leader.published) {
        leader.echo(&task);
    }
    for _ in 0..3 {
        let task = leader.take();
        assert_eq!((&task.header.kind, &task.payload[..]), (&TaskKind::Combine, &[0, 1][..]));
        leader.reply(&task, &[(1, failed(ErrorKind::Transient)), (1, done(1))], &[1]);
        leader.wait(SECOND);
    }
    assert!(leader.failure().contains("test::Fold"), "{}", leader.failure());
}

#[test]
fn a_leaf_that_was_partly_run_is_reissued_whole() {
    let mut leader = TestLeader::new();
    let end = End::Fold { empty: None, deterministic: true };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 5);
    let leaf = leader.take();
    assert_eq!(leaf.payload.len(), 5, "a leaf takes all remaining elements");
    let not_run = Outcome::NotRun { reason: NotRunReason::Draining };
    leader.reply(&leaf, &[(2, done(1)), (3, not_run)], &[1]);
    let reissued = leader.take();
    assert_eq!(reissued.payload, leaf.payload);
    leader.reply(&reissued, &[(5, done(1))], &[9]);
    assert_eq!(leader.outputs, [(0, vec![9])]);
}

#[test]
fn a_fold_with_large_partial_results_completes() {
    let mut leader = TestLeader::new();
    leader.presence(1, 1);
    let end = End::Fold { empty: None, deterministic: false };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 60);
    let mut tasks = 0;
    while let Some(task) = leader.published.pop() {
        tasks += 1;
        let large = vec![0; 5 << 20];
        let count = task.header.count().unwrap();
        let outcome =
            Outcome::Done { bytes: large.len() as u64, outputs: 1, counts: None, lengths: None };
        leader.reply(&task, &[(count, outcome)], &large);
    }
    assert!(tasks >= 60, "{tasks}");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_leaf_larger_than_any_message_fails_its_job_which_publishes_nothing_more() {
    let mut leader = TestLeader::new();
    let stage = |verb| Stage {
        pool: Pool::default(),
        steps: vec![step(verb)],
        batch: None,
        numbered: false,
    };
    let end = End::Fold { empty: None, deterministic: true };
    let stages = vec![stage(Verb::FlatMap), stage(Verb::Fold)];
    leader.start(1, Plan::chain(stages, end), 2, 2);
    let task = leader.take();
    // One element becomes a leaf, and the other is due again in the same step.
    let length = MAX_MESSAGE_BYTES as u32 / 1024 + 1;
    let leaf = Outcome::Done {
        bytes: u64::from(length) * 1024,
        outputs: 1024,
        counts: Some(vec![1024]),
        lengths: Some(vec![length; 1024]),
    };
    let not_run = Outcome::NotRun { reason: NotRunReason::OutputCap };
    let header = TestLeader::result_header(&task, &[(1, leaf), (1, not_run)]);
    let payload = Bytes::from(vec![0; length as usize * 1024]);
    leader.input(Input::Result(ResultMessage { header, payload }));
    assert!(leader.failure().contains("test::Fold"), "{}", leader.failure());
    assert!(leader.published.is_empty(), "{:?}", leader.published);
}

/// The first partial results wait for others, so that few messages are needed. That the elements
/// before them take long does not matter.
#[test]
fn a_task_combines_many_small_partial_results() {
    let mut leader = TestLeader::new();
    leader.presence(1, 4);
    let end = End::Fold { empty: None, deterministic: false };
    let mut plan = plan(vec![step(Verb::Fold)], end);
    plan.stages[0].batch = Some(1);
    leader.start(1, plan, 1, 250);
    let mut combinations = 0;
    while let Some(task) = leader.published.pop() {
        let combines = task.header.kind == TaskKind::Combine;
        combinations += usize::from(combines);
        let outcomes = [(task.header.count().unwrap(), done(1))];
        let mut header = TestLeader::result_header(&task, &outcomes);
        header.busy_us = if combines { 1_000 } else { 50_000 };
        leader.input(Input::Result(ResultMessage { header, payload: Bytes::from_static(&[1]) }));
    }
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    assert!((1..=2).contains(&combinations), "{combinations} combinations of 250 partial results");
}

#[test]
fn two_partial_results_larger_than_the_broker_accepts_fail_the_job_with_their_sizes() {
    let mut leader = TestLeader::new();
    let end = End::Fold { empty: None, deterministic: false };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 3);
    for task in std::mem::take(&mut leader.published) {
        leader.reply(&task, &[(1, done(1))], &[1]);
    }
    let mut sizes = Vec::new();
    while let Some(task) = leader.published.pop() {
        assert_eq!(task.header.kind, TaskKind::Combine);
        sizes.push(task.header.count().unwrap());
        leader.returned(&task, 1, ReturnReason::TooLarge { size: 200, limit: 100 });
    }
    assert_eq!(sizes, [3, 2], "pairs are tried before the job fails");
    let failure = leader.failure();
    for expected in ["1 byte and 1 byte", "limit of 100 bytes", "`reduce_by_key`"] {
        assert!(failure.contains(expected), "{failure}");
    }
}
