//! What workers answer: results and returns.

use std::{ops::Range, time::Duration};

use bytes::Bytes;

use super::{
    Engine,
    blame::{Run, blamed},
};
use crate::{
    id::{CopyId, TaskNumber},
    leader::engine::{
        event::JobEvent,
        fold::Partial,
        job::JobState,
        probe::Probing,
        protocol::Action,
        retry,
        task::{Shape, Task, Work},
    },
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::{NotRunReason, Outcome, ResultHeader, ResultMessage, Return, ReturnReason, Segment},
};

/// A task that took down even those who isolated it, or was garbled, this often is halved.
const HALVED_AFTER: u32 = 3;
/// A single element that did so this often fails.
const FAILS_AFTER: u32 = 10;

impl Engine {
    pub(super) fn result(&mut self, result: ResultMessage) {
        let ResultMessage { header, payload } = result;
        let number = header.copy.task;
        // Rule 2: whichever copy it comes from, it counts if its task is live, and only then.
        let Some(task) = self.tasks.get(&number) else {
            tracing::debug!(task = %number, attempt = header.copy.attempt, "late result dropped");
            return;
        };
        let Some(job) = self.jobs.get(&task.job) else { return };
        let steps = job.plan.stages[task.stage].steps.len();
        let shape = Shape {
            steps,
            folds: job.folds(task.stage),
            one_to_one: job.is_one_to_one(task.stage),
            measured: !job.is_last(task.stage),
        };
        if !task.fits(&header, shape) {
            tracing::warn!(task = %number, worker = %header.worker, "result does not fit its task");
            let why = "a worker's result does not fit its task";
            self.copy_gone(header.copy, Some(why));
            return;
        }
        let Some(task) = self.retire(number) else { return };
        let Some(mut job) = self.jobs.remove(&task.job) else { return };
        self.moved(&mut job);
        self.measure(&mut job, &task, &header, payload.len());
        let run =
            Run { number, task: &task, attempt: header.copy.attempt, worker: Some(header.worker) };
        match &task.work {
            Work::Run { .. } => self.run_answered(&mut job, &run, &header.segments, payload),
            Work::Combine { partials } => {
                self.combine_answered(&mut job, &run, &header.segments, partials.clone(), payload);
            }
        }
        self.keep(job);
    }

    fn measure(&mut self, job: &mut JobState, task: &Task, header: &ResultHeader, output: usize) {
        let ran = |segment: &&Segment| !matches!(segment.outcome, Outcome::NotRun { .. });
        let elements: u64 =
            header.segments.iter().filter(ran).map(|s| u64::from(s.to - s.from)).sum();
        if elements > 0 && task.len() > 0 {
            let input = (task.size() as u64 * elements / task.len() as u64) as usize;
            let busy = Duration::from_micros(header.busy_us);
            job.stages[task.stage].cost.observe(busy, elements, input, output);
        }
        let sizing = self.sizing(job, task.stage);
        if let Some(flow) = self.flows.get_mut(&task.lane) {
            flow.observe(Duration::from_micros(header.waited_us), &sizing);
        }
    }

    /// Places each position of the batch (rule 4): settled, failed, or in a new task.
    fn run_answered(
        &mut self,
        job: &mut JobState,
        run: &Run<'_>,
        segments: &[Segment],
        mut payload: Bytes,
    ) {
        let Work::Run { elements, first_step } = &run.task.work else { return };
        // A leaf of a fixed tree counts whole or not at all.
        if job.has_leaves(run.task.stage)
            && !matches!(segments, [Segment { outcome: Outcome::Done { .. }, .. }])
        {
            self.leaf_broken(job, run, segments);
            return;
        }
        // Neighbours that wait equally long are one task, however many they are.
        let mut again: Vec<(Range<usize>, Duration)> = Vec::new();
        for segment in segments {
            let offsets = segment.from as usize..segment.to as usize;
            let part = elements.slice(offsets.clone());
            match &segment.outcome {
                Outcome::Done { bytes, outputs, counts, lengths, .. } => {
                    let values = payload.split_to((*bytes as usize).min(payload.len()));
                    let outputs = super::output::Outputs {
                        values,
                        count: *outputs,
                        counts: counts.as_deref(),
                        lengths: lengths.as_deref(),
                    };
                    self.done(job, run.task.stage, &part, outputs);
                }
                Outcome::Failed { step, error } => {
                    let step = first_step + *step as usize;
                    match (self.judge(job, run, &part, step, error), again.last_mut()) {
                        (None, _) => self.fail_for_good(job, run, &part, step, error.clone()),
                        (Some(delay), Some((range, known)))
                            if range.end == offsets.start && *known == delay =>
                        {
                            range.end = offsets.end;
                        }
                        (Some(delay), _) => again.push((offsets, delay)),
                    }
                }
                Outcome::NotRun { reason } => {
                    let task = run.task.with(Work::Run { elements: part, first_step: *first_step });
                    let delay = match reason {
                        // Somebody cancels what nobody cancelled: not at full speed.
                        NotRunReason::Cancelled => retry::delay(None, 1, run.number),
                        _ => Duration::ZERO,
                    };
                    self.later(job, task, delay);
                }
            }
        }
        for (offsets, delay) in again {
            let elements = elements.slice(offsets).charged();
            let work = Work::Run { elements, first_step: *first_step };
            self.later(job, run.task.with(work), delay);
        }
    }

    /// A leaf with a hole: its failures are charged, then it runs again whole.
    fn leaf_broken(&mut self, job: &mut JobState, run: &Run<'_>, segments: &[Segment]) {
        let Work::Run { elements, first_step } = &run.task.work else { return };
        let mut delay = Duration::ZERO;
        let mut again = Vec::new();
        for segment in segments {
            let part = elements.slice(segment.from as usize..segment.to as usize);
            let Outcome::Failed { step, error } = &segment.outcome else {
                again.push(part);
                continue;
            };
            let step = first_step + *step as usize;
            if let Some(wait) = self.judge(job, run, &part, step, error) {
                delay = delay.max(wait);
                again.push(part.charged());
            } else {
                // The stage of a fixed fold has no step whose failures are skipped or made values.
                let error = blamed(job, run, part.index(0), part.tries(0), step, error.clone());
                self.bury(job, run, &part, &error);
                self.fail_job(job, run.task.stage, &part, error);
                return;
            }
        }
        if let Some(elements) = crate::leader::engine::elements::Elements::join(again) {
            let task = run.task.with(Work::Run { elements, first_step: *first_step });
            self.later(job, task, delay);
        }
    }

    fn combine_answered(
        &mut self,
        job: &mut JobState,
        run: &Run<'_>,
        segments: &[Segment],
        partials: Vec<Partial>,
        payload: Bytes,
    ) {
        if let [Segment { outcome: Outcome::Done { outputs: 1, .. }, .. }] = segments {
            self.combination_done(job, &partials, payload);
            return;
        }
        let failure = segments.iter().find_map(|segment| match &segment.outcome {
            Outcome::Failed { error, .. } => Some(error.clone()),
            _ => None,
        });
        match failure {
            Some(error) => self.combination_failed(job, run, partials, error),
            None => {
                let task = run.task.with(Work::Combine { partials });
                self.later(job, task, Duration::ZERO);
            }
        }
    }

    pub(super) fn returned(&mut self, returned: Return) {
        let Some(id) = returned.copy else {
            // The worker that had taken a probe died: no reply to it will come.
            self.probing.values_mut().for_each(Probing::forget_asked);
            return;
        };
        let number = id.task;
        let Some(task) = self.tasks.get_mut(&number) else { return };
        let Some(copy) = task.copy(id.attempt) else { return };
        // A lease outranks a return (rule 13): the broker delivered again what its worker could not
        // ack any more, but runs.
        if returned.reason == ReturnReason::Redelivered
            && copy.holder().is_some_and(|holder| holder != returned.worker)
        {
            return;
        }
        let isolated = copy.isolated;
        let job = task.job;
        let event = JobEvent::TaskReturned {
            task: number,
            attempt: id.attempt,
            worker: returned.worker,
            why: returned.reason.clone(),
        };
        self.actions.push(Action::Emit { job, event });
        match returned.reason {
            ReturnReason::Redelivered => {
                task.isolated = true;
                let why = "the workers that it was delivered to died, although it ran in a process \
                           of its own, or held it longer than the broker's acknowledgement timeout";
                self.copy_gone(id, isolated.then_some(why));
            }
            ReturnReason::Crashed { status } => {
                self.crashed(number, returned.offset, &status);
            }
            ReturnReason::TooLarge { size, limit } => {
                let why = format!(
                    "an answer of {size} bytes is larger than the {limit} bytes that the broker takes"
                );
                self.too_large(number, &why);
            }
            ReturnReason::Refused(Refusal::Undecodable { name, offset, reason }) => {
                self.undecodable(number, &name, offset, &reason);
            }
            ReturnReason::Refused(refusal) => {
                let now = self.now;
                task.refusals
                    .entry(returned.worker)
                    .and_modify(|(_, known)| *known = refusal.clone())
                    .or_insert((now, refusal));
                self.refused.insert(number);
                self.copy_gone_after_setback(id);
            }
            // A worker that cannot hear this leader would return everything at full speed.
            ReturnReason::LeaderSilent => self.copy_gone_after_setback(id),
            ReturnReason::NotStarted | ReturnReason::Draining => {
                self.copy_gone(id, None);
            }
        }
    }

    /// A copy will not be answered any more; without any left the task is sent again. `suspected`
    /// says of what, if of something that the batch may do again.
    pub(super) fn copy_gone(&mut self, copy: CopyId, suspected: Option<&str>) {
        let number = copy.task;
        let Some(task) = self.tasks.get_mut(&number) else { return };
        if !task.lose_copy(copy.attempt) {
            return;
        }
        if let Some(why) = suspected {
            task.redelivered += 1;
            let redelivered = task.redelivered;
            let splits = self.may_split(number);
            if !splits && redelivered >= FAILS_AFTER {
                let error = OperationError::new(
                    ErrorKind::Crash,
                    format!("given up after {FAILS_AFTER} deliveries: {why}"),
                );
                self.give_up(number, error);
                return;
            }
            if splits && redelivered >= HALVED_AFTER {
                self.halve(number);
                return;
            }
        }
        self.again(number, Duration::ZERO);
    }

    fn copy_gone_after_setback(&mut self, copy: CopyId) {
        let number = copy.task;
        let Some(task) = self.tasks.get_mut(&number) else { return };
        if !task.lose_copy(copy.attempt) {
            return;
        }
        task.setbacks += 1;
        // At most 1.6 s: a worker that can run it may come at any time.
        let delay = retry::delay(None, task.setbacks.min(5), number);
        self.again(number, delay);
    }

    fn crashed(&mut self, number: TaskNumber, position: Option<u32>, status: &str) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        let count = task.len();
        task.isolated = true;
        if self.may_split(number) {
            match position.map(|position| (position as usize).min(count - 1)) {
                Some(position) => self.split(number, &[position, position + 1]),
                None => self.halve(number),
            }
            return;
        }
        let error = OperationError::new(ErrorKind::Crash, format!("its process died: {status}"));
        self.charge_single(number, position.unwrap_or(0) as usize, error);
    }

    fn undecodable(&mut self, number: TaskNumber, operation: &str, offset: u32, reason: &str) {
        let Some(task) = self.tasks.get(&number) else { return };
        let (count, at) = (task.len(), offset as usize);
        if self.may_split(number) {
            self.split(number, &[at.min(count - 1), (at + 1).min(count)]);
            return;
        }
        let text = format!("the element does not decode as an input of `{operation}`: {reason}");
        self.charge_single(number, at, OperationError::new(ErrorKind::Codec, text));
    }

    pub(super) fn too_large(&mut self, number: TaskNumber, why: &str) {
        let Some(task) = self.tasks.get(&number) else { return };
        let count = task.len();
        if self.may_split(number) {
            self.halve(number);
        } else if let Work::Combine { .. } = task.work {
            self.combine_here(number);
        } else {
            let leaf =
                if count > 1 { "; a fold of fixed shape does not cut its leaves" } else { "" };
            self.give_up(number, OperationError::new(ErrorKind::TooLarge, format!("{why}{leaf}")));
        }
    }

    /// Whether a part of the batch can be a task of its own: not a leaf of a fixed tree, nor less
    /// than two elements.
    fn may_split(&self, number: TaskNumber) -> bool {
        let task = self.tasks.get(&number);
        task.and_then(|task| Some((task, self.jobs.get(&task.job)?))).is_some_and(|(task, job)| {
            task.len() > 1 && matches!(task.work, Work::Run { .. }) && !job.has_leaves(task.stage)
        })
    }

    fn halve(&mut self, number: TaskNumber) {
        if let Some(task) = self.tasks.get(&number) {
            self.split(number, &[task.len() / 2]);
        }
    }

    /// Retires a task; its parts, cut at these offsets, become new ones.
    fn split(&mut self, number: TaskNumber, cuts: &[usize]) {
        let Some(task) = self.retire(number) else { return };
        let Some(mut job) = self.jobs.remove(&task.job) else { return };
        if let Work::Run { elements, first_step } = &task.work {
            let mut from = 0;
            for to in cuts.iter().copied().chain([elements.len()]) {
                if from < to {
                    let elements = elements.slice(from..to);
                    let work = Work::Run { elements, first_step: *first_step };
                    self.later(&mut job, task.with(work), Duration::ZERO);
                    from = to;
                }
            }
        }
        self.keep(job);
    }
}
