//! The events that can happen next in a world.

use super::{
    faults::Fault,
    rules::Rule,
    world::{
        Copy, HEARTBEAT, HOLD, Queued, Reply, WORKERS, WorkerState, World, leased_task, worker,
    },
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
        moves.replies();
        moves.user();
        let has_events = !moves.next.is_empty();
        moves.time();
        let next = moves.next;
        assert!(has_events || !next.is_empty(), "this world has no next event: {self:#?}");
        next
    }

    /// One hold passes, one heartbeat at a time. Workers renew their leases, except a suspended
    /// one.
    fn pass(&mut self, suspended: Option<usize>, unread: bool) {
        for _ in 0..HOLD.as_secs() / HEARTBEAT.as_secs() {
            for number in 0..WORKERS {
                if let WorkerState::Leases { copy } = &self.workers[number]
                    && suspended != Some(number)
                {
                    self.replies.push(Reply::Lease(worker(number), leased_task(copy)));
                    // An unread lease changes nothing: it does not have to be kept.
                    if unread {
                        self.replies.pop();
                    } else {
                        self.read(self.replies.len() - 1);
                    }
                }
            }
            // Without rule 13, quiet time passes although replies are unread.
            let unread = unread && self.rule_off != Some(Rule::QuietClock);
            self.input(Input::Tick { elapsed: HEARTBEAT, unread });
        }
    }

    fn redeliver(&mut self, copy: Copy) {
        self.queue.push(Queued::Task(Copy { redelivered: true, ..copy }));
    }

    /// A worker dies, and another one takes its place.
    pub(super) fn kill(&mut self, number: usize) {
        match std::mem::replace(&mut self.workers[number], WorkerState::Idle) {
            WorkerState::Holds { copy, stale: false, .. } => self.redeliver(copy),
            WorkerState::Idle | WorkerState::Holds { .. } | WorkerState::Leases { .. } => {}
        }
        // Its copy is redelivered, perhaps after a probe that was published later; or it is lost.
        self.reissue_causes += 1;
        self.loss_causes += 1;
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
        world.check();
        self.next.push(world);
    }

    /// Adds the world in which this fault happens, if it may.
    pub(super) fn fault(&mut self, fault: Fault, change: impl FnOnce(&mut World)) {
        if self.world.faults.may(fault) {
            self.branch(|world| {
                world.faults.spend(fault);
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
            // All workers are equal: the first idle one is enough.
            let Some(number) = self.world.idle() else { continue };
            match &self.world.queue[at] {
                Queued::Task(_) => self.branch(|world| {
                    let Queued::Task(copy) = world.queue.remove(at) else { unreachable!() };
                    world.workers[number] = WorkerState::Holds { copy, reply: None, stale: false };
                }),
                // A worker replies to a probe at once.
                Queued::Probe { nonce } if at == 0 => {
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
            self.branch(|world| world.read(at));
            self.fault(Fault::LostReply, |world| {
                world.loss_causes += 1;
                world.replies.remove(at);
            });
        }
        for at in 0..self.world.combining.len() {
            self.branch(|world| {
                let (combination, bytes) = world.combining.remove(at);
                let job = world.job;
                world.input(Input::Combined { job, combination, result: Ok(bytes) });
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
        let holds = |state: &WorkerState| matches!(state, WorkerState::Holds { .. });
        let unsettled = world.workers.iter().any(holds) && world.rule_off != Some(Rule::Hold);
        let deliverable = !world.queue.is_empty() && world.idle().is_some();
        if !world.unconfirmed.is_empty() || deliverable || unsettled {
            return;
        }
        if world.replies.is_empty() {
            self.branch(|world| world.pass(None, false));
            for number in 0..WORKERS {
                if matches!(world.workers[number], WorkerState::Leases { .. }) {
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

impl World {
    /// The broker requeues a delivery that its worker keeps running.
    pub(super) fn requeue(&mut self, number: usize) {
        self.reissue_causes += 1;
        self.loss_causes += 1;
        if let WorkerState::Holds { copy, stale, .. } = &mut self.workers[number] {
            *stale = true;
            let copy = copy.clone();
            self.redeliver(copy);
        }
    }
}
