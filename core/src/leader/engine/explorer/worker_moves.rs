//! The events that can happen next at a worker.

use super::{
    faults::Fault,
    moves::Moves,
    parts::{Copy, Reply, WorkerState, leased_task, worker},
    rules::Rule,
    worker::{Run, count, crashed, elements, returned, run},
    world::World,
};
use crate::wire::{ReturnReason, TaskKind, TaskOutlet};

impl Moves<'_> {
    /// The next events of one worker.
    pub(super) fn worker(&mut self, number: usize) {
        match &self.world.workers[number] {
            WorkerState::Idle if self.world.kept.iter().all(|kept| kept.by != number) => return,
            WorkerState::Idle => {}
            WorkerState::Holds { copy, reply: Some(reply), stale, alone } => {
                let (copy, reply, stale, alone) = (copy.clone(), reply.clone(), *stale, *alone);
                let leases = matches!(reply, Reply::Lease(..));
                self.branch(|world| {
                    world.workers[number] = if leases {
                        WorkerState::Leases { copy, alone }
                    } else {
                        WorkerState::Idle
                    };
                });
                self.fault(Fault::LostConfirm, |world| world.replies.push(reply));
                if !stale {
                    self.fault(Fault::Requeue, |world| world.requeue(number));
                }
            }
            WorkerState::Holds { copy, reply: None, stale, alone } => {
                let (copy, stale, alone) = (copy.clone(), *stale, *alone);
                self.hold(number, &copy, alone);
                if !stale {
                    self.fault(Fault::Requeue, |world| world.requeue(number));
                }
            }
            WorkerState::Leases { copy, alone } => {
                let (copy, alone) = (copy.clone(), *alone);
                if self.world.is_dead() && self.world.rule_off != Some(Rule::CancelIsState) {
                    return self.branch(|world| world.workers[number] = WorkerState::Idle);
                }
                self.runs(number, &copy, alone);
            }
            WorkerState::InProcess { copy, offset, settled } => {
                let (copy, offset, settled) = (copy.clone(), *offset, *settled);
                self.runs_in_process(number, &copy, offset);
                if !settled {
                    self.fault(Fault::Requeue, |world| world.requeue(number));
                }
            }
        }
        self.fault(Fault::Crash, |world| world.kill(number));
    }

    /// A worker publishes a reply that settles its delivery.
    fn reply(&mut self, number: usize, reply: Reply) {
        self.branch(|world| world.send(number, reply.clone()));
        self.fault(Fault::Unroutable, |world| world.keep(number, reply));
    }

    /// Workers publish the replies again that were unroutable.
    pub(super) fn kept(&mut self) {
        for at in 0..self.world.kept.len() {
            self.branch(|world| {
                let kept = world.kept.remove(at);
                world.replies.push(kept.reply);
            });
        }
    }

    /// A worker holds a delivery, and has not replied yet.
    fn hold(&mut self, number: usize, copy: &Copy, alone: bool) {
        let message = &copy.message;
        let rule_off = self.world.rule_off;
        // Its leader has announced that the job is dead: the worker acks without a reply.
        if self.world.is_dead() && rule_off != Some(Rule::CancelIsState) {
            return self.branch(|world| world.workers[number] = WorkerState::Idle);
        }
        if copy.redelivered && rule_off != Some(Rule::Redelivered) {
            return self.reply(number, returned(message, number, ReturnReason::Redelivered));
        }
        for (fault, why) in [
            (Fault::Return, ReturnReason::Draining),
            (Fault::FalseTimeout, ReturnReason::LeaderTimeout),
        ] {
            self.fault(fault, |world| {
                world.reissue_causes += 1;
                if rule_off == Some(Rule::Replies) {
                    world.workers[number] = WorkerState::Idle;
                } else {
                    world.send(number, returned(message, number, why));
                }
            });
        }
        if message.header.isolated {
            if !self.world.isolates[number] {
                return self.branch(|world| world.begin_in_process(number, 0));
            }
            self.fault(Fault::NoChild, |world| {
                world.reissue_causes += 1;
                world.isolates[number] = false;
                world.send(number, returned(message, number, ReturnReason::NotStarted));
            });
            self.fault(Fault::OutOfMemory, |world| world.kill(number));
        }
        self.fault(Fault::Lease, |world| {
            let leased = leased_task(&WorkerState::Leases { copy: copy.clone(), alone });
            world.send(number, Reply::Lease(worker(number), leased.unwrap()));
        });
        self.runs(number, copy, alone);
    }

    /// The next events of a worker that runs an isolated task in its own process.
    fn runs_in_process(&mut self, number: usize, copy: &Copy, offset: u32) {
        let message = &copy.message;
        if self.world.is_dead() {
            return self.branch(|world| world.workers[number] = WorkerState::Idle);
        }
        let count = count(message);
        let element = elements(message).get(offset as usize).copied();
        if element.is_some() && element == self.world.poison {
            return self.branch(|world| {
                world.deaths += 1;
                world.kill(number);
            });
        }
        // A combination has no elements to name.
        if matches!(message.header.kind, TaskKind::Run) && offset + 1 < count {
            return self.branch(|world| world.begin_in_process(number, offset + 1));
        }
        self.reply(number, run(message, number, Run { count, failing: None, choice: 0 }));
    }

    /// The ends that the run of a task can have.
    fn runs(&mut self, number: usize, copy: &Copy, alone: bool) {
        if self.gathers(number, copy) {
            return;
        }
        let message = &copy.message;
        assert!(!self.world.is_dead(), "a task of a dead job runs: {:#?}", self.world);
        let (count, all) = (count(message), elements(message));
        let at = |byte: Option<u8>| {
            let position = all.iter().position(|it| Some(*it) == byte)?;
            Some(position as u32)
        };
        if let Some(position) = at(self.world.poison) {
            if !message.header.isolated {
                return self.branch(|world| {
                    world.deaths += 1;
                    world.kill(number);
                });
            }
            if self.world.is_one_process && !alone {
                return self.branch(World::shared_child_dies);
            }
            return self.reply(number, crashed(message, number, position));
        }
        let failing = at(self.world.always_fails);
        let whole = Run { count, failing, choice: 0 };
        self.reply_after_blocks(number, copy, &run(message, number, whole));
        if matches!(message.header.outlet, TaskOutlet::Exchange(_)) {
            // An operation may choose another partition whenever it runs.
            let other = run(message, number, Run { choice: 1, ..whole });
            self.reply_after_blocks(number, copy, &other);
        }
        if failing.is_some() {
            return;
        }
        if count > 1 {
            self.fault(Fault::Cut, |world| {
                let cut = run(message, number, Run { count: 1, ..whole });
                let cut = world.publish_blocks(message, &cut);
                world.send(number, cut);
            });
        }
        if matches!(message.header.kind, TaskKind::Run) {
            for failing in 0..count {
                self.fault(Fault::Transient, |world| {
                    let failing = Run { failing: Some(failing), ..whole };
                    world.send(number, run(message, number, failing));
                });
            }
        }
    }
}
