//! Dead letters: which elements leave one, and what it contains.

use super::test_leader::*;
use crate::{
    leader::engine::protocol::{DeadLettering, Input},
    operation::{ErrorKind, OperationError},
    plan::{End, OnFailure},
    registry::{Refusal, Verb},
    wire::{Outcome, ReturnReason, TaskKind},
};

#[test]
fn an_element_that_fails_permanently_leaves_a_dead_letter_with_its_encoding_and_steps() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::TryMap), step(Verb::Filter)], stream()), 3, 3);
    let task = leader.take();
    let fatal = Outcome::Failed { step: 1, error: OperationError::fatal("no luck"), element: None };
    leader.reply(&task, &[(1, done(1)), (1, fatal), (1, done(1))], &[0, 2]);
    let [dead] = &leader.dead[..] else { panic!("{:?}", leader.dead) };
    assert_eq!((&dead.payload[..], &dead.lengths[..]), (&[1][..], &[1][..]));
    assert_eq!(dead.steps, task.header.steps, "all steps of the task, from the first");
    assert_eq!((dead.error.index, dead.error.worker), (1, Some(worker(1))));
    assert_eq!(dead.error.operation, "test::Filter");
}

#[test]
fn the_dead_letter_of_a_failed_value_holds_the_value_and_the_remaining_steps() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::TryMap), step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Fatal))], &[]);
    assert!(leader.dead.is_empty(), "an element that became a value leaves no dead letter");
    let rest = leader.take();
    leader.reply(&rest, &[(1, failed(ErrorKind::Fatal))], &[]);
    let [dead] = &leader.dead[..] else { panic!("{:?}", leader.dead) };
    assert_eq!((&dead.payload, &dead.steps), (&rest.payload, &rest.header.steps));
}

#[test]
fn elements_that_are_skipped_or_come_after_a_take_leave_dead_letters() {
    let mut leader = TestLeader::new();
    let mut skipping = step(Verb::Map);
    skipping.on_failure = OnFailure::Skip;
    leader.start(1, plan(vec![skipping], End::Count), 3, 3);
    let task = leader.take();
    leader.reply(&task, &[(2, done(2)), (1, failed(ErrorKind::Fatal))], &[0, 1]);
    assert_eq!(leader.dead.iter().map(|dead| dead.error.index).collect::<Vec<_>>(), [2]);

    let mut leader = TestLeader::new();
    let end = End::Stream { ordered: true, take: Some(1) };
    leader.start(1, plan(vec![step(Verb::Map)], end), 2, 2);
    let task = leader.take();
    leader.reply(&task, &[(1, done(1)), (1, failed(ErrorKind::Fatal))], &[0]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    assert_eq!(leader.dead.iter().map(|dead| dead.error.index).collect::<Vec<_>>(), [1]);
}

#[test]
fn the_dead_letter_of_a_failed_leaf_holds_only_the_element_that_failed() {
    let mut leader = TestLeader::new();
    let end = End::Fold { empty: None, deterministic: true };
    leader.start(1, plan(vec![step(Verb::Fold)], end.clone()), 1, 5);
    let leaf = leader.take();
    let (name, reason) = ("test::Fold".to_owned(), "cut off".to_owned());
    let refusal = Refusal::Undecodable { name, offset: 3, reason };
    leader.returned(&leaf, 1, ReturnReason::Refused(refusal));
    assert_eq!(leader.dead.iter().map(|dead| dead.payload.to_vec()).collect::<Vec<_>>(), [[3]]);

    leader.start(2, plan(vec![step(Verb::Fold)], end), 1, 5);
    let leaf = leader.take();
    leader.reply(&leaf, &[(2, done(1)), (1, failed(ErrorKind::Panic)), (2, done(1))], &[1, 7]);
    assert_eq!(leader.dead[1].payload.to_vec(), [2]);
}

#[test]
fn the_dead_letter_of_a_failed_combination_holds_its_partial_results() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    let end = End::Fold { empty: None, deterministic: false };
    leader.start(1, plan(vec![step(Verb::Map), step(Verb::Fold)], end), 1, 2);
    for task in std::mem::take(&mut leader.published) {
        leader.echo(&task);
    }
    let task = leader.take();
    assert_eq!(task.header.kind, TaskKind::Combine);
    leader.reply(&task, &[(1, failed(ErrorKind::Fatal)), (1, done(1))], &[1]);
    let [dead] = &leader.dead[..] else { panic!("{:?}", leader.dead) };
    assert_eq!(dead.steps.iter().map(|step| step.verb).collect::<Vec<_>>(), [Verb::Fold]);
    assert_eq!((&dead.payload[..], &dead.lengths[..]), (&[0, 1][..], &[1, 1][..]));
}

#[test]
fn elements_of_a_cancelled_job_leave_no_dead_letters() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 3);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Transient))], &[]);
    leader.input(Input::Cancel { job: job(1) });
    assert!(leader.dead.is_empty());
}

#[test]
fn a_job_without_dead_lettering_writes_no_dead_letters() {
    let mut leader = TestLeader::new();
    let plan = plan(vec![step(Verb::Map)], stream());
    leader.start_with(1, plan, 1, 1, DeadLettering::Off);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Fatal))], &[]);
    assert!(leader.dead.is_empty(), "{:?}", leader.dead);
    assert!(leader.failure().contains("element 0"));
}
