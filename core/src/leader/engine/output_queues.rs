//! The queues of tasks whose outputs are more than fit into results (rule 39).

use bytes::Bytes;

use super::{
    job::JobState,
    protocol::{Action, OutputsError},
    shared::Shared,
    table::Task,
};
use crate::{
    broker::{BrokerError, QueueAction, ShuffleQueue},
    error::ShuffleFailure,
    id::TaskNumber,
};

/// Declares the queue of a task, which goes out once that exists.
pub(super) fn declare(shared: &mut Shared, job: &mut JobState, task: TaskNumber, exchange: usize) {
    job.output_queues.declare(task, exchange, shared.clocks.healthy);
    let queues = job.output_queue_names([task]);
    shared.actions.push(Action::Manage { action: QueueAction::Declare, queues });
}

/// Whether a task may go out as far as the queue for its outputs is concerned.
pub(super) fn may_write(job: &JobState, number: TaskNumber, task: &Task) -> bool {
    !task.queues_outputs || job.output_queues.may_write(number)
}

/// Queues of tasks were declared, renewed or deleted.
pub(super) fn managed(
    shared: &mut Shared,
    job: &mut JobState,
    action: QueueAction,
    outcomes: Vec<(ShuffleQueue, Result<u64, BrokerError>)>,
) {
    if action != QueueAction::Delete {
        job.output_queues.end_renewal();
    }
    for (queue, outcome) in outcomes {
        let ShuffleQueue::Output { task, .. } = queue else { continue };
        // Or it was read, and deleted meanwhile.
        let Some(exchange) = job.output_queues.exchange_of(task) else { continue };
        match outcome {
            Ok(_) => {
                job.output_queues.reached(task);
                if action == QueueAction::Declare {
                    job.output_queues.open(task);
                    shared.progressed(job);
                }
            }
            Err(BrokerError::Absent { .. }) => return lost(job, task),
            Err(BrokerError::NodeDown { reason, .. }) => {
                job.output_queues.unreachable(task, reason)
            }
            // Once the connection is back, they are declared or renewed again.
            Err(BrokerError::Lost { .. }) => job.output_queues.make_due(),
            // The driver ends all jobs.
            Err(BrokerError::Closed) => return,
            Err(source) => return job.fail_shuffle(exchange, ShuffleFailure::Queue { source }),
        }
    }
}

/// The block of a task that was asked for, or why it cannot be read.
pub(super) fn read(
    shared: &mut Shared,
    job: &mut JobState,
    task: TaskNumber,
    block: Result<(u32, Bytes), OutputsError>,
) {
    match block {
        Ok((outputs, values)) => {
            job.output_queues.read(task, values, outputs);
            shared.progressed(job);
        }
        Err(OutputsError::Lost) => lost(job, task),
        Err(OutputsError::Refused(source)) => {
            if let Some(exchange) = job.output_queues.exchange_of(task) {
                job.fail_shuffle(exchange, ShuffleFailure::Queue { source });
            }
        }
    }
}

/// Renews the queues, and declares again what could not be declared.
pub(super) fn renew(shared: &mut Shared, job: &mut JobState) {
    let (open, closed): (Vec<_>, Vec<_>) =
        job.output_queues.live().partition(|(_, is_open)| *is_open);
    let mut begun = 0;
    for (action, tasks) in [(QueueAction::Renew, open), (QueueAction::Declare, closed)] {
        let queues = job.output_queue_names(tasks.into_iter().map(|(task, _)| task));
        if !queues.is_empty() {
            begun += 1;
            shared.actions.push(Action::Manage { action, queues });
        }
    }
    job.output_queues.begin_renewal(shared.clocks.healthy, begun);
}

/// Deletes the queues that nobody writes or reads any more.
pub(super) fn delete_read(shared: &mut Shared, job: &mut JobState) {
    let over = job.output_queues.take_unneeded(|task| shared.tasks.get(task).is_some());
    delete(shared, job, over);
}

/// The job ends.
pub(super) fn end(shared: &mut Shared, job: &mut JobState) {
    let live = job.output_queues.take_live();
    delete(shared, job, live);
}

fn delete(shared: &mut Shared, job: &JobState, tasks: Vec<TaskNumber>) {
    if !tasks.is_empty() {
        let queues = job.output_queue_names(tasks);
        shared.actions.push(Action::Manage { action: QueueAction::Delete, queues });
    }
}

fn lost(job: &mut JobState, task: TaskNumber) {
    let (announced, found) = job.output_queues.blocks_of(task);
    if let Some(exchange) = job.output_queues.exchange_of(task) {
        job.fail_shuffle(exchange, ShuffleFailure::OutputsLost { task, announced, found });
    }
}
