//! The task table: the live tasks of a leader and their published copies.

mod copy;
#[cfg(test)]
mod model;
mod task;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(super) use copy::{CopyState, TaskCopy};
pub(super) use task::{Charge, Shape, Task, TaskState, Work};

use crate::{
    id::{CopyId, JobId, TaskNumber, WorkerId},
    wire::LeasedTask,
};

/// The live tasks of a leader. A result counts if and only if its task is in this table (rule 2).
///
/// Only the table assigns task numbers, changes the state of a task, and adds and removes copies. A
/// task is charged against the credit while it is out: a method that starts this state returns a
/// new [`Charge`], and a method that ends it returns the same charge again, for the caller to book.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskTable {
    live: BTreeMap<TaskNumber, Task>,
    /// The number that was assigned last. Numbers only grow, so none is used twice.
    newest: u64,
    /// All tasks, by job.
    of_job: BTreeSet<(JobId, TaskNumber)>,
    /// The tasks that wait for the end of their back-off, by that end, in healthy time.
    waiting: BTreeSet<(Duration, TaskNumber)>,
    /// The tasks whose back-off is over and that wait for credit, by job and stage.
    due: BTreeSet<(JobId, usize, TaskNumber)>,
}

/// The effect of a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeaseChange {
    /// Whether the copy was leased for the first time, or has reached another element.
    pub(super) progressed: bool,
    /// Whether it is the first lease of a copy that was published and not removed.
    pub(super) first: bool,
    /// Set if the task was waiting: the copy had been removed too early.
    pub(super) charge: Option<Charge>,
}

impl TaskTable {
    pub(super) fn get(&self, number: TaskNumber) -> Option<&Task> {
        self.live.get(&number)
    }

    /// A task, whose public fields the caller may change.
    pub(super) fn get_mut(&mut self, number: TaskNumber) -> Option<&mut Task> {
        self.live.get_mut(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskNumber, &Task)> {
        self.live.iter().map(|(number, task)| (*number, task))
    }

    /// The live tasks of a job, the oldest first.
    pub(super) fn of(&self, job: JobId) -> impl Iterator<Item = (TaskNumber, &Task)> {
        let numbers = self.of_job.range((job, TaskNumber(0))..=(job, TaskNumber(u64::MAX)));
        numbers.filter_map(|(_, number)| Some((*number, self.live.get(number)?)))
    }

    /// Inserts a task under a new number. It waits until `until`, in healthy time.
    pub(super) fn insert(&mut self, mut task: Task, until: Duration) -> TaskNumber {
        self.newest += 1;
        let number = TaskNumber(self.newest);
        task.state = TaskState::Waiting { until };
        self.waiting.insert((until, number));
        self.of_job.insert((task.job, number));
        self.live.insert(number, task);
        number
    }

    /// Removes a task permanently: replies to its number do not count any more.
    pub(super) fn retire(&mut self, number: TaskNumber) -> Option<(Task, Option<Charge>)> {
        let charge = self.unplace(number);
        let task = self.live.remove(&number)?;
        self.of_job.remove(&(task.job, number));
        Some((task, charge))
    }

    /// Lets a task without copies wait until `until`, in healthy time.
    pub(super) fn wait(&mut self, number: TaskNumber, until: Duration) -> Option<Charge> {
        let charge = self.unplace(number);
        if let Some(task) = self.live.get_mut(&number) {
            task.state = TaskState::Waiting { until };
            self.waiting.insert((until, number));
        }
        charge
    }

    /// The next task whose back-off is over; it becomes due.
    pub(super) fn pop_ready(&mut self, now: Duration) -> Option<TaskNumber> {
        let (until, number) = *self.waiting.first()?;
        if until > now {
            return None;
        }
        self.waiting.remove(&(until, number));
        if let Some(task) = self.live.get_mut(&number) {
            task.state = TaskState::Due;
            self.due.insert((task.job, task.stage, number));
        }
        Some(number)
    }

    /// The tasks of a stage that wait for credit, from the oldest.
    pub(super) fn due(&self, job: JobId, stage: usize) -> impl Iterator<Item = TaskNumber> + '_ {
        let (from, to) = (TaskNumber(0), TaskNumber(u64::MAX));
        let due = self.due.range((job, stage, from)..=(job, stage, to));
        due.map(|(_, _, number)| *number)
    }

    /// Adds a copy to a task that waits or is due; `false` if there is no such task. The task is
    /// then out, and takes up this credit.
    pub(super) fn add_copy(&mut self, number: TaskNumber, charge: Charge) -> bool {
        self.take_out(number, charge);
        let Some(task) = self.live.get_mut(&number) else { return false };
        task.attempt += 1;
        task.copies.push(TaskCopy::new(task.attempt, task.isolated));
        true
    }

    /// The broker confirmed a copy. `order` is the order number of the confirm, and `now` is in
    /// quiet time.
    pub(super) fn confirm(&mut self, copy: CopyId, order: u64, now: Duration) {
        if let Some(task) = self.live.get_mut(&copy.task)
            && let Some(state @ CopyState::Publishing) = task.copy_state(copy.attempt)
        {
            *state = CopyState::Queued { order, since: now };
            task.unaccepted = None;
        }
    }

    /// A worker leases a copy. `offset` is the batch offset of the element that it runs, and `now`
    /// is in quiet time. Returns `None` for a copy that was never published.
    pub(super) fn lease(
        &mut self,
        &LeasedTask { copy, offset, in_process }: &LeasedTask,
        worker: WorkerId,
        now: Duration,
        charge_of: impl FnOnce(&Task) -> Charge,
    ) -> Option<LeaseChange> {
        let task = self.live.get_mut(&copy.task)?;
        let mut leased = CopyState::Leased { worker, renewed: now, offset, in_process };
        // The broker has delivered this copy.
        task.lost = 0;
        if let Some(state) = task.copy_state(copy.attempt) {
            // A heartbeat can overtake the lease that names the next element.
            if let (
                CopyState::Leased { offset: known, in_process: true, .. },
                CopyState::Leased { offset, .. },
            ) = (&*state, &mut leased)
            {
                *offset = (*offset).max(*known);
            }
            let before = std::mem::replace(state, leased);
            return Some(match before {
                CopyState::Leased { offset: known, .. } => {
                    LeaseChange { progressed: known != offset, first: false, charge: None }
                }
                _ => LeaseChange { progressed: true, first: true, charge: None },
            });
        }
        if !(1..=task.attempt).contains(&copy.attempt) {
            return None;
        }
        // The copy was removed too early. Its result will count like any other.
        let isolated = task.isolated;
        task.copies.push(TaskCopy { attempt: copy.attempt, isolated, state: leased });
        let charge = (!task.is_out()).then(|| charge_of(task));
        if let Some(charge) = charge {
            self.take_out(copy.task, charge);
        }
        Some(LeaseChange { progressed: true, first: false, charge })
    }

    /// Removes a copy; returns whether it was the last one, so that the task needs another.
    pub(super) fn remove_copy(&mut self, copy: CopyId) -> bool {
        let Some(task) = self.live.get_mut(&copy.task) else { return false };
        let known = task.copy(copy.attempt).is_some();
        task.copies.retain(|other| other.attempt != copy.attempt);
        known && task.copies.is_empty()
    }

    /// Removes a task from the index of its state; returns its charge if it was out.
    fn unplace(&mut self, number: TaskNumber) -> Option<Charge> {
        let task = self.live.get(&number)?;
        match task.state {
            TaskState::Waiting { until } => {
                self.waiting.remove(&(until, number));
                None
            }
            TaskState::Due => {
                self.due.remove(&(task.job, task.stage, number));
                None
            }
            TaskState::Out { charge } => Some(charge),
        }
    }

    /// Marks a task that waits or is due as out.
    fn take_out(&mut self, number: TaskNumber, charge: Charge) {
        let before = self.unplace(number);
        debug_assert!(before.is_none(), "a task is charged once while it is out");
        if let Some(task) = self.live.get_mut(&number) {
            task.state = TaskState::Out { charge };
        }
    }
}

#[cfg(test)]
impl TaskTable {
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.waiting.is_empty() && self.due.is_empty()
    }

    /// The number that the next task gets.
    pub(super) fn next_number(&self) -> TaskNumber {
        TaskNumber(self.newest + 1)
    }

    /// Skips a number.
    pub(super) fn skip_number(&mut self) {
        self.newest += 1;
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.live.values_mut()
    }

    /// Inserts a retired task again, with its copies on their way to the broker.
    pub(super) fn restore(&mut self, number: TaskNumber, mut task: Task, charge: Charge) {
        for copy in &mut task.copies {
            copy.state = CopyState::Publishing;
        }
        task.state = TaskState::Out { charge };
        self.of_job.insert((task.job, number));
        self.live.insert(number, task);
    }

    /// Checks that each task is in the index of its state, and in no other.
    pub(super) fn check(&self) {
        for (number, task) in &self.live {
            assert!(self.of_job.contains(&(task.job, *number)), "each task is indexed by job");
            let waits = match task.state {
                TaskState::Waiting { until } => self.waiting.contains(&(until, *number)),
                _ => false,
            };
            let due = self.due.contains(&(task.job, task.stage, *number));
            match task.state {
                TaskState::Waiting { .. } => assert!(waits && !due, "a waiting task is indexed"),
                TaskState::Due => assert!(due, "a due task is indexed"),
                TaskState::Out { .. } => assert!(!due, "a task that is out is not sent"),
            }
            assert_eq!(task.is_out(), !task.copies.is_empty(), "a task is out if it has a copy");
        }
        assert_eq!(self.of_job.len(), self.live.len());
        let placed = self.waiting.len() + self.due.len();
        let not_out = self.live.values().filter(|task| !task.is_out()).count();
        assert_eq!(placed, not_out, "indexes hold live tasks only");
    }
}
