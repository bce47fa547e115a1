//! How an execution is answered: once, by whoever comes first.

use std::{
    sync::{MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use phalanx_core::{
    operation::OperationError,
    registry::Refusal,
    wire::{NotRunReason, ResultHeader, ResultMessage},
};

use super::{Overdue, Running, running::Progress};
use crate::answer::{Answer, Ticket};

impl Running {
    /// Answers a task without steps: its elements are its outputs.
    pub(super) fn pass_through(&self) {
        if self.task.header.measured {
            // Without a step nobody here knows where an element ends.
            let reason = "outputs of a stage without steps cannot be measured".to_owned();
            return self.refuse(Refusal::Message { reason });
        }
        let mut progress = self.progress();
        progress.ledger.pass(self.count, &self.task.payload);
        self.answer(progress);
    }

    /// Answers on behalf of a thread that does not come to an end, and gives the thread up.
    /// `false` when it ended after all, or is just writing down a chunk: look again later.
    pub(crate) fn abandon(&self) -> bool {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = match self.progress.try_lock() {
            Ok(progress) => progress,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if progress.ticket.is_none() {
            return false;
        }
        let blame = self.timed_out();
        self.interrupt(&mut progress, blame, self.why());
        self.answer(progress);
        self.taken.cancel();
        if let Some(slot) = &*slot {
            slot.abandon();
        }
        true
    }

    /// What is not done by now is not run, but for the element to blame, if there is one.
    pub(super) fn interrupt(
        &self,
        progress: &mut Progress,
        blame: Option<(Overdue, OperationError)>,
        why: NotRunReason,
    ) {
        let ledger = &mut progress.ledger;
        if let Some((place, error)) = blame
            && (ledger.at()..self.count).contains(&place.offset)
        {
            let broken = self.pipeline.folds();
            ledger.not_run(place.offset, if broken { NotRunReason::FoldBroken } else { why });
            ledger.failed(place.step, error);
        }
        ledger.not_run(self.count, why);
    }

    /// Answers with what the ledger says of the batch; nothing where somebody else has answered.
    pub(super) fn answer(&self, mut progress: MutexGuard<'_, Progress>) {
        let Some(ticket) = progress.ticket.take() else { return };
        let (segments, payload) = std::mem::take(&mut progress.ledger).into_parts();
        let (busy, waited) = (progress.busy, progress.started - self.arrived.into_std());
        drop(progress);
        let header = &self.task.header;
        let header = ResultHeader {
            leader: header.leader,
            copy: header.copy,
            execution: self.execution,
            worker: self.context.worker(),
            busy_us: micros(busy),
            waited_us: micros(waited),
            segments,
        };
        let message = ResultMessage { header, payload: payload.into() };
        ticket.answer(Answer::Result { message, last_step: self.pipeline.last() as u32 });
    }

    /// Answers that the batch cannot be run here.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.answer_by(|ticket| ticket.refuse(refusal));
    }

    /// Answers as `answer` does; nothing where somebody else has answered.
    pub(crate) fn answer_by(&self, answer: impl FnOnce(Ticket)) {
        let ticket = self.progress().ticket.take();
        if let Some(ticket) = ticket {
            answer(ticket);
        }
    }

    /// Answers that what is not done by now is not run.
    pub(crate) fn end_unrun(&self) {
        let mut progress = self.progress();
        self.interrupt(&mut progress, None, self.why());
        self.answer(progress);
    }

    /// The ticket of an execution that has not begun, and now never will; `None` when it has, or
    /// was answered already.
    pub(crate) fn hand_back(&self) -> Option<Ticket> {
        let mut progress = self.progress();
        let ticket = if progress.begun { None } else { progress.ticket.take() }?;
        drop(progress);
        self.taken.cancel();
        Some(ticket)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
