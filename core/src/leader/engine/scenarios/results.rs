//! Results: which count, and when.

use super::test_leader::*;
use crate::{
    broker::Pool,
    codec::Layout,
    id::{LeaderId, TaskNumber},
    leader::engine::protocol::Input,
    operation::ErrorKind,
    plan::{End, OnFailure, Plan, Stage},
    registry::Verb,
    wire::{Outcome, ReturnReason, TaskOutlet},
};

#[test]
fn a_result_counts_once_whichever_copy_it_is_of() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 2);
    let first = leader.take();
    let other = leader.take();
    leader.returned(&first, 1, ReturnReason::Draining);
    let second = leader.take();
    assert_eq!((second.header.copy.task, second.header.copy.attempt), (first.header.copy.task, 2));
    leader.echo(&first);
    leader.echo(&second);
    assert_eq!(leader.outputs.len(), 1);
    leader.returned(&second, 1, ReturnReason::Redelivered);
    assert!(leader.published.is_empty(), "a retired task is not reissued");
    leader.echo(&other);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_result_that_does_not_fit_its_task_is_ignored_and_the_task_reissued() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 2, 2);
    let task = leader.take();
    leader.reply(&task, &[(1, done(1))], &[0]);
    leader.reply(&leader.published[0].clone(), &[(2, done(1))], &[0]);
    assert!(leader.outputs.is_empty());
    let reissued = leader.published.pop().unwrap();
    leader.echo(&reissued);
    assert_eq!(leader.outputs, [(0, vec![0, 1])]);
}

#[test]
fn a_result_may_leave_out_outputs_that_the_program_does_not_need() {
    let trimmed = Outcome::Done { bytes: 1, outputs: 1, counts: Some(vec![0, 1]), lengths: None };
    let mut leader = TestLeader::new();
    let end = End::Top { most: 1, by_key: true };
    leader.start(1, plan(vec![step(Verb::KeyBy)], end), 2, 2);
    let task = leader.take();
    assert_eq!(task.header.outlet, TaskOutlet::Top { most: 1, by_key: true });
    leader.reply(&task, &[(2, trimmed.clone())], b"b");
    assert_eq!(leader.outputs, [(1, vec![b'b'])]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));

    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::KeyBy)], stream()), 2, 2);
    let task = leader.take();
    leader.reply(&task, &[(2, trimmed)], b"b");
    assert!(leader.outputs.is_empty(), "this program needs both");
}

#[test]
fn a_task_whose_reply_does_not_decode_is_reissued() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let reason = "cut off".to_owned();
    leader.input(Input::UndecodableReply { copy: task.header.copy, reason });
    let reissued = leader.take();
    assert_eq!(
        (reissued.header.copy.task, reissued.header.copy.attempt),
        (task.header.copy.task, 2)
    );
}

#[test]
fn each_task_has_a_unique_number() {
    let mut leader = TestLeader::new();
    leader.presence(1, 4);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 4);
    let mut numbers: Vec<TaskNumber> = Vec::new();
    while let Some(task) = leader.published.pop() {
        assert!(!numbers.contains(&task.header.copy.task));
        numbers.push(task.header.copy.task);
        leader.echo(&task);
    }
    assert_eq!(numbers.len(), 4);
}

#[test]
fn elements_keep_their_source_index_when_they_change_pools() {
    let mut leader = TestLeader::new();
    let stage =
        |pool| Stage { pool, steps: vec![step(Verb::FlatMap)], batch: None, numbered: false };
    let two = vec![stage(Pool::default()), stage(Pool::new("gpu").unwrap())];
    let two = Plan::chain(two, stream());
    leader.start(1, two, 2, 2);
    let task = leader.take();
    assert_eq!(
        task.header.outlet,
        TaskOutlet::Stage(Layout::Plain),
        "the next stage needs the lengths of the outputs"
    );
    let outcome = Outcome::Done {
        bytes: 5,
        outputs: 3,
        counts: Some(vec![2, 1]),
        lengths: Some(vec![2, 2, 1]),
    };
    leader.reply(&task, &[(2, outcome)], b"aabbc");
    let (first, second) = (leader.take(), leader.take());
    assert_eq!((&first.payload[..], &second.payload[..]), (&b"aabb"[..], &b"c"[..]));
    let outcome = |outputs, bytes| Outcome::Done {
        bytes,
        outputs,
        counts: Some(vec![1; outputs as usize]),
        lengths: None,
    };
    leader.reply(&second, &[(1, outcome(1, 1))], b"z");
    leader.reply(&first, &[(2, outcome(2, 2))], b"xy");
    assert_eq!(leader.outputs, [(1, vec![b'z']), (0, vec![b'x', b'y'])]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn the_last_progress_of_a_job_counts_all_its_elements() {
    let mut leader = TestLeader::new();
    let mut skipping = step(Verb::Map);
    skipping.on_failure = OnFailure::Skip;
    leader.start(1, plan(vec![skipping], stream()), 3, 3);
    let task = leader.take();
    leader.reply(&task, &[(2, done(2)), (1, failed(ErrorKind::Fatal))], &[0, 1]);
    let last = leader.last_progress;
    assert_eq!((last.pulled, last.done, last.failed, last.outputs), (3, 3, 1, 2));
    assert!(last.ended && last.tasks_out == 0, "{last:?}");
}

#[test]
fn an_element_is_done_when_it_is_through_all_stages() {
    let mut leader = TestLeader::new();
    leader.presence(1, 8);
    let mut skipping = step(Verb::Map);
    skipping.on_failure = OnFailure::Skip;
    let stage =
        |step| Stage { pool: Pool::default(), steps: vec![step], batch: None, numbered: false };
    let two_stages = Plan::chain(vec![stage(step(Verb::FlatMap)), stage(skipping)], stream());
    leader.start(1, two_stages, 2, 2);
    let numbers = |leader: &mut TestLeader| {
        let (_, progress) = leader.engine.take_progress().pop().unwrap();
        let stages: Vec<_> = progress
            .stages
            .iter()
            .map(|stage| (stage.entered, stage.done, stage.tasks_out))
            .collect();
        (progress.pulled, progress.done, progress.tasks_out, stages)
    };
    // Two outputs of the first element, and one of the second.
    let split = leader.take();
    let outcome = Outcome::Done {
        bytes: 3,
        outputs: 3,
        counts: Some(vec![2, 1]),
        lengths: Some(vec![1, 1, 1]),
    };
    leader.reply(&split, &[(2, outcome)], b"aab");
    assert_eq!(numbers(&mut leader), (2, 0, 2, vec![(2, 2, 0), (3, 0, 2)]));
    let (first, last) = (leader.take(), leader.take());
    leader.echo(&last);
    assert_eq!(numbers(&mut leader), (2, 1, 1, vec![(2, 2, 0), (3, 1, 1)]));
    leader.reply(&first, &[(1, done(1)), (1, failed(ErrorKind::Fatal))], b"a");
    let last = leader.last_progress;
    assert_eq!((last.done, last.failed, last.tasks_out, last.ended), (2, 1, 0, true));
    assert_eq!((last.stages[1].done, last.stages[1].failed, last.stages[0].failed), (3, 1, 0));
}

#[test]
fn a_result_for_another_leader_is_ignored() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let mut misrouted = task.clone();
    misrouted.header.leader = LeaderId::new();
    leader.echo(&misrouted);
    assert!(leader.outputs.is_empty(), "{:?}", leader.outputs);
    leader.echo(&task);
    assert_eq!(leader.outputs.len(), 1);
}
