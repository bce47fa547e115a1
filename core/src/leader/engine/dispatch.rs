//! New tasks out of pending elements, copies of tasks, pulls.

use std::time::Duration;

use super::Engine;
use crate::{
    broker::PublishError,
    error::Error,
    id::{CopyId, JobId, TaskNumber},
    leader::engine::{
        batch::MAX_BATCH_BYTES,
        copy::{CopyState, TaskCopy},
        event::JobEvent,
        flow::{Lane, MAX_JOB_BYTES, PoolFlow},
        job::JobState,
        protocol::Action,
        retry,
        task::{Task, TaskState, Work},
    },
    operation::ElementRange,
    wire::{MAX_MESSAGE_BYTES, TaskHeader, TaskKind, TaskMessage},
};

/// Output of one task, at most (rule 19); a single element may give up to the broker's limit.
const MAX_OUTPUT: u64 = 1 << 20;
/// Output that any task may give, however little is expected of it.
const MIN_OUTPUT: u64 = 64 << 10;
/// The time slice of what must not be cut.
const UNCUT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Encoded input of one pull, at most: it is held twice while it is handed over.
const MAX_PULL_BYTES: usize = 1 << 20;

impl Engine {
    /// Sends what may be sent, job by job: first what waited for its back-off, then new input.
    pub(super) fn dispatch(&mut self) {
        while let Some(&(until, number)) = self.waiting.first()
            && until <= self.now
        {
            self.waiting.remove(&(until, number));
            let Some(task) = self.tasks.get_mut(&number) else { continue };
            if let Work::Combine { .. } = task.work {
                // What a fold holds grows smaller by it (rule 17).
                self.publish(number);
                continue;
            }
            let Some(job) = self.jobs.get_mut(&task.job) else { continue };
            task.state = TaskState::Due;
            job.stages[task.stage].due.insert(number);
        }
        // One batch a job and turn, so that no job waits behind the whole of another.
        let mut idle = 0;
        while idle < self.rotation.len() {
            let Some(id) = self.rotation.pop_front() else { break };
            self.rotation.push_back(id);
            if self.send_one(id) { idle = 0 } else { idle += 1 }
        }
        for at in 0..self.rotation.len() {
            self.pull(self.rotation[at]);
        }
    }

    /// Sends one task of a job, of the last stage that has some: one that is due, else a new one of
    /// pending elements.
    fn send_one(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        for stage in (0..job.stages.len()).rev() {
            let due = job.stages[stage].due.first().copied();
            if due.is_none() && job.stages[stage].pending_elements == 0 {
                continue;
            }
            let sizing = self.sizing(job, stage);
            let wanted = sizing.elements();
            let lane = Lane::of(&job.plan.stages[stage]);
            // One task for each job in any case: what is out of the others may take hours, or be
            // lost.
            let credit = job.stages[stage].tasks == 0
                || self.flows.get(&lane).is_none_or(|flow| flow.has_credit(&sizing, self.now));
            if !credit {
                continue;
            }
            if let Some(number) = due {
                self.publish(number);
                return true;
            }
            if job.is_full(stage) || !job.is_ripe(stage, wanted, sizing.slots) {
                continue;
            }
            if let Some(size) = job.oversized_leaf(stage) {
                self.fail_leaf(id, stage, size);
                return true;
            }
            let Some(mut job) = self.jobs.remove(&id) else { return false };
            let number = job.cut(stage, wanted).map(|elements| {
                let task = Task::new(id, stage, lane, Work::Run { elements, first_step: 0 });
                self.later(&mut job, task, Duration::ZERO)
            });
            self.jobs.insert(id, job);
            let Some(number) = number else { return false };
            self.publish(number);
            return true;
        }
        false
    }

    /// A leaf of a fixed tree is one message, whatever its size: there is a limit to that.
    fn fail_leaf(&mut self, id: JobId, stage: usize, size: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let steps = job.plan.stages[stage].steps.first();
        let operation = steps.map(|step| step.reference.name.clone()).unwrap_or_default();
        let index = job.stages[stage].pending.front().map_or(0, |elements| elements.index(0));
        let limit = MAX_MESSAGE_BYTES as u64;
        let source = PublishError::TooLarge { size, limit };
        self.end(id, Err(Error::Submit { job: id, operation, index, source }));
    }

    /// Gives a task a number and a place in the table; it is sent after the delay, when there is
    /// credit for it.
    pub(super) fn later(
        &mut self,
        job: &mut JobState,
        mut task: Task,
        delay: Duration,
    ) -> TaskNumber {
        let number = TaskNumber(self.next_task);
        self.next_task += 1;
        let until = self.now.saturating_add(delay);
        task.state = TaskState::Waiting { until };
        self.waiting.insert((until, number));
        job.tasks.insert(number);
        self.tasks.insert(number, task);
        number
    }

    /// Sends a new copy of a live task after the delay.
    pub(super) fn again(&mut self, number: TaskNumber, delay: Duration) {
        let Some(mut task) = self.tasks.remove(&number) else { return };
        self.release(number, &mut task);
        let until = self.now.saturating_add(delay);
        task.state = TaskState::Waiting { until };
        self.waiting.insert((until, number));
        self.tasks.insert(number, task);
    }

    /// Takes a task back from wherever it is: its credit comes back, nothing waits for it.
    pub(super) fn release(&mut self, number: TaskNumber, task: &mut Task) {
        match task.state {
            TaskState::Waiting { until } => {
                self.waiting.remove(&(until, number));
            }
            TaskState::Due => {
                if let Some(job) = self.jobs.get_mut(&task.job) {
                    job.stages[task.stage].due.remove(&number);
                }
            }
            TaskState::Out => {
                if let Some(flow) = self.flows.get_mut(&task.lane) {
                    flow.came_back(task.charged);
                }
                if let Some(job) = self.jobs.get_mut(&task.job) {
                    job.free(task.expected);
                    job.outgoing = job.outgoing.saturating_sub(task.expected);
                    job.progress.tasks_out -= 1;
                    job.stages[task.stage].tasks -= 1;
                }
                task.charged = 0;
                task.expected = 0;
            }
        }
        task.state = TaskState::Waiting { until: Duration::ZERO };
    }

    fn publish(&mut self, number: TaskNumber) {
        let Some(mut task) = self.tasks.remove(&number) else { return };
        self.release(number, &mut task);
        if let Some(mut job) = self.jobs.remove(&task.job) {
            task.attempt += 1;
            task.copies.push(TaskCopy::new(task.attempt, task.isolated));
            self.count_out(&mut job, &mut task);
            let message = Box::new(self.message(&job, number, &task));
            self.actions.push(Action::Publish { pool: task.lane.pool.clone(), message });
            self.jobs.insert(task.job, job);
        }
        self.tasks.insert(number, task);
    }

    /// A task that has a copy again takes credit.
    pub(super) fn count_out(&mut self, job: &mut JobState, task: &mut Task) {
        task.state = TaskState::Out;
        task.charged = task.size();
        task.expected = job.stages[task.stage].cost.expected_output(task.charged);
        self.flows.entry(task.lane.clone()).or_default().sent(task.charged, self.now);
        job.bytes += task.expected;
        job.outgoing += task.expected;
        job.progress.tasks_out += 1;
        job.stages[task.stage].tasks += 1;
        self.touched.insert(task.job);
    }

    fn message(&self, job: &JobState, number: TaskNumber, task: &Task) -> TaskMessage {
        let plan = &job.plan.stages[task.stage];
        let sizing = self.sizing(job, task.stage);
        let uncut = job.has_leaves(task.stage);
        let (kind, ranges, indexes, first_step, payload, uncut) = match &task.work {
            Work::Run { elements, first_step } => {
                let (ranges, indexes) = (elements.ranges(), elements.listed_indexes());
                (TaskKind::Run, ranges, indexes, *first_step, elements.bytes().clone(), uncut)
            }
            Work::Combine { partials } => {
                let tries = partials.iter().map(|partial| partial.tries).max().unwrap_or(1);
                let payload: Vec<u8> = partials
                    .iter()
                    .filter_map(|partial| partial.bytes.as_deref())
                    .flatten()
                    .copied()
                    .collect();
                let range = ElementRange { from: 0, to: partials.len() as u64, tries };
                let indexes = partials.iter().map(|partial| partial.from).collect();
                (
                    TaskKind::Combine,
                    vec![range],
                    indexes,
                    plan.steps.len() - 1,
                    payload.into(),
                    true,
                )
            }
        };
        let header = TaskHeader {
            leader: self.settings.leader,
            job: job.id,
            stage: task.stage as u32,
            copy: CopyId::new(number, task.attempt),
            kind,
            isolated: task.isolated,
            ranges,
            indexes,
            steps: plan.steps[first_step..].iter().map(|step| step.reference.clone()).collect(),
            time_slice: if uncut { UNCUT } else { sizing.time_slice() },
            output_cap: if uncut {
                u64::MAX
            } else {
                (4 * task.expected as u64).clamp(MIN_OUTPUT, MAX_OUTPUT)
            },
            measured: !job.is_last(task.stage),
        };
        TaskMessage { header, payload }
    }

    pub(super) fn published(&mut self, copy: CopyId) {
        let (order, since) = (self.next_order(), self.quiet);
        if let Some(task) = self.tasks.get_mut(&copy.task)
            && let Some(state @ CopyState::Publishing) = task.copy_state(copy.attempt)
        {
            *state = CopyState::Queued { order, since };
        }
    }

    pub(super) fn not_published(&mut self, copy: CopyId, error: &PublishError) {
        let (number, attempt) = (copy.task, copy.attempt);
        let Some(task) = self.tasks.get_mut(&number) else { return };
        // Whoever runs it has it from the broker, whatever became of the confirm.
        let Some(CopyState::Publishing) = task.copy_state(attempt) else { return };
        // A copy whose fate nobody knows is not waited for: its result would still be welcome.
        if !task.lose_copy(attempt) {
            return;
        }
        let job = task.job;
        let delay = match error {
            PublishError::Lost => {
                // Both copies may be there: the second must not kill another worker (rule 7).
                task.isolated = true;
                Duration::ZERO
            }
            PublishError::Nacked { .. } => {
                task.setbacks += 1;
                retry::delay(None, task.setbacks, number)
            }
            PublishError::TooLarge { .. } => {
                self.too_large(number, &error.to_string());
                return;
            }
            PublishError::Refused { .. } => {
                let error = self.submit_error(job, number, error.clone());
                self.end(job, Err(error));
                return;
            }
            PublishError::Closed => {
                self.end(job, Err(Error::Closed));
                return;
            }
        };
        let event = JobEvent::TaskRepublished {
            task: number,
            attempt: attempt + 1,
            reason: error.to_string(),
        };
        self.actions.push(Action::Emit { job, event });
        self.again(number, delay);
    }

    fn submit_error(&self, job: JobId, number: TaskNumber, source: PublishError) -> Error {
        let task = self.tasks.get(&number);
        let owner = task.and_then(|task| Some((self.jobs.get(&task.job)?, task)));
        let (operation, index) =
            owner.map_or_else(Default::default, |(job, task)| super::blame::first(job, task));
        Error::Submit { job, operation, index, source }
    }

    /// Asks for more input where there is credit for it.
    fn pull(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.source.pulling || job.source.ended {
            return;
        }
        let state = &job.stages[0];
        let room = MAX_JOB_BYTES.saturating_sub(job.bytes);
        if job.plan.stages[0].steps.is_empty() {
            // Elements are their own outputs: the reader alone sets the pace.
            if room > 0 {
                self.ask(id, u64::MAX, room.min(MAX_PULL_BYTES));
            }
            return;
        }
        let sizing = self.sizing(job, 0);
        let batch = sizing.elements();
        // One batch is always allowed where nobody holds anything back, else a job of huge
        // elements would never move.
        let idle = job.tasks.is_empty() && job.undelivered == 0;
        let starved = idle && !job.is_ripe(0, batch, sizing.slots);
        if room == 0 && !starved {
            return;
        }
        let unused = PoolFlow::default();
        let flow = self.flows.get(&Lane::of(&job.plan.stages[0])).unwrap_or(&unused);
        let free = u64::from(flow.limit(&sizing, self.now).saturating_sub(flow.tasks));
        // What can go out now, and one batch to be ready for the next credit.
        let elements = batch.saturating_mul(free + 1).saturating_sub(state.pending_elements);
        // A leaf goes out whole, however large that makes it.
        let full =
            if job.has_leaves(0) { usize::MAX } else { MAX_BATCH_BYTES * (free as usize + 1) };
        if elements == 0 || state.pending_bytes >= full {
            return;
        }
        let room = if starved { room.max(MAX_BATCH_BYTES) } else { room };
        self.ask(id, elements, room.min(MAX_PULL_BYTES).min(full));
    }

    fn ask(&mut self, id: JobId, elements: u64, bytes: usize) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.source.pulling = true;
        }
        self.actions.push(Action::Pull { job: id, elements, bytes });
    }
}
