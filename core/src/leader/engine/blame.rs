//! Names what failed: operation, element, task, try and worker.

use super::{
    job::JobState,
    table::{Task, Work},
};
use crate::{
    error::ExecuteError,
    id::{CopyId, TaskNumber, WorkerId},
    operation::OperationError,
    registry::Verb,
};

/// A task, and who ran it: for errors that name them.
pub(super) struct TaskRun<'a> {
    pub(super) number: TaskNumber,
    pub(super) task: &'a Task,
    pub(super) attempt: u32,
    pub(super) worker: Option<WorkerId>,
}

/// The step to blame for the death of a worker, which names none: the `try_map` that would make a
/// value of it, else the first.
pub(super) fn suspect(job: &JobState, task: &Task, first_step: usize) -> usize {
    let steps = &job.plan.stages[task.stage].steps;
    let catching = |step: &usize| steps[*step].reference.verb == Verb::TryMap;
    (first_step..steps.len()).rev().find(catching).unwrap_or(first_step)
}

/// The name of the first operation of a task, and the index of its first element.
pub(super) fn first(job: &JobState, task: &Task) -> (String, u64) {
    let steps = &job.plan.stages[task.stage].steps;
    let (step, index) = match &task.work {
        Work::Run { elements, first_step } => (steps.get(*first_step), elements.index(0)),
        Work::Combine { partials } => {
            (steps.last(), partials.first().map_or(0, |partial| partial.from))
        }
    };
    (step.map(|step| step.reference.name.clone()).unwrap_or_default(), index)
}

/// An error that names operation, element, task, attempt and worker.
pub(super) fn blamed(
    job: &JobState,
    run: &TaskRun<'_>,
    index: u64,
    tries: u32,
    step: usize,
    error: OperationError,
) -> Box<ExecuteError> {
    let steps = &job.plan.stages[run.task.stage].steps;
    Box::new(ExecuteError {
        job: job.id,
        operation: steps.get(step).map(|step| step.reference.name.clone()).unwrap_or_default(),
        stage: run.task.stage as u32,
        index,
        tries,
        copy: CopyId::new(run.number, run.attempt),
        worker: run.worker,
        error,
    })
}
