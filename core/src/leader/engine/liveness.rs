//! Who is there, how time passes, and why a job does not move.

use std::time::Duration;

use super::Engine;
use crate::{
    error::Error,
    id::JobId,
    leader::engine::{
        copy::{CopyState, TaskCopy},
        event::{JobEvent, Stall},
        job::JobState,
        protocol::Action,
        task::{Task, TaskState},
    },
};

/// A task is hopeless when every live worker has refused it for so long (rule 10).
const REFUSED_FOR: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) fn tick(&mut self, elapsed: Duration, unread: bool) {
        let before = self.wall;
        self.wall += elapsed;
        if self.health.is_well() {
            self.now += elapsed;
            // What is unread may be the very answer whose absence would mean something.
            if !unread {
                self.quiet += elapsed;
            }
        }
        // Once a second is enough for what counts in seconds.
        if before.as_secs() == self.wall.as_secs() {
            return;
        }
        if self.health.is_well() {
            self.workers.forget_silent(self.wall);
        }
        self.look_at_refusals();
        self.look_at_stalls();
        // Last: what is sent again now is not what anybody waits for.
        self.look_at_copies();
    }

    /// Fails the jobs of tasks that every live worker has refused for a while (rule 10).
    fn look_at_refusals(&mut self) {
        let mut hopeless = Vec::new();
        for number in &self.refused {
            let Some(task) = self.tasks.get_mut(number) else { continue };
            // Who is gone has no say any more, and is not remembered for ever.
            task.refusals.retain(|worker, _| self.workers.is_serving(*worker, &task.lane.pool));
            let mut live =
                self.workers.serving(&task.lane.pool).map(|id| task.refusals.get(&id)).peekable();
            let refused_long = |refusal: Option<&(Duration, _)>| {
                refusal.is_some_and(|(first, _)| self.now.saturating_sub(*first) >= REFUSED_FOR)
            };
            if live.peek().is_some() && live.all(refused_long) {
                hopeless.push(*number);
            }
        }
        for number in hopeless {
            let Some(task) = self.tasks.get(&number) else { continue };
            let Some(job) = self.jobs.get(&task.job) else { continue };
            let (operation, _) = super::blame::first(job, task);
            let refusals =
                task.refusals.iter().map(|(id, (_, refusal))| (*id, refusal.clone())).collect();
            let error = Error::Refused { job: job.id, operation, refusals };
            self.end(job.id, Err(error));
        }
    }

    fn look_at_stalls(&mut self) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get(&id) else { continue };
            let silent = self.wall.saturating_sub(job.moved);
            if silent
                < self.settings.stall_after.min(self.settings.patience.unwrap_or(Duration::MAX))
            {
                continue;
            }
            let stall = self.cause(job, silent);
            let impatient = self.settings.patience.is_some_and(|patience| silent >= patience);
            if impatient && !stall.is_own_doing() {
                self.end(id, Err(Error::Stalled { job: id, cause: stall.to_string() }));
                continue;
            }
            let known = job.stall.as_ref().map(std::mem::discriminant);
            if known != Some(std::mem::discriminant(&stall)) {
                tracing::warn!(job = %id, cause = %stall, "job does not move");
                let event = JobEvent::Stalled(stall.clone());
                self.actions.push(Action::Emit { job: id, event });
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.stall = Some(stall);
                }
            }
        }
    }

    /// What a job waits for.
    fn cause(&self, job: &JobState, silent: Duration) -> Stall {
        if !self.health.connected {
            return Stall::Disconnected;
        }
        if let Some(reason) = &self.health.blocked {
            return Stall::Blocked { reason: reason.clone() };
        }
        let tasks = || job.tasks.iter().filter_map(|number| self.tasks.get(number));
        if let Some(task) = tasks().find(|task| !task.refusals.is_empty()) {
            let (operation, _) = super::blame::first(job, task);
            let last = task.refusals.values().max_by_key(|(first, _)| *first);
            return Stall::Refused {
                operation,
                workers: task.refusals.len(),
                reason: last.map(|(_, refusal)| refusal.to_string()).unwrap_or_default(),
            };
        }
        // Numbers grow: the first is the oldest.
        if let Some(oldest) = tasks().find(|task| task.state == TaskState::Out) {
            return self.cause_of(job, oldest, silent);
        }
        let until = |task: &Task| match task.state {
            TaskState::Waiting { until } => Some(until),
            _ => None,
        };
        if let Some(next) = tasks().filter_map(until).min() {
            let tasks = tasks().count() as u32;
            return Stall::BackingOff { tasks, next: next.saturating_sub(self.now) };
        }
        if job.undelivered > 0 {
            return Stall::ReaderSlow { bytes: job.undelivered };
        }
        Stall::InputSlow
    }
    /// Why a task that is out is not answered.
    fn cause_of(&self, job: &JobState, task: &Task, silent: Duration) -> Stall {
        let pool = task.lane.pool.clone();
        let out = |other: &&Task| other.state == TaskState::Out && other.lane.pool == pool;
        let tasks = job.tasks.iter().filter_map(|number| self.tasks.get(number));
        let tasks = tasks.filter(out).count() as u32;
        if let Some(worker) = task.copies.iter().find_map(TaskCopy::holder) {
            let (operation, index) = super::blame::first(job, task);
            return Stall::Running { operation, index, worker, silent };
        }
        if let Some(reason) = self.probing_of(&pool).and_then(|probing| probing.trouble.clone()) {
            return Stall::QueueGone { pool, reason };
        }
        if self.workers.serving(&pool).next().is_none() {
            return Stall::NoWorkers { pool, tasks };
        }
        let newest = task.copies.iter().filter_map(|copy| match copy.state {
            CopyState::Queued { order, .. } => Some(order),
            _ => None,
        });
        if let (Some(probing), Some(order)) = (self.probing_of(&pool), newest.max()) {
            if let Some(again) = probing.lost_in(order, self.quiet, self.settings.hold) {
                return Stall::Missing { pool, tasks, again };
            }
            if probing.is_asking() {
                return Stall::Queued { pool, tasks };
            }
        }
        Stall::Unanswered { pool, tasks, silent }
    }
}
