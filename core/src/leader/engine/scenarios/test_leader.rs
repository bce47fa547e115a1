//! A leader for tests: an engine whose source, broker, workers and reader are played by the test.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    broker::{BrokerError, Health, Pool, QueueAction, ShuffleQueue},
    dead_letters::DeadElement,
    error::Error,
    id::{CopyId, ExecutionId, JobId, LeaderId, TaskNumber, WorkerId},
    leader::engine::{
        Engine, LatencyTarget, MAX_BLOCKS, Settings,
        event::{JobEvent, Progress},
        output_cap,
        protocol::{Action, DeadLettering, Input, Pull},
    },
    operation::{ErrorKind, OperationError},
    plan::{Backoff, Block, End, OnFailure, Plan, Stage, StepPlan},
    registry::{StepReference, Verb},
    wire::{
        BlockMessage, Lease, LeasedTask, Outcome, Presence, ProbeReply, ResultHeader,
        ResultMessage, Return, ReturnReason, RowTotal, Segment, TaskMessage,
    },
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// The longest time that workers hold a delivery without settling it.
pub(super) const HOLD: Duration = Duration::from_secs(30);

/// An engine, and the actions that it has returned so far.
pub(super) struct TestLeader {
    pub(super) engine: Engine,
    /// The source of each job: bytes that are their own encodings.
    pub(super) sources: Vec<(JobId, std::ops::Range<u8>)>,
    /// Published and not yet taken by the test, oldest first.
    pub(super) published: Vec<TaskMessage>,
    /// The source index of the first output of each block, and the encodings.
    pub(super) outputs: Vec<(u64, Vec<u8>)>,
    pub(super) ended: Vec<(JobId, Result<(), Error>)>,
    /// The progress with which the last job ended.
    pub(super) last_progress: Progress,
    pub(super) events: Vec<JobEvent>,
    pub(super) cancelled: Vec<JobId>,
    pub(super) dead: Vec<DeadElement>,
    pub(super) greeted: Vec<WorkerId>,
    /// The nonces of the published probes.
    pub(super) probes: Vec<u64>,
    /// The number of declarations of task queues.
    pub(super) declared: usize,
    /// What is to be done to queues of blocks.
    pub(super) managed: Vec<(QueueAction, Vec<ShuffleQueue>)>,
    /// The blocks that the leader publishes itself.
    pub(super) blocks: Vec<BlockMessage>,
    /// The tasks whose next block of outputs is to be read, and which execution's.
    pub(super) reads: Vec<(TaskNumber, ExecutionId)>,
}

fn settings() -> Settings {
    Settings {
        leader: LeaderId(uuid::Uuid::nil()),
        latency_target: LatencyTarget { local: false },
        hold: HOLD,
        stall_after: Duration::from_secs(30),
        patience: None,
        max_blocks: Some(MAX_BLOCKS),
        output_cap: output_cap(None),
        shuffle_limit: u64::MAX,
    }
}

pub(super) fn job(number: u128) -> JobId {
    JobId(uuid::Uuid::from_u128(number))
}

/// The execution of a copy of a task: each copy is run once.
pub(super) fn execution(task: &TaskMessage) -> ExecutionId {
    let CopyId { task, attempt } = task.header.copy;
    ExecutionId(uuid::Uuid::from_u64_pair(task.0, attempt.into()))
}

pub(super) fn worker(number: u128) -> WorkerId {
    WorkerId(uuid::Uuid::from_u128(number))
}

pub(in crate::leader::engine) fn step(verb: Verb) -> StepPlan {
    let reference = StepReference {
        name: format!("test::{verb:?}"),
        fingerprint: 0,
        verb,
        timeout: None,
        state: Bytes::new(),
    };
    StepPlan {
        reference,
        retries: 2,
        backoff: Backoff::default(),
        is_async: false,
        on_failure: OnFailure::FailJob,
    }
}

pub(super) fn plan(steps: Vec<StepPlan>, end: End) -> Plan {
    Plan::chain(vec![Stage { pool: Pool::default(), steps, batch: None, numbered: false }], end)
}

pub(super) fn stream() -> End {
    End::Stream { ordered: false, take: None }
}

impl TestLeader {
    pub(super) fn new() -> Self {
        Self::with_patience(None)
    }

    pub(super) fn with_patience(patience: Option<Duration>) -> Self {
        Self::with(Settings { patience, ..settings() })
    }

    /// A leader that holds at most this many bytes of blocks.
    pub(super) fn with_blocks(most: usize) -> Self {
        let (max_blocks, output_cap) = (Some(most), output_cap(Some(most)));
        Self::with(Settings { max_blocks, output_cap, ..settings() })
    }

    /// A leader that holds at most this many bytes of blocks, and whose jobs write at most as many
    /// as `limit` to queues.
    pub(super) fn with_shuffle_limit(most: usize, limit: u64) -> Self {
        let (max_blocks, output_cap) = (Some(most), output_cap(Some(most)));
        Self::with(Settings { max_blocks, output_cap, shuffle_limit: limit, ..settings() })
    }

    fn with(settings: Settings) -> Self {
        let mut leader = Self {
            engine: Engine::new(settings),
            sources: Vec::new(),
            published: Vec::new(),
            outputs: Vec::new(),
            ended: Vec::new(),
            last_progress: Progress::default(),
            events: Vec::new(),
            cancelled: Vec::new(),
            dead: Vec::new(),
            greeted: Vec::new(),
            probes: Vec::new(),
            declared: 0,
            managed: Vec::new(),
            blocks: Vec::new(),
            reads: Vec::new(),
        };
        leader.connected(true);
        leader
    }

    pub(super) fn connected(&mut self, connected: bool) {
        let health = Health { generation: 1, connected, ..Health::default() };
        self.input(Input::Health(health));
    }

    pub(super) fn presence(&mut self, number: u128, slots: u32) {
        self.input(Input::Presence(presence(number, slots)));
    }

    /// A worker of one slot lists its operations.
    pub(super) fn lists(&mut self, number: u128, operations: &[(&str, u64)]) {
        let mut presence = presence(number, 1);
        let owned = |(name, print): &(&str, u64)| (String::from(*name), *print);
        presence.operations = Some(operations.iter().map(owned).collect());
        self.input(Input::Presence(presence));
    }

    pub(super) fn hello(&mut self, number: u128) {
        self.input(Input::Hello(presence(number, 1)));
    }

    pub(super) fn start(&mut self, number: u128, plan: Plan, batch: u32, elements: u8) {
        self.start_with(number, plan, batch, elements, DeadLettering::On);
    }

    pub(super) fn start_with(
        &mut self,
        number: u128,
        mut plan: Plan,
        batch: u32,
        elements: u8,
        dead_lettering: DeadLettering,
    ) {
        for stage in &mut plan.stages {
            stage.batch = Some(batch);
        }
        self.sources.push((job(number), 0..elements));
        let hint = Some(u64::from(elements));
        let (job, plan, hints) = (job(number), Arc::new(plan), vec![hint]);
        self.input(Input::Start { job, plan, hints, dead_lettering });
    }

    pub(super) fn input(&mut self, input: Input) {
        let actions = self.engine.step(input);
        self.engine.check_ownership();
        for action in actions {
            match action {
                Action::Publish { message, .. } => self.published.push(*message),
                Action::Probe { nonce, .. } => self.probes.push(nonce),
                Action::Declare { .. } => self.declared += 1,
                Action::Pull { job, elements, .. } => self.pull(job, elements),
                Action::Output { outputs, .. } => {
                    self.outputs.push((outputs.indexes.get(0), outputs.values.to_vec()));
                }
                Action::End { job, progress, result } => {
                    self.last_progress = progress;
                    self.ended.push((job, result));
                }
                Action::Manage { action, queues } => self.managed.push((action, queues)),
                Action::PublishBlocks { blocks } => self.blocks.extend(blocks),
                Action::ReadOutputs { task, execution, .. } => self.reads.push((task, execution)),
                Action::Cancel { job } => self.cancelled.push(job),
                Action::Emit { event, .. } => self.events.push(event),
                Action::DeadLetter { element } => self.dead.push(*element),
                Action::Greet { worker } => self.greeted.push(worker),
            }
        }
    }

    pub(super) fn pull(&mut self, job: JobId, elements: u64) {
        let (_, source) = self.sources.iter_mut().find(|(id, _)| *id == job).unwrap();
        let bytes: Vec<u8> = source.by_ref().take(elements as usize).collect();
        let ends = (1..=bytes.len() as u32).collect();
        let progress = if source.start == source.end { Pull::Ended } else { Pull::Done };
        let block = Block { bytes: bytes.into(), ends };
        self.input(Input::Pulled { job, source: 0, block, progress });
    }

    /// Takes the oldest published task.
    pub(super) fn take(&mut self) -> TaskMessage {
        assert!(!self.published.is_empty(), "no task was published");
        self.published.remove(0)
    }

    pub(super) fn reply(
        &mut self,
        task: &TaskMessage,
        outcomes: &[(u32, Outcome)],
        payload: &[u8],
    ) {
        let header = Self::result_header(task, outcomes);
        let payload = Bytes::copy_from_slice(payload);
        self.input(Input::Result(ResultMessage { header, payload }));
    }

    /// The header of a result with these outcomes, each of a number of elements.
    pub(super) fn result_header(task: &TaskMessage, outcomes: &[(u32, Outcome)]) -> ResultHeader {
        let mut from = 0;
        let mut segments = Vec::new();
        for (count, outcome) in outcomes {
            segments.push(Segment { from, to: from + count, outcome: outcome.clone() });
            from += count;
        }
        ResultHeader {
            leader: task.header.leader,
            copy: task.header.copy,
            execution: execution(task),
            worker: worker(1),
            busy_us: 1000,
            waited_us: 0,
            segments,
            blocks: Vec::new(),
            spread: Vec::new(),
            uncombined: RowTotal::default(),
            lists: Vec::new(),
            output_blocks: 0,
            spilled: 0,
        }
    }

    /// Replies that all elements of the task are done and are their own outputs.
    pub(super) fn echo(&mut self, task: &TaskMessage) {
        let count = task.header.count().unwrap();
        self.reply(task, &[(count, done(count))], &task.payload);
    }

    /// Replies that worker `by` returned the task.
    pub(super) fn returned(&mut self, task: &TaskMessage, by: u128, reason: ReturnReason) {
        let copy = Some(task.header.copy);
        self.input(Input::Return(Return {
            copy,
            worker: worker(by),
            reason,
            offset: None,
            element: None,
        }));
    }

    /// Answers what is to be done to queues of blocks, with this outcome for each queue; returns
    /// what that was.
    pub(super) fn answer(
        &mut self,
        outcome: impl Fn(&ShuffleQueue) -> Result<u64, BrokerError>,
    ) -> Vec<(QueueAction, Vec<ShuffleQueue>)> {
        let managed = std::mem::take(&mut self.managed);
        for (action, queues) in &managed {
            let outcomes = queues.iter().map(|queue| (*queue, outcome(queue))).collect();
            self.input(Input::Managed { job: queues[0].job(), action: *action, outcomes });
        }
        managed
    }

    /// The queues have all blocks that the leader has published; returns them.
    pub(super) fn blocks_arrive(&mut self) -> Vec<BlockMessage> {
        let blocks = std::mem::take(&mut self.blocks);
        for BlockMessage { name, block } in &blocks {
            let (job, exchange) = (name.job, name.exchange);
            self.input(Input::BlockPublished { job, exchange, bytes: block.len(), result: Ok(()) });
        }
        blocks
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) {
        // In many small ticks, as the driver does.
        for _ in 0..time.as_millis() / 100 {
            self.input(Input::Tick { elapsed: Duration::from_millis(100), unread: false });
        }
    }

    pub(super) fn failure(&self) -> String {
        match &self.ended[..] {
            [(_, Err(error))] => error.to_string(),
            other => panic!("one failed job was expected: {other:?}"),
        }
    }
}

impl TestLeader {
    /// A job of one task of one element, which the broker has confirmed.
    pub(super) fn with_one_task() -> (Self, TaskMessage) {
        Self::with_batch(1)
    }

    /// A job of one task of this many elements, which the broker has confirmed.
    pub(super) fn with_batch(elements: u8) -> (Self, TaskMessage) {
        let mut leader = Self::new();
        leader.start(1, plan(vec![step(Verb::Map)], stream()), u32::from(elements), elements);
        let task = leader.take();
        leader.confirmed(&task);
        (leader, task)
    }

    pub(super) fn confirmed(&mut self, task: &TaskMessage) {
        self.input(Input::Published { copy: task.header.copy });
    }

    /// Worker `by` leases the task, at the element at this batch offset.
    pub(super) fn lease(&mut self, by: u128, task: &TaskMessage, offset: u32) {
        self.leased(LeasedTask { copy: task.header.copy, offset, in_process: false }, by);
    }

    /// The worker `by` runs the isolated task in its own process, and names the next element.
    pub(super) fn named(&mut self, task: &TaskMessage, by: u128, offset: u32) {
        self.leased(LeasedTask { copy: task.header.copy, offset, in_process: true }, by);
    }

    fn leased(&mut self, task: LeasedTask, by: u128) {
        let tasks = vec![task];
        self.input(Input::Lease(Lease { worker: worker(by), heartbeat: 1, tasks }));
    }

    pub(super) fn probe_returned(&mut self, nonce: u64) {
        let pool = Pool::default();
        self.input(Input::Probed { pool: pool.clone(), result: Ok(true) });
        self.input(Input::ProbeReply(ProbeReply { pool, nonce }));
    }

    /// Replies that the child process that ran the task died, at this batch offset if it is known.
    pub(super) fn crashed(&mut self, task: &TaskMessage, offset: Option<u32>) {
        let reason = ReturnReason::Crashed { status: "killed by SIGABRT".to_owned() };
        let copy = Some(task.header.copy);
        self.input(Input::Return(Return {
            copy,
            worker: worker(1),
            reason,
            offset,
            element: None,
        }));
    }
}

pub(super) fn done(outputs: u32) -> Outcome {
    Outcome::Done { bytes: u64::from(outputs), outputs, counts: None, lengths: None }
}

pub(super) fn failed(kind: ErrorKind) -> Outcome {
    Outcome::Failed { step: 0, error: OperationError::new(kind, "no luck"), element: None }
}

fn presence(number: u128, slots: u32) -> Box<Presence> {
    Box::new(Presence {
        worker: worker(number),
        name: String::new(),
        pools: vec![Pool::default()],
        slots,
        async_slots: 0,
        isolates: true,
        operations: None,
        version: String::new(),
    })
}
