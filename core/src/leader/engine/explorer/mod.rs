//! A model checker for the engine: explores every order of events in small worlds, with faults at
//! every point.
//!
//! A world is the engine, a broker that keeps little order, and two workers. The explorer tries
//! every possible next event, depth first, and visits equal worlds once. Every world must be able
//! to reach an end at which each element counts exactly once, and no copy may be reissued without a
//! cause.

mod canonical;
mod effects;
mod faults;
mod moves;
mod needed;
mod output_queues;
mod outputs;
mod parts;
mod queue_moves;
mod queues;
mod rules;
mod spread;
mod worker;
mod worker_moves;
mod world;

use std::collections::HashMap;

use bytes::Bytes;
use faults::{Fault, Faults};
use parts::WORKERS;
use rules::Rule;
use world::{World, exchange_plan, plan};

use crate::{
    operation::ErrorKind,
    plan::{End, OnFailure, Plan},
    registry::Verb,
};

/// Explores all worlds that can follow from the first, and returns their number.
fn explore(first: World, check: &dyn Fn(&World)) -> usize {
    let mut numbers = HashMap::from([(first.canonical(), 0)]);
    // The worlds from which each world follows.
    let mut origins: Vec<Vec<usize>> = vec![Vec::new()];
    let mut good_ends = Vec::new();
    let mut ahead = vec![(0, first)];
    while let Some((number, world)) = ahead.pop() {
        assert!(world.steps < 400, "this world does not end: {world:#?}");
        if world.ended.is_some() {
            check(&world);
            assert!(world.engine.live_jobs().next().is_none());
            world.engine.check_credit();
            good_ends.push(number);
            // After a success, messages in flight no longer matter. After a cancel they do: no task
            // of the job may run.
            if world.ended == Some(Ok(())) || world.is_quiescent() {
                continue;
            }
        }
        for next in world.next() {
            let fresh = origins.len();
            let number_of_next = *numbers.entry(next.canonical()).or_insert(fresh);
            if number_of_next == fresh {
                origins.push(Vec::new());
                ahead.push((fresh, next));
            }
            origins[number_of_next].push(number);
        }
    }
    let mut ends = vec![false; origins.len()];
    while let Some(number) = good_ends.pop() {
        if !std::mem::replace(&mut ends[number], true) {
            good_ends.append(&mut origins[number]);
        }
    }
    assert!(ends.iter().all(|ends| *ends), "a world cannot reach an end");
    ends.len()
}

fn stream(ordered: bool) -> End {
    End::Stream { ordered, take: None }
}

/// A stream of `map`, in batches.
fn map(batch: u32) -> Plan {
    plan(stream(false), &[Verb::Map], batch, OnFailure::FailJob)
}

fn fold() -> Plan {
    let end = End::Fold { empty: Some(Bytes::new()), deterministic: false };
    plan(end, &[Verb::Fold], 2, OnFailure::FailJob)
}

fn counted_once(elements: u8) -> impl Fn(&World) {
    move |world| {
        assert_eq!(world.ended, Some(Ok(())));
        let expected: Vec<_> = (0..elements).map(|n| (u64::from(n), (n + 1) * 10)).collect();
        let mut outputs = world.outputs.clone();
        outputs.sort_unstable();
        assert_eq!(outputs, expected, "each element counts exactly once");
    }
}

#[test]
fn every_pair_of_faults_leaves_each_element_counted_once() {
    for faults in Faults::combinations(2) {
        explore(World::new(map(2), 3, faults), &counted_once(3));
    }
}

#[test]
fn every_triple_of_faults_leaves_each_element_of_a_batch_counted_once() {
    for faults in Faults::combinations(3) {
        explore(World::new(map(2), 2, faults), &counted_once(2));
    }
}

#[test]
fn every_pair_of_faults_keeps_the_outputs_of_an_ordered_stream_in_order() {
    for faults in Faults::combinations(2) {
        let plan = plan(stream(true), &[Verb::Map], 1, OnFailure::FailJob);
        explore(World::new(plan, 2, faults), &|world| {
            counted_once(2)(world);
            assert!(world.outputs.is_sorted(), "{:?}", world.outputs);
        });
    }
}

#[test]
fn every_pair_of_faults_leaves_a_fold_exact_and_in_order() {
    for faults in Faults::combinations(2) {
        explore(World::new(fold(), 3, faults), &|world| {
            assert_eq!(world.ended, Some(Ok(())));
            assert_eq!(world.value.as_deref(), Some(&[1, 2, 3][..]));
        });
    }
}

/// The outputs of an exchange are numbered, and in any order.
fn exchanged_once(elements: u8) -> impl Fn(&World) {
    move |world| {
        assert_eq!(world.ended, Some(Ok(())));
        let mut outputs: Vec<u8> = world.outputs.iter().map(|(_, output)| *output).collect();
        outputs.sort_unstable();
        let expected: Vec<u8> = (1..=elements).map(|n| n * 10).collect();
        assert_eq!(outputs, expected, "each row counts exactly once");
    }
}

fn exchange(rule: Option<Rule>, faults: Faults) -> World {
    World::without(rule, exchange_plan(stream(false)), 2, faults)
}

/// The faults that could make an exchange count a row twice, or never.
const EXCHANGING: [Fault; 6] = [
    Fault::Crash,
    Fault::FalseTimeout,
    Fault::LostReply,
    Fault::LostCopy,
    Fault::Requeue,
    Fault::Cut,
];

#[test]
fn every_pair_of_faults_leaves_each_row_of_an_exchange_counted_once() {
    for (at, one) in EXCHANGING.into_iter().enumerate() {
        for other in &EXCHANGING[at..] {
            let faults = Faults::of(&[one, *other]);
            explore(exchange(None, faults), &exchanged_once(2));
        }
    }
}

#[test]
fn every_fault_keeps_the_outputs_of_an_ordered_exchange_in_partition_order() {
    for faults in Faults::combinations(1) {
        let world = World::new(exchange_plan(stream(true)), 2, faults);
        explore(world, &|world| {
            exchanged_once(2)(world);
            assert!(world.outputs.is_sorted_by_key(|(number, _)| *number), "{:?}", world.outputs);
        });
    }
}

#[test]
fn no_task_of_a_cancelled_exchange_runs_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        let mut world = exchange(None, faults);
        world.cancellable = true;
        explore(world, &|world| {
            if world.ended == Some(Ok(())) {
                exchanged_once(2)(world);
            }
        });
    }
}

/// Checks that all elements but the one at `index` count once, and that this one failed with
/// `kind`.
fn but_one(elements: u8, index: u64, kind: ErrorKind) -> impl Fn(&World) {
    move |world| {
        assert_eq!(world.ended, Some(Ok(())));
        let all = (0..elements).map(|n| (u64::from(n), (n + 1) * 10));
        let expected: Vec<_> = all.filter(|(at, _)| *at != index).collect();
        let mut outputs = world.outputs.clone();
        outputs.sort_unstable();
        assert_eq!(outputs, expected, "no neighbour of the failed element is lost");
        assert_eq!(world.skipped, [(index, kind)]);
    }
}

fn poisoned(rule: Option<Rule>, faults: Faults) -> World {
    let plan = plan(stream(false), &[Verb::Map], 2, OnFailure::Skip);
    let mut world = World::without(rule, plan, 2, faults);
    world.poison = Some(2);
    world
}

#[test]
fn a_poison_element_kills_one_worker_and_fails_alone_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        explore(poisoned(None, faults), &but_one(2, 1, ErrorKind::Crash));
    }
}

#[test]
fn a_missed_lease_charges_no_neighbour_of_a_poison_element_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        let faults = faults.and(Fault::Lease).and(Fault::WorkerCutOff);
        explore(poisoned(None, faults), &but_one(2, 1, ErrorKind::Crash));
    }
}

/// A poison element, and workers that cannot start children.
fn without_children(rule: Option<Rule>, faults: Faults) -> World {
    World { isolates: [false; WORKERS], ..poisoned(rule, faults) }
}

#[test]
fn a_poison_element_fails_alone_where_no_worker_has_children_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        explore(without_children(None, faults), &but_one(2, 1, ErrorKind::Crash));
    }
}

/// A poison element, and a neighbour that shares a child with it.
fn sharing_a_child(rule: Option<Rule>, faults: Faults) -> World {
    let plan = plan(stream(false), &[Verb::Map], 1, OnFailure::Skip);
    let mut world = World::without(rule, plan, 2, faults);
    world.poison = Some(2);
    world.is_one_process = true;
    world
}

#[test]
fn a_poison_element_fails_alone_where_tasks_share_a_child_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        explore(sharing_a_child(None, faults), &but_one(2, 1, ErrorKind::Crash));
    }
}

fn always_failing(rule: Option<Rule>, faults: Faults) -> World {
    let plan = plan(stream(false), &[Verb::Map], 2, OnFailure::Skip);
    let mut world = World::without(rule, plan, 2, faults);
    world.always_fails = Some(1);
    world
}

#[test]
fn an_element_that_fails_on_each_try_fails_permanently_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        explore(always_failing(None, faults), &but_one(2, 0, ErrorKind::Transient));
    }
}

fn cancellable(rule: Option<Rule>, faults: Faults) -> World {
    let mut world = World::without(rule, map(1), 2, faults);
    world.cancellable = true;
    world
}

fn ended(world: &World) {
    if world.ended == Some(Ok(())) {
        counted_once(2)(world);
    }
}

#[test]
fn no_task_of_a_cancelled_job_runs_whatever_else_goes_wrong() {
    for faults in Faults::combinations(1) {
        explore(cancellable(None, faults.and(Fault::Lease)), &ended);
    }
}
