//! Credit: how many tasks may be out, and of which job the next one is.

use std::sync::Arc;

use bytes::Bytes;

use super::test_leader::*;
use crate::{
    leader::engine::{
        Engine,
        event::{JobEvent, Stall},
        protocol::{Action, DeadLettering, Input, Pull},
    },
    operation::ErrorKind,
    plan::Block,
    registry::Verb,
    wire::Outcome,
};

#[test]
fn retries_need_credit_and_go_before_new_input() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 100, 200);
    let task = leader.take();
    let others = leader.published.len();
    let every_second =
        (0..50).flat_map(|_| [(1, failed(ErrorKind::Transient)), (1, done(1))]).collect::<Vec<_>>();
    let odd: Vec<u8> = (1..100).step_by(2).collect();
    leader.reply(&task, &every_second, &odd);
    leader.wait(SECOND);
    let out = leader.published.len();
    assert!(out <= 4, "{out} tasks are out, {others} before: at most four may be out");
    let mut most = 0;
    while let Some(task) = leader.published.pop() {
        leader.echo(&task);
        most = most.max(leader.published.len());
    }
    assert!(most <= 4, "{most} tasks were out");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    assert_eq!(leader.outputs.iter().map(|(_, values)| values.len()).sum::<usize>(), 200);
}

#[test]
fn a_job_whose_results_are_not_read_does_not_delay_another() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 200);
    // Each output is huge, and the reader takes none.
    for _ in 0..100 {
        let Some(task) = leader.published.pop() else { break };
        let huge = vec![0; 8 << 20];
        let outcome =
            Outcome::Done { bytes: huge.len() as u64, outputs: 1, counts: None, lengths: None };
        leader.reply(&task, &[(1, outcome)], &huge);
    }
    let unread = leader.outputs.len();
    assert!(unread < 20, "the first job is limited, at {unread} outputs");
    leader.start(2, plan(vec![step(Verb::Map)], stream()), 1, 3);
    while let Some(task) = leader.published.pop() {
        leader.echo(&task);
    }
    assert!(leader.ended.iter().any(|(id, result)| *id == job(2) && result.is_ok()));
    leader.wait(40 * SECOND);
    let slow = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::ReaderSlow { .. }));
    assert!(leader.events.iter().any(slow));
}

#[test]
fn a_plan_without_steps_pulls_no_more_than_its_reader_reads() {
    let mut leader = TestLeader::new();
    let mut engine = Engine::new(leader.engine.shared.settings.clone());
    std::mem::swap(&mut leader.engine, &mut engine);
    let plan = Arc::new(plan(Vec::new(), stream()));
    leader.engine.step(Input::Start {
        job: job(1),
        plan,
        hints: vec![None],
        dead_lettering: DeadLettering::On,
    });
    let huge = Bytes::from(vec![0; 33 << 20]);
    let block = Block { ends: vec![huge.len() as u32], bytes: huge };
    let pulls = |actions: &[Action]| actions.iter().any(|a| matches!(a, Action::Pull { .. }));
    let pulled = Input::Pulled { job: job(1), source: 0, block, progress: Pull::Done };
    let actions = leader.engine.step(pulled);
    assert!(!pulls(&actions), "nothing is pulled before the reader reads");
    let actions = leader.engine.step(Input::Taken { job: job(1), bytes: 33 << 20 });
    assert!(pulls(&actions));
}
