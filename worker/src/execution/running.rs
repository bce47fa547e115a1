//! What one execution shares with those who watch it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use phalanx_core::{
    id::{ExecutionId, WorkerId},
    operation::{ErrorKind, Execution, OperationError, TaskContext},
    wire::{NotRunReason, TaskMessage},
};
use tokio_util::sync::CancellationToken;

use super::{Pipeline, chunk::ChunkSize, ledger::Ledger};
use crate::{answer::Ticket, claim::Claim, lent::Kind, slot::Slot};

/// Why an execution ends before its batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    /// The job is dead.
    Cancelled = 1,
    /// The worker stops, and the grace period is over.
    Draining = 2,
}

impl Stop {
    fn reason(self) -> NotRunReason {
        match self {
            Self::Cancelled => NotRunReason::Cancelled,
            Self::Draining => NotRunReason::Draining,
        }
    }
}

/// Where an execution is, for those who look at it from outside: it has not moved as long as this
/// stays equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// Counts the steps begun.
    phase: u64,
    pub(crate) step: u32,
    pub(crate) offset: u32,
}

/// How far a task is, for those who see to its delivery.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has not begun.
    Waits,
    /// It runs; the claim lives until its answer is with the broker.
    Runs(Weak<Claim>),
    /// The answer is on its way.
    Answered,
}

/// Hears which chunk begins, by its first element.
pub(crate) type Report = Arc<dyn Fn(u32) + Send + Sync>;

/// Where an execution runs.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) worker: WorkerId,
    pub(crate) kind: Kind,
    /// In a child process: what begins is told of, so that it is known what ended the process.
    pub(crate) report: Option<Report>,
}

/// One execution: what drives it, and what others may do to it meanwhile.
pub(crate) struct Running {
    pub(crate) task: TaskMessage,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) context: TaskContext,
    pub(crate) kind: Kind,
    report: Option<Report>,
    pub(super) execution: ExecutionId,
    pub(super) count: u32,
    pub(super) arrived: tokio::time::Instant,
    /// How many elements it runs at once.
    width: AtomicUsize,
    /// Steps begun, times 2^16, plus the step that runs plus one; the low half is 0 between steps.
    phase: AtomicU64,
    stop: AtomicU8,
    /// The element that ran longer than it may, set before the token fires on its behalf.
    timed_out: OnceLock<(Overdue, Duration)>,
    /// Who answers takes the ticket out. So whoever drives an execution that was answered for
    /// meanwhile (its thread was abandoned) finds nothing to answer.
    pub(super) progress: Mutex<Progress>,
    /// The thread that runs a step of it; abandoned only under this lock.
    pub(super) slot: Mutex<Option<Arc<Slot>>>,
    /// Fires when somebody else has answered.
    pub(crate) taken: CancellationToken,
}

/// What has been done so far.
pub(super) struct Progress {
    pub(super) ledger: Ledger,
    pub(super) ticket: Option<Ticket>,
    pub(super) begun: bool,
    pub(super) started: Instant,
    pub(super) busy: Duration,
}

impl Running {
    /// An execution that has not begun.
    pub(crate) fn new(
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        setting: Setting,
        ticket: Ticket,
    ) -> Arc<Self> {
        let Setting { worker, kind, report } = setting;
        let header = &task.header;
        let execution = Execution {
            job: header.job,
            stage: header.stage,
            worker,
            ranges: header.ranges.clone(),
            indexes: header.indexes.clone(),
            cancelled: CancellationToken::new(),
        };
        // `TaskMessage::decode` has checked that the ranges can be counted.
        let count = header.count().unwrap_or(0);
        let progress = Progress {
            ledger: Ledger::new(pipeline.is_one_to_one(), header.measured),
            ticket: Some(ticket),
            begun: false,
            started: Instant::now(),
            busy: Duration::ZERO,
        };
        Arc::new(Self {
            context: TaskContext::new(Arc::new(execution), 0),
            kind,
            report,
            execution: ExecutionId::new(),
            count,
            arrived: tokio::time::Instant::now(),
            width: AtomicUsize::new(1),
            phase: AtomicU64::new(0),
            stop: AtomicU8::new(0),
            timed_out: OnceLock::new(),
            progress: Mutex::new(progress),
            slot: Mutex::new(None),
            taken: CancellationToken::new(),
            task,
            pipeline,
        })
    }

    pub(crate) fn id(&self) -> ExecutionId {
        self.execution
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// When its delivery came.
    pub(crate) fn arrived(&self) -> tokio::time::Instant {
        self.arrived
    }

    /// How many elements it runs at once.
    pub(crate) fn width(&self) -> usize {
        self.width.load(Ordering::Relaxed)
    }

    pub(crate) fn set_width(&self, width: usize) {
        self.width.store(width, Ordering::Relaxed);
    }

    /// From now on it is not handed back but run; `false` when it was handed back already.
    pub(crate) fn claim_start(&self) -> bool {
        let mut progress = self.progress();
        progress.begun = progress.ticket.is_some();
        progress.begun
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.progress().begun
    }

    pub(crate) fn standing(&self) -> Standing {
        let progress = self.progress();
        match &progress.ticket {
            None => Standing::Answered,
            Some(ticket) if progress.begun => Standing::Runs(Arc::downgrade(&ticket.claim)),
            Some(_) => Standing::Waits,
        }
    }

    /// The offset that it is at.
    pub(crate) fn position(&self) -> u32 {
        self.progress().ledger.at().max(self.context.offset())
    }

    /// Sizes of its chunks, `least` elements or more where they need not be told of one by one.
    pub(super) fn chunks(&self, least: u32) -> ChunkSize {
        if self.report.is_some() && self.task.header.isolated {
            ChunkSize::ONE
        } else {
            ChunkSize::starting_at(least)
        }
    }

    /// A chunk begins with the element `first`.
    pub(super) fn chunk_begins(&self, first: u32) {
        if let Some(report) = &self.report {
            report(first);
        }
    }

    /// As [`chunk_begins`](Self::chunk_begins), where nothing must wait.
    pub(super) async fn chunk_begins_soon(&self, first: u32) {
        if let Some(report) = self.report.clone() {
            // An error means that the runtime ends.
            let _ = tokio::task::spawn_blocking(move || report(first)).await;
        }
    }

    /// Marks the start.
    pub(super) fn begin(&self) -> Instant {
        let now = Instant::now();
        self.progress().started = now;
        now
    }

    /// A panic while the lock was held leaves a ledger that ends before the chunk that panicked
    /// or tiles it: both can be used.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it early, at the next chunk; tells the operation so.
    pub(crate) fn stop(&self, stop: Stop) {
        // The first reason stays: a drain does not bring a dead job back.
        let _ = self.stop.compare_exchange(0, stop as u8, Ordering::Relaxed, Ordering::Relaxed);
        self.context.execution().cancelled.cancel();
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Relaxed) {
            1 => Some(Stop::Cancelled),
            2 => Some(Stop::Draining),
            _ => None,
        }
    }

    /// The thread `slot` begins to run steps of it.
    pub(crate) fn enter(&self, slot: &Arc<Slot>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(slot));
    }

    /// The thread is done with it. From now on it cannot be abandoned on its behalf.
    pub(crate) fn leave(&self) {
        self.phase.fetch_and(!0xffff, Ordering::Relaxed);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Step `step` begins to run on a chunk whose first element is `first`.
    pub(super) fn step_begins(&self, step: usize, first: u32) {
        self.context.set_offset(first);
        let begun = self.phase.load(Ordering::Relaxed) >> 16;
        self.phase.store((begun + 1) << 16 | (step as u64 + 1), Ordering::Relaxed);
    }

    pub(super) fn step_ends(&self) {
        self.phase.fetch_and(!0xffff, Ordering::Relaxed);
    }

    /// The element that runs, and its step; `None` between steps.
    pub(crate) fn place(&self) -> Option<Overdue> {
        let phase = self.phase.load(Ordering::Relaxed);
        let step = (phase as u16).checked_sub(1)?;
        Some(Overdue { phase, step: u32::from(step), offset: self.context.offset() })
    }

    /// Where it is, or was last.
    pub(super) fn last_place(&self) -> Overdue {
        self.place().unwrap_or_else(|| Overdue {
            phase: 0,
            step: self.pipeline.last() as u32,
            offset: self.context.offset(),
        })
    }

    /// The element at `place` ran longer than `timeout`: asks it to end.
    pub(crate) fn time_out(&self, place: Overdue, timeout: Duration) {
        let _ = self.timed_out.set((place, timeout));
        self.context.execution().cancelled.cancel();
    }

    pub(super) fn timed_out(&self) -> Option<(Overdue, OperationError)> {
        let (place, timeout) = *self.timed_out.get()?;
        let message = format!("ran longer than its timeout of {timeout:?}");
        Some((place, OperationError::new(ErrorKind::Timeout, message)))
    }

    /// Why the rest is not to be run, at a chunk that begins at `first`. At least one chunk is
    /// run, so that each copy of a task gets somewhere.
    pub(super) fn cut(
        &self,
        first: u32,
        elapsed: Duration,
        produced: usize,
    ) -> Option<NotRunReason> {
        let header = &self.task.header;
        if let Some(stop) = self.stopped() {
            return Some(stop.reason());
        }
        if first == 0 {
            return None;
        }
        let slice = (elapsed >= header.time_slice).then_some(NotRunReason::TimeSlice);
        slice.or((produced as u64 >= header.output_cap).then_some(NotRunReason::OutputCap))
    }

    /// Whether what a chunk gave cannot be used: an element timed out, or some `failed`, perhaps
    /// only because they were asked to end.
    pub(super) fn ran_in_vain(&self, failed: bool) -> bool {
        self.timed_out.get().is_some() || (failed && self.stopped().is_some())
    }

    /// Why elements that ran in vain are not run.
    pub(super) fn why(&self) -> NotRunReason {
        self.stopped().map_or(NotRunReason::TimeSlice, Stop::reason)
    }
}

impl Progress {
    /// Whether somebody else has answered.
    pub(super) fn is_taken(&self) -> bool {
        self.ticket.is_none()
    }
}
