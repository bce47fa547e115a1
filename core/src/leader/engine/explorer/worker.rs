//! The replies of workers. `map` multiplies a byte by ten, and folds concatenate bytes.

use std::rc::Rc;

use super::parts::{Reply, worker};
use crate::{
    id::ExecutionId,
    operation::{ErrorKind, OperationError},
    registry::Verb,
    wire::{
        BlockHeader, ListEnd, NotRunReason, Outcome, PartitionBlocks, ResultHeader, ResultMessage,
        Return, ReturnReason, RowTotal, Segment, TaskInlet, TaskKind, TaskMessage, TaskOutlet,
        list_position, place_in_list,
    },
};

/// A worker returns a task.
pub(super) fn returned(message: &TaskMessage, by: usize, reason: ReturnReason) -> Reply {
    let copy = Some(message.header.copy);
    Reply::Return(Return { copy, worker: worker(by), reason, offset: None, element: None })
}

/// The child process that ran a task died at this offset.
pub(super) fn crashed(message: &TaskMessage, by: usize, offset: u32) -> Reply {
    let copy = Some(message.header.copy);
    let reason = ReturnReason::Crashed { status: "killed".to_owned() };
    Reply::Return(Return { copy, worker: worker(by), reason, offset: Some(offset), element: None })
}

/// The elements of a task. What is a block here is its rows, of one byte each, and they are the
/// list of their partition as they are.
pub(super) fn elements(message: &TaskMessage) -> Vec<u8> {
    let TaskInlet::Partitions(gather) = &message.header.inlet else {
        return message.payload.to_vec();
    };
    let mut payload = &message.payload[..];
    let mut elements = Vec::new();
    for blocks in &gather.partitions {
        let (list, rest) = payload.split_at(blocks.size() as usize);
        payload = rest;
        let here = list_position(blocks.partition, 0);
        for range in &message.header.ranges {
            if place_in_list(range.from).0 == blocks.partition {
                let end = (range.to - here).min(list.len() as u64);
                elements.extend_from_slice(&list[(range.from - here) as usize..end as usize]);
            }
        }
    }
    elements
}

/// The lists that a task reads to their ends.
fn lists(message: &TaskMessage) -> Vec<ListEnd> {
    let TaskInlet::Partitions(gather) = &message.header.inlet else { return Vec::new() };
    let end = |it: &PartitionBlocks| ListEnd { partition: it.partition, elements: it.size() };
    gather.partitions.iter().map(end).collect()
}

/// The number of elements or partial results of a task.
pub(super) fn count(message: &TaskMessage) -> u32 {
    match message.header.kind {
        TaskKind::Combine => message.header.count().unwrap(),
        _ => elements(message).len() as u32,
    }
}

/// How a run ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The number of elements that it runs.
    pub(super) count: u32,
    /// The element that fails.
    pub(super) failing: Option<u32>,
    /// What decides into which partition each element goes.
    pub(super) choice: u32,
}

/// Runs the first elements of a batch; one of them may fail.
pub(super) fn run(message: &TaskMessage, by: usize, how: Run) -> Reply {
    let Run { count, failing, choice } = how;
    let folds = message.header.steps.iter().any(|step| step.verb == Verb::Fold);
    let maps = message.header.steps.iter().any(|step| step.verb == Verb::Map);
    let (all, batch) = (elements(message), self::count(message));
    let mut segments = Vec::new();
    let mut payload = Vec::new();
    let mut blocks = Vec::new();
    let mut done = |from: u32, to: u32, segments: &mut Vec<Segment>| {
        if from < to {
            let part = match message.header.kind {
                // The model records no length for partial results: a combination is never cut.
                TaskKind::Combine => &all[..],
                _ => &all[from as usize..to as usize],
            };
            let before = payload.len();
            payload.extend(part.iter().map(|n| if maps { n * 10 } else { *n }));
            let mut bytes = part.len() as u64;
            let mut outputs = if folds { 1 } else { to - from };
            if let TaskOutlet::Exchange(scatter) = &message.header.outlet {
                (bytes, outputs) = (0, 0);
                for n in &payload[before..] {
                    let partition = (choice + u32::from(*n) / 10) % scatter.partitions;
                    blocks.push(BlockHeader { partition, first: from, rows: 1, bytes: 1 });
                }
            }
            let (counts, lengths) = (None, None);
            let outcome = Outcome::Done { bytes, outputs, counts, lengths };
            segments.push(Segment { from, to, outcome });
        }
    };
    let combines_partly = message.header.kind == TaskKind::Combine && count < batch;
    let not_run_from = if combines_partly { 0 } else { count };
    if let Some(at) = failing {
        done(0, at, &mut segments);
        let error = OperationError::new(ErrorKind::Transient, "busy");
        let outcome = Outcome::Failed { step: 0, error, element: None };
        segments.push(Segment { from: at, to: at + 1, outcome });
        done(at + 1, not_run_from, &mut segments);
    } else {
        done(0, not_run_from, &mut segments);
    }
    let lists = lists(message);
    if not_run_from < batch && lists.is_empty() {
        let outcome = Outcome::NotRun { reason: NotRunReason::TimeSlice };
        segments.push(Segment { from: not_run_from, to: batch, outcome });
    }
    let header = ResultHeader {
        leader: message.header.leader,
        copy: message.header.copy,
        execution: ExecutionId(uuid::Uuid::nil()),
        worker: worker(by),
        busy_us: 1000 * u64::from(count),
        waited_us: 0,
        segments,
        output_blocks: 0,
        spread: Vec::new(),
        uncombined: RowTotal { rows: blocks.len() as u64, bytes: blocks.len() as u64 },
        blocks,
        lists,
        spilled: 0,
    };
    Reply::Result(Rc::new(ResultMessage { header, payload: payload.into() }))
}
