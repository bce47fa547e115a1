//! Jobs that end before their last element.

use std::sync::Arc;

use bytes::Bytes;

use super::test_leader::*;
use crate::{
    broker::PublishError,
    error::Error,
    leader::engine::{
        Engine,
        protocol::{DeadLettering, Input, Pull},
    },
    operation::ErrorKind,
    plan::{Block, End},
    registry::Verb,
    wire::TaskMessage,
};

#[test]
fn a_cancelled_job_ends_at_once_and_other_jobs_continue() {
    let mut leader = TestLeader::new();
    leader.presence(1, 8);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 2);
    leader.start(2, plan(vec![step(Verb::Map)], stream()), 1, 1);
    leader.input(Input::Cancel { job: job(1) });
    assert!(matches!(leader.ended[..], [(_, Err(Error::Cancelled { .. }))]));
    assert_eq!(leader.cancelled, [job(1)], "workers are informed");
    for task in std::mem::take(&mut leader.published) {
        leader.echo(&task);
    }
    assert_eq!(leader.outputs.len(), 1, "only the output of the other job");
    assert_eq!(leader.ended.len(), 2);
}

#[test]
fn an_ordered_take_ignores_failures_after_its_end() {
    let take = |most| End::Stream { ordered: true, take: Some(most) };
    for (most, succeeds) in [(2, true), (3, false)] {
        let mut leader = TestLeader::new();
        leader.presence(1, 8);
        leader.start(1, plan(vec![step(Verb::Map)], take(most)), 1, 4);
        let mut tasks = std::mem::take(&mut leader.published);
        let failing = tasks.remove(2);
        leader.reply(&failing, &[(1, failed(ErrorKind::Fatal))], &[]);
        assert!(leader.ended.is_empty());
        for task in tasks {
            leader.echo(&task);
        }
        assert_eq!(leader.ended[0].1.is_ok(), succeeds);
    }
}

#[test]
fn a_refused_copy_fails_its_job_and_a_nacked_copy_is_reissued() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let not = |task: &TaskMessage, error| Input::NotPublished { copy: task.header.copy, error };
    leader.input(not(&task, PublishError::Nacked { reason: "full".to_owned() }));
    assert!(leader.published.is_empty());
    leader.wait(SECOND);
    let reissued = leader.take();
    assert_eq!(reissued.header.copy.attempt, 2);
    leader.input(not(&reissued, PublishError::Refused { reason: "no write access".to_owned() }));
    assert!(leader.failure().contains("test::Map"), "{}", leader.failure());
}

#[test]
fn a_source_that_fails_midway_fails_the_job_after_the_outputs_before_it() {
    let mut leader = TestLeader::new();
    leader.sources.push((job(1), 0..0));
    let plan = Arc::new(plan(vec![step(Verb::Map)], stream()));
    // Without a source: the test itself yields an element and then the failure.
    let mut engine = Engine::new(leader.engine.shared.settings.clone());
    engine.step(Input::Start {
        job: job(1),
        plan,
        hints: vec![None],
        dead_lettering: DeadLettering::On,
    });
    leader.engine = engine;
    let block = Block { bytes: Bytes::from_static(&[5]), ends: vec![1] };
    let error: Box<dyn std::error::Error + Send + Sync> = "disk on fire".into();
    let progress = Pull::Failed(Arc::from(error));
    leader.input(Input::Pulled { job: job(1), source: 0, block, progress });
    assert!(leader.ended.is_empty());
    let task = leader.take();
    leader.echo(&task);
    assert_eq!(leader.outputs, [(0, vec![5])]);
    assert!(leader.failure().contains("element 1"), "{}", leader.failure());
}
