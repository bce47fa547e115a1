//! Elements that failed: they are retried, become a value, are skipped, or fail their job.

use std::time::Duration;

use bytes::Bytes;

use super::{
    blame::{TaskRun, blamed, suspect},
    dead_letter,
    event::JobEvent,
    fold::Partial,
    groups::{self, ElementName},
    job::{Batch, JobState, Onward},
    output::{self, Outputs},
    retry, schedule,
    shared::Shared,
    table::Work,
};
use crate::{
    codec::{self, Layout, push_frame},
    error::ExecuteError,
    id::TaskNumber,
    operation::{Failure, OperationError},
    plan::{OnFailure, Outlet},
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
    // The key of a group costs a look into its partition.
    let ElementName { index, group } = match job.is_watched {
        true => run.name(job, element, 0),
        false => groups::name_without_key(job, run.task.stage, element, 0),
    };
    let plan = &job.plan.stages[run.task.stage].steps[step];
    let event = JobEvent::ElementRetried {
        index,
        group,
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
    if verb == Verb::TryMap
        && let Some(value) = failure_as_value(&Failure {
            operation: steps[step].reference.name.clone(),
            tries: element.tries(0),
            worker: run.worker,
            error: error.clone(),
        })
    {
        job.stages[stage].failed += 1;
        let is_output = step + 1 >= steps.len();
        let layout = match job.plan.outlet(stage) {
            Outlet::Stage(next) if is_output => job.plan.layout_into(next),
            _ if is_output => Layout::Plain,
            _ => job.plan.layout_from(stage, step + 1),
        };
        let replaced = element.replaced(framed(value, layout));
        job.account.replace(element, &replaced);
        if is_output {
            let lengths = [replaced.bytes().len() as u32];
            let values = replaced.bytes().clone();
            let lengths = Some(&lengths[..]);
            let outputs = Outputs { values, count: 1, counts: None, lengths, queued: None };
            output::done(shared, job, stage, &Batch::Elements(replaced), outputs);
        } else {
            let work = Work::Run { batch: Batch::Elements(replaced), first_step: step + 1 };
            schedule::enqueue(shared, run.task.with(work), Duration::ZERO);
        }
        return;
    }
    let name = run.name(job, element, 0);
    let error = blamed(job, run, name, element.tries(0), step, error);
    dead_letter::write(shared, job, run, element, 0, &error);
    if on_failure == OnFailure::Skip {
        job.stages[stage].failed += 1;
        let event = JobEvent::ElementSkipped {
            index: error.index,
            group: error.group.clone(),
            operation: error.operation.clone(),
            error: error.error.clone(),
        };
        shared.emit(job.id, event);
        let (values, counts, lengths) = (Bytes::new(), Some(&[0][..]), Some(&[][..]));
        let nothing = Outputs { values, count: 0, counts, lengths, queued: None };
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
                // A leaf of a fixed tree, or a list that nobody has read yet: neither is split, so
                // its job fails because of the element.
                let known = if batch.is_open() { usize::MAX } else { batch.len() - 1 };
                let offset = offset.min(known);
                let name = run.name(job, batch, offset);
                let error = blamed(job, &run, name, batch.tries(offset), step, error);
                dead_letter::write(shared, job, &run, batch, offset, &error);
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
    let name = groups::name_of_partials(job, stage, &partials);
    let error = blamed(job, run, name, tries, step, error);
    dead_letter::write_partials(shared, job, run, &partials, &error);
    job.fail(error);
}

/// The value of a failed `try_map` in this layout. It is neither a pair nor a key.
fn framed(value: Bytes, layout: Layout) -> Bytes {
    if layout != Layout::Whole {
        return value;
    }
    let mut framed = Vec::with_capacity(value.len() + 6);
    push_frame(&mut framed, value.len(), 0);
    framed.extend_from_slice(&value);
    framed.into()
}

/// `Err(failure)`, encoded as the input of the step after a `try_map`. The type of its `Ok` does
/// not matter: postcard writes the number of the variant, then its content.
fn failure_as_value(failure: &Failure) -> Option<Bytes> {
    codec::encode(&Err::<(), &Failure>(failure)).ok().map(Bytes::from)
}
