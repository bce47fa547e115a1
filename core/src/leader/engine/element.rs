//! Elements that fail: retried, made a value, left out, or the end of their job.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Engine,
    blame::{Run, blamed, suspect},
    output::{HELD, Outputs},
};
use crate::{
    codec,
    error::ExecuteError,
    id::TaskNumber,
    leader::engine::{
        elements::Elements,
        event::JobEvent,
        fold::Partial,
        job::{JobState, Passing, Release},
        protocol::Action,
        retry,
        task::Work,
    },
    operation::OperationError,
    plan::OnFailure,
    registry::Verb,
};

impl Engine {
    /// How long to wait before the element is tried again; `None` if its budget is spent (rule 5).
    pub(super) fn judge(
        &mut self,
        job: &mut JobState,
        run: &Run<'_>,
        part: &Elements,
        step: usize,
        error: &OperationError,
    ) -> Option<Duration> {
        let plan = job.plan.stages[run.task.stage].steps.get(step)?;
        let tries = part.tries(0);
        if !retry::is_worth_a_retry(plan, error, tries) {
            return None;
        }
        let delay = retry::delay(Some(error), tries, run.number);
        let event = JobEvent::ElementRetried {
            index: part.index(0),
            operation: plan.reference.name.clone(),
            tries,
            delay,
            error: error.clone(),
        };
        self.actions.push(Action::Emit { job: job.id, event });
        job.progress.retried += 1;
        Some(delay)
    }

    /// An element has spent its budget.
    pub(super) fn fail_for_good(
        &mut self,
        job: &mut JobState,
        run: &Run<'_>,
        part: &Elements,
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
            && let Some(value) = failure_as_value(&error)
        {
            job.progress.failed += 1;
            let replaced = part.replaced(value);
            job.free(part.held());
            job.bytes += replaced.held();
            if last {
                let lengths = [replaced.bytes().len() as u32];
                let outputs = Outputs {
                    values: replaced.bytes().clone(),
                    count: 1,
                    counts: None,
                    lengths: Some(&lengths),
                };
                self.done(job, stage, &replaced, outputs);
            } else {
                let work = Work::Run { elements: replaced, first_step: step + 1 };
                self.later(job, run.task.with(work), Duration::ZERO);
            }
            return;
        }
        let error = blamed(job, run, part.index(0), part.tries(0), step, error);
        self.bury(job, run, part, &error);
        if on_failure == OnFailure::Skip {
            job.progress.failed += 1;
            let event = JobEvent::ElementSkipped {
                index: error.index,
                operation: error.operation.clone(),
                error: error.error.clone(),
            };
            self.actions.push(Action::Emit { job: job.id, event });
            let nothing =
                Outputs { values: Bytes::new(), count: 0, counts: Some(&[0]), lengths: Some(&[]) };
            self.done(job, stage, part, nothing);
        } else {
            self.fail_job(job, stage, part, error);
        }
    }

    /// The job fails for an element; an ordered `take` only when it gets that far (rule 23).
    pub(super) fn fail_job(
        &mut self,
        job: &mut JobState,
        stage: usize,
        part: &Elements,
        error: Box<ExecuteError>,
    ) {
        if job.defers_failures() {
            job.settle(stage, part);
            self.fail_in_order(job, stage, part.first(), error);
        } else {
            job.verdict.get_or_insert(error);
        }
    }

    /// A failure takes the place of the outputs of one position.
    pub(super) fn fail_in_order(
        &mut self,
        job: &mut JobState,
        stage: usize,
        position: u64,
        error: Box<ExecuteError>,
    ) {
        if job.is_last(stage) {
            job.bytes += HELD;
            job.releases.insert(position, position + 1, Release::Failure(error));
            self.release_outputs(job);
        } else {
            let passing = Passing::Failure(error);
            job.bytes += passing.size();
            job.stages[stage].passing.insert(position, position + 1, passing);
            self.release_passing(job, stage);
        }
    }

    /// A single element, or the one at this offset of what cannot be split, is charged with a
    /// failure that came without a result.
    pub(super) fn charge_single(&mut self, number: TaskNumber, at: usize, error: OperationError) {
        self.fail_single(number, at, error, true);
    }

    /// A single element fails whatever its budget.
    pub(super) fn give_up(&mut self, number: TaskNumber, error: OperationError) {
        self.fail_single(number, 0, error, false);
    }

    fn fail_single(
        &mut self,
        number: TaskNumber,
        at: usize,
        error: OperationError,
        may_retry: bool,
    ) {
        let Some(task) = self.retire(number) else { return };
        let Some(mut job) = self.jobs.remove(&task.job) else { return };
        self.moved(&mut job);
        let run = Run { number, task: &task, attempt: task.attempt, worker: None };
        match &task.work {
            Work::Run { elements, first_step } => {
                let step = suspect(&job, &task, *first_step);
                if elements.len() > 1 {
                    // A leaf of a fixed tree, which is not cut: its job fails for the element.
                    let at = at.min(elements.len() - 1);
                    let (index, tries) = (elements.index(at), elements.tries(at));
                    let error = blamed(&job, &run, index, tries, step, error);
                    self.bury(&job, &run, &elements.slice(at..at + 1), &error);
                    self.fail_job(&mut job, task.stage, elements, error);
                } else if may_retry
                    && let Some(delay) = self.judge(&mut job, &run, elements, step, &error)
                {
                    let elements = elements.clone().charged();
                    let work = Work::Run { elements, first_step: *first_step };
                    self.later(&mut job, task.with(work), delay);
                } else {
                    self.fail_for_good(&mut job, &run, elements, step, error);
                }
            }
            Work::Combine { partials } => {
                self.combination_failed(&mut job, &run, partials.clone(), error);
            }
        }
        self.keep(job);
    }

    /// Partial results could not be combined.
    pub(super) fn combination_failed(
        &mut self,
        job: &mut JobState,
        run: &Run<'_>,
        mut partials: Vec<Partial>,
        error: OperationError,
    ) {
        let stage = run.task.stage;
        let step = job.plan.stages[stage].steps.len() - 1;
        let tries = partials.iter().map(|partial| partial.tries).max().unwrap_or(1);
        if retry::is_worth_a_retry(&job.plan.stages[stage].steps[step], &error, tries) {
            let delay = retry::delay(Some(&error), tries, run.number);
            for partial in &mut partials {
                partial.tries = tries + 1;
            }
            job.progress.retried += 1;
            self.later(job, run.task.with(Work::Combine { partials }), delay);
            return;
        }
        let index = partials.first().map_or(0, |partial| partial.from);
        let error = blamed(job, run, index, tries, step, error);
        self.bury_partials(job, run, &partials, &error);
        job.verdict.get_or_insert(error);
    }
}

/// `Err(error)` as a step behind a `try_map` takes it, whatever the type of its `Ok`: postcard
/// writes the number of the variant, then what is in it.
fn failure_as_value(error: &OperationError) -> Option<Bytes> {
    codec::encode(&Err::<(), &OperationError>(error)).ok().map(Bytes::from)
}
