//! Ends executions: each gets one reply, from the first part that takes the pending reply.

use std::{
    sync::{MutexGuard, TryLockError},
    time::Duration,
};

use phalanx_core::{
    operation::OperationError,
    registry::Refusal,
    wire::{
        BlockRoute, NotRunReason, Outcome, ResultHeader, ResultMessage, ReturnReason, Scatter,
        Segment, TaskHeader, TaskOutlet,
    },
};

use super::{ProgressMark, Running, outlet::Broken, running::Progress};
use crate::{
    gathering::GatheredTask,
    lock::lock,
    reply::{OutputStream, PendingReply, Preceding, Reply, SpreadReply, WindowPermit},
};

impl Running {
    /// Replies to a task without steps: its elements are its outputs.
    pub(super) fn pass_through(&self) {
        if matches!(self.task.header.outlet, TaskOutlet::Stage(_)) {
            // Only the decoder of a first step can find the ends of the elements.
            let reason = "the outputs of a stage without steps cannot be measured".to_owned();
            return self.refuse(Refusal::Message { reason });
        }
        let mut progress = self.progress();
        progress.ledger.pass_through(self.count, &self.task.payload);
        self.reply(progress);
    }

    /// Replies on behalf of a thread that does not return, and abandons the thread. `false` if the
    /// execution has ended, or is recording a chunk: then the caller tries again later.
    pub(crate) fn abandon(&self) -> bool {
        let slot = lock(&self.slot);
        let mut progress = match self.progress.try_lock() {
            Ok(progress) => progress,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if progress.is_replied() {
            return false;
        }
        self.mark_rest_not_run(&mut progress, self.timed_out(), self.not_run_reason());
        self.reply(progress);
        self.replied.cancel();
        if let Some(slot) = &*slot {
            slot.abandon();
        }
        true
    }

    /// Records that the elements without an outcome are not run, except that the element at fault,
    /// if any, fails.
    pub(super) fn mark_rest_not_run(
        &self,
        progress: &mut Progress,
        blamed: Option<(ProgressMark, OperationError)>,
        reason: NotRunReason,
    ) {
        let ledger = &mut progress.ledger;
        // What the driver has written, it has with it.
        let void = self.scatters() && progress.blocks.is_none();
        if void {
            ledger.void();
        }
        let folds = self.pipeline.folds() || void;
        let known = if self.reads_partitions() { u32::MAX } else { self.count };
        if let Some((mark, error)) = blamed
            && (ledger.next_offset()..known).contains(&mark.offset)
        {
            ledger.not_run(mark.offset, if folds { NotRunReason::FoldBroken } else { reason });
            ledger.failed(mark.step, error);
        }
        ledger.not_run(self.count, reason);
    }

    /// Replies that the elements up to `to` do not count, because combining their outputs failed at
    /// one of them.
    pub(super) fn reply_broken(&self, broken: Broken, to: u32) {
        let mut progress = self.progress();
        if let Some((mark, error)) = self.timed_out() {
            self.mark_rest_not_run(&mut progress, Some((mark, error)), NotRunReason::FoldBroken);
            return self.reply(progress);
        }
        let ledger = &mut progress.ledger;
        ledger.void();
        match self.stopped() {
            // Perhaps it failed only because it was cancelled.
            Some(stop) => ledger.not_run(to, stop.reason()),
            None => {
                ledger.not_run(broken.offset, NotRunReason::FoldBroken);
                ledger.failed(self.pipeline.last() as u32, broken.error);
                ledger.not_run(to, NotRunReason::FoldBroken);
            }
        }
        ledger.not_run(self.count, NotRunReason::FoldBroken);
        self.reply(progress);
    }

    /// Replies with the outcomes in the ledger, unless another part has replied.
    pub(super) fn reply(&self, mut progress: MutexGuard<'_, Progress>) {
        let Some(pending) = progress.pending.take() else { return };
        progress.queue_rest();
        let (segments, mut payload) = std::mem::take(&mut progress.ledger).into_parts();
        let blocks = progress.blocks.take().unwrap_or_default();
        let outputs = progress.outputs.take();
        let permit = progress.permit.take();
        let lists = std::mem::take(&mut progress.lists);
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
            output_blocks: outputs.as_ref().map_or(0, OutputStream::blocks),
            blocks: blocks.headers,
            spread: Vec::new(),
            uncombined: blocks.uncombined,
            lists,
            spilled: self.gathered().map_or(0, GatheredTask::spilled),
        };
        if payload.is_empty() {
            payload = blocks.bytes;
        } else {
            payload.extend_from_slice(&blocks.bytes);
        }
        let message = ResultMessage { header, payload: payload.into() };
        let preceding = (outputs, permit);
        self.reply_result(pending, message, self.pipeline.last() as u32, preceding);
    }

    /// Replies with a result, which was made here or in a child process. In a child its blocks stay
    /// in it.
    fn reply_result(
        &self,
        pending: PendingReply,
        message: ResultMessage,
        last_step: u32,
        (outputs, permit): (Option<OutputStream>, Option<WindowPermit>),
    ) {
        let publishes = self.publisher.is_some();
        let writes_blocks = publishes && self.spreads() && !message.header.blocks.is_empty();
        if writes_blocks || outputs.is_some() {
            self.progress().publishing = pending.delivery();
        }
        let failed = |segment: &Segment| matches!(segment.outcome, Outcome::Failed { .. });
        // The parent of a child process reports.
        if let Some(gathered) = self.gathered().filter(|_| publishes)
            && message.header.segments.iter().any(failed)
        {
            let (gathered, task, mut message) =
                (gathered.clone(), self.task.header.clone(), message);
            return off_async_threads(move || {
                gathered.report(&mut message.header.segments);
                send_result(&task, publishes, pending, message, last_step, (outputs, permit));
            });
        }
        let preceding = (outputs, permit);
        send_result(&self.task.header, publishes, pending, message, last_step, preceding);
    }

    /// Returns the task because of the element at this offset, if it is known which, unless another
    /// part has replied.
    pub(crate) fn return_failed(&self, reason: ReturnReason, offset: Option<u32>) {
        let gathered = self.gathered().cloned();
        self.reply_with(|pending| match gathered.zip(offset) {
            None => pending.return_unrun(reason, offset),
            Some((gathered, at)) => off_async_threads(move || {
                pending.return_failed(reason, offset, gathered.element(at));
            }),
        });
    }

    /// Replies with the result of a child process, unless another part has replied.
    pub(crate) async fn relay_result(&self, message: ResultMessage) {
        let size = message.header.blocks.iter().map(|block| block.bytes as usize).sum();
        let permit = self.enter_window(size).await;
        let last_step = self.task.header.steps.len().saturating_sub(1) as u32;
        self.reply_with(|pending| self.reply_result(pending, message, last_step, (None, permit)));
    }

    /// Waits until the window has room for this many bytes of blocks, if they go through queues, or
    /// until the task is to stop: then they are in memory in any case.
    ///
    /// Cancel-safe.
    pub(super) async fn enter_window(&self, bytes: usize) -> Option<WindowPermit> {
        let publisher = self.publisher.as_ref().filter(|_| self.spreads() && bytes > 0)?;
        tokio::select! {
            biased;
            () = self.replied.cancelled() => None,
            () = self.context.execution().cancelled.cancelled() => None,
            permit = publisher.enter(bytes) => permit,
        }
    }

    /// Whether what it writes goes through queues.
    fn spreads(&self) -> bool {
        matches!(
            &self.task.header.outlet,
            TaskOutlet::Exchange(Scatter { route: BlockRoute::Spread { .. }, .. })
                | TaskOutlet::Queue { .. }
        )
    }

    /// Refuses the task, unless another part has replied.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.reply_with(|pending| pending.refuse(refusal));
    }

    /// Calls `reply` with the pending reply, unless another part has replied.
    pub(crate) fn reply_with(&self, reply: impl FnOnce(PendingReply)) {
        let pending = self.progress().pending.take();
        if let Some(pending) = pending {
            reply(pending);
        }
    }

    /// Replies that the elements without an outcome are not run.
    pub(crate) fn reply_rest_not_run(&self) {
        let mut progress = self.progress();
        self.mark_rest_not_run(&mut progress, None, self.not_run_reason());
        self.reply(progress);
    }

    /// Takes the pending reply of an execution that has not begun, which then never begins. `None`
    /// if it has begun, or another part has replied.
    pub(crate) fn take_unbegun(&self) -> Option<PendingReply> {
        let mut progress = self.progress();
        let pending = if progress.begun { None } else { progress.pending.take() }?;
        drop(progress);
        self.replied.cancel();
        Some(pending)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Replies with a result, whose blocks or outputs go through queues first if the task sends them
/// there and this process `publishes` them.
fn send_result(
    task: &TaskHeader,
    publishes: bool,
    pending: PendingReply,
    message: ResultMessage,
    last_step: u32,
    (outputs, permit): (Option<OutputStream>, Option<WindowPermit>),
) {
    let split = match (outputs, publishes) {
        (Some(outputs), _) => Some((message, Some(Preceding::Outputs(outputs)))),
        (None, true) => SpreadReply::split(task, message, permit)
            .map(|(message, blocks)| (message, blocks.map(Preceding::Blocks))),
        (None, false) => Some((message, None)),
    };
    match split {
        Some((message, preceding)) => {
            pending.reply(Reply::Result { message, last_step, preceding });
        }
        None => {
            let reason = "a result contradicts its task".to_owned();
            pending.refuse(Refusal::Message { reason });
        }
    }
}

/// Runs work that takes long on this thread, or on another one if this belongs to Tokio.
fn off_async_threads(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(tokio) => drop(tokio.spawn_blocking(work)),
        Err(_) => work(),
    }
}
