//! Elements that failed: they are retried, become a value, are skipped, or fail their job.

use std::time::Duration;

use bytes::Bytes;

use super::{
    blame::{TaskRun, blamed, suspect},
    dead_letter,
    event::JobEvent,
    fold::Partial,
    job::{Batch, JobState, Onward},
    output::{self, Outputs},
    retry, schedule,
    shared::Shared,
    table::Work,
};
use crate::{
    codec,
    error::ExecuteError,
    id::TaskNumber,
    operation::{Failure, OperationError},
    plan::OnFailure,
    registry::Verb,
};

/// Emits the retry of an element and returns its back-off; `None` if the budget of the element is
/// spent (rule 5).
pub(super) fn plan_retry(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    element: &Batch,
    step: usize,
    error: &OperationError,
) -> Option<Duration> {
    let plan = job.plan.stages[run.task.stage].steps.get(step)?;
    let tries = element.tries(0);
    if !retry::is_worth_a_retry(plan, error, tries) {
        return None;
    }
    let delay = retry::delay(plan, error, tries, run.number);
    let event = JobEvent::ElementRetried {
        index: element.index(0),
        operation: plan.reference.name.clone(),
        tries,
        delay,
        error: error.clone(),
    };
    shared.emit(job.id, event);
    job.stages[run.task.stage].retried += 1;
    Some(delay)
}

/// Fails an element permanently: it becomes a value, is skipped, or fails its job.
pub(super) fn fail_permanently(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    element: &Batch,
    step: usize,
    error: OperationError,
) {
    let stage = run.task.stage;
    let steps = &job.plan.stages[stage].steps;
    let (verb, on_failure) = steps
        .get(step)
        .map_or((Verb::Map, OnFailure::FailJob), |step| (step.reference.verb, step.on_failure));
    let last = step + 1 >= steps.len();
    if verb == Verb::TryMap
        && let Some(value) = failure_as_value(&Failure {
            operation: steps[step].reference.name.clone(),
            tries: element.tries(0),
            worker: run.worker,
            error: error.clone(),
        })
    {
        job.stages[stage].failed += 1;
        let replaced = element.replaced(value);
        job.account.replace(element, &replaced);
        if last {
            let lengths = [replaced.bytes().len() as u32];
            let values = replaced.bytes().clone();
            let outputs = Outputs { values, count: 1, counts: None, lengths: Some(&lengths) };
            output::done(shared, job, stage, &Batch::Elements(replaced), outputs);
        } else {
            let work = Work::Run { batch: Batch::Elements(replaced), first_step: step + 1 };
            schedule::enqueue(shared, run.task.with(work), Duration::ZERO);
        }
        return;
    }
    let error = blamed(job, run, element.index(0), element.tries(0), step, error);
    dead_letter::write(shared, job, run, element, &error);
    if on_failure == OnFailure::Skip {
        job.stages[stage].failed += 1;
        let event = JobEvent::ElementSkipped {
            index: error.index,
            operation: error.operation.clone(),
            error: error.error.clone(),
        };
        shared.emit(job.id, event);
        let nothing =
            Outputs { values: Bytes::new(), count: 0, counts: Some(&[0]), lengths: Some(&[]) };
        output::done(shared, job, stage, element, nothing);
    } else {
        fail_job(shared, job, stage, element, error);
    }
}

/// Fails the job because of an element. An ordered `take` fails only when its outputs reach the
/// element (rule 23).
pub(super) fn fail_job(
    shared: &mut Shared,
    job: &mut JobState,
    stage: usize,
    element: &Batch,
    error: Box<ExecuteError>,
) {
    if job.defers_failures(stage) {
        job.settle(stage, element, Onward::Nothing);
        output::fail_in_order(shared, job, stage, element.first(), error);
    } else {
        job.fail(error);
    }
}

/// Charges a try to a single element, or to the one at this offset of a batch that cannot be split,
/// for a failure that came without a result.
pub(super) fn charge_single(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    offset: usize,
    error: OperationError,
) {
    fail_single(shared, job, number, offset, error, Budget::AsUsual);
}

/// Permanently fails a task of one element, or one that cannot be split, whatever its budget.
pub(super) fn fail_task(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    error: OperationError,
) {
    fail_single(shared, job, number, 0, error, Budget::Spent);
}

/// Whether an element that fails may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Budget {
    AsUsual,
    Spent,
}

fn fail_single(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    offset: usize,
    error: OperationError,
    budget: Budget,
) {
    let Some(task) = schedule::retire(shared, job, number) else { return };
    shared.progressed(job);
    let run = TaskRun { number, task: &task, attempt: task.attempt(), worker: None };
    match &task.work {
        Work::Run { batch, first_step } => {
            let step = suspect(job, &task, *first_step);
            if batch.len() > 1 || batch.is_open() {
                // A leaf of a fixed tree, or a list that nobody has read yet: neither is split, so its
                // job fails because of the element.
                let offset = offset.min(batch.len().saturating_sub(1));
                let (index, tries) = (batch.index(offset), batch.tries(offset));
                let error = blamed(job, &run, index, tries, step, error);
                let element = batch.slice(offset..offset + 1);
                dead_letter::write(shared, job, &run, &element, &error);
                match batch.is_open() {
                    true => job.fail(error),
                    false => fail_job(shared, job, task.stage, batch, error),
                }
            } else if budget == Budget::AsUsual
                && let Some(delay) = plan_retry(shared, job, &run, batch, step, &error)
            {
                let batch = batch.clone().charged();
                let work = Work::Run { batch, first_step: *first_step };
                schedule::enqueue(shared, task.with(work), delay);
            } else {
                fail_permanently(shared, job, &run, batch, step, error);
            }
        }
        Work::Combine { partials } => {
            combination_failed(shared, job, &run, partials.clone(), error);
        }
    }
}

/// Retries a combination that failed, or fails its job.
pub(super) fn combination_failed(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    mut partials: Vec<Partial>,
    error: OperationError,
) {
    let stage = run.task.stage;
    let step = job.plan.stages[stage].steps.len() - 1;
    let tries = partials.iter().map(|partial| partial.tries).max().unwrap_or(1);
    let plan = &job.plan.stages[stage].steps[step];
    if retry::is_worth_a_retry(plan, &error, tries) {
        let delay = retry::delay(plan, &error, tries, run.number);
        for partial in &mut partials {
            partial.tries = tries + 1;
        }
        job.stages[stage].retried += 1;
        schedule::enqueue(shared, run.task.with(Work::Combine { partials }), delay);
        return;
    }
    let index = partials.first().map_or(0, |partial| partial.from);
    let error = blamed(job, run, index, tries, step, error);
    dead_letter::write_partials(shared, job, run, &partials, &error);
    job.fail(error);
}

/// `Err(failure)`, encoded as the input of the step after a `try_map`. The type of its `Ok` does not
/// matter: postcard writes the number of the variant, then its content.
fn failure_as_value(failure: &Failure) -> Option<Bytes> {
    codec::encode(&Err::<(), &Failure>(failure)).ok().map(Bytes::from)
}
