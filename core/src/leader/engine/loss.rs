//! What shows that a copy is alive, and what shows that it is lost (rules 8, 12, 13).

use std::time::Duration;

use super::Engine;
use crate::{
    broker::{BrokerError, Pool, PublishError},
    id::{TaskNumber, WorkerId},
    leader::engine::{
        copy::{CopyState, TaskCopy},
        event::JobEvent,
        probe::Probing,
        protocol::Action,
        task::TaskState,
    },
    wire::{Lease, LeasedTask, ProbeReply, timing},
};

impl Engine {
    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A worker says which tasks it runs.
    pub(super) fn leased(&mut self, lease: &Lease) {
        for held in &lease.tasks {
            self.holds(lease.worker, held);
        }
    }

    fn holds(&mut self, worker: WorkerId, held: &LeasedTask) {
        let (number, attempt, heard) = (held.copy.task, held.copy.attempt, self.quiet);
        let Some(mut task) = self.tasks.remove(&number) else { return };
        let state = CopyState::Leased { worker, heard, offset: held.offset };
        let mut news = true;
        if let Some(known) = task.copy_state(attempt) {
            let before = std::mem::replace(known, state);
            if let CopyState::Leased { offset, .. } = before {
                news = offset != held.offset;
            } else {
                let event = JobEvent::TaskLeased { task: number, attempt, worker };
                self.actions.push(Action::Emit { job: task.job, event });
            }
        } else if (1..=task.attempt).contains(&attempt) {
            // It was given up too early. Its result will be as good as any.
            task.copies.push(TaskCopy { attempt, isolated: task.isolated, state });
            if task.state != TaskState::Out {
                self.release(number, &mut task);
                if let Some(mut job) = self.jobs.remove(&task.job) {
                    self.count_out(&mut job, &mut task);
                    self.jobs.insert(task.job, job);
                }
            }
        } else {
            news = false;
        }
        let id = task.job;
        self.tasks.insert(number, task);
        if news && let Some(mut job) = self.jobs.remove(&id) {
            self.moved(&mut job);
            self.jobs.insert(id, job);
        }
    }

    /// What was on its way to this leader, or in a queue, may be lost.
    pub(super) fn interrupted(&mut self) {
        let order = self.next_order();
        for task in self.tasks.values() {
            if task.state == TaskState::Out {
                self.probing.entry(task.lane.pool.clone()).or_default().suspect(order);
            }
        }
    }

    pub(super) fn probed(&mut self, pool: &Pool, result: Result<bool, PublishError>) {
        let Some(probing) = self.probing.get_mut(pool) else { return };
        match result {
            Ok(true) => probing.trouble = None,
            Ok(false) => {
                probing.forget_asked();
                tracing::warn!(%pool, "a task queue is gone");
                self.actions.push(Action::Declare { pool: pool.clone() });
            }
            Err(error) => {
                probing.forget_asked();
                if !matches!(error, PublishError::Lost) {
                    probing.trouble = Some(error.to_string());
                }
            }
        }
    }

    pub(super) fn declared(&mut self, pool: &Pool, result: Result<(), BrokerError>) {
        if let Some(probing) = self.probing.get_mut(pool) {
            probing.trouble = result.err().map(|error| error.to_string());
        }
    }

    pub(super) fn probe_came_back(&mut self, reply: &ProbeReply) {
        let now = self.quiet;
        // A number that was never given proves nothing.
        if let Some(probing) = self.probing.get_mut(&reply.pool)
            && reply.nonce <= self.order
        {
            probing.hear(reply.nonce, now);
        }
    }

    /// Gives up the copies that are lost, and asks after those that nobody answers.
    pub(super) fn look_at_copies(&mut self) {
        let (now, hold) = (self.quiet, self.settings.hold);
        let lasts = timing::lease_timeout(hold);
        let mut lost = Vec::new();
        let mut overdue = std::collections::BTreeSet::new();
        for (number, task) in &self.tasks {
            if task.copies.is_empty() {
                continue;
            }
            let probing = self.probing.entry(task.lane.pool.clone()).or_default();
            let lost_before = probing.lost_before(now, hold);
            for copy in &task.copies {
                match copy.state {
                    CopyState::Publishing => {}
                    CopyState::Queued { order, .. } if order < lost_before => {
                        lost.push((*number, copy.attempt, String::from("the broker lost it")));
                    }
                    CopyState::Queued { order, since } => {
                        if probing.is_overdue(order, since, now, hold) {
                            overdue.insert(task.lane.pool.clone());
                        }
                    }
                    CopyState::Leased { worker, heard, .. } => {
                        if now.saturating_sub(heard) >= lasts {
                            let why = format!("worker {worker} ran it, and fell silent");
                            lost.push((*number, copy.attempt, why));
                        }
                    }
                }
            }
        }
        for (number, attempt, why) in lost {
            self.copy_lost(number, attempt, why);
        }
        if self.health.is_well() {
            overdue.into_iter().for_each(|pool| self.probe(pool));
        }
    }

    /// A suspected loss: whatever it was, the next copy is isolated (rule 7).
    fn copy_lost(&mut self, number: TaskNumber, attempt: u32, reason: String) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        task.isolated = true;
        if !task.lose_copy(attempt) {
            return;
        }
        let (job, attempt) = (task.job, task.attempt + 1);
        tracing::warn!(%job, task = %number, reason, "a copy is lost");
        let event = JobEvent::TaskRepublished { task: number, attempt, reason };
        self.actions.push(Action::Emit { job, event });
        self.again(number, Duration::ZERO);
    }

    fn probe(&mut self, pool: Pool) {
        let (now, hold) = (self.quiet, self.settings.hold);
        let order = self.order + 1;
        let Some(probing) = self.probing.get_mut(&pool).filter(|it| it.may_ask(now, hold)) else {
            return;
        };
        probing.ask(now);
        self.order = order;
        self.actions.push(Action::Probe { pool, nonce: order });
    }

    /// What is known of the queue of a pool.
    pub(super) fn probing_of(&self, pool: &Pool) -> Option<&Probing> {
        self.probing.get(pool)
    }
}
