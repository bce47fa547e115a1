//! Handles copies that will bring no reply: their task is reissued, split, or fails.

use std::time::Duration;

use super::{
    combine, element, groups,
    job::{Batch, JobState},
    retry, schedule,
    shared::Shared,
    split,
    table::{Task, Work},
};
use crate::{
    id::{CopyId, TaskNumber, WorkerId},
    operation::{ErrorKind, OperationError},
};

/// A task is halved after this many redeliveries of isolated copies and undecodable replies.
const HALVED_AFTER: u32 = 3;
/// A single element fails after this many of the same setbacks.
const FAILS_AFTER: u32 = 10;

/// Removes a copy that will bring no reply, and reissues its task if it was the last copy.
pub(super) fn reissue(shared: &mut Shared, job: &mut JobState, copy: CopyId) {
    if shared.tasks.remove_copy(copy) {
        schedule::reissue(shared, job, copy.task, Duration::ZERO);
    }
}

/// As [`reissue`], after a back-off: a worker that can run the task may start at any time.
pub(super) fn reissue_after_setback(shared: &mut Shared, job: &mut JobState, copy: CopyId) {
    if !shared.tasks.remove_copy(copy) {
        return;
    }
    let Some(task) = shared.tasks.get_mut(copy.task) else { return };
    task.setbacks += 1;
    // At most 1.6 s.
    let delay = retry::delay_of_task(task.setbacks.min(5), copy.task);
    schedule::reissue(shared, job, copy.task, delay);
}

/// As [`reissue`], for a reason that the batch may have caused: after [`HALVED_AFTER`] times the
/// batch is halved, and after [`FAILS_AFTER`] times a single element fails.
pub(super) fn reissue_suspected(
    shared: &mut Shared,
    job: &mut JobState,
    copy: CopyId,
    reason: &str,
) {
    if !shared.tasks.remove_copy(copy) {
        return;
    }
    let number = copy.task;
    let Some(task) = shared.tasks.get_mut(number) else { return };
    task.redelivered += 1;
    let redelivered = task.redelivered;
    let splits = split::may_split(job, task);
    if splits && redelivered >= HALVED_AFTER {
        split::halve(shared, job, number);
    } else if !splits && redelivered >= FAILS_AFTER {
        let text = format!("failed after {FAILS_AFTER} deliveries: {reason}");
        element::fail_task(shared, job, number, OperationError::new(ErrorKind::Crash, text));
    } else {
        schedule::reissue(shared, job, number, Duration::ZERO);
    }
}

/// Handles the death of the child process that ran a task. `offset` is the batch offset of the
/// element that killed it, if it is known.
pub(super) fn crashed(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    offset: Option<u32>,
    status: &str,
) {
    let Some(number) = with_known_list(shared, job, number) else { return };
    let Some(task) = shared.tasks.get_mut(number) else { return };
    task.isolated = true;
    if split::may_split(job, task) {
        let offset = offset.map(|offset| within(task, offset));
        let isolated =
            offset.and_then(|offset| split::isolate_element(shared, job, number, offset));
        if isolated.is_none() {
            split::halve(shared, job, number);
        }
        return;
    }
    let error = OperationError::new(ErrorKind::Crash, format!("its process died: {status}"));
    element::charge_single(shared, job, number, offset.unwrap_or(0) as usize, error);
}

/// Handles the death of a worker that ran an isolated task in its own process: the element at this
/// batch offset, which it had named before it began it, is charged with a crash.
pub(super) fn killed_worker(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    offset: u32,
    worker: WorkerId,
) {
    let Some(number) = with_known_list(shared, job, number) else { return };
    let Some(task) = shared.tasks.get_mut(number) else { return };
    task.isolated = true;
    let offset = within(task, offset);
    let (alone, offset) = match split::may_split(job, task) {
        true => match split::isolate_element(shared, job, number, offset) {
            Some(alone) => (Some(alone), 0),
            None => {
                // Which element that was is not known before its list is.
                split::halve(shared, job, number);
                (None, 0)
            }
        },
        false => (Some(number), offset),
    };
    let text = format!("its process died: worker {worker} fell silent while it ran the element");
    if let Some(alone) = alone {
        let error = OperationError::new(ErrorKind::Crash, text);
        element::charge_single(shared, job, alone, offset, error);
    }
}

/// Handles an element that does not decode as the input of its operation, at this batch offset.
pub(super) fn undecodable(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    operation: &str,
    offset: u32,
    reason: &str,
) {
    let Some(number) = with_known_list(shared, job, number) else { return };
    let Some(task) = shared.tasks.get(number) else { return };
    let offset = within(task, offset);
    if split::may_split(job, task) {
        if split::isolate_element(shared, job, number, offset).is_none() {
            split::halve(shared, job, number);
        }
        return;
    }
    let text = format!("the element does not decode as an input of `{operation}`: {reason}");
    let error = OperationError::new(ErrorKind::Codec, text);
    element::charge_single(shared, job, number, offset, error);
}

/// Handles a task, or a reply to it, that is larger than the broker accepts: splits the task, or
/// fails its element.
pub(super) fn too_large(shared: &mut Shared, job: &mut JobState, number: TaskNumber, reason: &str) {
    let Some(task) = shared.tasks.get(number) else { return };
    if split::may_split(job, task) {
        split::halve(shared, job, number);
    } else if let Work::Combine { .. } = task.work {
        combine::too_large(shared, job, number, reason);
    } else {
        let leaf =
            if task.len() > 1 { "; a fold of fixed shape does not cut its leaves" } else { "" };
        let error = OperationError::new(ErrorKind::TooLarge, format!("{reason}{leaf}"));
        element::fail_task(shared, job, number, error);
    }
}

/// A task of one partition whose list no worker has read to its end becomes one of known elements,
/// so that the element at fault can be told from its neighbours. Returns the number of the task;
/// `None` if it has no elements.
fn with_known_list(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
) -> Option<TaskNumber> {
    let task = shared.tasks.get(number)?;
    let stage = task.stage;
    let Work::Run { batch: Batch::Partitions(read), first_step } = &task.work else {
        return Some(number);
    };
    let Some(end) = groups::end_of_list(job, stage, read) else { return Some(number) };
    let Some(read) = read.closed(&[end]) else { return Some(number) };
    let first_step = *first_step;
    let task = schedule::retire(shared, job, number)?;
    job.close_list(stage, &end);
    if read.len() == 0 {
        return None;
    }
    let work = Work::Run { batch: Batch::Partitions(read), first_step };
    Some(schedule::enqueue(shared, task.with(work), Duration::ZERO))
}

/// An offset that a worker has named, within the batch as far as its length is known.
fn within(task: &Task, offset: u32) -> usize {
    let open = matches!(&task.work, Work::Run { batch, .. } if batch.is_open());
    match open {
        true => offset as usize,
        false => (offset as usize).min(task.len().saturating_sub(1)),
    }
}
