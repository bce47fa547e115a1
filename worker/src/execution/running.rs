//! One execution, shared by its driver and the parts of the worker that watch it.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use phalanx_core::{
    codec::Layout,
    id::{ExecutionId, WorkerId},
    operation::{ErrorKind, Execution, OperationError, TaskContext},
    registry::{Column, Verb},
    wire::{
        BlockRoute, Combine, Grouping, ListEnd, NotRunReason, Scatter, TaskInlet, TaskMessage,
        TaskOutlet,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Pipeline,
    chunk::ChunkSize,
    ledger::Ledger,
    outlet::Blocks,
    pipeline::StepFailure,
    progress_mark::{ProgressMark, StepPhase},
    rows::Part,
    stop::{Stop, StopFlag},
    values::Values,
};
use crate::{
    gathering::{GatherPermit, GatheredTask},
    lock::lock,
    process_kind::ChunkReporter,
    reply::{BlockPublisher, OutputStream, PendingReply, SharedDelivery, WindowPermit},
    slots::{SlotKind, SlotThread},
};

/// After this many bytes of blocks a task that writes them to queues stops at the next chunk: as
/// many as fit into the window, and so few that each slot can hold them.
const SPREAD_CAP: u64 = 16 << 20;
/// A task that reads an exchange runs for at least this multiple of the time that gathering takes.
const GATHERINGS: u32 = 4;

/// The state of a task, for the parts that settle its delivery.
#[derive(Debug)]
pub(crate) enum RunState {
    /// The task has not begun.
    Waiting,
    /// The task runs. The delivery is dropped once the broker has the reply.
    Running(Weak<SharedDelivery>),
    /// The reply is on its way.
    Replied,
}

/// How an execution runs.
#[derive(Clone)]
pub(crate) struct ExecutionConfig {
    pub(crate) worker: WorkerId,
    pub(crate) kind: SlotKind,
    /// Receives the first element of each chunk before it begins: in a child process, and for
    /// isolated tasks of a worker that cannot start one.
    pub(crate) reporter: Option<ChunkReporter>,
    /// Publishes what goes through queues; `None` in a child process, whose parent does that.
    pub(crate) publisher: Option<Arc<BlockPublisher>>,
}

/// One execution: a driver runs it, and other parts watch, stop or abandon it meanwhile.
pub(crate) struct Running {
    pub(crate) task: TaskMessage,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) context: TaskContext,
    pub(crate) kind: SlotKind,
    reporter: Option<ChunkReporter>,
    pub(super) publisher: Option<Arc<BlockPublisher>>,
    pub(super) execution: ExecutionId,
    pub(super) count: u32,
    pub(super) arrived: tokio::time::Instant,
    /// How many elements run at once. Relaxed: a lease that reads an old value counts one slot.
    width: AtomicUsize,
    phase: StepPhase,
    stop: StopFlag,
    /// The element that ran longer than its timeout. Set before the token is cancelled, so that
    /// the driver finds it when the operation returns.
    timed_out: OnceLock<(ProgressMark, Duration)>,
    /// The part that replies takes the pending reply out. A driver whose execution was abandoned
    /// finds none, and so cannot reply again.
    pub(super) progress: Mutex<Progress>,
    /// The thread that runs a step of this execution. Abandoned only under this lock, so that a
    /// thread that has left is never abandoned for an execution that is over.
    pub(super) slot: Mutex<Option<Arc<SlotThread>>>,
    /// What was gathered from queues, in place of the inlet and the payload of the task.
    gathered: OnceLock<FromQueues>,
    /// Fires when it begins.
    started_running: CancellationToken,
    /// Fires when a part other than the driver has replied.
    pub(crate) replied: CancellationToken,
}

/// What was gathered from queues.
struct FromQueues {
    task: GatheredTask,
    /// How long it took.
    took: Duration,
    /// The memory that it takes up; `None` in a child process, whose parent has it.
    _permit: Option<GatherPermit>,
}

/// The outcomes that the driver has recorded so far.
pub(super) struct Progress {
    pub(super) ledger: Ledger,
    /// What the task has written to an exchange, once its driver has finished it.
    pub(super) blocks: Option<Blocks>,
    /// Their part of the window, if they go through queues.
    pub(super) permit: Option<WindowPermit>,
    /// The outputs that have left the ledger for the queue of the task.
    pub(super) outputs: Option<OutputStream>,
    /// The lists that were read to their ends.
    pub(super) lists: Vec<ListEnd>,
    pub(super) pending: Option<PendingReply>,
    /// The delivery, once the reply waits for blocks that go through queues.
    pub(super) publishing: Weak<SharedDelivery>,
    pub(super) begun: bool,
    /// Whether it gathers its blocks, or has gathered them: then it is leased as if it ran.
    pub(super) gathers: bool,
    pub(super) started: Instant,
    pub(super) busy: Duration,
}

impl Running {
    /// An execution that has not begun.
    pub(crate) fn new(
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        config: ExecutionConfig,
        pending: PendingReply,
    ) -> Arc<Self> {
        let ExecutionConfig { worker, kind, reporter, publisher } = config;
        let header = &task.header;
        let execution = Execution {
            job: header.job,
            stage: header.stage,
            worker,
            ranges: RwLock::new(header.ranges.clone()),
            indexes: header.indexes.clone(),
            cancelled: CancellationToken::new(),
        };
        // `TaskMessage::decode` has checked that the number of elements fits.
        let count = header.count().unwrap_or(0);
        let progress = Progress {
            ledger: Ledger::new(pipeline.is_one_to_one(), &header.outlet),
            blocks: None,
            permit: None,
            outputs: None,
            lists: Vec::new(),
            pending: Some(pending),
            publishing: Weak::new(),
            begun: false,
            gathers: false,
            started: Instant::now(),
            busy: Duration::ZERO,
        };
        Arc::new(Self {
            context: TaskContext::new(Arc::new(execution), 0),
            kind,
            reporter,
            publisher,
            execution: ExecutionId::new(),
            count,
            arrived: tokio::time::Instant::now(),
            width: AtomicUsize::new(1),
            phase: StepPhase::default(),
            stop: StopFlag::default(),
            timed_out: OnceLock::new(),
            progress: Mutex::new(progress),
            slot: Mutex::new(None),
            gathered: OnceLock::new(),
            started_running: CancellationToken::new(),
            replied: CancellationToken::new(),
            task,
            pipeline,
        })
    }

    pub(crate) fn id(&self) -> ExecutionId {
        self.execution
    }

    /// The number of elements in the batch; 0 if they come from partitions.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How many elements could run at once.
    pub(crate) fn widest(&self) -> usize {
        match self.reads_partitions() {
            true => usize::MAX,
            false => self.count as usize,
        }
    }

    /// Whether the elements come from partitions.
    pub(super) fn reads_partitions(&self) -> bool {
        self.task.header.inlet.reads_partitions()
    }

    /// Whether the outputs go to an exchange.
    pub(super) fn scatters(&self) -> bool {
        matches!(self.task.header.outlet, TaskOutlet::Exchange(_))
    }

    /// Whether the task does nothing but hand its payload back.
    pub(super) fn passes_through(&self) -> bool {
        let plain = matches!(self.task.header.inlet, TaskInlet::Elements(Layout::Plain));
        self.pipeline.steps().is_empty() && plain && !self.scatters()
    }

    /// What it has gathered from queues; `None` if its leader has the rows itself.
    pub(crate) fn gathered(&self) -> Option<&GatheredTask> {
        self.gathered.get().map(|gathered| &gathered.task)
    }

    /// It begins to gather its blocks; `false` if it was returned already.
    pub(crate) fn begin_gathering(&self) -> bool {
        let mut progress = self.progress();
        progress.gathers = progress.pending.is_some();
        progress.gathers
    }

    /// It has gathered its blocks, which took this long.
    pub(crate) fn set_gathered(
        &self,
        task: GatheredTask,
        permit: Option<GatherPermit>,
        took: Duration,
    ) {
        // Each task gathers once.
        let _ = self.gathered.set(FromQueues { task, took, _permit: permit });
    }

    /// The steps between the one that combines the values of partitions, if there is such, and the
    /// one that folds or combines outputs.
    pub(super) fn mapping(&self) -> Range<usize> {
        let header = &self.task.header;
        let gathers = header.inlet.grouping() == Some(Grouping::Combine);
        let combines =
            matches!(&header.outlet, TaskOutlet::Exchange(Scatter { combine: Combine::Step, .. }));
        let from = usize::from(gathers).min(self.pipeline.steps().len());
        let behind = usize::from(self.pipeline.folds() || combines);
        from..self.pipeline.steps().len().saturating_sub(behind).max(from)
    }

    /// The layout of the outputs in the reply.
    pub(super) fn output_layout(&self) -> Layout {
        match &self.task.header.outlet {
            TaskOutlet::Stage(layout) => *layout,
            _ => Layout::Plain,
        }
    }

    /// Whether the outputs of this step are only looked at as keys and values.
    pub(super) fn needs_rows_of(&self, step: usize) -> bool {
        match step + 1 < self.mapping().end {
            true => self.pipeline.verb(step + 1).layout() != Layout::Plain,
            false => self.scatters() || self.output_layout() != Layout::Plain,
        }
    }

    /// The outputs as they are put into the reply. Those that are framed must be rows.
    pub(super) fn as_outputs(&self, values: Values, failures: &mut Vec<StepFailure>) -> Values {
        match self.output_layout() {
            Layout::Plain => values,
            _ => Values::Encoded(values.into_rows(&self.pipeline, self.mapping().end, failures)),
        }
    }

    /// The outputs as the input of the fold.
    pub(super) fn as_folded(&self, values: Values, failures: &mut Vec<StepFailure>) -> Column {
        match values {
            Values::Typed(column) => column,
            Values::Encoded(rows) => {
                rows.decode(&self.pipeline, self.pipeline.last(), Part::Whole, failures)
            }
        }
    }

    /// Whether an element that failed in this step may run again.
    pub(super) fn may_run_again(&self, step: usize, error: &OperationError) -> bool {
        matches!(error.kind(), ErrorKind::Transient | ErrorKind::Timeout)
            || self.pipeline.verb(step) == Verb::TryMap
    }

    /// The list of a partition was read to its end. The elements at the offsets `gaps` are no
    /// neighbours of those before them.
    pub(super) fn listed(&self, list: ListEnd, gaps: impl Iterator<Item = u32>) {
        let mut progress = self.progress();
        progress.lists.push(list);
        progress.ledger.add_gaps(gaps);
    }

    /// When the delivery arrived.
    pub(crate) fn arrived(&self) -> tokio::time::Instant {
        self.arrived
    }

    /// How many elements run at once.
    pub(crate) fn width(&self) -> usize {
        self.width.load(Ordering::Relaxed)
    }

    pub(crate) fn set_width(&self, width: usize) {
        self.width.store(width, Ordering::Relaxed);
    }

    /// Resolves when the execution has begun, or was returned. Cancel-safe.
    pub(crate) async fn until_begun(&self) {
        tokio::select! {
            () = self.started_running.cancelled() => {}
            () = self.replied.cancelled() => {}
        }
    }

    /// Begins the execution, after which it is no longer returned; `false` if it was returned
    /// already.
    pub(crate) fn try_begin(&self) -> bool {
        let mut progress = self.progress();
        progress.begun = progress.pending.is_some();
        self.started_running.cancel();
        progress.begun
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.progress().begun
    }

    pub(crate) fn state(&self) -> RunState {
        let progress = self.progress();
        match &progress.pending {
            None => RunState::Replied,
            Some(pending) if progress.begun || progress.gathers => {
                RunState::Running(pending.delivery())
            }
            Some(_) => RunState::Waiting,
        }
    }

    /// The delivery, if the reply waits for blocks that go through queues.
    pub(crate) fn publishing(&self) -> Option<Weak<SharedDelivery>> {
        let delivery = &self.progress().publishing;
        (delivery.strong_count() > 0).then(|| Weak::clone(delivery))
    }

    /// The batch offset of the element that runs.
    pub(crate) fn offset(&self) -> u32 {
        self.progress().ledger.next_offset().max(self.context.offset())
    }

    /// Whether each element is named before it begins: an isolated task in the worker's own
    /// process.
    pub(crate) fn names_elements(&self) -> bool {
        self.reporter.is_some()
    }

    /// The sizes of its chunks: at least `least` elements, unless each element must be reported
    /// separately.
    pub(super) fn chunk_sizes(&self, least: u32) -> ChunkSize {
        if self.reporter.is_some() && self.task.header.isolated {
            ChunkSize::ONE
        } else {
            ChunkSize::starting_at(least)
        }
    }

    /// Reports that a chunk begins with the element at `first`.
    pub(super) fn report_chunk(&self, first: u32) {
        if let Some(report) = &self.reporter {
            report(first);
        }
    }

    /// As [`report_chunk`](Self::report_chunk), without blocking a thread of Tokio.
    pub(super) async fn report_chunk_async(&self, first: u32) {
        if let Some(report) = self.reporter.clone() {
            // Fails only when the runtime shuts down.
            let _ = tokio::task::spawn_blocking(move || report(first)).await;
        }
    }

    /// Records the start of the driver.
    pub(super) fn start(&self) -> Instant {
        let now = Instant::now();
        self.progress().started = now;
        now
    }

    /// Usable after a panic, too: the ledger then ends before or after the chunk that panicked.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    /// Ends the execution at its next chunk, and cancels the operation that runs.
    pub(crate) fn stop(&self, stop: Stop) {
        self.stop.set(stop);
        self.context.execution().cancelled.cancel();
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// The thread `slot` begins to run steps of this execution.
    pub(crate) fn enter(&self, slot: &Arc<SlotThread>) {
        *lock(&self.slot) = Some(Arc::clone(slot));
    }

    /// The thread is done. From now on it cannot be abandoned on behalf of this execution.
    pub(crate) fn leave(&self) {
        self.end_step();
        *lock(&self.slot) = None;
    }

    /// Step `step` begins to run on a chunk whose first element is at `first`.
    pub(super) fn begin_step(&self, step: usize, first: u32) {
        self.phase.begin(step, first, &self.context);
    }

    pub(super) fn end_step(&self) {
        self.phase.end();
    }

    /// The progress of the execution; `None` between steps.
    pub(crate) fn mark(&self) -> Option<ProgressMark> {
        self.phase.mark(&self.context)
    }

    /// The progress of the execution, or its progress when it left its last step.
    pub(super) fn last_mark(&self) -> ProgressMark {
        self.mark().unwrap_or_else(|| ProgressMark {
            phase: 0,
            step: self.pipeline.last() as u32,
            offset: self.context.offset(),
        })
    }

    /// Cancels the operation because its element has run for longer than `timeout`.
    pub(crate) fn time_out(&self, mark: ProgressMark, timeout: Duration) {
        let _ = self.timed_out.set((mark, timeout));
        self.context.execution().cancelled.cancel();
    }

    /// The element that ran longer than its timeout, and its error.
    pub(super) fn timed_out(&self) -> Option<(ProgressMark, OperationError)> {
        let (mark, timeout) = *self.timed_out.get()?;
        let message = format!("ran longer than its timeout of {timeout:?}");
        Some((mark, OperationError::new(ErrorKind::Timeout, message)))
    }

    /// Why the elements from `first` on must not be run. Unless the execution was stopped, at least
    /// one chunk runs, so that every copy of a task makes progress. `gathering` is the part of the
    /// time in which elements were gathered: who goes on in another task gathers them again, so
    /// that pays only after a multiple of it.
    pub(super) fn must_end(
        &self,
        first: u32,
        elapsed: Duration,
        gathering: Duration,
        output_bytes: usize,
    ) -> Option<NotRunReason> {
        let header = &self.task.header;
        if let Some(stop) = self.stopped() {
            return Some(stop.reason());
        }
        if first == 0 {
            return None;
        }
        // Whoever goes on with the rest reads all of it again.
        let reading = self.gathered.get().map_or(Duration::ZERO, |gathered| gathered.took);
        let slice = header.time_slice.max(GATHERINGS * (reading + gathering));
        let slice = (elapsed.saturating_sub(gathering) >= slice).then_some(NotRunReason::TimeSlice);
        let cap = match &header.outlet {
            TaskOutlet::Exchange(Scatter { route: BlockRoute::Inline { cap }, .. }) => *cap,
            TaskOutlet::Exchange(_) => SPREAD_CAP,
            _ => header.output_cap,
        };
        slice.or((output_bytes as u64 >= cap).then_some(NotRunReason::OutputCap))
    }

    /// Whether the outputs of a chunk are unusable: an element timed out, or elements `failed`
    /// after they were cancelled, perhaps only because of that.
    pub(super) fn must_discard_chunk(&self, failed: bool) -> bool {
        self.timed_out.get().is_some() || (failed && self.stopped().is_some())
    }

    /// The reason for the elements that are not run, or whose outputs are discarded.
    pub(super) fn not_run_reason(&self) -> NotRunReason {
        self.stopped().map_or(NotRunReason::TimeSlice, Stop::reason)
    }
}

impl Progress {
    /// Whether another part has replied.
    pub(super) fn is_replied(&self) -> bool {
        self.pending.is_none()
    }
}
