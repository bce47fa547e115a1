//! What can happen next in a world.

use super::{
    faults::Fault,
    rules::Rule,
    worker::{crashed, returned, run},
    world::{BEAT, Copy, HOLD, Queued, Reply, Seat, WORKERS, World, held, worker},
};
use crate::{
    broker::PublishError,
    leader::engine::protocol::Input,
    wire::{ReturnReason, TaskKind},
};

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
        let moves_by_itself = !moves.next.is_empty();
        moves.time();
        let next = moves.next;
        assert!(moves_by_itself || !next.is_empty(), "this world stands still: {self:#?}");
        next
    }

    /// A hold passes, in beats; what a worker leases it says so, but for one that is suspended.
    fn pass(&mut self, suspended: Option<usize>, unread: bool) {
        for _ in 0..HOLD.as_secs() / BEAT.as_secs() {
            for number in 0..WORKERS {
                if let Seat::Leases { copy } = &self.workers[number]
                    && suspended != Some(number)
                {
                    self.replies.push(Reply::Lease(worker(number), held(copy)));
                    // One that is not read is like the others.
                    if unread {
                        self.replies.pop();
                    } else {
                        self.read(self.replies.len() - 1);
                    }
                }
            }
            // What is taken away is that the clock stands still.
            let unread = unread && self.rule_off != Some(Rule::QuietClock);
            self.hear(Input::Tick { elapsed: BEAT, unread });
        }
    }

    fn redeliver(&mut self, copy: Copy) {
        self.queue.push(Queued::Task(Copy { redelivered: true, ..copy }));
    }

    /// A worker dies; another takes its place.
    fn kill(&mut self, number: usize) {
        match std::mem::replace(&mut self.workers[number], Seat::Idle) {
            Seat::Holds { copy, stale: false, .. } => self.redeliver(copy),
            Seat::Idle | Seat::Holds { .. } | Seat::Leases { .. } => {}
        }
        // Its copy comes back, perhaps behind a probe that had been in front of it; or it does not.
        self.reasons += 1;
        self.excuses += 1;
    }
}

struct Moves<'w> {
    world: &'w World,
    next: Vec<World>,
}

impl Moves<'_> {
    fn branch(&mut self, change: impl FnOnce(&mut World)) {
        let mut world = self.world.clone();
        world.steps += 1;
        change(&mut world);
        world.check();
        self.next.push(world);
    }

    fn fault(&mut self, fault: Fault, change: impl FnOnce(&mut World)) {
        if self.world.faults.may(fault) {
            self.branch(|world| {
                world.faults.spend(fault);
                change(world);
            });
        }
    }

    /// What changes nothing for others and cannot fail any more happens at once: no order of it and
    /// the rest leads elsewhere.
    fn without_choice(&mut self) -> Option<World> {
        let world = self.world;
        let may = |faults: &[Fault]| faults.iter().any(|fault| world.faults.may(*fault));
        if !world.unconfirmed.is_empty() && !may(&[Fault::LostPublish]) {
            self.confirms();
        } else if !may(&[Fault::Crash, Fault::LostConfirm, Fault::GiveUp]) {
            let answered = |seat: &Seat| matches!(seat, Seat::Holds { answered: Some(_), .. });
            let number = world.workers.iter().position(answered)?;
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
            world.hear(Input::Published { copy });
        });
        // The connection is lost; the broker has the copy, or it has not.
        for taken in [true, false] {
            self.fault(Fault::LostPublish, |world| {
                world.reasons += 1;
                let copy = world.unconfirmed.remove(0);
                if !taken {
                    world.queue.retain(
                        |queued| !matches!(queued, Queued::Task(queued) if queued.about() == copy),
                    );
                }
                world.hear(Input::NotPublished { copy, error: PublishError::Lost });
            });
        }
    }

    fn deliveries(&mut self) {
        for at in 0..self.world.queue.len() {
            let confirmed = match &self.world.queue[at] {
                Queued::Task(copy) => !self.world.unconfirmed.contains(&copy.about()),
                Queued::Probe { .. } => true,
            };
            if confirmed {
                self.fault(Fault::LostCopy, |world| {
                    world.excuses += 1;
                    world.queue.remove(at);
                });
            }
            // Workers are alike: the first idle one is enough.
            let Some(number) = self.world.idle() else { continue };
            match &self.world.queue[at] {
                Queued::Task(_) => self.branch(|world| {
                    let Queued::Task(copy) = world.queue.remove(at) else { unreachable!() };
                    world.workers[number] = Seat::Holds { copy, answered: None, stale: false };
                }),
                // Whoever has it answers at once.
                Queued::Probe { nonce } if at == 0 => {
                    let nonce = *nonce;
                    self.branch(|world| {
                        world.queue.remove(0);
                        world.replies.push(Reply::ProbeReply { nonce });
                    });
                }
                Queued::Probe { .. } => {}
            }
        }
    }

    fn worker(&mut self, number: usize) {
        match &self.world.workers[number] {
            Seat::Idle => return,
            Seat::Holds { copy, answered: Some(answer), stale } => {
                let (copy, answer, stale) = (copy.clone(), answer.clone(), *stale);
                let leases = matches!(answer, Reply::Lease(..));
                self.branch(|world| {
                    world.workers[number] = if leases { Seat::Leases { copy } } else { Seat::Idle };
                });
                self.fault(Fault::LostConfirm, |world| world.replies.push(answer));
                if !stale {
                    self.fault(Fault::GiveUp, |world| world.give_up(number));
                }
            }
            Seat::Holds { copy, answered: None, stale } => {
                let (copy, stale) = (copy.clone(), *stale);
                self.hold(number, &copy);
                if !stale {
                    self.fault(Fault::GiveUp, |world| world.give_up(number));
                }
            }
            Seat::Leases { copy } => {
                let copy = copy.clone();
                if self.world.is_dead() && self.world.rule_off != Some(Rule::CancelIsState) {
                    return self.branch(|world| world.workers[number] = Seat::Idle);
                }
                self.runs(number, &copy, &|world, answer| {
                    world.replies.push(answer);
                    world.workers[number] = Seat::Idle;
                });
            }
        }
        self.fault(Fault::Crash, |world| world.kill(number));
    }

    /// A worker has a delivery, and has not answered for it.
    fn hold(&mut self, number: usize, copy: &Copy) {
        let answers = |world: &mut World, answer: Reply| {
            world.replies.push(answer.clone());
            if let Seat::Holds { answered, .. } = &mut world.workers[number] {
                *answered = Some(answer);
            }
        };
        let message = &copy.message;
        let rule_off = self.world.rule_off;
        // The leader itself says that nobody waits for an answer.
        if self.world.is_dead() && rule_off != Some(Rule::CancelIsState) {
            return self.branch(|world| world.workers[number] = Seat::Idle);
        }
        if copy.redelivered && rule_off != Some(Rule::Redelivered) {
            let answer = returned(message, number, ReturnReason::Redelivered);
            return self.branch(|world| answers(world, answer));
        }
        for (fault, why) in
            [(Fault::Return, ReturnReason::Draining), (Fault::Silence, ReturnReason::LeaderSilent)]
        {
            self.fault(fault, |world| {
                world.reasons += 1;
                if rule_off == Some(Rule::Answers) {
                    world.workers[number] = Seat::Idle;
                } else {
                    answers(world, returned(message, number, why));
                }
            });
        }
        if message.header.isolated {
            self.fault(Fault::OutOfMemory, |world| world.kill(number));
        }
        self.fault(Fault::Lease, |world| {
            answers(world, Reply::Lease(worker(number), held(copy)));
        });
        self.runs(number, copy, &answers);
    }

    /// How a run may end.
    fn runs(&mut self, number: usize, copy: &Copy, answers: &dyn Fn(&mut World, Reply)) {
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
                    answers(world, crashed(message, number, position));
                } else {
                    world.deaths += 1;
                    world.kill(number);
                }
            });
        }
        if let Some(position) = at(self.world.stubborn) {
            let answer = run(message, number, count, Some(position));
            return self.branch(|world| answers(world, answer));
        }
        let answer = run(message, number, count, None);
        self.branch(|world| answers(world, answer));
        if count > 1 {
            self.fault(Fault::Cut, |world| answers(world, run(message, number, 1, None)));
        }
        if matches!(message.header.kind, TaskKind::Run) {
            for failing in 0..count {
                self.fault(Fault::Transient, |world| {
                    answers(world, run(message, number, count, Some(failing)));
                });
            }
        }
    }

    fn replies(&mut self) {
        for at in 0..self.world.replies.len() {
            self.branch(|world| world.read(at));
            self.fault(Fault::LostReply, |world| {
                world.excuses += 1;
                world.replies.remove(at);
            });
        }
        for at in 0..self.world.combining.len() {
            self.branch(|world| {
                let (combination, bytes) = world.combining.remove(at);
                let job = world.job;
                world.hear(Input::Combined { job, combination, result: Ok(bytes) });
            });
        }
    }

    fn user(&mut self) {
        if self.world.cancellable && !self.world.is_dead() {
            self.branch(|world| {
                world.cancellable = false;
                let job = world.job;
                world.hear(Input::Cancel { job });
            });
        }
    }

    /// Time passes only where nothing is overdue: each delivery is settled within a hold (rule 8),
    /// and what has arrived is read. But a leader may be deaf.
    fn time(&mut self) {
        let world = self.world;
        let holds = |seat: &Seat| matches!(seat, Seat::Holds { .. });
        let unsettled = world.workers.iter().any(holds) && world.rule_off != Some(Rule::Hold);
        let deliverable = !world.queue.is_empty() && world.idle().is_some();
        if !world.unconfirmed.is_empty() || deliverable || unsettled {
            return;
        }
        if world.replies.is_empty() {
            self.branch(|world| world.pass(None, false));
            for number in 0..WORKERS {
                if matches!(world.workers[number], Seat::Leases { .. }) {
                    self.fault(Fault::Suspension, |world| {
                        world.excuses += 1;
                        world.pass(Some(number), false);
                    });
                }
            }
        }
        self.fault(Fault::Deafness, |world| world.pass(None, true));
    }
}

impl World {
    fn give_up(&mut self, number: usize) {
        self.reasons += 1;
        self.excuses += 1;
        if let Seat::Holds { copy, stale, .. } = &mut self.workers[number] {
            *stale = true;
            let copy = copy.clone();
            self.redeliver(copy);
        }
    }
}
