//! What the events of a world change in it.

use super::{
    parts::{
        Copy, HEARTBEAT, HOLD, Kept, Queued, Reply, WORKERS, WorkerState, leased_task, worker,
    },
    rules::Rule,
    worker::{crashed, returned},
    world::World,
};
use crate::{
    leader::engine::protocol::Input,
    wire::{Return, ReturnReason},
};

impl World {
    /// One hold passes, one heartbeat at a time. Workers renew their leases, except a suspended
    /// one.
    pub(super) fn pass(&mut self, suspended: Option<usize>, unread: bool) {
        for _ in 0..HOLD.as_secs() / HEARTBEAT.as_secs() {
            for number in 0..WORKERS {
                if let Some(leased) = leased_task(&self.workers[number])
                    && suspended != Some(number)
                {
                    self.replies.push(Reply::Lease(worker(number), leased));
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
        // Each delivery is settled within a hold (rule 8).
        for state in &mut self.workers {
            if let WorkerState::InProcess { settled, .. } = state {
                *settled = true;
            }
        }
        for kept in &mut self.kept {
            kept.delivery = None;
        }
    }

    fn redeliver(&mut self, copy: Copy) {
        self.queue.push(Queued::Task(Copy { redelivered: true, ..copy }));
    }

    /// A worker dies, and another one takes its place.
    pub(super) fn kill(&mut self, number: usize) {
        let slots = if self.is_one_process { 0..WORKERS } else { number..number + 1 };
        for slot in slots {
            let mut held = Vec::new();
            match std::mem::replace(&mut self.workers[slot], WorkerState::Idle) {
                WorkerState::Idle => {}
                WorkerState::Holds { copy, stale, .. } => held.push((!stale).then_some(copy)),
                WorkerState::InProcess { copy, settled, .. } => {
                    held.push((!settled).then_some(copy));
                }
                WorkerState::Leases { .. } => held.push(None),
            }
            let kept = self.kept.extract_if(.., |kept| kept.by == slot);
            held.extend(kept.map(|kept| kept.delivery));
            for unsettled in held {
                // It is redelivered, perhaps after a probe that was published later; or it is lost.
                self.reissue_causes += 1;
                self.loss_causes += 1;
                if let Some(copy) = unsettled {
                    self.redeliver(copy);
                }
            }
        }
    }

    /// A worker that takes messages although all slots are leased.
    pub(super) fn leases_all(&self) -> Option<usize> {
        let slots = &self.workers;
        let leases = |number: &usize| leased_task(&slots[*number]).is_some();
        if self.idle().next().is_some() { None } else { (0..WORKERS).find(leases) }
    }

    /// A worker whose slots are all leased returns a task at once.
    pub(super) fn take_without_a_slot(&mut self, number: usize, at: usize) {
        let Queued::Task(copy) = self.queue.remove(at) else { unreachable!() };
        if self.is_dead() && self.rule_off != Some(Rule::CancelIsState) {
            return;
        }
        self.reissue_causes += 1;
        let reason =
            if copy.redelivered { ReturnReason::Redelivered } else { ReturnReason::NotStarted };
        self.replies.push(returned(&copy.message, number, reason));
    }

    /// Whether this reply is read after another one: a worker names an element before it can die of
    /// it, and the reply queue keeps their order.
    pub(super) fn is_preceded(&self, at: usize) -> bool {
        let Reply::Return(Return { copy: Some(of), reason: ReturnReason::Redelivered, .. }) =
            &self.replies[at]
        else {
            return false;
        };
        self.replies.iter().any(
            |reply| matches!(reply, Reply::Lease(_, named) if named.in_process && named.copy == *of),
        )
    }

    /// The broker requeues a delivery that its worker keeps running.
    pub(super) fn requeue(&mut self, number: usize) {
        self.reissue_causes += 1;
        self.loss_causes += 1;
        if let WorkerState::Holds { copy, stale: gone, .. }
        | WorkerState::InProcess { copy, settled: gone, .. } = &mut self.workers[number]
        {
            *gone = true;
            let copy = copy.clone();
            self.redeliver(copy);
        }
    }

    /// A worker publishes a reply. A delivery is settled once the reply is confirmed.
    pub(super) fn send(&mut self, number: usize, reply: Reply) {
        match &mut self.workers[number] {
            WorkerState::Holds { reply: sent, .. } => *sent = Some(reply.clone()),
            state => *state = WorkerState::Idle,
        }
        self.replies.push(reply);
    }

    /// The reply of a worker is unroutable: it keeps the reply, and no slot.
    pub(super) fn keep(&mut self, number: usize, reply: Reply) {
        // The leader may take the task for lost meanwhile.
        self.loss_causes += 1;
        let delivery = match std::mem::replace(&mut self.workers[number], WorkerState::Idle) {
            WorkerState::Holds { copy, stale: false, .. }
            | WorkerState::InProcess { copy, settled: false, .. } => Some(copy),
            _ => None,
        };
        self.kept.push(Kept { by: number, reply, delivery });
    }

    /// A worker without children begins an element of an isolated task, and has named it.
    pub(super) fn begin_in_process(&mut self, number: usize, offset: u32) {
        let idle = WorkerState::Idle;
        let (copy, settled) = match std::mem::replace(&mut self.workers[number], idle) {
            WorkerState::Holds { copy, stale, .. } => (copy, stale),
            WorkerState::InProcess { copy, settled, .. } => (copy, settled),
            state => unreachable!("{state:?}"),
        };
        self.workers[number] = WorkerState::InProcess { copy, offset, settled };
        if self.rule_off != Some(Rule::Naming) {
            let named = leased_task(&self.workers[number]).unwrap();
            self.replies.push(Reply::Lease(worker(number), named));
        }
    }

    /// A child dies with all tasks in it. Nobody knows of which: each runs once more, alone.
    pub(super) fn shared_child_dies(&mut self) {
        for number in 0..WORKERS {
            // A task that was just leased runs in it, too.
            let (WorkerState::Holds { copy, reply: None | Some(Reply::Lease(..)), alone, .. }
            | WorkerState::Leases { copy, alone }) = &mut self.workers[number]
            else {
                continue;
            };
            if !copy.message.header.isolated {
                continue;
            }
            if self.rule_off == Some(Rule::Alone) {
                let reply = crashed(&copy.message, number, 0);
                self.send(number, reply);
            } else {
                *alone = true;
            }
        }
    }
}
