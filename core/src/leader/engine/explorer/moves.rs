//! The events that can happen next in a world.

use super::{
    faults::Fault,
    parts::{Queued, Reply, WORKERS, WorkerState, leased_task},
    rules::Rule,
    world::World,
};
use crate::{broker::PublishError, leader::engine::protocol::Input};

impl World {
    /// All worlds that can follow.
    pub(super) fn next(&self) -> Vec<Self> {
        let mut moves = Moves { world: self, next: Vec::new() };
        if let Some(next) = moves.without_choice() {
            return vec![next];
        }
        moves.confirms();
        moves.deliveries();
        for worker in 0..WORKERS {
            moves.worker(worker);
        }
        moves.kept();
        moves.queues();
        moves.output_queues();
        moves.replies();
        moves.user();
        let has_events = !moves.next.is_empty();
        moves.time();
        let next = moves.next;
        assert!(has_events || !next.is_empty(), "this world has no next event: {self:#?}");
        next
    }
}

/// The worlds that can follow from one world.
pub(super) struct Moves<'w> {
    pub(super) world: &'w World,
    next: Vec<World>,
}

impl Moves<'_> {
    /// Adds the world in which this change happens.
    pub(super) fn branch(&mut self, change: impl FnOnce(&mut World)) {
        let mut world = self.world.clone();
        world.steps += 1;
        change(&mut world);
        world.free_readers();
        world.check();
        self.next.push(world);
    }

    /// Adds the world in which this fault happens, if it may.
    pub(super) fn fault(&mut self, fault: Fault, change: impl FnOnce(&mut World)) {
        if self.world.faults.may(fault) {
            self.branch(|world| {
                world.faults.spend(fault);
                world.suffered += 1;
                change(world);
            });
        }
    }

    /// The event that happens at once because its order does not matter: it cannot fail any more,
    /// and changes nothing for the other events.
    fn without_choice(&mut self) -> Option<World> {
        let world = self.world;
        let may = |faults: &[Fault]| faults.iter().any(|fault| world.faults.may(*fault));
        if !world.unconfirmed.is_empty() && !may(&[Fault::LostPublish]) {
            self.confirms();
        } else if !may(&[Fault::Crash, Fault::LostConfirm, Fault::Requeue]) {
            let has_replied =
                |state: &WorkerState| matches!(state, WorkerState::Holds { reply: Some(_), .. });
            let number = world.workers.iter().position(has_replied)?;
            self.worker(number);
        }
        self.next.pop()
    }

    fn confirms(&mut self) {
        if self.world.unconfirmed.is_empty() {
            return;
        }
        self.branch(|world| {
            let copy = world.unconfirmed.remove(0);
            world.input(Input::Published { copy });
        });
        // The connection is lost; the broker has the copy, or it does not.
        for taken in [true, false] {
            self.fault(Fault::LostPublish, |world| {
                world.reissue_causes += 1;
                let copy = world.unconfirmed.remove(0);
                if !taken {
                    world.queue.retain(
                        |queued| !matches!(queued, Queued::Task(queued) if queued.id() == copy),
                    );
                }
                world.input(Input::NotPublished { copy, error: PublishError::Lost });
            });
        }
    }

    fn deliveries(&mut self) {
        for at in 0..self.world.queue.len() {
            let confirmed = match &self.world.queue[at] {
                Queued::Task(copy) => !self.world.unconfirmed.contains(&copy.id()),
                Queued::Probe { .. } => true,
            };
            if confirmed {
                self.fault(Fault::LostCopy, |world| {
                    world.loss_causes += 1;
                    world.queue.remove(at);
                });
            }
            if matches!(&self.world.queue[at], Queued::Task(copy) if !copy.redelivered) {
                self.fault(Fault::Redelivery, |world| {
                    world.reissue_causes += 1;
                    if let Queued::Task(copy) = &mut world.queue[at] {
                        copy.redelivered = true;
                    }
                });
            }
            let idle: Vec<usize> = self.world.idle().collect();
            let takes = !idle.is_empty() || self.world.leases_all().is_some();
            match &self.world.queue[at] {
                Queued::Task(_) if let Some(number) = self.world.leases_all() => {
                    // Leader and worker could exchange copies without an end before the first
                    // confirm.
                    if !confirmed {
                        continue;
                    }
                    self.branch(|world| world.take_without_a_slot(number, at));
                }
                Queued::Task(_) => {
                    for number in idle {
                        self.branch(|world| {
                            let Queued::Task(copy) = world.queue.remove(at) else { unreachable!() };
                            let (reply, stale, alone) = (None, false, false);
                            world.workers[number] =
                                WorkerState::Holds { copy, reply, stale, alone };
                        });
                    }
                }
                // A worker replies to a probe at once.
                Queued::Probe { nonce } if at == 0 && takes => {
                    let nonce = *nonce;
                    self.branch(|world| {
                        world.queue.remove(0);
                        world.replies.push(Reply::Probe { nonce });
                    });
                }
                Queued::Probe { .. } => {}
            }
        }
    }

    fn replies(&mut self) {
        for at in 0..self.world.replies.len() {
            if self.world.is_preceded(at) {
                continue;
            }
            self.branch(|world| world.read(at));
            self.fault(Fault::LostReply, |world| {
                world.loss_causes += 1;
                world.replies.remove(at);
            });
        }
    }

    fn user(&mut self) {
        if self.world.cancellable && !self.world.is_dead() {
            self.branch(|world| {
                world.cancellable = false;
                let job = world.job;
                world.input(Input::Cancel { job });
            });
        }
    }

    /// Time passes only if nothing is overdue: each delivery is settled within a hold (rule 8), and
    /// replies that have arrived are read, unless the leader is cut off.
    fn time(&mut self) {
        let world = self.world;
        if world.moments > 0 {
            self.branch(|world| {
                world.moments -= 1;
                let elapsed = std::time::Duration::from_secs(2);
                world.input(Input::Tick { elapsed, unread: false });
            });
        }
        let on_their_way = &world.queues;
        if !on_their_way.managing.is_empty() || !on_their_way.published.is_empty() {
            return;
        }
        let holds = |state: &WorkerState| matches!(state, WorkerState::Holds { .. });
        let unsettled = world.workers.iter().any(holds) && world.rule_off != Some(Rule::Hold);
        let mut queue = world.queue.iter();
        // A worker whose slots are all leased pauses before it returns the next task.
        let deliverable = match world.leases_all() {
            Some(_) => queue.any(|queued| matches!(queued, Queued::Probe { .. })),
            None => queue.next().is_some() && world.idle().next().is_some(),
        };
        if !world.unconfirmed.is_empty() || deliverable || unsettled {
            return;
        }
        if world.replies.is_empty() {
            self.branch(|world| world.pass(None, false));
            for number in 0..WORKERS {
                if leased_task(&world.workers[number]).is_some() {
                    self.fault(Fault::WorkerCutOff, |world| {
                        world.loss_causes += 1;
                        world.pass(Some(number), false);
                    });
                }
            }
        }
        self.fault(Fault::LeaderCutOff, |world| world.pass(None, true));
    }
}
