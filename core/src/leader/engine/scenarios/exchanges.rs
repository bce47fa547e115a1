//! Exchanges: what the leader does with blocks, and with elements that fail behind an exchange.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::test_leader::*;
use crate::{
    leader::engine::{event::JobEvent, protocol::Input},
    operation::{ErrorKind, Group, OperationError},
    plan::{Exchange, ExchangeKind, OnFailure, Origin, Outlet, Plan, PlanBuilder},
    registry::Verb,
    wire::{
        BlockHeader, BlockWriter, ListEnd, Outcome, ResultMessage, RowTotal, TaskMessage,
        list_position,
    },
};

/// A source, an exchange of this many partitions that groups by key, and a step that skips
/// failures.
pub(super) fn grouping(partitions: u32) -> Plan {
    let mut skipping = step(Verb::Map);
    skipping.on_failure = OnFailure::Skip;
    let [feeding, reading] =
        [step(Verb::Map), skipping].map(|step| plan(vec![step], stream()).stages);
    let mut builder = PlanBuilder::default();
    let exchange = builder.exchange(Exchange {
        kind: ExchangeKind::GroupByKey,
        partitions: NonZeroU32::new(partitions),
        feeders: Vec::new(),
        first_side: 1,
        reader: 0,
    });
    builder.chain(&Origin::Source, feeding, Outlet::Exchange { exchange, feeder: 0 });
    builder.chain(&Origin::Exchange(exchange), reading, Outlet::End(0));
    builder.finish(stream())
}

/// Replies that the elements of a task were written: for each block its partition and its rows.
fn write(leader: &mut TestLeader, task: &TaskMessage, blocks: &[(u32, &[(&str, &str)])]) {
    write_lists(leader, task, &[], task.header.count().unwrap(), blocks);
}

/// The same, of `count` elements of a task that reads partitions, whose lists have these ends.
pub(super) fn write_lists(
    leader: &mut TestLeader,
    task: &TaskMessage,
    lists: &[ListEnd],
    count: u32,
    blocks: &[(u32, &[(&str, &str)])],
) {
    let written = Outcome::Done { bytes: 0, outputs: 0, counts: None, lengths: None };
    let mut header = TestLeader::result_header(task, &[(count, written)]);
    header.lists = lists.to_vec();
    let mut payload = Vec::new();
    for (partition, rows) in blocks {
        let (mut block, before) = (BlockWriter::default(), payload.len());
        rows.iter().for_each(|(key, value)| block.push(key.as_bytes(), value.as_bytes()));
        let rows = block.rows();
        block.finish(&mut payload);
        let bytes = (payload.len() - before) as u32;
        header.blocks.push(BlockHeader { partition: *partition, first: 0, rows, bytes });
    }
    header.uncombined = RowTotal { rows: 100, bytes: 1_000 };
    leader.input(Input::Result(ResultMessage { header, payload: payload.into() }));
}

/// Replies with the outcomes of the elements of a task that reads partitions, and the ends of their
/// lists.
pub(super) fn read(
    leader: &mut TestLeader,
    task: &TaskMessage,
    lists: &[ListEnd],
    outcomes: &[(u32, Outcome)],
) {
    let mut header = TestLeader::result_header(task, outcomes);
    header.lists = lists.to_vec();
    let outputs = outcomes.iter().map(|(count, outcome)| match outcome {
        Outcome::Done { .. } => *count as usize,
        _ => 0,
    });
    let payload = Bytes::from(vec![0; outputs.sum()]);
    leader.input(Input::Result(ResultMessage { header, payload }));
}

#[test]
fn an_exchange_without_rows_seals_the_one_behind_it_whatever_their_numbers_are() {
    for last_is_first in [false, true] {
        let mut builder = PlanBuilder::default();
        let mut exchange = || {
            builder.exchange(Exchange {
                kind: ExchangeKind::GroupByKey,
                partitions: NonZeroU32::new(2),
                feeders: Vec::new(),
                first_side: 1,
                reader: 0,
            })
        };
        let (mut first, mut last) = (exchange(), exchange());
        if last_is_first {
            std::mem::swap(&mut first, &mut last);
        }
        let stages = || plan(vec![step(Verb::Map)], stream()).stages;
        let outlet = |exchange| Outlet::Exchange { exchange, feeder: 0 };
        builder.chain(&Origin::Source, stages(), outlet(first));
        builder.chain(&Origin::Exchange(first), stages(), outlet(last));
        builder.chain(&Origin::Exchange(last), stages(), Outlet::End(0));
        let mut leader = TestLeader::new();
        leader.start(1, builder.finish(stream()), 1, 1);
        let task = leader.take();
        write(&mut leader, &task, &[]);
        assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    }
}

const FRUIT: &[(&str, &str)] = &[("apple", "1"), ("pear", "2"), ("fig", "3"), ("pear", "4")];

/// A leader with a task that reads a partition with three keys.
fn with_fruit() -> (TestLeader, TaskMessage) {
    let mut leader = TestLeader::new();
    leader.start(1, grouping(1), 4, 4);
    let feeding = leader.take();
    write(&mut leader, &feeding, &[(0, FRUIT)]);
    let reading = leader.take();
    (leader, reading)
}

fn skipped(leader: &TestLeader) -> Vec<(Group, ErrorKind)> {
    let skipped = leader.events.iter().filter_map(|event| match event {
        JobEvent::ElementSkipped { group, error, .. } => Some((group.clone()?, error.kind())),
        _ => None,
    });
    skipped.collect()
}

#[test]
fn a_group_that_fails_is_named_by_its_key_and_kept_in_its_dead_letter() {
    let (mut leader, task) = with_fruit();
    let list = ListEnd { partition: 0, elements: 3 };
    read(&mut leader, &task, &[list], &[(1, done(1)), (1, failed(ErrorKind::Fatal)), (1, done(1))]);
    let [(group, _)] = &skipped(&leader)[..] else { panic!("{:?}", leader.events) };
    assert_eq!(group.to_string(), "key b\"pear\", element 1 of partition 0");
    let [dead] = &leader.dead[..] else { panic!("{:?}", leader.dead) };
    assert_eq!((&dead.payload[..], &dead.lengths[..]), (&b"pear\x0224"[..], &[7][..]));
    assert_eq!((dead.error.group.as_ref(), dead.left_out), (Some(group), None));
}

#[test]
fn a_group_that_kills_its_process_is_told_from_its_neighbours_before_any_worker_has_listed_them() {
    let (mut leader, mut task) = with_fruit();
    // It is the second group: alone, it may crash twice.
    leader.crashed(&task, Some(1));
    let mut tasks = std::mem::take(&mut leader.published);
    assert_eq!(tasks.len(), 3, "before, alone, behind");
    let at = |task: &TaskMessage| (task.header.ranges[0].from, task.header.ranges[0].to);
    tasks.sort_by_key(at);
    let places = |from, to| (list_position(0, from), list_position(0, to));
    assert_eq!(
        tasks.iter().map(at).collect::<Vec<_>>(),
        [places(0, 1), places(1, 2), places(2, 3)]
    );
    task = tasks.remove(1);
    for other in tasks {
        let list = ListEnd { partition: 0, elements: 3 };
        read(&mut leader, &other, &[list], &[(1, done(1))]);
    }
    leader.crashed(&task, Some(0));
    leader.wait(2 * SECOND);
    let again = leader.take();
    leader.crashed(&again, None);
    let [(group, ErrorKind::Crash)] = &skipped(&leader)[..] else { panic!("{:?}", leader.events) };
    assert!(group.to_string().starts_with("key b\"pear\""), "{group}");
    assert_eq!(leader.dead.len(), 1);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

#[test]
fn only_rows_of_results_that_count_are_counted() {
    let mut leader = TestLeader::new();
    leader.start(1, grouping(1), 2, 4);
    let (one, other) = (leader.take(), leader.take());
    // The broker has duplicated the task.
    write(&mut leader, &one, &[(0, FRUIT)]);
    write(&mut leader, &one, &[(0, FRUIT)]);
    // A partition that does not exist: the result counts for nothing, and the task is reissued.
    write(&mut leader, &other, &[(1, FRUIT)]);
    let again = leader.take();
    write(&mut leader, &again, &[(0, &FRUIT[..1])]);
    let sealed = leader.events.iter().find_map(|event| match event {
        JobEvent::ExchangeSealed { exchange, .. } => Some(*exchange),
        _ => None,
    });
    let sealed = sealed.expect("all is written");
    assert_eq!((sealed.directive, sealed.partitions), ("group_by_key", 1));
    assert_eq!(sealed.largest, sealed.bytes);
    assert_eq!((sealed.rows, sealed.rows_uncombined, sealed.bytes_uncombined), (5, 200, 2_000));
}

#[test]
fn an_element_behind_the_end_of_its_list_is_named_by_its_place() {
    let (mut leader, task) = with_fruit();
    // A worker claims a longer list than there is.
    let list = ListEnd { partition: 0, elements: 10 };
    read(&mut leader, &task, &[list], &[(9, done(9)), (1, failed(ErrorKind::Fatal))]);
    let [(group, _)] = &skipped(&leader)[..] else { panic!("{:?}", leader.events) };
    assert_eq!(group.to_string(), "element 9 of partition 0");
    assert!(leader.dead[0].left_out.is_some(), "{:?}", leader.dead);
}

#[test]
fn an_element_of_blocks_that_cannot_be_read_is_named_by_its_place() {
    let mut leader = TestLeader::new();
    leader.start(1, grouping(1), 4, 4);
    let feeding = leader.take();
    let written = Outcome::Done { bytes: 0, outputs: 0, counts: None, lengths: None };
    let mut header = TestLeader::result_header(&feeding, &[(4, written)]);
    header.blocks = vec![BlockHeader { partition: 0, first: 0, rows: 1, bytes: 3 }];
    leader.input(Input::Result(ResultMessage { header, payload: Bytes::from_static(b"\xff12") }));
    let task = leader.take();
    let list = ListEnd { partition: 0, elements: 1 };
    read(&mut leader, &task, &[list], &[(1, failed(ErrorKind::Fatal))]);
    let [(group, _)] = &skipped(&leader)[..] else { panic!("{:?}", leader.events) };
    assert_eq!(group.to_string(), "element 0 of partition 0");
    let [dead] = &leader.dead[..] else { panic!("{:?}", leader.dead) };
    assert!(dead.left_out.is_some() && dead.payload.is_empty(), "{dead:?}");
}

/// A leader with a task that reads a partition with this many keys.
fn with_groups(count: u32) -> (TestLeader, TaskMessage) {
    let mut leader = TestLeader::new();
    let mut plan = grouping(1);
    plan.stages[1].steps[0].retries = 2;
    leader.start(1, plan, 1, 1);
    let feeding = leader.take();
    let keys: Vec<String> = (0..count).map(|key| key.to_string()).collect();
    let rows: Vec<(&str, &str)> = keys.iter().map(|key| (&key[..], "x")).collect();
    write(&mut leader, &feeding, &[(0, &rows)]);
    let reading = leader.take();
    (leader, reading)
}

/// The elements of a task that reads partition 0: the first, one past the last, and their tries.
fn asked(task: &TaskMessage) -> Vec<(u64, u64, u32)> {
    let place = |position| position - list_position(0, 0);
    let ranges = task.header.ranges.iter();
    ranges.map(|range| (place(range.from), place(range.to), range.tries)).collect()
}

fn busy() -> (u32, Outcome) {
    (1, failed(ErrorKind::Transient))
}

#[test]
fn scattered_groups_of_a_partition_that_fail_together_are_retried_in_one_task() {
    let (mut leader, task) = with_groups(9);
    let list = ListEnd { partition: 0, elements: 9 };
    let error = OperationError::new(ErrorKind::Transient, "busy").with_retry_delay(7 * SECOND);
    let later = (1, Outcome::Failed { step: 0, error, element: None });
    let one = || (1, done(1));
    let all = [busy(), one(), busy(), busy(), later, one(), busy(), one(), busy()];
    read(&mut leader, &task, &[list], &all);
    leader.wait(SECOND);
    let again = leader.take();
    assert_eq!(asked(&again), [(0, 1, 2), (2, 4, 2), (6, 7, 2), (8, 9, 2)]);
    assert!(leader.published.is_empty(), "the other one has a longer back-off");
    // Some of them fail once more; only these are charged.
    read(&mut leader, &again, &[list], &[busy(), one(), one(), busy(), one()]);
    leader.wait(SECOND);
    let third = leader.take();
    assert_eq!(asked(&third), [(0, 1, 3), (6, 7, 3)]);
    read(&mut leader, &third, &[list], &[one(), busy()]);
    let [(group, _)] = &skipped(&leader)[..] else { panic!("{:?}", leader.events) };
    assert_eq!(group.to_string(), "key b\"6\", element 6 of partition 0");
    leader.wait(7 * SECOND);
    let last = leader.take();
    assert_eq!(asked(&last), [(4, 5, 2)]);
    read(&mut leader, &last, &[list], &[one()]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

#[test]
fn a_scattered_group_that_kills_its_process_is_told_from_the_others() {
    let (mut leader, task) = with_groups(5);
    let list = ListEnd { partition: 0, elements: 5 };
    let one = || (1, done(1));
    read(&mut leader, &task, &[list], &[busy(), one(), busy(), one(), busy()]);
    leader.wait(SECOND);
    let again = leader.take();
    leader.crashed(&again, Some(1));
    let mut parts: Vec<_> = leader.published.iter().flat_map(asked).collect();
    parts.sort_unstable();
    assert_eq!((leader.published.len(), parts), (3, vec![(0, 1, 2), (2, 3, 2), (4, 5, 2)]));
    assert!(leader.published.iter().all(|task| task.header.isolated));
}

#[test]
fn a_result_with_a_segment_across_a_gap_does_not_count() {
    let (mut leader, task) = with_groups(3);
    let list = ListEnd { partition: 0, elements: 3 };
    read(&mut leader, &task, &[list], &[busy(), (1, done(1)), busy()]);
    leader.wait(SECOND);
    let again = leader.take();
    read(&mut leader, &again, &[list], &[(2, done(2))]);
    let again = leader.take();
    assert_eq!(asked(&again), [(0, 1, 2), (2, 3, 2)]);
    read(&mut leader, &again, &[list], &[(1, done(1)), (1, done(1))]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

#[test]
fn thousands_of_scattered_groups_are_retried_in_tasks_of_a_bounded_number_of_ranges() {
    let (mut leader, task) = with_groups(10_000);
    let list = ListEnd { partition: 0, elements: 10_000 };
    let outcomes: Vec<_> = (0..5_000).flat_map(|_| [busy(), (1, done(1))]).collect();
    read(&mut leader, &task, &[list], &outcomes);
    leader.wait(SECOND);
    let ranges: Vec<usize> = leader.published.iter().map(|it| it.header.ranges.len()).collect();
    assert_eq!(ranges, [4_096, 904]);
    for task in std::mem::take(&mut leader.published) {
        let outcomes = vec![(1, done(1)); task.header.ranges.len()];
        read(&mut leader, &task, &[list], &outcomes);
    }
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

#[test]
fn the_list_that_names_failures_is_kept_until_its_partition_is_settled() {
    let (mut leader, task) = with_groups(3);
    let list = ListEnd { partition: 0, elements: 3 };
    let kept = |leader: &mut TestLeader| {
        let job = leader.engine.jobs.get_mut(job(1)).expect("the job runs");
        job.exchanges[0].last_list(0).flatten()
    };
    // Nobody reads events, so that nobody would read the name.
    let watch = |leader: &mut TestLeader, is_watched| {
        let tick = Input::Tick { elapsed: SECOND, unread: false };
        leader.engine.watch(&tick, |_| is_watched);
    };
    watch(&mut leader, false);
    read(&mut leader, &task, &[list], &[busy(), (1, done(1)), busy()]);
    assert!(kept(&mut leader).is_none());
    leader.wait(SECOND);
    let again = leader.take();
    watch(&mut leader, true);
    read(&mut leader, &again, &[list], &[busy(), busy()]);
    let list_of = kept(&mut leader).expect("a failure was named");
    leader.wait(SECOND);
    let third = leader.take();
    read(&mut leader, &third, &[list], &[(1, done(1)), busy()]);
    assert_eq!(skipped(&leader).len(), 1);
    assert_eq!(std::sync::Arc::strong_count(&list_of), 1, "all is settled");
}
