//! Carries out the actions of the engine.

use std::sync::Arc;

use super::Driver;
use crate::{
    broker::{QueueAction, ShuffleQueue, Topic},
    id::JobId,
    leader::{
        engine::{Action, OutputBlock},
        io::{
            job_channels::SourcePlace,
            output::{CreditGuard, CreditedBlock},
            pull,
            shuffle::JobEnd,
        },
    },
    plan::Budget,
    wire::Control,
};

impl Driver {
    /// Carries out an action; the inputs that follow from it come later.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Publish { pool, message } => self.publisher.publish_task(&pool, &message),
            Action::Probe { pool, nonce } => self.publisher.publish_probe(pool, nonce),
            Action::Declare { pool } => self.publisher.declare(pool),
            Action::Manage { action, queues } => {
                if action == QueueAction::Delete {
                    for queue in &queues {
                        if let ShuffleQueue::Output { task, .. } = queue {
                            self.output_readers.close(*task);
                        }
                    }
                }
                self.shuffle.manage(action, queues);
            }
            Action::ReadOutputs { job, task, execution, blocks } => {
                self.output_readers.read(job, task, (execution, blocks));
            }
            Action::PublishBlocks { blocks } => self.shuffle.publish(blocks),
            Action::Pull { job, source, elements, bytes } => {
                self.pull(job, source, Budget { elements, bytes });
            }
            Action::Output { job, outputs } => self.output(job, outputs),
            Action::End { job, progress, result } => {
                self.output_readers.end(job);
                if let Some(end) = self.shuffle.end(JobEnd { job, progress, result }) {
                    self.end(end);
                }
            }
            Action::Cancel { job } => {
                let cancel = Control::Cancel { leader: self.leader, job };
                self.publisher.publish_control(Topic::AllWorkers, &cancel);
            }
            Action::Greet { worker } => {
                let alive = self.alive(self.engine.live_jobs().collect());
                self.publisher.greet(Topic::Worker(worker), &alive);
            }
            Action::Emit { job, event } => {
                self.notices.event(job, &event);
                if let Some(channels) = self.jobs.get(&job) {
                    // Sending fails if the job has no watchers.
                    let _ = channels.events.send(event);
                }
            }
            Action::DeadLetter { element } => self.dead_letters.write(*element),
        }
    }

    fn pull(&mut self, job: JobId, number: usize, budget: Budget) {
        let channels = self.jobs.get_mut(&job);
        let Some(place) = channels.and_then(|it| it.sources.get_mut(number)) else { return };
        if let SourcePlace::Here(source) = std::mem::replace(place, SourcePlace::Ended) {
            let pull = pull::spawn((job, number), source, budget, self.pulls.clone());
            *place = SourcePlace::Pulling(pull);
        }
    }

    fn output(&mut self, job: JobId, block: OutputBlock) {
        let Some(channels) = self.jobs.get(&job) else { return };
        let credit = CreditGuard::new(job, block.charged, Arc::clone(&self.returned_credit));
        // Sending fails if the reader is gone: it has dropped its job, which cancels it.
        let _ = channels.outputs.send(Ok(Some(CreditedBlock { block, credit })));
    }

    pub(super) fn end(&mut self, JobEnd { job, progress, result }: JobEnd) {
        if let Some(channels) = self.jobs.remove(&job) {
            channels.end(progress, result);
        }
    }

    /// Announces the live jobs (rule 21): all others are dead.
    pub(super) fn publish_alive(&mut self) {
        let alive = self.alive(self.engine.live_jobs().collect());
        self.publisher.publish_control(Topic::AllWorkers, &alive);
    }

    /// Announces that all jobs are dead.
    pub(super) fn publish_end(&mut self) {
        let alive = self.alive(Vec::new());
        self.publisher.publish_control(Topic::AllWorkers, &alive);
    }

    fn alive(&mut self, live: Vec<JobId>) -> Control {
        self.heartbeat += 1;
        Control::Alive {
            leader: self.leader,
            heartbeat: self.heartbeat,
            up_to: self.newest,
            live,
            asks_for_operations: self.engine.asks_for_operations(),
        }
    }
}
