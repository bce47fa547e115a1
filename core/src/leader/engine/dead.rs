//! Rule 25: who fails for good is kept where a person can look.

use bytes::Bytes;

use super::{Engine, blame::Run};
use crate::{
    dead_letters::DeadElement,
    error::ExecuteError,
    leader::engine::{
        elements::Elements, fold::Partial, job::JobState, protocol::Action, task::Work,
    },
};

impl Engine {
    /// An element is given up, and not made a value.
    pub(super) fn bury(
        &mut self,
        job: &JobState,
        run: &Run<'_>,
        part: &Elements,
        error: &ExecuteError,
    ) {
        let first_step = match run.task.work {
            Work::Run { first_step, .. } => first_step,
            Work::Combine { .. } => return,
        };
        self.write_letter(job, run, first_step, part.bytes().clone(), part.lengths(), error);
    }

    /// Partial results are given up. Their combination is the last step of their stage, run on
    /// them as on elements.
    pub(super) fn bury_partials(
        &mut self,
        job: &JobState,
        run: &Run<'_>,
        partials: &[Partial],
        error: &ExecuteError,
    ) {
        let kept = || partials.iter().filter_map(|partial| partial.bytes.as_ref());
        let lengths = kept().map(|bytes| bytes.len() as u32).collect();
        let payload: Vec<u8> = kept().flatten().copied().collect();
        let last = job.plan.stages[run.task.stage].steps.len() - 1;
        self.write_letter(job, run, last, payload.into(), lengths, error);
    }

    fn write_letter(
        &mut self,
        job: &JobState,
        run: &Run<'_>,
        first_step: usize,
        payload: Bytes,
        lengths: Vec<u32>,
        error: &ExecuteError,
    ) {
        let stage = &job.plan.stages[run.task.stage];
        let steps = stage.steps.iter().skip(first_step).map(|step| step.reference.clone());
        let element = DeadElement {
            pool: stage.pool.clone(),
            steps: steps.collect(),
            payload,
            lengths,
            error: error.clone(),
        };
        self.actions.push(Action::DeadLetter { job: job.id, element: Box::new(element) });
    }
}
