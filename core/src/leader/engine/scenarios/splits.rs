//! Batches that are split to find the element that fails them.

use super::test_leader::*;
use crate::{
    broker::PublishError,
    leader::engine::protocol::Input,
    operation::ErrorKind,
    plan::End,
    registry::{Refusal, Verb},
    wire::{ReturnReason, TaskMessage},
};

#[test]
fn a_redelivered_task_is_isolated_and_only_the_element_that_kills_fails() {
    let (mut leader, task) = TestLeader::with_batch(4);
    assert!(!task.header.isolated);
    leader.returned(&task, 1, ReturnReason::Redelivered);
    let isolated = leader.take();
    assert!(isolated.header.isolated);
    leader.crashed(&isolated, Some(2));
    let parts: Vec<TaskMessage> = (0..3).map(|_| leader.take()).collect();
    let payloads: Vec<&[u8]> = parts.iter().map(|part| &part.payload[..]).collect();
    assert_eq!(payloads, [&[0, 1][..], &[2], &[3]]);
    assert!(parts.iter().all(|part| part.header.isolated), "the parts stay isolated");
    leader.echo(&parts[0]);
    leader.echo(&parts[2]);
    leader.crashed(&parts[1], Some(0));
    leader.wait(SECOND);
    let last = leader.take();
    assert_eq!((last.header.ranges[0].tries, last.header.isolated), (2, true));
    leader.crashed(&last, Some(0));
    let failure = leader.failure();
    assert!(failure.contains("SIGABRT") && failure.contains("test::Map"), "{failure}");
}

#[test]
fn a_batch_whose_process_dies_at_an_unknown_element_is_halved() {
    let (mut leader, task) = TestLeader::with_batch(4);
    leader.crashed(&task, None);
    let parts = [leader.take(), leader.take()];
    assert_eq!(parts.each_ref().map(|part| part.payload.len()), [2, 2]);
}

#[test]
fn a_task_whose_worker_died_once_is_charged_no_try() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.returned(&task, 1, ReturnReason::Redelivered);
    let reissued = leader.take();
    assert_eq!(reissued.header.ranges[0].tries, 1);
    leader.reply(&reissued, &[(1, failed(ErrorKind::Transient))], &[]);
    leader.wait(SECOND);
    assert_eq!(leader.take().header.ranges[0].tries, 2);
}

#[test]
fn an_isolated_task_that_still_kills_workers_is_halved_until_its_element_fails() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 4, 4);
    let poison = 2u8;
    let mut deaths = 0;
    while leader.ended.is_empty() {
        let task = leader.take();
        if task.payload.contains(&poison) {
            deaths += 1;
            leader.returned(&task, 1, ReturnReason::Redelivered);
        } else {
            leader.echo(&task);
        }
    }
    assert_eq!(
        deaths,
        1 + 3 + 3 + 10,
        "one at first, three for each of two halvings, ten for the element"
    );
    assert!(leader.failure().contains("element 2"), "{}", leader.failure());
    assert_eq!(leader.outputs.iter().map(|(_, values)| values.len()).sum::<usize>(), 3);
}

#[test]
fn an_undecodable_element_is_isolated_and_named() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 3, 3);
    let undecodable = |offset| {
        let (name, reason) = ("test::Map".to_owned(), "cut off".to_owned());
        ReturnReason::Refused(Refusal::Undecodable { name, offset, reason })
    };
    let task = leader.take();
    leader.returned(&task, 1, undecodable(1));
    let parts = [leader.take(), leader.take(), leader.take()];
    leader.echo(&parts[0]);
    leader.echo(&parts[2]);
    leader.returned(&parts[1], 1, undecodable(0));
    assert!(leader.failure().contains("element 1"), "{}", leader.failure());
    assert_eq!(leader.outputs, [(0, vec![0]), (2, vec![2])]);
}

#[test]
fn a_batch_too_large_for_the_broker_is_halved_until_its_element_fails() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 2, 2);
    let too_large = |task: &TaskMessage| Input::NotPublished {
        copy: task.header.copy,
        error: PublishError::TooLarge { size: 9, limit: 5 },
    };
    let both = leader.take();
    leader.input(too_large(&both));
    let (first, second) = (leader.take(), leader.take());
    leader.echo(&first);
    leader.input(too_large(&second));
    let failure = leader.failure();
    assert!(failure.contains("element 1") && failure.contains("a message of 9 bytes"), "{failure}");
    assert_eq!(leader.outputs, [(0, vec![0])]);
}

#[test]
fn an_isolated_leaf_that_still_kills_workers_fails_without_being_halved() {
    let mut leader = TestLeader::new();
    let end = End::Fold { empty: None, deterministic: true };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 5);
    for _ in 0..1 + 10 {
        let leaf = leader.take();
        assert_eq!(leaf.payload.len(), 5);
        leader.returned(&leaf, 1, ReturnReason::Redelivered);
    }
    assert!(leader.failure().contains("test::Fold"), "{}", leader.failure());
}

#[test]
fn an_undecodable_element_of_a_leaf_is_named() {
    let mut leader = TestLeader::new();
    let end = End::Fold { empty: None, deterministic: true };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 5);
    let leaf = leader.take();
    let (name, reason) = ("test::Fold".to_owned(), "cut off".to_owned());
    let refusal = Refusal::Undecodable { name, offset: 3, reason };
    leader.returned(&leaf, 1, ReturnReason::Refused(refusal));
    assert!(leader.failure().contains("element 3"), "{}", leader.failure());
}
