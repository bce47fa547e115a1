//! What the engine decides about copies that nobody answers.

use std::time::Duration;

use super::test_leader::*;
use crate::{
    broker::{BrokerError, Pool, PublishError},
    id::TaskNumber,
    leader::engine::{
        event::{JobEvent, Stall},
        protocol::Input,
    },
    operation::ErrorKind,
    registry::Verb,
    wire::{Lease, LeasedTask, ProbeReply, Return, ReturnReason, TaskMessage},
};

/// What workers hold a delivery for, at most.
const HOLD: Duration = Duration::from_secs(30);

impl TestLeader {
    /// A job of one task, which the broker has confirmed.
    fn with_one_task() -> (Self, TaskMessage) {
        Self::with_batch(1)
    }

    fn with_batch(elements: u8) -> (Self, TaskMessage) {
        let mut leader = Self::new();
        leader.start(1, plan(vec![step(Verb::Map)], stream()), u32::from(elements), elements);
        let task = leader.take();
        leader.confirmed(&task);
        (leader, task)
    }

    fn confirmed(&mut self, task: &TaskMessage) {
        self.input(Input::Published { copy: task.header.copy });
    }

    fn lease(&mut self, by: u128, task: &TaskMessage, offset: u32) {
        let tasks = vec![LeasedTask { copy: task.header.copy, offset }];
        self.input(Input::Lease(Lease { worker: worker(by), heartbeat: 1, tasks }));
    }

    fn probe_returned(&mut self, nonce: u64) {
        let pool = Pool::default();
        self.input(Input::Probed { pool: pool.clone(), result: Ok(true) });
        self.input(Input::ProbeReply(ProbeReply { pool, nonce }));
    }

    fn crashed(&mut self, task: &TaskMessage, offset: Option<u32>) {
        let reason = ReturnReason::Crashed { status: "killed by SIGABRT".to_owned() };
        let copy = Some(task.header.copy);
        self.input(Input::Return(Return { copy, worker: worker(1), reason, offset }));
    }
}

#[test]
fn a_copy_is_sent_again_two_holds_after_a_probe_behind_it_came_back() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.wait(HOLD - SECOND);
    assert!(leader.probes.is_empty(), "not overdue yet");
    leader.wait(2 * SECOND);
    assert_eq!(leader.probes.len(), 1);
    leader.probe_returned(leader.probes[0]);
    leader.wait(2 * HOLD - 2 * SECOND);
    assert!(leader.published.is_empty(), "never by age alone, nor too early");
    leader.wait(3 * SECOND);
    let again = leader.take();
    assert_eq!((again.header.copy.task, again.header.copy.attempt), (task.header.copy.task, 2));
    assert!(again.header.isolated, "whatever it was, it does not take another worker down");
    assert!(leader.events.iter().any(|event| matches!(
        event, JobEvent::TaskReissued { reason, .. } if reason.contains("lost")
    )));
    // The first result counts, whichever copy it is of.
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_copy_whose_queue_is_long_is_not_sent_again() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.wait(100 * HOLD);
    assert!(leader.published.is_empty());
    assert!((2..12).contains(&leader.probes.len()), "ever more rarely: {}", leader.probes.len());
}

#[test]
fn a_probe_in_front_of_a_copy_proves_nothing() {
    let (mut leader, _) = TestLeader::with_batch(1);
    leader.wait(HOLD + SECOND);
    leader.start(2, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let other = leader.take();
    leader.confirmed(&other);
    leader.probe_returned(leader.probes[0]);
    leader.wait(2 * HOLD + SECOND);
    let again = leader.take();
    assert_ne!(again.header.copy.task, other.header.copy.task);
    assert!(leader.published.is_empty());
}

#[test]
fn no_time_passes_while_nothing_can_be_heard() {
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
fn an_interruption_makes_young_copies_suspect() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.input(Input::Interrupted);
    leader.wait(2 * SECOND);
    assert_eq!(leader.probes.len(), 1);
}

#[test]
fn a_probe_that_was_delivered_twice_is_followed_by_another() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.wait(HOLD + SECOND);
    let reason = ReturnReason::Redelivered;
    let returned = Return { copy: None, worker: worker(1), reason, offset: None };
    leader.input(Input::Return(returned));
    leader.wait(2 * SECOND);
    assert_eq!(leader.probes.len(), 2);
}

#[test]
fn a_queue_that_is_gone_is_made_again_and_its_copies_are_found_missing() {
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

#[test]
fn a_queue_that_cannot_be_made_again_is_named() {
    let (mut leader, _) = TestLeader::with_one_task();
    leader.presence(1, 1);
    leader.wait(HOLD - SECOND);
    leader.presence(1, 1);
    let denied = || BrokerError::Denied { what: "queue `x`".to_owned(), reason: "no".to_owned() };
    for _ in 0..5 {
        leader.wait(SECOND);
        let pool = Pool::default();
        leader.input(Input::Probed { pool: pool.clone(), result: Ok(false) });
        leader.input(Input::Declared { pool, result: Err(denied()) });
    }
    let gone = |event: &JobEvent| matches!(event, JobEvent::Stalled(Stall::QueueGone { reason, .. }) if reason.contains("queue `x`"));
    assert!(leader.events.iter().any(gone), "{:?}", leader.events);
}

#[test]
fn a_leased_copy_is_waited_for_as_long_as_its_worker_says_so() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.lease(1, &task, 0);
    leader.input(Input::Interrupted);
    for _ in 0..100 {
        leader.wait(4 * SECOND);
        leader.lease(1, &task, 0);
    }
    assert!(leader.published.is_empty() && leader.probes.is_empty());
    leader.wait(14 * SECOND);
    assert!(leader.published.is_empty(), "two beats may be missed");
    leader.wait(2 * SECOND);
    let again = leader.take();
    assert!(again.header.isolated && again.header.copy.attempt == 2);
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "a late result is welcome");
}

#[test]
fn a_lease_outranks_a_return_of_what_was_delivered_twice() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.lease(1, &task, 0);
    leader.returned(&task, 2, ReturnReason::Redelivered);
    leader.wait(SECOND);
    assert!(leader.published.is_empty());
    leader.returned(&task, 1, ReturnReason::Draining);
    assert_eq!(leader.take().header.copy.attempt, 2, "its own worker may give it back");
}

#[test]
fn a_lease_that_comes_after_the_return_keeps_its_copy_alive() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.returned(&task, 2, ReturnReason::Redelivered);
    let again = leader.take();
    leader.confirmed(&again);
    leader.lease(1, &task, 0);
    leader.returned(&again, 2, ReturnReason::Redelivered);
    assert!(leader.published.is_empty(), "one copy is left");
    leader.echo(&task);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_task_that_waits_to_be_sent_again_is_not_when_somebody_runs_it_after_all() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.returned(&task, 2, ReturnReason::LeaderSilent);
    assert!(leader.published.is_empty(), "not at full speed");
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
fn leases_of_what_was_never_sent_are_ignored() {
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
fn a_confirm_that_was_lost_does_not_matter_to_whoever_runs_the_task() {
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

#[test]
fn a_redelivered_task_is_isolated_and_the_element_that_kills_is_alone_at_fault() {
    let (mut leader, task) = TestLeader::with_batch(4);
    assert!(!task.header.isolated);
    leader.returned(&task, 1, ReturnReason::Redelivered);
    let isolated = leader.take();
    assert!(isolated.header.isolated);
    leader.crashed(&isolated, Some(2));
    let parts: Vec<TaskMessage> = (0..3).map(|_| leader.take()).collect();
    let payloads: Vec<&[u8]> = parts.iter().map(|part| &part.payload[..]).collect();
    assert_eq!(payloads, [&[0, 1][..], &[2], &[3]]);
    assert!(parts.iter().all(|part| part.header.isolated), "its neighbours are suspect too");
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
fn a_process_that_dies_without_a_word_has_its_batch_halved() {
    let (mut leader, task) = TestLeader::with_batch(4);
    leader.crashed(&task, None);
    let parts = [leader.take(), leader.take()];
    assert_eq!(parts.each_ref().map(|part| part.payload.len()), [2, 2]);
}

#[test]
fn a_task_whose_worker_died_once_is_charged_nothing() {
    let (mut leader, task) = TestLeader::with_one_task();
    leader.returned(&task, 1, ReturnReason::Redelivered);
    let again = leader.take();
    assert_eq!(again.header.ranges[0].tries, 1);
    leader.reply(&again, &[(1, failed(ErrorKind::Transient))], &[]);
    leader.wait(SECOND);
    assert_eq!(leader.take().header.ranges[0].tries, 2);
}

#[test]
fn a_stalled_job_says_what_it_waits_for() {
    let stalls = |leader: &TestLeader| -> Vec<Stall> {
        let stall = |event: &JobEvent| match event {
            JobEvent::Stalled(stall) => Some(stall.clone()),
            _ => None,
        };
        leader.events.iter().filter_map(stall).collect()
    };
    let live = |leader: &mut TestLeader, time: Duration| {
        for _ in 0..time.as_secs() {
            leader.presence(1, 1);
            leader.wait(SECOND);
        }
    };
    let (mut leader, task) = TestLeader::with_one_task();
    live(&mut leader, HOLD + 2 * SECOND);
    assert!(matches!(stalls(&leader).last(), Some(Stall::Queued { tasks: 1, .. })));
    leader.probe_returned(leader.probes[0]);
    live(&mut leader, 2 * SECOND);
    assert!(matches!(stalls(&leader).last(), Some(Stall::Missing { tasks: 1, .. })));
    // Lost, and sent again: nobody waits for a back-off.
    live(&mut leader, 2 * HOLD);
    assert_eq!(leader.take().header.copy.attempt, 2);
    let backing_off = |stall: &Stall| matches!(stall, Stall::BackingOff { .. });
    assert!(!stalls(&leader).iter().any(backing_off), "{:?}", stalls(&leader));
    leader.lease(1, &task, 0);
    for _ in 0..10 {
        live(&mut leader, 4 * SECOND);
        leader.lease(1, &task, 0);
    }
    let Some(Stall::Running { operation, worker: by, .. }) = stalls(&leader).pop() else {
        panic!("{:?}", stalls(&leader))
    };
    assert_eq!((operation.as_str(), by), ("test::Map", worker(1)));
    // Another element of the same batch: it moves.
    leader.lease(1, &task, 1);
    assert_eq!(leader.events.last(), Some(&JobEvent::Resumed));
}
