//! Lost copies: probes detect them, and their tasks are reissued.

use super::test_leader::*;
use crate::{
    broker::Pool,
    leader::engine::{event::JobEvent, protocol::Input},
    registry::Verb,
    wire::{Return, ReturnReason},
};

#[test]
fn a_copy_is_reissued_two_holds_after_a_later_probe_came_back() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.wait(HOLD - SECOND);
    assert!(leader.probes.is_empty(), "the copy is not overdue yet");
    leader.wait(2 * SECOND);
    assert_eq!(leader.probes.len(), 1);
    leader.probe_returned(leader.probes[0]);
    leader.wait(2 * HOLD - 2 * SECOND);
    assert!(leader.published.is_empty(), "age alone proves no loss");
    leader.wait(3 * SECOND);
    let reissued = leader.take();
    assert_eq!(
        (reissued.header.copy.task, reissued.header.copy.attempt),
        (task.header.copy.task, 2)
    );
    assert!(reissued.header.isolated, "it may have killed its worker");
    assert!(leader.events.iter().any(|event| matches!(
        event, JobEvent::TaskReissued { reason, .. } if reason.contains("lost")
    )));
    // The first result counts, whichever copy it is of.
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_copy_in_a_long_queue_is_not_reissued() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.wait(100 * HOLD);
    assert!(leader.published.is_empty());
    assert!(
        (2..12).contains(&leader.probes.len()),
        "at growing intervals: {}",
        leader.probes.len()
    );
}

#[test]
fn a_probe_proves_nothing_about_copies_published_after_it() {
    let (mut leader, _) = TestLeader::with_batch(1);
    leader.wait(HOLD + SECOND);
    leader.start(2, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let other = leader.take();
    leader.confirmed(&other);
    leader.probe_returned(leader.probes[0]);
    leader.wait(2 * HOLD + SECOND);
    let reissued = leader.take();
    assert_ne!(reissued.header.copy.task, other.header.copy.task);
    assert!(leader.published.is_empty());
}

#[test]
fn no_copy_is_declared_lost_while_replies_cannot_arrive_or_are_unread() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.wait(HOLD + SECOND);
    leader.probe_returned(leader.probes[0]);
    leader.connected(false);
    leader.wait(3 * HOLD);
    leader.connected(true);
    for _ in 0..3 * HOLD.as_secs() {
        leader.input(Input::Tick { elapsed: SECOND, unread: true });
    }
    assert!(leader.published.is_empty());
    leader.wait(2 * HOLD + SECOND);
    assert_eq!(leader.take().header.copy.attempt, 2);
}

#[test]
fn an_interruption_makes_young_copies_suspected() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.input(Input::Interrupted);
    leader.wait(2 * SECOND);
    assert_eq!(leader.probes.len(), 1);
}

#[test]
fn a_redelivered_probe_is_followed_by_another() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.wait(HOLD + SECOND);
    let reason = ReturnReason::Redelivered;
    let returned = Return { copy: None, worker: worker(1), reason, offset: None, element: None };
    leader.input(Input::Return(returned));
    leader.wait(2 * SECOND);
    assert_eq!(leader.probes.len(), 2);
}

#[test]
fn a_deleted_queue_is_declared_again_and_its_copies_are_reissued() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.wait(HOLD + SECOND);
    let pool = Pool::default();
    leader.input(Input::Probed { pool: pool.clone(), result: Ok(false) });
    assert_eq!(leader.declared, 1);
    leader.input(Input::Declared { pool, result: Ok(()) });
    leader.wait(2 * SECOND);
    leader.probe_returned(leader.probes[1]);
    leader.wait(2 * HOLD + SECOND);
    assert_eq!(leader.take().header.copy.attempt, 2);
}
