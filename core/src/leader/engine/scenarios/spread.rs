//! Exchanges whose blocks are more than the leader holds: their queues, and what can happen to them.

use std::collections::BTreeSet;

use super::{
    exchanges::{grouping, read, write_lists},
    test_leader::*,
};
use crate::{
    broker::{BrokerError, Health, PublishError, QueueAction, ShuffleQueue},
    error::{Error, ShuffleFailure},
    id::JobId,
    leader::engine::{
        event::{JobEvent, Stall},
        protocol::Input,
    },
    operation::{ErrorKind, KeyPrefix},
    plan::Plan,
    wire::{
        BlockRoute, GatheredElement, ListEnd, NotRunReason, Outcome, QueuedGather, ResultMessage,
        Return, ReturnReason, RowTotal, Scatter, SpreadBlocks, TaskInlet, TaskMessage, TaskOutlet,
    },
};

const KIB: usize = 1 << 10;

/// Replies that the elements of a task were written into one block of this many bytes, which is in
/// the result.
fn write_inline(leader: &mut TestLeader, task: &TaskMessage, partition: u32, bytes: usize) {
    let written = task.header.count().unwrap();
    write_lists(leader, task, &[], written, &[(partition, &[("key", &"x".repeat(bytes))])]);
}

/// Replies that the elements of a task were written into queues.
pub(super) fn write_queues(
    leader: &mut TestLeader,
    task: &TaskMessage,
    spread: &[(u32, u32, u64)],
) {
    let written = Outcome::Done { bytes: 0, outputs: 0, counts: None, lengths: None };
    let mut header = TestLeader::result_header(task, &[(task.header.count().unwrap(), written)]);
    header.spread = spread
        .iter()
        .map(|&(partition, blocks, bytes)| SpreadBlocks { partition, blocks, rows: 1, bytes })
        .collect();
    header.uncombined = RowTotal { rows: 1, bytes: 1 };
    leader.input(Input::Result(ResultMessage { header, payload: bytes::Bytes::new() }));
}

fn route(task: &TaskMessage) -> &BlockRoute {
    match &task.header.outlet {
        TaskOutlet::Exchange(Scatter { route, .. }) => route,
        other => panic!("{other:?}"),
    }
}

fn cap(task: &TaskMessage) -> usize {
    let BlockRoute::Inline { cap } = route(task) else { panic!("{task:?}") };
    *cap as usize
}

fn is_spread(task: &TaskMessage) -> bool {
    matches!(route(task), BlockRoute::Spread { exchange: 0, feeder: 0 })
}

fn gather(task: &TaskMessage) -> &QueuedGather {
    let TaskInlet::Queues(gather) = &task.header.inlet else { panic!("{task:?}") };
    assert!(task.payload.is_empty());
    gather
}

fn queue(number: u128, partition: u32) -> ShuffleQueue {
    ShuffleQueue::Partition { job: job(number), exchange: 0, partition }
}

fn queues(partitions: impl IntoIterator<Item = u32>) -> Vec<ShuffleQueue> {
    partitions.into_iter().map(|partition| queue(1, partition)).collect()
}

pub(super) fn exists(_: &ShuffleQueue) -> Result<u64, BrokerError> {
    Ok(0)
}

pub(super) fn absent(queue: &ShuffleQueue) -> Result<u64, BrokerError> {
    Err(BrokerError::Absent { what: queue.to_string(), reason: "no queue".to_owned() })
}

/// The queues that were declared and not deleted since, by what the leader has asked for.
pub(super) fn left(managed: &[(QueueAction, Vec<ShuffleQueue>)]) -> BTreeSet<ShuffleQueue> {
    let mut left = BTreeSet::new();
    for (action, queues) in managed {
        match action {
            QueueAction::Declare => left.extend(queues),
            QueueAction::Delete => left.retain(|queue| !queues.contains(queue)),
            _ => {}
        }
    }
    left
}

/// What has failed, in the only job that has.
pub(super) fn failure(leader: &TestLeader) -> ShuffleFailure {
    let failed = leader.ended.iter().filter_map(|(id, result)| Some((id, result.as_ref().err()?)));
    match &failed.collect::<Vec<_>>()[..] {
        [(id, Error::Shuffle(error))] => {
            assert_eq!((error.job, error.directive), (**id, "group_by_key"));
            error.failure.clone()
        }
        other => panic!("{other:?}"),
    }
}

/// Room for 128 KiB of blocks of one exchange.
fn small_leader() -> TestLeader {
    TestLeader::with_blocks(512 * KIB)
}

/// A leader with a spread exchange of two partitions, and the tasks that feed it. One block of the
/// leader is in the first queue.
fn spread() -> (TestLeader, Vec<TaskMessage>) {
    let mut leader = small_leader();
    start_spread(&mut leader, 1, grouping(2));
    let tasks = std::mem::take(&mut leader.published);
    assert!(tasks.iter().all(is_spread) && tasks.len() == 2, "{tasks:?}");
    (leader, tasks)
}

pub(super) fn start_spread(leader: &mut TestLeader, number: u128, plan: Plan) {
    leader.start(number, plan, 1, 3);
    let (first, second) = (leader.take(), leader.take());
    write_inline(leader, &first, 0, 130 * KIB);
    // Its next copy waits for the queues.
    leader.returned(&second, 1, ReturnReason::Draining);
    leader.answer(exists);
    leader.blocks_arrive();
}

#[test]
fn blocks_that_fit_into_messages_make_no_queue() {
    let mut leader = small_leader();
    leader.start(1, grouping(1), 1, 4);
    while let Some(task) = leader.published.pop() {
        match task.header.outlet {
            TaskOutlet::Exchange(_) => write_inline(&mut leader, &task, 0, 20 * KIB),
            _ => {
                read(&mut leader, &task, &[ListEnd { partition: 0, elements: 1 }], &[(1, done(1))])
            }
        }
    }
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    assert!(leader.managed.is_empty(), "{:?}", leader.managed);
    leader.engine.check_credit();
}

#[test]
fn tasks_wait_while_those_that_are_out_may_write_less_than_their_caps() {
    let mut leader = small_leader();
    leader.start(1, grouping(1), 1, 5);
    let (one, other) = (leader.take(), leader.take());
    assert_eq!((cap(&one), cap(&other), leader.published.len()), (64 * KIB, 64 * KIB, 0));
    // The copy is lost: its cap is free for others, and then it waits like a new task.
    leader.returned(&other, 1, ReturnReason::Draining);
    let third = leader.take();
    assert_eq!(leader.published.len(), 0);
    write_inline(&mut leader, &one, 0, 10);
    assert_eq!(leader.published.iter().map(cap).collect::<Vec<_>>(), [KIB; 3], "all that are left");
    write_inline(&mut leader, &third, 0, 10);
    assert!(leader.managed.is_empty(), "{:?}", leader.managed);
}

#[test]
fn an_exchange_that_becomes_too_large_goes_through_queues_from_the_first_block_on() {
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 4);
    let (one, other) = (leader.take(), leader.take());
    write_inline(&mut leader, &one, 0, 130 * KIB);
    assert!(leader.published.is_empty(), "the queues must exist first");
    assert_eq!(leader.managed, [(QueueAction::Declare, queues(0..2))]);
    let is_spread_event = |event: &JobEvent| matches!(event, JobEvent::ExchangeSpread { exchange } if exchange.queues == 2);
    assert!(leader.events.iter().any(is_spread_event), "{:?}", leader.events);
    leader.answer(exists);
    // What the leader holds is published under its own name, also when it comes late.
    assert!(leader.published.iter().all(is_spread) && leader.published.len() == 2);
    write_inline(&mut leader, &other, 1, 20);
    for task in std::mem::take(&mut leader.published) {
        write_queues(&mut leader, &task, &[(1, 2, 1_000)]);
    }
    assert!(leader.published.is_empty(), "not sealed before the blocks of the leader are there");
    let blocks = leader.blocks_arrive();
    let names: Vec<_> = blocks
        .iter()
        .map(|block| {
            (block.name.partition, block.name.execution, block.name.number, block.name.first)
        })
        .collect();
    assert_eq!(names, [(0, execution(&one), 0, 0), (1, execution(&other), 0, 1)]);

    let reading = std::mem::take(&mut leader.published);
    let listed = |it: &TaskMessage| -> Vec<_> {
        gather(it).partitions.iter().map(|it| (it.partition, it.blocks)).collect()
    };
    let listed: Vec<_> = reading.iter().flat_map(listed).collect();
    assert_eq!(listed, [(0, 1), (1, 5)]);
    assert_eq!(gather(&reading[0]).winners.len(), 4);
    for task in &reading {
        let lists: Vec<_> = gather(task).partitions.iter().map(|it| it.partition).collect();
        let ends: Vec<_> =
            lists.iter().map(|partition| ListEnd { partition: *partition, elements: 1 }).collect();
        let each = [(1, done(1)), (1, done(1))];
        read(&mut leader, task, &ends, &each[..ends.len()]);
    }
    assert!(leader.managed.contains(&(QueueAction::Delete, queues(0..2))));
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    leader.engine.check_credit();
}

#[test]
fn a_result_that_does_not_count_makes_no_winner() {
    let (mut leader, tasks) = spread();
    write_queues(&mut leader, &tasks[0], &[(0, 1, 10)]);
    write_queues(&mut leader, &tasks[0], &[(0, 7, 70)]);
    write_queues(&mut leader, &tasks[1], &[]);
    let reading = leader.take();
    assert_eq!(gather(&reading).winners.len(), 2, "the third wrote nothing");
    assert_eq!(gather(&reading).partitions[0].blocks, 2);
}

#[test]
fn a_result_with_impossible_blocks_does_not_count() {
    for spread in
        [&[(2, 1, 10)][..], &[(0, 0, 0)], &[(1, 1, 1), (0, 1, 1)], &[(0, 1, 1), (0, 1, 1)]]
    {
        let (mut leader, tasks) = self::spread();
        let before = leader.published.len();
        write_queues(&mut leader, &tasks[0], spread);
        assert_eq!(leader.published.len(), before + 1, "reissued: {spread:?}");
    }
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 1);
    let task = leader.take();
    write_queues(&mut leader, &task, &[(0, 1, 10)]);
    assert_eq!(leader.published.len(), 1, "there is no queue");
}

/// A leader with a task that reads both partitions, or one if so wished.
fn reading(partitions: u32) -> (TestLeader, TaskMessage) {
    let mut leader = small_leader();
    start_spread(&mut leader, 1, grouping(partitions));
    for task in std::mem::take(&mut leader.published) {
        write_queues(&mut leader, &task, &[(0, 1, 1_000)]);
    }
    let task = leader.take();
    (leader, task)
}

#[test]
fn no_queue_is_left_however_a_job_ends() {
    let cancel = |leader: &mut TestLeader| leader.input(Input::Cancel { job: job(1) });
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 3);
    let task = leader.take();
    write_inline(&mut leader, &task, 0, 130 * KIB);
    cancel(&mut leader);
    assert!(left(&leader.managed).is_empty(), "while they are declared: {:?}", leader.managed);
    // The answer comes after the end.
    leader.answer(exists);
    leader.engine.check_credit();

    let (mut leader, _) = spread();
    leader.managed.insert(0, (QueueAction::Declare, queues(0..2)));
    cancel(&mut leader);
    assert!(left(&leader.managed).is_empty(), "while they are fed: {:?}", leader.managed);
    leader.engine.check_credit();

    let (mut leader, task) = reading(1);
    leader.managed.push((QueueAction::Declare, queues(0..1)));
    read(&mut leader, &task, &[ListEnd { partition: 0, elements: 1 }], &[(1, done(1))]);
    assert!(left(&leader.managed).is_empty(), "once they are read: {:?}", leader.managed);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

#[test]
fn only_one_task_at_a_time_reads_a_queue() {
    let (mut leader, task) = reading(1);
    let list = ListEnd { partition: 0, elements: 4 };
    let not_run = || Outcome::NotRun { reason: NotRunReason::TimeSlice };
    let retried = failed(ErrorKind::Transient);
    let outcomes = [(1, not_run()), (1, done(1)), (1, retried), (1, done(1))];
    read(&mut leader, &task, &[list], &outcomes);
    leader.wait(5 * SECOND);
    let first = leader.take();
    assert!(leader.published.is_empty(), "the other waits although there is credit");
    read(&mut leader, &first, &[list], &[(1, done(1))]);
    let second = leader.take();
    read(&mut leader, &second, &[list], &[(1, done(1))]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    leader.engine.check_credit();
}

#[test]
fn a_queue_that_is_gone_ends_the_job_at_once() {
    let (mut leader, task) = reading(1);
    leader.managed.clear();
    leader.returned(&task, 1, ReturnReason::BlocksMissing { partition: 0, announced: 3, found: 0 });
    assert_eq!(leader.answer(absent), [(QueueAction::Renew, queues(0..1))]);
    let failure = failure(&leader);
    let ShuffleFailure::BlocksLost { partition: 0, announced: 3, found: 0 } = failure else {
        panic!("{failure:?}")
    };
    leader.engine.check_credit();
}

/// A leader with a task of one partition that has been returned twice for missing blocks.
fn missing_twice() -> (TestLeader, TaskMessage) {
    let (mut leader, mut task) = reading(1);
    for _ in 0..2 {
        leader.returned(
            &task,
            1,
            ReturnReason::BlocksMissing { partition: 0, announced: 3, found: 2 },
        );
        leader.answer(exists);
        leader.wait(3 * SECOND);
        task = leader.take();
    }
    assert!(leader.ended.is_empty());
    (leader, task)
}

#[test]
fn blocks_that_are_missing_three_times_end_the_job() {
    let (mut leader, task) = missing_twice();
    leader.returned(&task, 1, ReturnReason::BlocksMissing { partition: 0, announced: 3, found: 2 });
    let ShuffleFailure::BlocksLost { found: 2, .. } = failure(&leader) else { panic!() };
}

#[test]
fn a_part_that_fits_into_no_worker_ends_the_job_with_its_key() {
    let (mut leader, task) = reading(1);
    let (bytes, limit, key) = (50 << 20, 32 << 20, KeyPrefix::of(b"\x04pear"));
    let reason =
        ReturnReason::PartTooLarge { partition: 0, bytes, limit, key, key_bytes: 40 << 20 };
    leader.returned(&task, 1, reason);
    let text = failure(&leader).to_string();
    assert!(text.contains("key \"pear\" alone has 41943040 bytes"), "{text}");
    leader.engine.check_credit();
}

#[test]
fn a_large_partition_has_a_part_for_each_16_mib_and_what_was_gathered_on_disk_is_counted() {
    let (mut leader, tasks) = spread();
    for task in tasks {
        write_queues(&mut leader, &task, &[(0, 1, 20 << 20), (1, 1, 1_000)]);
    }
    let task = leader.take();
    let parts = |task: &TaskMessage| {
        gather(task).partitions.iter().map(|it| (it.partition, it.parts)).collect::<Vec<_>>()
    };
    assert_eq!((parts(&task), gather(&task).of), (vec![(0, 3)], 2));
    let mut header = TestLeader::result_header(&task, &[(2, done(2))]);
    header.lists = vec![ListEnd { partition: 0, elements: 2 }];
    header.spilled = 40 << 20;
    leader.input(Input::Result(ResultMessage {
        header,
        payload: bytes::Bytes::from_static(&[0; 2]),
    }));
    let exchange = leader.engine.take_progress()[0].1.exchanges[0];
    assert_eq!(exchange.spilled, 40 << 20);
    assert!(exchange.to_string().ends_with(", 41943040 bytes of them gathered on disk"));
}

#[test]
fn a_result_in_between_shows_that_no_block_is_missing() {
    let (mut leader, task) = missing_twice();
    let list = ListEnd { partition: 0, elements: 2 };
    let not_run = Outcome::NotRun { reason: NotRunReason::OutputCap };
    read(&mut leader, &task, &[list], &[(1, done(1)), (1, not_run)]);
    let rest = leader.take();
    leader.returned(&rest, 1, ReturnReason::BlocksMissing { partition: 0, announced: 3, found: 2 });
    assert!(leader.ended.is_empty());
}

#[test]
fn missing_blocks_are_not_counted_while_another_copy_is_leased() {
    let (mut leader, task) = reading(1);
    leader.confirmed(&task);
    leader.lease(1, &task, 0);
    leader.wait(60 * SECOND);
    let second = leader.take();
    leader.lease(2, &task, 0);
    for _ in 0..9 {
        leader.returned(
            &second,
            1,
            ReturnReason::BlocksMissing { partition: 0, announced: 3, found: 0 },
        );
    }
    assert!(leader.ended.is_empty(), "{:?}", leader.ended);
}

#[test]
fn queues_are_renewed_before_they_expire_and_sooner_while_nothing_happens() {
    let (mut leader, _tasks) = spread();
    leader.managed.clear();
    leader.wait(7 * SECOND);
    assert_eq!(leader.answer(exists)[..], [(QueueAction::Renew, queues(0..2))]);
    leader.wait(5 * SECOND);
    leader.answer(absent);
    let ShuffleFailure::BlocksLost { .. } = failure(&leader) else { panic!() };
}

#[test]
fn one_renewal_is_under_way_at_a_time_and_an_interruption_brings_the_next_forward() {
    let (mut leader, _tasks) = spread();
    leader.managed.clear();
    leader.wait(20 * SECOND);
    assert_eq!(leader.managed.len(), 1, "the broker has not answered: {:?}", leader.managed);
    let lost = |_: &ShuffleQueue| Err(BrokerError::Lost { reason: "reset".to_owned() });
    leader.answer(lost);
    leader.input(Input::Interrupted);
    leader.wait(SECOND);
    assert_eq!(leader.answer(exists)[..], [(QueueAction::Renew, queues(0..2))]);
    let is_down =
        |event: &JobEvent| matches!(event, JobEvent::Stalled(Stall::PartitionDown { .. }));
    assert!(!leader.events.iter().any(is_down), "the connection was lost, and no node");
    leader.wait(SECOND);
    leader.input(Input::Interrupted);
    leader.wait(SECOND);
    assert_eq!(leader.answer(exists)[..], [(QueueAction::Renew, queues(0..2))]);
}

#[test]
fn a_declaration_that_is_interrupted_is_repeated() {
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 3);
    let task = leader.take();
    write_inline(&mut leader, &task, 0, 130 * KIB);
    leader.answer(|_| Err(BrokerError::Lost { reason: "reset".to_owned() }));
    leader.wait(SECOND);
    assert_eq!(leader.answer(exists)[..], [(QueueAction::Declare, queues(0..2))]);
    leader.wait(7 * SECOND);
    assert_eq!(leader.answer(exists)[..], [(QueueAction::Renew, queues(0..2))]);
}

#[test]
fn queues_that_could_not_be_declared_are_tried_again_soon_although_the_job_makes_progress() {
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 3);
    let (first, second) = (leader.take(), leader.take());
    write_inline(&mut leader, &first, 0, 130 * KIB);
    leader.answer(|queue| {
        let (what, reason) = (queue.to_string(), "its node is down".to_owned());
        Err(BrokerError::NodeDown { what, reason })
    });
    leader.wait(3 * SECOND);
    write_inline(&mut leader, &second, 1, 1);
    leader.wait(3 * SECOND);
    assert_eq!(leader.answer(exists)[..], [(QueueAction::Declare, queues(0..2))]);
}

#[test]
fn a_queue_that_is_gone_after_it_was_read_ends_no_job() {
    let (mut leader, tasks) = spread();
    for task in tasks {
        write_queues(&mut leader, &task, &[(0, 1, 1_000), (1, 1, 1_000)]);
    }
    let task = leader.take();
    let list = ListEnd { partition: 0, elements: 2 };
    read(&mut leader, &task, &[list], &[(2, done(2))]);
    leader.managed.clear();
    leader.wait(7 * SECOND);
    leader.answer(|queue| match queue {
        ShuffleQueue::Partition { partition: 0, .. } => absent(queue),
        _ => exists(queue),
    });
    assert!(leader.ended.is_empty(), "{:?}", leader.ended);
}

#[test]
fn a_node_that_is_down_is_waited_for_by_name() {
    let (mut leader, _tasks) = spread();
    leader.managed.clear();
    let down = |queue: &ShuffleQueue| match queue {
        ShuffleQueue::Partition { partition: 1, .. } => {
            let (what, reason) = (queue.to_string(), "its node is down".to_owned());
            Err(BrokerError::NodeDown { what, reason })
        }
        _ => Ok(0),
    };
    for _ in 0..40 {
        leader.wait(SECOND);
        leader.answer(down);
    }
    let stalled = leader.events.iter().find_map(|event| match event {
        JobEvent::Stalled(Stall::PartitionDown { partition, reason, directive }) => {
            Some((*partition, reason.clone(), *directive))
        }
        _ => None,
    });
    assert_eq!(stalled, Some((1, "its node is down".to_owned(), "group_by_key")));
    assert!(leader.ended.is_empty(), "{:?}", leader.ended);
}

#[test]
fn queues_that_cannot_be_declared_end_the_job_with_the_reason() {
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 3);
    let task = leader.take();
    write_inline(&mut leader, &task, 0, 130 * KIB);
    leader.answer(|queue| {
        let (what, reason) = (queue.to_string(), "access refused".to_owned());
        Err(BrokerError::Denied { what, reason })
    });
    let text = failure(&leader).to_string();
    assert!(text.contains("access refused") && text.contains("phalanx.shuffle.*"), "{text}");
    leader.engine.check_credit();
}

#[test]
fn a_block_that_the_broker_never_takes_ends_the_job() {
    let mut leader = small_leader();
    leader.start(1, grouping(2), 1, 3);
    let task = leader.take();
    write_inline(&mut leader, &task, 0, 130 * KIB);
    leader.answer(exists);
    let result = Err(PublishError::Refused { reason: "access refused".to_owned() });
    leader.input(Input::BlockPublished { job: job(1), exchange: 0, bytes: 1, result });
    let ShuffleFailure::Publish { .. } = failure(&leader) else { panic!() };
}

#[test]
fn a_job_that_writes_more_bytes_than_the_limit_ends() {
    let mut leader = TestLeader::with_shuffle_limit(512 * KIB, 1 << 20);
    start_spread(&mut leader, 1, grouping(2));
    let tasks = std::mem::take(&mut leader.published);
    write_queues(&mut leader, &tasks[0], &[(0, 1, 800 << 10)]);
    assert!(leader.ended.is_empty());
    write_queues(&mut leader, &tasks[1], &[(1, 1, 200 << 10)]);
    let failure = failure(&leader);
    let ShuffleFailure::LimitExceeded { bytes, limit } = failure else { panic!("{failure:?}") };
    assert!(limit == 1 << 20 && bytes > limit, "{bytes}");
    leader.engine.check_credit();
}

#[test]
fn a_broker_that_stays_full_is_freed_by_the_end_of_the_job_with_the_most_bytes() {
    let mut leader = small_leader();
    start_spread(&mut leader, 1, grouping(2));
    leader.published.clear();
    start_spread(&mut leader, 2, grouping(2));
    let task = leader.published.pop().expect("a task of the second job");
    write_queues(&mut leader, &task, &[(0, 1, 800 << 10)]);
    let blocked = |reason: Option<&str>| {
        let blocked = reason.map(str::to_owned);
        Input::Health(Health { generation: 1, connected: true, blocked, ..Health::default() })
    };
    leader.input(blocked(Some("low on memory")));
    leader.wait(50 * SECOND);
    leader.input(blocked(None));
    leader.wait(SECOND);
    leader.input(blocked(Some("low on memory")));
    leader.wait(59 * SECOND);
    assert!(leader.ended.is_empty(), "it was free in between");
    leader.wait(2 * SECOND);
    let ended: Vec<JobId> = leader.ended.iter().map(|(id, _)| *id).collect();
    assert_eq!(ended, [job(2)]);
    let ShuffleFailure::BrokerFull { reason, .. } = failure(&leader) else { panic!() };
    assert_eq!(reason, "low on memory");
    leader.wait(60 * SECOND);
    assert_eq!(leader.ended.len(), 2, "and then the next one");
}

#[test]
fn an_element_that_fails_is_named_and_kept_by_what_its_worker_says() {
    let (mut leader, task) = reading(1);
    let list = ListEnd { partition: 0, elements: 2 };
    let mut fatal = failed(ErrorKind::Fatal);
    if let Outcome::Failed { element, .. } = &mut fatal {
        let encodings = Some(bytes::Bytes::from_static(b"pear\x0224"));
        let key = KeyPrefix::of(b"pear");
        *element = Some(Box::new(GatheredElement { list, key, encodings, lengths: vec![7] }));
    }
    read(&mut leader, &task, &[list], &[(1, done(1)), (1, fatal)]);
    let [dead] = &leader.dead[..] else { panic!("{:?}", leader.dead) };
    assert_eq!((&dead.payload[..], &dead.lengths[..]), (&b"pear\x0224"[..], &[7][..]));
    let group = dead.error.group.as_ref().expect("a group").to_string();
    assert_eq!(group, "key b\"pear\", element 1 of partition 0");
}

#[test]
fn the_process_of_a_list_that_nobody_has_read_tells_its_length_when_it_dies() {
    let (mut leader, task) = reading(1);
    let list = ListEnd { partition: 0, elements: 3 };
    let element =
        GatheredElement { list, key: KeyPrefix::of(b"pear"), encodings: None, lengths: Vec::new() };
    leader.input(Input::Return(Return {
        copy: Some(task.header.copy),
        worker: worker(1),
        reason: ReturnReason::Crashed { status: "killed by SIGABRT".to_owned() },
        offset: Some(1),
        element: Some(Box::new(element)),
    }));
    // The element runs alone, before its neighbours: they share the queue.
    let ranges: Vec<_> = leader.published.iter().map(|it| it.header.ranges[0]).collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert_eq!(ranges[0].to - ranges[0].from, 1);
}
