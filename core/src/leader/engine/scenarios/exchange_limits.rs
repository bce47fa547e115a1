//! The limit for the blocks of exchanges: which tasks wait, and which job ends.

use std::num::NonZeroU32;

use super::{
    exchanges::{grouping, read, write_lists},
    test_leader::*,
};
use crate::{
    error::Error,
    id::JobId,
    leader::engine::event::{JobEvent, Stall},
    plan::{Exchange, ExchangeKind, Origin, Outlet, Plan, PlanBuilder},
    registry::Verb,
    wire::{
        BlockRoute, ListEnd, Outcome, ReturnReason, Scatter, TaskInlet, TaskMessage, TaskOutlet,
    },
};

const KIB: usize = 1 << 10;

/// Replies that a task has written one block of about this many bytes to this partition. If it
/// reads partitions itself, each has one key.
fn write_to(leader: &mut TestLeader, task: &TaskMessage, partition: u32, bytes: usize) {
    let lists = lists(task);
    let written = if lists.is_empty() { task.header.count().unwrap() } else { lists.len() as u32 };
    write_lists(leader, task, &lists, written, &[(partition, &[("key", &"x".repeat(bytes))])]);
}

fn write_bytes(leader: &mut TestLeader, task: &TaskMessage, bytes: usize) {
    write_to(leader, task, 0, bytes);
}

/// The ends of the lists that a task reads: each partition has one key.
fn lists(task: &TaskMessage) -> Vec<ListEnd> {
    let TaskInlet::Partitions(gather) = &task.header.inlet else { return Vec::new() };
    let partitions = gather.partitions.iter();
    partitions.map(|blocks| ListEnd { partition: blocks.partition, elements: 1 }).collect()
}

/// Replies to all tasks. Those that feed an exchange write 10 bytes.
fn finish(leader: &mut TestLeader) {
    while let Some(task) = leader.published.pop() {
        match task.header.outlet {
            TaskOutlet::Exchange(_) => write_bytes(leader, &task, 10),
            _ => read(leader, &task, &lists(&task), &[(lists(&task).len() as u32, done(1))]),
        }
    }
}

fn cap(task: &TaskMessage) -> usize {
    match &task.header.outlet {
        TaskOutlet::Exchange(Scatter { route: BlockRoute::Inline { cap }, .. }) => *cap as usize,
        other => panic!("{other:?}"),
    }
}

/// Reads all of a partition with one key.
fn read_one(leader: &mut TestLeader, task: &TaskMessage) {
    read(leader, task, &[ListEnd { partition: 0, elements: 1 }], &[(1, done(1))]);
}

/// The job that has failed with `ExchangeTooLarge`, with its bytes and those of all jobs.
fn too_large(leader: &TestLeader) -> Vec<(JobId, u64, u64)> {
    let ended = leader.ended.iter().filter_map(|(ended, result)| match result {
        Err(Error::ExchangeTooLarge { job, bytes, total, directive: "group_by_key", .. }) => {
            assert_eq!(ended, job);
            Some((*job, *bytes, *total))
        }
        _ => None,
    });
    ended.collect()
}

/// A source, an exchange of this many partitions, this many stages, and another exchange.
fn two_exchanges(partitions: u32, between: usize) -> Plan {
    let mut builder = PlanBuilder::default();
    let [first, second] = [partitions, 1].map(|partitions| {
        builder.exchange(Exchange {
            kind: ExchangeKind::GroupByKey,
            partitions: NonZeroU32::new(partitions),
            feeders: Vec::new(),
            first_side: 1,
            reader: 0,
        })
    });
    let [stage] = &plan(vec![step(Verb::Map)], stream()).stages[..] else { panic!("one stage") };
    let outlet = |exchange| Outlet::Exchange { exchange, feeder: 0 };
    builder.chain(&Origin::Source, vec![stage.clone()], outlet(first));
    builder.chain(&Origin::Exchange(first), vec![stage.clone(); between], outlet(second));
    builder.chain(&Origin::Exchange(second), vec![stage.clone()], Outlet::End(0));
    builder.finish(stream())
}

#[test]
fn tasks_that_feed_an_exchange_wait_until_the_caps_of_those_that_are_out_leave_room() {
    // Room for the caps of two tasks.
    let mut leader = TestLeader::with_blocks(600 * KIB);
    leader.start(1, grouping(1), 1, 5);
    let (one, other) = (leader.take(), leader.take());
    assert_eq!((cap(&one), cap(&other), leader.published.len()), (256 * KIB, 256 * KIB, 0));
    // The copy is lost: its cap is free for others, and then it waits like a new task.
    leader.returned(&other, 1, ReturnReason::Draining);
    let third = leader.take();
    assert_eq!(leader.published.len(), 0);
    // Tasks write less than was expected.
    write_bytes(&mut leader, &one, 10);
    assert_eq!(leader.published.iter().map(cap).collect::<Vec<_>>(), [KIB; 3], "all that are left");
    write_bytes(&mut leader, &third, 10);
    let mut seen = 0;
    while let Some(task) = leader.published.pop() {
        match task.header.outlet {
            TaskOutlet::Exchange(_) => write_bytes(&mut leader, &task, 10),
            _ => read_one(&mut leader, &task),
        }
        seen += 1;
    }
    assert_eq!(seen, 4, "three tasks that feed the exchange, and one that reads it");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    leader.engine.check_credit();
}

#[test]
fn of_two_jobs_that_hold_half_each_one_ends_with_the_sizes_and_the_other_goes_on() {
    let mut leader = TestLeader::with_blocks(520 * KIB);
    leader.start(1, grouping(1), 1, 4);
    let (one, other) = (leader.take(), leader.take());
    leader.start(2, grouping(1), 1, 2);
    write_bytes(&mut leader, &one, 240 * KIB);
    assert!(leader.published.is_empty(), "a reply may make room");
    write_bytes(&mut leader, &other, 200 * KIB);
    // 440 KiB are held, and both jobs need room for 256 KiB.
    let task = leader.take();
    assert!((79 * KIB..80 * KIB).contains(&cap(&task)) && leader.published.is_empty());
    let (writes, writer) = (cap(&task) - 512, task.header.job);
    write_bytes(&mut leader, &task, writes);
    let held = 440 * KIB + writes;
    let [(ended, bytes, total)] = too_large(&leader)[..] else { panic!("{:?}", leader.ended) };
    assert_eq!(ended, job(1), "it holds the most");
    assert!(total > 520 << 10 && total as usize >= held, "{total}");
    assert_eq!(bytes == total, writer == job(1), "{bytes} {total}");
    finish(&mut leader);
    assert!(matches!(leader.ended[1], (id, Ok(())) if id == job(2)), "{:?}", leader.ended);
    leader.engine.check_credit();
}

#[test]
fn a_job_waits_for_another_one_that_reads_its_exchange_and_reports_that_as_a_stall() {
    let mut leader = TestLeader::with_blocks(512 * KIB);
    leader.start(1, grouping(1), 1, 1);
    let feeding = leader.take();
    write_bytes(&mut leader, &feeding, 300 * KIB);
    let reading = leader.take();
    leader.start(2, grouping(1), 1, 1);
    assert!(leader.published.is_empty(), "there is no room for its cap");
    leader.wait(40 * SECOND);
    let stalls = leader.events.iter().filter_map(|event| match event {
        JobEvent::Stalled(Stall::BlocksFull { job, pool, limit, .. }) => {
            Some((*job, pool.to_string(), *limit))
        }
        _ => None,
    });
    assert_eq!(stalls.collect::<Vec<_>>(), [(job(1), "default".to_owned(), 512 << 10)]);
    read_one(&mut leader, &reading);
    let feeding = leader.published.pop().expect("there is room");
    write_bytes(&mut leader, &feeding, 10);
    let reading = leader.take();
    read_one(&mut leader, &reading);
    assert_eq!(leader.ended.len(), 2);
    leader.engine.check_credit();
}

#[test]
fn a_job_waits_for_tasks_of_another_one_that_are_out_between_two_exchanges() {
    let mut leader = TestLeader::with_blocks(512 * KIB);
    leader.start(1, two_exchanges(1, 2), 1, 1);
    let feeding = leader.take();
    write_bytes(&mut leader, &feeding, 400 * KIB);
    let reading = leader.take();
    assert!(matches!(reading.header.outlet, TaskOutlet::Stage(_)), "{reading:?}");
    leader.start(2, grouping(1), 1, 1);
    assert!(leader.published.is_empty() && leader.ended.is_empty(), "{:?}", leader.ended);
    let passed = Outcome::Done { bytes: 1, outputs: 1, counts: None, lengths: Some(vec![1]) };
    read(&mut leader, &reading, &lists(&reading), &[(1, passed)]);
    assert_eq!(leader.published.iter().map(cap).collect::<Vec<_>>(), [256 * KIB; 2]);
    finish(&mut leader);
    assert!(leader.ended.iter().all(|(_, result)| result.is_ok()), "{:?}", leader.ended);
    assert_eq!(leader.ended.len(), 2);
    leader.engine.check_credit();
}

#[test]
fn a_result_that_exceeds_the_limit_ends_its_job() {
    let mut leader = TestLeader::with_blocks(512 * KIB);
    leader.start(1, grouping(1), 1, 2);
    let (one, _) = (leader.take(), leader.take());
    write_bytes(&mut leader, &one, 600 * KIB);
    let text = leader.failure();
    assert!(text.contains("moves more than the leader can hold"), "{text}");
    assert!(!text.contains("other jobs"), "{text}");
    leader.engine.check_credit();
}

#[test]
fn the_last_result_of_an_exchange_that_exceeds_the_limit_ends_only_its_own_job() {
    let mut leader = TestLeader::with_blocks(1024 * KIB);
    for number in 1..=3 {
        leader.start(number, grouping(1), 1, 1);
    }
    let tasks = [leader.take(), leader.take(), leader.take()];
    write_bytes(&mut leader, &tasks[0], 1100 * KIB);
    let [(ended, bytes, total)] = too_large(&leader)[..] else { panic!("{:?}", leader.ended) };
    assert_eq!((ended, leader.ended.len()), (job(1), 1));
    assert!(bytes == total && bytes > 1100 << 10, "{bytes} {total}");
    for task in &tasks[1..] {
        write_bytes(&mut leader, task, 10);
        let reading = leader.take();
        read_one(&mut leader, &reading);
    }
    assert!(leader.ended[1..].iter().all(|(_, result)| result.is_ok()), "{:?}", leader.ended);
    leader.engine.check_credit();
}

#[test]
fn a_result_that_exceeds_the_limit_ends_its_job_and_not_a_larger_one_that_is_read() {
    let mut leader = TestLeader::with_blocks(512 * KIB);
    leader.start(1, grouping(1), 1, 1);
    let feeding = leader.take();
    write_bytes(&mut leader, &feeding, 250 * KIB);
    let reading = leader.take();
    leader.start(2, grouping(1), 1, 2);
    let feeding = leader.take();
    write_bytes(&mut leader, &feeding, 300 * KIB);
    let [(ended, bytes, total)] = too_large(&leader)[..] else { panic!("{:?}", leader.ended) };
    assert!(ended == job(2) && total > bytes + (250 << 10), "{bytes} {total}");
    read_one(&mut leader, &reading);
    assert!(matches!(leader.ended[1], (id, Ok(())) if id == job(1)), "{:?}", leader.ended);
    leader.engine.check_credit();
}

#[test]
fn a_program_goes_on_although_its_first_exchange_leaves_no_room_for_the_cap_of_a_task() {
    // With 1022 KiB held, and with 1023.8 KiB: then not even the least cap is left.
    for bytes in [255 * KIB + 512, 256 * KIB - 100] {
        let mut leader = TestLeader::with_blocks(1024 * KIB);
        leader.start(1, two_exchanges(4, 1), 1, 4);
        let feeding: Vec<_> = (0..4).map(|_| leader.take()).collect();
        for (partition, task) in (0..).zip(&feeding) {
            write_to(&mut leader, task, partition, bytes);
        }
        let reading = leader.published.clone();
        assert_eq!((reading.len(), leader.ended.len()), (1, 0), "one at a time");
        assert!(cap(&reading[0]) <= 2 * KIB, "{}", cap(&reading[0]));
        finish(&mut leader);
        assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
        leader.engine.check_credit();
    }
}
