//! Leases: copies whose worker runs them for long.

use super::test_leader::*;
use crate::{
    broker::PublishError,
    id::TaskNumber,
    leader::engine::protocol::Input,
    registry::Verb,
    wire::{ReturnReason, TaskMessage},
};

#[test]
fn a_leased_copy_is_not_reissued_while_its_lease_is_renewed() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.lease(1, &task, 0);
    leader.input(Input::Interrupted);
    for _ in 0..100 {
        leader.wait(4 * SECOND);
        leader.lease(1, &task, 0);
    }
    assert!(leader.published.is_empty() && leader.probes.is_empty());
    leader.wait(14 * SECOND);
    assert!(leader.published.is_empty(), "two heartbeats may be missed");
    leader.wait(2 * SECOND);
    let reissued = leader.take();
    assert!(reissued.header.isolated && reissued.header.copy.attempt == 2);
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "a late result counts");
}

/// A worker that cannot start child processes runs the elements of an isolated task itself.
#[test]
fn the_element_that_a_silent_worker_ran_in_its_own_process_is_charged_and_no_neighbour() {
    let (mut leader, task) = TestLeader::with_batch(4);
    leader.returned(&task, 1, ReturnReason::Redelivered);
    let isolated = leader.take();
    leader.named(&isolated, 2, 0);
    leader.named(&isolated, 2, 2);
    // A heartbeat that was published before the last name.
    leader.named(&isolated, 2, 1);
    leader.returned(&isolated, 3, ReturnReason::Redelivered);
    assert!(leader.published.is_empty(), "the worker may have lost only its connection");
    leader.wait(16 * SECOND);
    leader.wait(SECOND);
    let parts: Vec<TaskMessage> = (0..3).map(|_| leader.take()).collect();
    let mut charged: Vec<(&[u8], u32)> =
        parts.iter().map(|part| (&part.payload[..], part.header.ranges[0].tries)).collect();
    charged.sort();
    assert_eq!(charged, [(&[0, 1][..], 1), (&[2], 2), (&[3], 1)]);
    let retried = parts.iter().find(|part| part.header.ranges[0].tries == 2).unwrap();
    leader.named(retried, 3, 0);
    leader.wait(16 * SECOND);
    let failure = leader.failure();
    assert!(failure.contains("fell silent while it ran the element"), "{failure}");
}

#[test]
fn a_lease_outranks_the_return_of_a_redelivered_copy() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.lease(1, &task, 0);
    for by in [1, 2] {
        leader.returned(&task, by, ReturnReason::Redelivered);
    }
    leader.wait(SECOND);
    assert!(leader.published.is_empty());
    leader.returned(&task, 1, ReturnReason::Draining);
    assert_eq!(leader.take().header.copy.attempt, 2, "the worker that leases it may return it");
}

#[test]
fn a_lease_after_the_return_of_its_copy_keeps_the_copy() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.returned(&task, 2, ReturnReason::Redelivered);
    let reissued = leader.take();
    leader.confirmed(&reissued);
    leader.lease(1, &task, 0);
    leader.returned(&reissued, 2, ReturnReason::Redelivered);
    assert!(leader.published.is_empty(), "one copy is left");
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_task_that_waits_for_its_reissue_is_not_reissued_once_a_worker_leases_it() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.returned(&task, 2, ReturnReason::LeaderTimeout);
    assert!(leader.published.is_empty(), "it is reissued after a back-off");
    leader.lease(1, &task, 0);
    for _ in 0..5 {
        leader.wait(4 * SECOND);
        leader.lease(1, &task, 0);
    }
    assert!(leader.published.is_empty());
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    leader.engine.check_credit();
}

#[test]
fn leases_of_copies_that_were_never_published_are_ignored() {
    let (mut leader, mut task) = TestLeader::with_one_task();
    task.header.copy.attempt = 7;
    leader.lease(1, &task, 0);
    task.header.copy.task.0 = 99;
    leader.lease(1, &task, 0);
    task.header.copy.task = TaskNumber(0);
    leader.lease(1, &task, 0);
    leader.wait(HOLD + SECOND);
    assert_eq!(leader.probes.len(), 1);
}

#[test]
fn the_lost_confirm_of_a_leased_copy_does_not_reissue_it() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    leader.lease(1, &task, 0);
    let error = PublishError::Lost;
    leader.input(Input::NotPublished { copy: task.header.copy, error });
    assert!(leader.published.is_empty());
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}
