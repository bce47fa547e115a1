//! Workers: greetings and refusals.

use super::test_leader::*;
use crate::{
    leader::engine::event::{JobEvent, Stall},
    registry::{Refusal, Verb},
    wire::ReturnReason,
};

#[test]
fn a_forged_presence_does_not_harm_a_job() {
    let mut leader = TestLeader::new();
    leader.presence(1, u32::MAX);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 9);
    while !leader.published.is_empty() {
        let task = leader.take();
        leader.confirmed(&task);
        leader.echo(&task);
    }
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn the_death_of_a_worker_is_an_event_unless_the_leader_itself_was_cut_off() {
    let mut leader = TestLeader::new();
    leader.presence(1, 1);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 2);
    let task = leader.take();
    leader.echo(&task);
    leader.connected(false);
    leader.wait(60 * SECOND);
    leader.connected(true);
    leader.wait(2 * SECOND);
    let lost = |event: &JobEvent| matches!(event, JobEvent::WorkerLost { worker: it, .. } if *it == worker(1));
    assert!(!leader.events.iter().any(lost), "no worker was heard from, but none could be");
    leader.wait(15 * SECOND);
    assert_eq!(leader.events.iter().filter(|event| lost(event)).count(), 1);
}

#[test]
fn a_new_worker_is_greeted_unless_the_leader_is_disconnected() {
    let mut leader = TestLeader::new();
    leader.hello(1);
    leader.connected(false);
    leader.hello(2);
    assert_eq!(leader.greeted, [worker(1)]);
}

#[test]
fn a_task_that_every_live_worker_refuses_for_ten_seconds_fails_its_job() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    leader.presence(2, 2);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let refusal = || {
        let known = vec!["other".to_owned()];
        ReturnReason::Refused(Refusal::UnknownOperation { name: "test::Map".to_owned(), known })
    };
    for second in 0..30u32 {
        if let Some(task) = leader.published.pop() {
            leader.returned(&task, 1 + u128::from(second % 2), refusal());
        }
        leader.presence(1, 2);
        leader.presence(2, 2);
        assert!(second > 9 || leader.ended.is_empty(), "it does not fail before ten seconds");
        leader.wait(SECOND);
    }
    let failure = leader.failure();
    assert!(failure.contains("test::Map") && failure.contains("known: other"), "{failure}");
}

#[test]
fn a_job_continues_while_one_live_worker_does_not_refuse_it() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    leader.presence(2, 2);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    for _ in 0..60 {
        if let Some(task) = leader.published.pop() {
            let message = Refusal::Message { reason: "old".to_owned() };
            leader.returned(&task, 1, ReturnReason::Refused(message));
        }
        leader.presence(1, 2);
        leader.presence(2, 2);
        leader.wait(SECOND);
    }
    assert!(leader.ended.is_empty());
    let refused = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::Refused { workers: 1, .. }));
    assert!(leader.events.iter().any(refused), "the refusal is reported");
}
