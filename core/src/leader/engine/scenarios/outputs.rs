//! Outputs behind a spread exchange that are more than fit into results: the queues of their tasks.

use std::convert::identity;

use bytes::Bytes;

use super::{
    exchanges::{grouping, read},
    spread::{absent, exists, failure, left, start_spread, write_queues},
    test_leader::*,
};
use crate::{
    broker::{BrokerError, QueueAction, ShuffleQueue},
    error::ShuffleFailure,
    id::TaskNumber,
    leader::engine::{
        event::{JobEvent, Stall},
        protocol::{Input, OutputsError},
    },
    operation::ErrorKind,
    plan::{End, Plan},
    wire::{
        ListEnd, NotRunReason, Outcome, ResultMessage, ReturnReason, TaskMessage, TaskOutlet,
        place_in_list,
    },
};

/// After so many bytes of outputs, a task stops that reads an exchange of this leader.
const CAP: u32 = 128 << 10;

fn ordered(mut plan: Plan) -> Plan {
    plan.end = End::Stream { ordered: true, take: None };
    plan
}

fn is_queued(task: &TaskMessage) -> bool {
    matches!(task.header.outlet, TaskOutlet::Queue { .. })
}

fn queue(task: TaskNumber) -> ShuffleQueue {
    ShuffleQueue::Output { job: job(1), task }
}

/// A leader whose job has read the first of the elements of its only partition, with as many bytes
/// of outputs as fit into a result, and the task that goes on with the others.
fn reading(others: u64, plan: impl FnOnce(Plan) -> Plan) -> (TestLeader, TaskMessage) {
    let mut leader = TestLeader::with_blocks(4 * CAP as usize);
    start_spread(&mut leader, 1, plan(grouping(1)));
    for task in std::mem::take(&mut leader.published) {
        write_queues(&mut leader, &task, &[(0, 1, 1_000)]);
    }
    let first = leader.take();
    assert_eq!(
        (first.header.outlet.clone(), first.header.output_cap),
        (TaskOutlet::Reply, CAP.into())
    );
    let full = Outcome::Done { bytes: CAP.into(), outputs: 1, counts: None, lengths: None };
    leader.managed.clear();
    let mut header = TestLeader::result_header(&first, &[(1, full)]);
    header.lists = list(others);
    let payload = Bytes::from(vec![7; CAP as usize]);
    leader.input(Input::Result(ResultMessage { header, payload }));
    assert_eq!(leader.outputs.len(), 1);
    assert!(leader.published.is_empty(), "its queue must exist first");
    let [(QueueAction::Declare, declared)] = &leader.managed[..] else {
        panic!("{:?}", leader.managed)
    };
    assert!(matches!(declared[..], [ShuffleQueue::Output { .. }]), "{declared:?}");
    leader.answer(exists);
    let next = leader.take();
    assert!(is_queued(&next) && declares(&next));
    (leader, next)
}

/// The list of the partition, which every task that reads it finds out.
fn list(others: u64) -> Vec<ListEnd> {
    vec![ListEnd { partition: 0, elements: 1 + others }]
}

/// The size of its blocks is what the leader reads at once.
fn declares(task: &TaskMessage) -> bool {
    matches!(task.header.outlet, TaskOutlet::Queue { block } if block == CAP)
}

/// Replies that elements were run, and their outputs are in this many blocks.
fn reply_queued(
    leader: &mut TestLeader,
    task: &TaskMessage,
    (others, outcomes): (u64, &[(u32, Outcome)]),
    blocks: u32,
) {
    let mut header = TestLeader::result_header(task, outcomes);
    (header.output_blocks, header.lists) = (blocks, list(others));
    leader.input(Input::Result(ResultMessage { header, payload: Bytes::new() }));
}

/// The next block that was asked for has these outputs, of one byte each.
fn arrives(leader: &mut TestLeader, text: &'static str) {
    let (task, _) = leader.reads.pop().expect("a block was asked for");
    let block = Ok((text.len() as u32, Bytes::from_static(text.as_bytes())));
    leader.input(Input::OutputsRead { job: job(1), task, block });
}

fn texts(leader: &TestLeader) -> Vec<String> {
    let text = |(_, bytes): &(u64, Vec<u8>)| String::from_utf8(bytes.clone()).unwrap();
    leader.outputs.iter().skip(1).map(text).collect()
}

#[test]
fn a_task_that_goes_on_behind_many_outputs_has_a_queue_which_is_read_when_its_result_counts() {
    let (mut leader, task) = reading(3, identity);
    assert!(leader.reads.is_empty());
    reply_queued(&mut leader, &task, (3, &[(3, done(3))]), 2);
    assert_eq!(leader.reads, [(task.header.copy.task, execution(&task))]);
    assert!(leader.ended.is_empty(), "outputs are missing");
    arrives(&mut leader, "ab");
    assert_eq!(leader.reads.len(), 1, "one block at a time");
    arrives(&mut leader, "c");
    assert_eq!(texts(&leader), ["ab", "c"]);
    assert_eq!(leader.outputs[2].0, 3, "outputs are numbered in the order of their delivery");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    assert!(left(&leader.managed).is_empty());
    let deleted = (QueueAction::Delete, vec![queue(task.header.copy.task)]);
    assert!(leader.managed.contains(&deleted), "{:?}", leader.managed);
    leader.engine.check_credit();
}

#[test]
fn what_goes_on_behind_a_task_with_a_queue_has_a_queue_of_its_own() {
    let (mut leader, task) = reading(2, identity);
    reply_queued(&mut leader, &task, (2, &[(1, done(1))]), 1);
    leader.answer(exists);
    let next = leader.take();
    assert!(is_queued(&next) && next.header.copy.task != task.header.copy.task);
    arrives(&mut leader, "a");
    assert!(leader.managed.contains(&(QueueAction::Delete, vec![queue(task.header.copy.task)])));
    // Few outputs come in the result.
    read(&mut leader, &next, &list(2), &[(1, done(1))]);
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    assert!(leader.managed.contains(&(QueueAction::Delete, vec![queue(next.header.copy.task)])));
}

#[test]
fn ordered_outputs_in_queues_wait_for_those_of_an_element_that_runs_again() {
    let (mut leader, task) = reading(3, ordered);
    let outcomes = [(1, done(1)), (1, failed(ErrorKind::Transient)), (1, done(1))];
    reply_queued(&mut leader, &task, (3, &outcomes), 1);
    arrives(&mut leader, "ac");
    assert_eq!(texts(&leader), ["a"], "the rest of the block waits");
    assert!(!leader.managed.iter().any(|(action, _)| *action == QueueAction::Delete));
    leader.wait(5 * SECOND);
    let again = leader.take();
    assert_eq!(again.header.outlet, TaskOutlet::Reply);
    read(&mut leader, &again, &list(3), &[(1, done(1))]);
    assert_eq!(texts(&leader).len(), 3);
    assert_eq!(texts(&leader)[2], "c");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    leader.engine.check_credit();
}

/// The leader holds no more for a job than its account allows, whatever the queues have.
#[test]
fn a_queue_is_read_only_while_the_reader_of_the_job_keeps_up() {
    let outputs = 64;
    let (mut leader, task) = reading(outputs.into(), identity);
    let bytes = u64::from(outputs) << 20;
    let many = Outcome::Done { bytes, outputs, counts: None, lengths: None };
    reply_queued(&mut leader, &task, (outputs.into(), &[(outputs, many)]), outputs);
    let mut read = 0;
    while let Some((task, _)) = leader.reads.pop() {
        read += 1;
        let block = Ok((1, Bytes::from(vec![0; 1 << 20])));
        leader.input(Input::OutputsRead { job: job(1), task, block });
    }
    assert_eq!(read, 32);
    leader.input(Input::Taken { job: job(1), bytes: 2 << 20 });
    assert_eq!(leader.reads.len(), 1);
    assert!(leader.ended.is_empty());
}

#[test]
fn the_queue_of_a_task_that_is_split_or_reissued_stays_or_goes_with_its_task() {
    let (mut leader, task) = reading(2, identity);
    leader.returned(&task, 1, ReturnReason::Draining);
    let copy = leader.take();
    assert_eq!(copy.header.copy.task, task.header.copy.task);
    assert!(is_queued(&copy) && leader.managed.is_empty(), "its queue is there");
    leader.returned(&copy, 1, ReturnReason::TooLarge { size: 2, limit: 1 });
    assert_eq!(leader.managed, [(QueueAction::Delete, vec![queue(task.header.copy.task)])]);
}

#[test]
fn outputs_that_are_lost_or_do_not_fit_end_their_job() {
    let lost = |found| ShuffleFailure::OutputsLost { task: TaskNumber(0), announced: 2, found };
    let with = |task: &TaskMessage, failure: ShuffleFailure| {
        let task = task.header.copy.task;
        match failure {
            ShuffleFailure::OutputsLost { announced, found, .. } => {
                ShuffleFailure::OutputsLost { task, announced, found }
            }
            ShuffleFailure::OutputsMalformed { .. } => ShuffleFailure::OutputsMalformed { task },
            other => other,
        }
    };
    let malformed = ShuffleFailure::OutputsMalformed { task: TaskNumber(0) };
    let denied = BrokerError::Denied { what: "a queue".to_owned(), reason: "no".to_owned() };
    let queue = ShuffleFailure::Queue { source: denied.clone() };
    let text = |text: &'static str| Ok((text.len() as u32, Bytes::from_static(text.as_bytes())));
    for (block, expected) in [
        (Err(OutputsError::Lost), lost(0)),
        (Err(OutputsError::Refused(denied)), queue),
        (Ok((1, Bytes::from_static(b"abc"))), malformed.clone()),
        (Ok((0, Bytes::from_static(b"ab"))), malformed),
    ] {
        let (mut leader, task) = reading(2, identity);
        reply_queued(&mut leader, &task, (2, &[(2, done(2))]), 2);
        let (number, _) = leader.reads.pop().unwrap();
        let gives_up = block.as_ref().is_ok_and(|(outputs, _)| *outputs == 0);
        leader.input(Input::OutputsRead { job: job(1), task: number, block });
        if gives_up {
            // The second block has no outputs either.
            let (number, _) = leader.reads.pop().unwrap();
            leader.input(Input::OutputsRead {
                job: job(1),
                task: number,
                block: Ok((0, Bytes::new())),
            });
        }
        assert_eq!(format!("{:?}", failure(&leader)), format!("{:?}", with(&task, expected)));
        assert!(left(&leader.managed).is_empty(), "{:?}", leader.managed);
    }
    // It has read one of two blocks, and the broker has lost the queue.
    let (mut leader, task) = reading(2, identity);
    reply_queued(&mut leader, &task, (2, &[(2, done(2))]), 2);
    let (number, _) = leader.reads.pop().unwrap();
    leader.input(Input::OutputsRead { job: job(1), task: number, block: text("a") });
    leader.managed.clear();
    leader.input(Input::Interrupted);
    leader.wait(SECOND);
    leader.answer(absent);
    assert_eq!(format!("{:?}", failure(&leader)), format!("{:?}", with(&task, lost(1))));
}

#[test]
fn queues_of_outputs_are_renewed_and_declared_until_they_exist() {
    let (mut leader, task) = reading(2, identity);
    let of_outputs = |managed: &[(QueueAction, Vec<ShuffleQueue>)]| -> Vec<QueueAction> {
        let is_output = |queue: &ShuffleQueue| matches!(queue, ShuffleQueue::Output { .. });
        managed.iter().filter(|(_, queues)| queues.iter().any(is_output)).map(|it| it.0).collect()
    };
    leader.wait(7 * SECOND);
    assert_eq!(of_outputs(&leader.answer(exists)), [QueueAction::Renew], "while nothing happens");
    reply_queued(&mut leader, &task, (2, &[(1, done(1))]), 1);
    let gone = |_: &ShuffleQueue| Err(BrokerError::Lost { reason: "reset by peer".to_owned() });
    assert!(of_outputs(&leader.answer(gone)).contains(&QueueAction::Declare));
    assert!(leader.published.is_empty());
    leader.wait(7 * SECOND);
    let again = leader.answer(exists);
    assert!(of_outputs(&again).contains(&QueueAction::Declare), "{again:?}");
    assert!(is_queued(&leader.take()));
}

#[test]
fn a_result_with_queued_outputs_counts_only_if_its_task_has_a_queue() {
    let mut leader = TestLeader::with_blocks(4 * CAP as usize);
    start_spread(&mut leader, 1, grouping(1));
    for task in std::mem::take(&mut leader.published) {
        write_queues(&mut leader, &task, &[(0, 1, 1_000)]);
    }
    let first = leader.take();
    reply_queued(&mut leader, &first, (1, &[(1, done(1))]), 1);
    assert_eq!(leader.published.len(), 1, "reissued");
    assert!(leader.reads.is_empty());
}

#[test]
fn elements_that_were_not_run_go_on_without_a_queue() {
    let (mut leader, task) = reading(2, identity);
    let not_run = Outcome::NotRun { reason: NotRunReason::OutputCap };
    reply_queued(&mut leader, &task, (2, &[(1, done(1)), (1, not_run)]), 1);
    leader.answer(exists);
    // What did not run goes on as any other task.
    assert!(!is_queued(&leader.take()));
}

#[test]
fn a_take_ends_its_job_with_the_block_that_has_the_last_output() {
    let take = |mut plan: Plan| {
        plan.end = End::Stream { ordered: false, take: Some(3) };
        plan
    };
    let (mut leader, task) = reading(9, take);
    reply_queued(&mut leader, &task, (9, &[(9, done(9))]), 9);
    arrives(&mut leader, "a");
    assert!(leader.ended.is_empty() && leader.reads.len() == 1);
    arrives(&mut leader, "b");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
    assert!(leader.reads.is_empty() && left(&leader.managed).is_empty());
}

#[test]
fn outputs_that_the_broker_does_not_deliver_are_a_stall_by_name() {
    let (mut leader, task) = reading(2, identity);
    reply_queued(&mut leader, &task, (2, &[(2, done(2))]), 2);
    // The reader has taken all that it got before.
    leader.input(Input::Taken { job: job(1), bytes: CAP as usize + 256 });
    leader.wait(40 * SECOND);
    let is_slow = |event: &JobEvent| {
        let slow = Stall::OutputsSlow { directive: "group_by_key" };
        matches!(event, JobEvent::Stalled(stall) if *stall == slow)
    };
    assert!(leader.events.iter().any(is_slow), "{:?}", leader.events);
    arrives(&mut leader, "ab");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

#[test]
fn a_queue_of_outputs_on_a_node_that_is_down_is_a_stall_by_name() {
    let (mut leader, task) = reading(2, identity);
    reply_queued(&mut leader, &task, (2, &[(2, done(2))]), 2);
    let down = |queue: &ShuffleQueue| {
        let (what, reason) = (queue.to_string(), "the node is down".to_owned());
        Err(BrokerError::NodeDown { what, reason })
    };
    for _ in 0..5 {
        leader.wait(7 * SECOND);
        leader.answer(down);
    }
    let is_down = |event: &JobEvent| {
        matches!(event, JobEvent::Stalled(stall @ Stall::OutputsDown { directive: "group_by_key", .. })
            if stall.to_string().contains("the node is down"))
    };
    assert!(leader.events.iter().any(is_down), "{:?}", leader.events);
    leader.wait(7 * SECOND);
    leader.answer(exists);
    arrives(&mut leader, "ab");
    assert!(matches!(leader.ended[..], [(_, Ok(()))]), "{:?}", leader.ended);
}

/// What waits in the queue is read whenever the reader has nothing, so it drains, too.
#[test]
fn no_more_tasks_are_sent_while_outputs_wait_for_those_in_a_queue() {
    let (partitions, bytes) = (20, 8 << 20);
    let mut leader = TestLeader::with_blocks(4 * CAP as usize);
    start_spread(&mut leader, 1, ordered(grouping(partitions)));
    let large: Vec<_> = (0..partitions).map(|partition| (partition, 1, 20 << 20)).collect();
    for task in std::mem::take(&mut leader.published) {
        write_queues(&mut leader, &task, &large);
    }
    let reply = |leader: &mut TestLeader, task: &TaskMessage, elements: u64| {
        let (partition, _) = place_in_list(task.header.ranges[0].from);
        let full = Outcome::Done { bytes, outputs: 1, counts: None, lengths: None };
        let mut header = TestLeader::result_header(task, &[(1, full)]);
        header.lists = vec![ListEnd { partition, elements }];
        let payload = Bytes::from(vec![0; bytes as usize]);
        leader.input(Input::Result(ResultMessage { header, payload }));
    };
    let first = leader.take();
    reply(&mut leader, &first, 2);
    leader.input(Input::Taken { job: job(1), bytes: bytes as usize + 256 });
    leader.answer(exists);
    let mut read = 0;
    while !leader.published.is_empty() {
        let task = leader.take();
        if is_queued(&task) {
            reply_queued(&mut leader, &task, (1, &[(1, done(1))]), 1);
        } else {
            reply(&mut leader, &task, 1);
            read += 1;
        }
    }
    assert!(read < 10, "{read} results of 8 MiB wait");
    assert!(leader.ended.is_empty() && leader.reads.len() == 1);
}

#[test]
fn a_job_that_has_half_of_its_limit_in_queues_gets_no_more_of_them() {
    let mut leader = TestLeader::with_shuffle_limit(4 * CAP as usize, 250 << 10);
    start_spread(&mut leader, 1, grouping(1));
    for task in std::mem::take(&mut leader.published) {
        write_queues(&mut leader, &task, &[(0, 1, 1_000)]);
    }
    let first = leader.take();
    let full = Outcome::Done { bytes: CAP.into(), outputs: 1, counts: None, lengths: None };
    let mut header = TestLeader::result_header(&first, &[(1, full)]);
    header.lists = list(1);
    let payload = Bytes::from(vec![7; CAP as usize]);
    leader.input(Input::Result(ResultMessage { header, payload }));
    assert_eq!(leader.take().header.outlet, TaskOutlet::Reply);
}
