//! Attributes failures for error texts: to an operation, an element, a task, a try and a worker.

use super::{
    groups::{self, ElementName},
    job::{Batch, JobState},
    table::{Task, Work},
};
use crate::{
    error::ExecuteError,
    id::{CopyId, TaskNumber, WorkerId},
    operation::OperationError,
    registry::Verb,
};

/// A run of a task, for the errors that name it.
pub(super) struct TaskRun<'a> {
    pub(super) number: TaskNumber,
    pub(super) task: &'a Task,
    /// The number of the copy that ran, from 1; 0 if none was published.
    pub(super) attempt: u32,
    /// `None` if the failure came without a result.
    pub(super) worker: Option<WorkerId>,
}

impl TaskRun<'_> {
    /// The name of the element at this batch offset.
    pub(super) fn name(&self, job: &mut JobState, batch: &Batch, offset: usize) -> ElementName {
        groups::name(job, self.task.stage, batch, offset)
    }
}

/// The step that is blamed for a crash, which names no step: the last `try_map`, which turns the
/// crash into a value, or else the first step.
pub(super) fn suspect(job: &JobState, task: &Task, first_step: usize) -> usize {
    let steps = &job.plan.stages[task.stage].steps;
    let catching = |step: &usize| steps[*step].reference.verb == Verb::TryMap;
    (first_step..steps.len()).rev().find(catching).unwrap_or(first_step)
}

/// The name of the first operation of a task, and that of its first element.
pub(super) fn first(job: &JobState, task: &Task) -> (String, ElementName) {
    let steps = &job.plan.stages[task.stage].steps;
    let (step, name) = match &task.work {
        Work::Run { batch, first_step } => {
            (steps.get(*first_step), groups::name_without_key(job, task.stage, batch, 0))
        }
        Work::Combine { partials } => {
            (steps.last(), groups::name_of_partials(job, task.stage, partials))
        }
    };
    (step.map(|step| step.reference.name.clone()).unwrap_or_default(), name)
}

/// The error of an element that failed at this step on its `tries`-th try.
pub(super) fn blamed(
    job: &JobState,
    run: &TaskRun<'_>,
    ElementName { index, group }: ElementName,
    tries: u32,
    step: usize,
    error: OperationError,
) -> Box<ExecuteError> {
    let steps = &job.plan.stages[run.task.stage].steps;
    Box::new(ExecuteError {
        job: job.id,
        operation: match (steps.get(step), job.read_by(run.task.stage)) {
            (Some(step), _) => step.reference.name.clone(),
            (None, Some(exchange)) => job.plan.exchanges[exchange].kind.name().to_owned(),
            (None, None) => String::new(),
        },
        stage: run.task.stage as u32,
        index,
        group,
        tries,
        copy: CopyId::new(run.number, run.attempt),
        worker: run.worker,
        error,
    })
}
