//! What the engine decides about results, failures, folds and stalls.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::test_leader::*;
use crate::{
    broker::{Pool, PublishError},
    codec,
    error::Error,
    id::TaskNumber,
    leader::engine::{
        Engine,
        event::{JobEvent, Stall},
        protocol::{Action, DeadLettering, Input, Pull},
    },
    operation::{ErrorKind, OperationError},
    plan::{Block, End, OnFailure, Stage},
    registry::{Refusal, Verb},
    wire::{Outcome, ReturnReason, TaskKind, TaskMessage},
};

#[test]
fn a_transient_failure_is_tried_again_until_its_budget_is_spent() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 3, 3);
    let task = leader.take();
    leader.reply(&task, &[(1, done(1)), (1, failed(ErrorKind::Transient)), (1, done(1))], &[0, 2]);
    assert_eq!(leader.outputs.len(), 2, "good neighbours are not lost");
    for tries in 2..=3 {
        assert!(leader.published.is_empty(), "back-off is kept");
        leader.wait(SECOND);
        let task = leader.take();
        assert_eq!(task.header.ranges[0].tries, tries);
        assert_eq!((task.header.ranges[0].from, &task.payload[..]), (1, &[1][..]));
        leader.reply(&task, &[(1, failed(ErrorKind::Transient))], &[]);
    }
    let failure = leader.failure();
    assert!(failure.contains("test::Map") && failure.contains("element 1"), "{failure}");
    assert!(failure.contains("try 3") && failure.contains(&worker(1).to_string()), "{failure}");
}

#[test]
fn neighbours_that_fail_together_are_tried_again_as_one_task() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 6, 6);
    let task = leader.take();
    let not_now = || (1, failed(ErrorKind::Transient));
    leader.reply(&task, &[not_now(), not_now(), (1, done(1)), not_now(), (2, done(2))], &[2, 4, 5]);
    leader.wait(SECOND);
    let pair = leader.take();
    assert_eq!((&pair.payload[..], pair.header.ranges[0].tries), (&[0, 1][..], 2));
    let single = leader.take();
    assert_eq!(&single.payload[..], &[3], "a gap is no neighbour");
    // Each has its own budget: the second of the pair fails on, alone.
    leader.reply(&pair, &[(1, done(1)), not_now()], &[0]);
    leader.wait(SECOND);
    let last = leader.take();
    assert_eq!((&last.payload[..], last.header.ranges[0].tries), (&[1][..], 3));
    assert!(leader.published.is_empty());
}

#[test]
fn what_is_tried_again_waits_for_credit_in_front_of_new_input() {
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
    assert!(out <= 4, "{out} tasks are out, {others} before: more than the four that may be");
    let mut most = 0;
    while let Some(task) = leader.published.pop() {
        leader.echo(&task);
        most = most.max(leader.published.len());
    }
    assert!(most <= 4, "{most} were out");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    assert_eq!(leader.outputs.iter().map(|(_, values)| values.len()).sum::<usize>(), 200);
}

#[test]
fn a_panic_is_not_tried_again() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Panic))], &[]);
    assert!(leader.failure().contains("no luck"));
}

#[test]
fn a_failed_try_map_goes_on_as_a_value_through_the_steps_behind_it() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::TryMap), step(Verb::Map)], stream()), 2, 2);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Fatal)), (1, done(1))], &[7]);
    let rest = leader.take();
    assert_eq!(rest.header.steps.len(), 1, "only the steps behind it");
    let value: Result<(), OperationError> = codec::decode(&rest.payload).unwrap();
    assert_eq!(value.unwrap_err().message(), "no luck");
    leader.reply(&rest, &[(1, done(1))], &[8]);
    assert_eq!(leader.outputs, [(1, vec![7]), (0, vec![8])]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_failed_try_map_at_the_end_is_an_output() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::TryMap)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Panic))], &[]);
    let value: Result<u64, OperationError> = codec::decode(&leader.outputs[0].1).unwrap();
    assert_eq!(value.unwrap_err().kind(), ErrorKind::Panic);
}

#[test]
fn an_element_to_be_skipped_is_left_out_and_told() {
    let mut leader = TestLeader::new();
    let mut lenient = step(Verb::Map);
    lenient.on_failure = OnFailure::Skip;
    leader.start(1, plan(vec![lenient], End::Count), 3, 3);
    let task = leader.take();
    leader.reply(&task, &[(2, done(2)), (1, failed(ErrorKind::Fatal))], &[0, 1]);
    assert_eq!(leader.outputs, [(0, vec![2])], "two were counted");
    assert!(leader.events.iter().any(|e| matches!(e, JobEvent::ElementSkipped { index: 2, .. })));
}

#[test]
fn a_task_that_kills_even_who_contains_it_is_halved_and_its_element_named() {
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
    assert_eq!(deaths, 1 + 3 + 3 + 10, "the first, three for each halving, ten for the one");
    assert!(leader.failure().contains("element 2"), "{}", leader.failure());
    assert_eq!(leader.outputs.iter().map(|(_, values)| values.len()).sum::<usize>(), 3);
}

#[test]
fn a_result_counts_once_whichever_copy_it_comes_from() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 2);
    let first = leader.take();
    let other = leader.take();
    leader.returned(&first, 1, ReturnReason::Draining);
    let second = leader.take();
    assert_eq!((second.header.copy.task, second.header.copy.attempt), (first.header.copy.task, 2));
    leader.echo(&first);
    leader.echo(&second);
    assert_eq!(leader.outputs.len(), 1);
    leader.returned(&second, 1, ReturnReason::Redelivered);
    assert!(leader.published.is_empty(), "a retired task is not sent again");
    leader.echo(&other);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_result_that_does_not_fit_its_task_counts_for_nothing() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 2, 2);
    let task = leader.take();
    leader.reply(&task, &[(1, done(1))], &[0]);
    leader.reply(&leader.published[0].clone(), &[(2, done(1))], &[0]);
    assert!(leader.outputs.is_empty());
    let again = leader.published.pop().unwrap();
    leader.echo(&again);
    assert_eq!(leader.outputs, [(0, vec![0, 1])]);
}

#[test]
fn a_task_that_every_live_worker_refuses_fails_its_job_by_name() {
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
        assert!(second > 9 || leader.ended.is_empty(), "not before ten seconds");
        leader.wait(SECOND);
    }
    let failure = leader.failure();
    assert!(failure.contains("test::Map") && failure.contains("known: other"), "{failure}");
}

#[test]
fn one_worker_that_can_is_enough_however_many_refuse() {
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
    assert!(leader.events.iter().any(refused), "but it says so");
}

#[test]
fn an_undecodable_element_is_cut_out_and_named() {
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
fn a_batch_too_large_for_the_broker_is_halved_and_the_element_named() {
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
    assert!(
        failure.contains("element 1") && failure.contains("limit") || failure.contains('5'),
        "{failure}"
    );
    assert_eq!(leader.outputs, [(0, vec![0])]);
}

#[test]
fn a_cancelled_job_is_over_at_once_and_others_go_on() {
    let mut leader = TestLeader::new();
    leader.presence(1, 8);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 2);
    leader.start(2, plan(vec![step(Verb::Map)], stream()), 1, 1);
    leader.input(Input::Cancel { job: job(1) });
    assert!(matches!(leader.ended[..], [(_, Err(Error::Cancelled { .. }))]));
    assert_eq!(leader.cancelled, [job(1)], "workers are told");
    for task in std::mem::take(&mut leader.published) {
        leader.echo(&task);
    }
    assert_eq!(leader.outputs.len(), 1, "only the other job's");
    assert_eq!(leader.ended.len(), 2);
}

#[test]
fn an_ordered_take_ignores_failures_beyond_what_it_needs() {
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
fn a_job_that_is_not_read_does_not_starve_another() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 200);
    // Each answer is huge and nobody takes it.
    for _ in 0..100 {
        let Some(task) = leader.published.pop() else { break };
        let huge = vec![0; 8 << 20];
        let outcome =
            Outcome::Done { bytes: huge.len() as u64, outputs: 1, counts: None, lengths: None };
        leader.reply(&task, &[(1, outcome)], &huge);
    }
    let unread = leader.outputs.len();
    assert!(unread < 20, "the first job is held back at {unread}");
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
fn a_job_without_workers_says_so_and_fails_when_patience_is_over() {
    let mut leader = TestLeader::with_patience(Some(60 * SECOND));
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 9);
    assert_eq!(leader.published.len(), 4, "no more than four tasks while nobody is there");
    leader.wait(31 * SECOND);
    let told = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::NoWorkers { tasks: 4, .. }));
    assert!(leader.events.iter().any(told));
    leader.wait(31 * SECOND);
    assert!(leader.failure().contains("no worker serves pool `default`"), "{}", leader.failure());
}

#[test]
fn a_copy_that_the_broker_lost_stalls_its_job_by_name() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    for _ in 0..40 {
        leader.presence(1, 2);
        leader.wait(SECOND);
    }
    let told = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::NoReply { tasks: 1, .. }));
    assert!(leader.events.iter().any(told));
    let late = leader.take();
    leader.echo(&late);
    assert!(leader.events.contains(&JobEvent::Resumed));
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "the late result is still welcome");
}

#[test]
fn while_disconnected_back_offs_stand_still() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    leader.reply(&task, &[(1, failed(ErrorKind::Transient))], &[]);
    leader.connected(false);
    leader.wait(60 * SECOND);
    assert!(leader.published.is_empty());
    leader.connected(true);
    leader.wait(SECOND);
    assert_eq!(leader.published.len(), 1);
}

#[test]
fn a_refused_publish_ends_the_job_and_a_nack_waits() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let not = |task: &TaskMessage, error| Input::NotPublished { copy: task.header.copy, error };
    leader.input(not(&task, PublishError::Nacked { reason: "full".to_owned() }));
    assert!(leader.published.is_empty());
    leader.wait(SECOND);
    let again = leader.take();
    assert_eq!(again.header.copy.attempt, 2);
    leader.input(not(&again, PublishError::Refused { reason: "no write access".to_owned() }));
    assert!(leader.failure().contains("test::Map"), "{}", leader.failure());
}

#[test]
fn an_input_that_fails_midway_delivers_what_came_before() {
    let mut leader = TestLeader::new();
    leader.sources.push((job(1), 0..0));
    let plan = Arc::new(plan(vec![step(Verb::Map)], stream()));
    // The failure comes by hand, in place of the end that the source of no elements gave.
    let mut engine = Engine::new(leader.engine.shared.settings.clone());
    engine.step(Input::Start { job: job(1), plan, hint: None, dead_lettering: DeadLettering::On });
    leader.engine = engine;
    let block = Block { bytes: Bytes::from_static(&[5]), ends: vec![1] };
    let error: Box<dyn std::error::Error + Send + Sync> = "disk on fire".into();
    let progress = Pull::Failed(Arc::from(error));
    leader.input(Input::Pulled { job: job(1), block, progress });
    assert!(leader.ended.is_empty());
    let task = leader.take();
    leader.echo(&task);
    assert_eq!(leader.outputs, [(0, vec![5])]);
    assert!(leader.failure().contains("element 1"), "{}", leader.failure());
}

#[test]
fn a_fold_of_nothing_is_its_empty_value_and_a_reduce_of_nothing_is_none() {
    for (empty, outputs) in [(Some(Bytes::from_static(b"e")), 1), (None, 0)] {
        let mut leader = TestLeader::new();
        let end = End::Fold { empty, deterministic: false };
        leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 0);
        assert_eq!(leader.outputs.len(), outputs);
        assert!(matches!(leader.ended[..], [(_, Ok(()))]));
    }
}

#[test]
fn a_combination_that_fails_is_tried_again_and_then_named() {
    let mut leader = TestLeader::new();
    leader.presence(1, 2);
    let end = End::Fold { empty: None, deterministic: false };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 2);
    for task in std::mem::take(&mut leader.published) {
        leader.echo(&task);
    }
    for _ in 0..3 {
        let task = leader.take();
        assert_eq!((&task.header.kind, &task.payload[..]), (&TaskKind::Combine, &[0, 1][..]));
        leader.reply(&task, &[(1, failed(ErrorKind::Transient)), (1, done(1))], &[1]);
        leader.wait(SECOND);
    }
    assert!(leader.failure().contains("test::Fold"), "{}", leader.failure());
}

#[test]
fn elements_change_pools_through_the_leader_with_their_source_index() {
    let mut leader = TestLeader::new();
    let mut two = plan(vec![step(Verb::FlatMap)], stream());
    two.stages.push(Stage { pool: Pool::new("gpu").unwrap(), ..two.stages[0].clone() });
    leader.start(1, two, 2, 2);
    let task = leader.take();
    assert!(task.header.measured, "the lengths of outputs that go on are needed");
    let outcome = Outcome::Done {
        bytes: 5,
        outputs: 3,
        counts: Some(vec![2, 1]),
        lengths: Some(vec![2, 2, 1]),
    };
    leader.reply(&task, &[(2, outcome)], b"aabbc");
    let (first, second) = (leader.take(), leader.take());
    assert_eq!((&first.payload[..], &second.payload[..]), (&b"aabb"[..], &b"c"[..]));
    let outcome = |outputs, bytes| Outcome::Done {
        bytes,
        outputs,
        counts: Some(vec![1; outputs as usize]),
        lengths: None,
    };
    leader.reply(&second, &[(1, outcome(1, 1))], b"z");
    leader.reply(&first, &[(2, outcome(2, 2))], b"xy");
    assert_eq!(leader.outputs, [(1, vec![b'z']), (0, vec![b'x', b'y'])]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_leaf_of_a_fixed_fold_runs_again_whole() {
    let mut leader = TestLeader::new();
    let end = End::Fold { empty: None, deterministic: true };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 5);
    let leaf = leader.take();
    assert_eq!(leaf.payload.len(), 5, "a leaf is as long as it can be");
    let not_run = Outcome::NotRun { reason: crate::wire::NotRunReason::Draining };
    leader.reply(&leaf, &[(2, done(1)), (3, not_run)], &[1]);
    let again = leader.take();
    assert_eq!(again.payload, leaf.payload);
    leader.reply(&again, &[(5, done(1))], &[9]);
    assert_eq!(leader.outputs, [(0, vec![9])]);
}

#[test]
fn a_leaf_that_kills_even_who_contains_it_is_not_halved_but_named() {
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
fn a_fold_whose_partial_results_are_large_goes_on() {
    let mut leader = TestLeader::new();
    leader.presence(1, 1);
    let end = End::Fold { empty: None, deterministic: false };
    leader.start(1, plan(vec![step(Verb::Fold)], end), 1, 60);
    let mut tasks = 0;
    while let Some(task) = leader.published.pop() {
        tasks += 1;
        let large = vec![0; 5 << 20];
        let count = task.header.count().unwrap();
        let outcome =
            Outcome::Done { bytes: large.len() as u64, outputs: 1, counts: None, lengths: None };
        leader.reply(&task, &[(count, outcome)], &large);
    }
    assert!(tasks >= 60, "{tasks}");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]));
}

#[test]
fn a_program_without_steps_waits_for_its_reader() {
    let mut leader = TestLeader::new();
    let mut engine = Engine::new(leader.engine.shared.settings.clone());
    std::mem::swap(&mut leader.engine, &mut engine);
    let plan = Arc::new(plan(Vec::new(), stream()));
    leader.engine.step(Input::Start {
        job: job(1),
        plan,
        hint: None,
        dead_lettering: DeadLettering::On,
    });
    let huge = Bytes::from(vec![0; 33 << 20]);
    let block = Block { ends: vec![huge.len() as u32], bytes: huge };
    let pulls = |actions: &[Action]| actions.iter().any(|a| matches!(a, Action::Pull { .. }));
    let actions = leader.engine.step(Input::Pulled { job: job(1), block, progress: Pull::Done });
    assert!(!pulls(&actions), "nothing is pulled while nobody reads");
    let actions = leader.engine.step(Input::Taken { job: job(1), bytes: 33 << 20 });
    assert!(pulls(&actions));
}

#[test]
fn an_answer_that_does_not_decode_sends_its_task_again() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let reason = "cut off".to_owned();
    leader.input(Input::UndecodableReply { copy: task.header.copy, reason });
    let again = leader.take();
    assert_eq!((again.header.copy.task, again.header.copy.attempt), (task.header.copy.task, 2));
}

#[test]
fn a_failure_that_asks_for_an_absurd_delay_waits_a_day_at_most() {
    let mut leader = TestLeader::new();
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 1);
    let task = leader.take();
    let error = OperationError::fatal("busy").with_retry_delay(Duration::MAX);
    leader.reply(&task, &[(1, Outcome::Failed { step: 0, error })], &[]);
    leader.wait(40 * SECOND);
    let told = |e: &JobEvent| matches!(e, JobEvent::Stalled(Stall::BackingOff { tasks: 1, .. }));
    assert!(leader.events.iter().any(told));
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

#[test]
fn numbers_of_tasks_are_never_used_twice() {
    let mut leader = TestLeader::new();
    leader.presence(1, 4);
    leader.start(1, plan(vec![step(Verb::Map)], stream()), 1, 4);
    let mut numbers: Vec<TaskNumber> = Vec::new();
    while let Some(task) = leader.published.pop() {
        assert!(!numbers.contains(&task.header.copy.task));
        numbers.push(task.header.copy.task);
        leader.echo(&task);
    }
    assert_eq!(numbers.len(), 4);
}

#[test]
fn a_worker_that_says_hello_is_greeted_while_messages_can_flow() {
    let mut leader = TestLeader::new();
    leader.hello(1);
    leader.connected(false);
    leader.hello(2);
    assert_eq!(leader.greeted, [worker(1)]);
}
