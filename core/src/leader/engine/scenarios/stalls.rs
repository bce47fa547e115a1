//! Stalls: their causes, and when patience is over.

use std::time::Duration;

use super::test_leader::*;
use crate::{
    broker::{BrokerError, Pool},
    leader::engine::{
        event::{JobEvent, Stall},
        protocol::Input,
    },
    registry::Verb,
};

#[test]
fn a_stalled_job_reports_its_cause() {
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
    // The copy is lost and reissued at once: no back-off is reported.
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
    // Another element of the same batch is progress.
    leader.lease(1, &task, 1);
    assert_eq!(leader.events.last(), Some(&JobEvent::Resumed));
}

#[test]
fn a_job_without_workers_reports_it_and_fails_when_its_patience_is_over() {
    let mut leader = TestLeader::with_patience(Some(60 * SECOND));
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 9);
    assert_eq!(leader.published.len(), 4, "at most four tasks while there is no worker");
    leader.wait(31 * SECOND);
    let reported = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::NoWorkers { tasks: 4, .. }));
    assert!(leader.events.iter().any(reported));
    leader.wait(31 * SECOND);
    assert!(leader.failure().contains("no worker serves pool `default`"), "{}", leader.failure());
}

#[test]
fn a_job_whose_copy_brings_no_reply_reports_it_and_resumes_with_a_late_result() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    for _ in 0..40 {
        leader.presence(1, 2);
        leader.wait(SECOND);
    }
    let reported = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::NoReply { tasks: 1, .. }));
    assert!(leader.events.iter().any(reported));
    let late = leader.take();
    leader.echo(&late);
    assert!(leader.events.contains(&JobEvent::Resumed));
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "the late result counts");
}

#[test]
fn a_queue_that_cannot_be_declared_is_reported() {
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
    let gone = |event: &JobEvent| match event {
        JobEvent::Stalled(Stall::QueueGone { reason, .. }) => reason.contains("queue `x`"),
        _ => false,
    };
    assert!(leader.events.iter().any(gone), "{:?}", leader.events);
}
