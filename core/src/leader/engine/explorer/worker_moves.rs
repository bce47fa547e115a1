//! The events that can happen next at a worker.

use super::{
    faults::Fault,
    moves::Moves,
    rules::Rule,
    worker::{crashed, returned, run},
    world::{Copy, Reply, WorkerState, World, leased_task, worker},
};
use crate::wire::{ReturnReason, TaskKind};

impl Moves<'_> {
    /// The next events of one worker.
    pub(super) fn worker(&mut self, number: usize) {
        match &self.world.workers[number] {
            WorkerState::Idle => return,
            WorkerState::Holds { copy, reply: Some(reply), stale } => {
                let (copy, reply, stale) = (copy.clone(), reply.clone(), *stale);
                let leases = matches!(reply, Reply::Lease(..));
                self.branch(|world| {
                    world.workers[number] =
                        if leases { WorkerState::Leases { copy } } else { WorkerState::Idle };
                });
                self.fault(Fault::LostConfirm, |world| world.replies.push(reply));
                if !stale {
                    self.fault(Fault::Requeue, |world| world.requeue(number));
                }
            }
            WorkerState::Holds { copy, reply: None, stale } => {
                let (copy, stale) = (copy.clone(), *stale);
                self.hold(number, &copy);
                if !stale {
                    self.fault(Fault::Requeue, |world| world.requeue(number));
                }
            }
            WorkerState::Leases { copy } => {
                let copy = copy.clone();
                if self.world.is_dead() && self.world.rule_off != Some(Rule::CancelIsState) {
                    return self.branch(|world| world.workers[number] = WorkerState::Idle);
                }
                self.runs(number, &copy, &|world, reply| {
                    world.replies.push(reply);
                    world.workers[number] = WorkerState::Idle;
                });
            }
        }
        self.fault(Fault::Crash, |world| world.kill(number));
    }

    /// A worker holds a delivery, and has not replied yet.
    fn hold(&mut self, number: usize, copy: &Copy) {
        let send = |world: &mut World, reply: Reply| {
            world.replies.push(reply.clone());
            if let WorkerState::Holds { reply: sent, .. } = &mut world.workers[number] {
                *sent = Some(reply);
            }
        };
        let message = &copy.message;
        let rule_off = self.world.rule_off;
        // Its leader has announced that the job is dead: the worker acks without a reply.
        if self.world.is_dead() && rule_off != Some(Rule::CancelIsState) {
            return self.branch(|world| world.workers[number] = WorkerState::Idle);
        }
        if copy.redelivered && rule_off != Some(Rule::Redelivered) {
            let reply = returned(message, number, ReturnReason::Redelivered);
            return self.branch(|world| send(world, reply));
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
                    send(world, returned(message, number, why));
                }
            });
        }
        if message.header.isolated {
            self.fault(Fault::OutOfMemory, |world| world.kill(number));
        }
        self.fault(Fault::Lease, |world| {
            send(world, Reply::Lease(worker(number), leased_task(copy)));
        });
        self.runs(number, copy, &send);
    }

    /// The ends that the run of a task can have.
    fn runs(&mut self, number: usize, copy: &Copy, send: &dyn Fn(&mut World, Reply)) {
        let message = &copy.message;
        assert!(!self.world.is_dead(), "a task of a dead job runs: {:#?}", self.world);
        let count = message.header.count().unwrap();
        let at = |byte: Option<u8>| {
            let position = message.payload.iter().position(|it| Some(*it) == byte)?;
            Some(position as u32)
        };
        if let Some(position) = at(self.world.poison) {
            return self.branch(|world| {
                if message.header.isolated {
                    send(world, crashed(message, number, position));
                } else {
                    world.deaths += 1;
                    world.kill(number);
                }
            });
        }
        if let Some(position) = at(self.world.always_fails) {
            let reply = run(message, number, count, Some(position));
            return self.branch(|world| send(world, reply));
        }
        let reply = run(message, number, count, None);
        self.branch(|world| send(world, reply));
        if count > 1 {
            self.fault(Fault::Cut, |world| send(world, run(message, number, 1, None)));
        }
        if matches!(message.header.kind, TaskKind::Run) {
            for failing in 0..count {
                self.fault(Fault::Transient, |world| {
                    send(world, run(message, number, count, Some(failing)));
                });
            }
        }
    }
}
