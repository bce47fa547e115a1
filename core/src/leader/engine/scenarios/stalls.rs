//! Stalls: their causes, and when patience is over.

use std::time::Duration;

use super::test_leader::*;
use crate::{
    broker::{BrokerError, Pool, PublishError},
    leader::engine::{
        event::{JobEvent, Stall},
        protocol::Input,
    },
    registry::Verb,
    wire::ResultMessage,
};

#[test]
fn a_stalled_job_reports_its_cause() {
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

fn stalls(leader: &TestLeader) -> Vec<Stall> {
    let stall = |event: &JobEvent| match event {
        JobEvent::Stalled(stall) => Some(stall.clone()),
        _ => None,
    };
    leader.events.iter().filter_map(stall).collect()
}

/// Lets a worker with four slots get elements done, each in the time `busy`: `elements` in each
/// period of `every`, for this many periods.
fn work(leader: &mut TestLeader, periods: u32, every: Duration, elements: u32, busy: Duration) {
    for _ in 0..periods {
        for _ in 0..elements {
            let task = leader.take();
            leader.confirmed(&task);
            let mut header = TestLeader::result_header(&task, &[(1, done(1))]);
            header.busy_us = busy.as_micros() as u64;
            leader.input(Input::Result(ResultMessage { header, payload: task.payload.clone() }));
        }
        for _ in 0..every.as_secs() {
            leader.presence(1, 4);
            leader.wait(SECOND);
        }
    }
}

#[test]
fn a_job_that_crawls_reports_it_with_its_numbers_until_it_is_fast_again() {
    let mut leader = TestLeader::with_patience(Some(31 * SECOND));
    leader.presence(1, 4);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 250);
    let quick = Duration::from_millis(1);
    work(&mut leader, 10, SECOND, 6, quick);
    assert_eq!(stalls(&leader), []);
    work(&mut leader, 5, 10 * SECOND, 1, quick);
    let Some(Stall::Crawling { done: 3, best, tasks, slots: 4, .. }) = stalls(&leader).pop() else {
        panic!("{:?}", stalls(&leader))
    };
    assert!(best >= 120 && tasks >= 4, "{best} {tasks}");
    assert_eq!(stalls(&leader).len(), 1, "each result is progress, but does not end the crawl");
    assert!(!leader.events.contains(&JobEvent::Resumed));
    work(&mut leader, 20, SECOND, 6, quick);
    assert_eq!(leader.events.last(), Some(&JobEvent::Resumed));
    assert!(leader.ended.is_empty(), "no patience ends a job that makes progress");
}

#[test]
fn elements_that_take_longer_than_before_are_no_stall() {
    let mut leader = TestLeader::new();
    leader.presence(1, 4);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 250);
    work(&mut leader, 10, SECOND, 6, Duration::from_millis(1));
    work(&mut leader, 10, 10 * SECOND, 1, 20 * SECOND);
    assert_eq!(stalls(&leader), []);
}

/// Loses the copies that are in the queue: a probe comes back, and no reply follows.
fn lose_a_round(leader: &mut TestLeader) {
    for task in std::mem::take(&mut leader.published) {
        leader.confirmed(&task);
    }
    let probes = leader.probes.len();
    for _ in 0..200 {
        leader.presence(1, 1);
        leader.wait(SECOND);
        if leader.probes.len() > probes && leader.published.is_empty() {
            leader.probe_returned(*leader.probes.last().unwrap());
        }
        if !leader.published.is_empty() || !leader.ended.is_empty() {
            return;
        }
    }
    panic!("the copies were not declared lost");
}

#[test]
fn tasks_that_are_lost_twice_name_the_likely_causes_even_beside_progress() {
    let mut leader = TestLeader::with_patience(Some(600 * SECOND));
    leader.presence(1, 1);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 100);
    lose_a_round(&mut leader);
    let losing = |stall: &Stall| matches!(stall, Stall::Losing { rounds: 2, .. });
    assert!(!stalls(&leader).iter().any(losing), "once may be bad luck: {:?}", stalls(&leader));
    lose_a_round(&mut leader);
    leader.wait(SECOND);
    assert!(stalls(&leader).last().is_some_and(losing), "{:?}", stalls(&leader));
    // One task gets through, as with a policy that keeps one message.
    let lucky = leader.take();
    leader.echo(&lucky);
    assert!(!leader.events.ends_with(&[JobEvent::Resumed]));
    for _ in 0..9 {
        if leader.ended.is_empty() {
            let lucky = leader.take();
            leader.echo(&lucky);
            lose_a_round(&mut leader);
        }
    }
    let failure = leader.failure();
    assert!(failure.contains("max-length") && failure.contains("full disk"), "{failure}");
}

#[test]
fn a_lost_task_that_is_delivered_at_last_ends_the_stall() {
    let mut leader = TestLeader::new();
    leader.presence(1, 1);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    lose_a_round(&mut leader);
    lose_a_round(&mut leader);
    leader.wait(SECOND);
    let task = leader.take();
    leader.confirmed(&task);
    leader.lease(1, &task, 0);
    leader.wait(SECOND);
    assert_eq!(leader.events.last(), Some(&JobEvent::Resumed), "{:?}", leader.events);
}

#[test]
fn tasks_that_the_broker_does_not_accept_are_reported_and_end_the_patience() {
    let mut leader = TestLeader::with_patience(Some(60 * SECOND));
    leader.presence(1, 1);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    for _ in 0..70 {
        for task in std::mem::take(&mut leader.published) {
            let error = PublishError::Nacked { reason: String::from("the queue is full") };
            leader.input(Input::NotPublished { copy: task.header.copy, error });
        }
        leader.presence(1, 1);
        leader.wait(SECOND);
    }
    let reported = |stall: &Stall| matches!(stall, Stall::NotAccepted { tasks: 1, .. });
    assert!(stalls(&leader).iter().any(reported), "{:?}", stalls(&leader));
    assert!(leader.failure().contains("reject-publish"), "{}", leader.failure());
}

#[test]
fn probes_that_never_come_back_name_the_likely_causes() {
    let mut leader = TestLeader::with_patience(Some(600 * SECOND));
    leader.presence(1, 1);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 9);
    for task in std::mem::take(&mut leader.published) {
        leader.confirmed(&task);
    }
    while leader.ended.is_empty() {
        leader.presence(1, 1);
        leader.wait(SECOND);
    }
    assert!(leader.probes.len() > 2, "{:?}", leader.probes);
    let is_queued = |stall: &Stall| matches!(stall, Stall::Queued { .. });
    assert!(stalls(&leader).iter().any(is_queued), "at first: {:?}", stalls(&leader));
    let failure = leader.failure();
    assert!(failure.contains("probes in a row") && failure.contains("max-length"), "{failure}");
}
