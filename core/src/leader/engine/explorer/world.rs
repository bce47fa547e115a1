//! A world: the engine, a broker that keeps little order, two workers, and the messages in flight.

use std::{collections::BTreeSet, num::NonZeroU32, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    faults::Faults,
    output_queues::OutputQueues,
    parts::{Copy, HOLD, Kept, Queued, Reply, WORKERS, WorkerState, presence},
    queues::Queues,
    rules::Rule,
};
use crate::{
    broker::{Health, Pool},
    error::Error,
    id::{CopyId, JobId, LeaderId, TaskNumber},
    leader::engine::{
        Engine, LatencyTarget, MAX_BLOCKS, Settings,
        event::JobEvent,
        output_cap,
        protocol::{Action, DeadLettering, Input, Pull},
    },
    operation::ErrorKind,
    plan::{
        Backoff, Block, End, Exchange, ExchangeKind, OnFailure, Origin, Outlet, Plan, PlanBuilder,
        Stage, StepPlan,
    },
    registry::{StepReference, Verb},
    wire::{Lease, ProbeReply},
};

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) rule_off: Option<Rule>,
    pub(super) job: JobId,
    /// The elements that were not pulled yet.
    pub(super) source: Vec<u8>,
    /// In the order of publication. Tasks may overtake each other; a probe overtakes nothing.
    pub(super) queue: Vec<Queued>,
    pub(super) workers: [WorkerState; WORKERS],
    /// Whether each worker can start child processes.
    pub(super) isolates: [bool; WORKERS],
    /// Whether the workers are the asynchronous slots of one process, whose isolated tasks share a
    /// child.
    pub(super) is_one_process: bool,
    pub(super) kept: Vec<Kept>,
    pub(super) replies: Vec<Reply>,
    /// The copies whose confirm has not arrived.
    pub(super) unconfirmed: Vec<CopyId>,
    /// The outputs that were handed to the reader, with their source indexes.
    pub(super) outputs: Vec<(u64, u8)>,
    pub(super) value: Option<Bytes>,
    pub(super) skipped: Vec<(u64, ErrorKind)>,
    pub(super) ended: Option<Result<(), String>>,
    /// The element that kills the process that runs it.
    pub(super) poison: Option<u8>,
    /// The element that fails transiently on each try.
    pub(super) always_fails: Option<u8>,
    /// Whether the user may still cancel the job.
    pub(super) cancellable: bool,
    pub(super) faults: Faults,
    /// The number of faults that have happened.
    pub(super) suffered: u32,
    /// The number of workers that the poison element has killed.
    pub(super) deaths: u32,
    /// The tasks of which a copy was published.
    pub(super) sent: BTreeSet<TaskNumber>,
    /// The number of copies beyond the first of their task, and of the events that justify one.
    pub(super) reissues: i32,
    pub(super) reissue_causes: i32,
    /// The number of copies that were declared lost, and of the events that justify it.
    pub(super) losses: i32,
    pub(super) loss_causes: i32,
    pub(super) steps: u32,
    /// The queues of partitions.
    pub(super) queues: Queues,
    /// The queues of tasks.
    pub(super) output_queues: OutputQueues,
    /// How often two seconds may pass although a worker holds a delivery.
    pub(super) moments: u32,
}

/// A plan over bytes: `map` multiplies by ten, the fold concatenates.
pub(super) fn plan(end: End, verbs: &[Verb], batch: u32, on_failure: OnFailure) -> Plan {
    let step = |verb: &Verb| StepPlan {
        reference: StepReference {
            name: String::new(),
            fingerprint: 0,
            verb: *verb,
            timeout: None,
            state: Bytes::new(),
        },
        retries: 3,
        backoff: Backoff::default(),
        is_async: false,
        on_failure,
    };
    let stage = Stage {
        numbered: false,
        pool: Pool::default(),
        steps: verbs.iter().map(step).collect(),
        batch: Some(batch),
    };
    Plan::chain(vec![stage], end)
}

/// A plan whose `map` feeds an exchange of two partitions. The step behind it changes nothing here.
pub(super) fn exchange_plan(end: End) -> Plan {
    let feeding = plan(stream(), &[Verb::Map], 1, OnFailure::FailJob).stages;
    let reading = plan(stream(), &[Verb::MapValues], 1, OnFailure::FailJob).stages;
    let mut builder = PlanBuilder::default();
    let exchange = builder.exchange(Exchange {
        kind: ExchangeKind::GroupByKey,
        partitions: NonZeroU32::new(2),
        feeders: Vec::new(),
        first_side: 1,
        reader: 0,
    });
    let outlet = Outlet::Exchange { exchange, feeder: 0 };
    builder.chain(&Origin::Source, feeding, outlet);
    builder.chain(&Origin::Exchange(exchange), reading, Outlet::End(0));
    builder.finish(end)
}

fn stream() -> End {
    End::Stream { ordered: false, take: None }
}

impl World {
    pub(super) fn new(plan: Plan, elements: u8, faults: Faults) -> Self {
        Self::without(None, plan, elements, faults)
    }

    /// A world without this rule.
    pub(super) fn without(rule: Option<Rule>, plan: Plan, elements: u8, faults: Faults) -> Self {
        Self::of(rule, plan, elements, faults, (MAX_BLOCKS, output_cap(None)))
    }

    /// A world whose leader holds at most this many bytes of blocks.
    pub(super) fn with_blocks(
        rule: Option<Rule>,
        most: usize,
        elements: u8,
        faults: Faults,
    ) -> Self {
        Self::of(rule, exchange_plan(stream()), elements, faults, (most, output_cap(None)))
    }

    /// A world whose leader holds no blocks, and in which each output is more than a result holds.
    pub(super) fn with_output_queues(
        rule: Option<Rule>,
        end: End,
        elements: u8,
        faults: Faults,
    ) -> Self {
        Self::of(rule, exchange_plan(end), elements, faults, (0, 1))
    }

    fn of(
        rule: Option<Rule>,
        plan: Plan,
        elements: u8,
        faults: Faults,
        (max_blocks, output_cap): (usize, u64),
    ) -> Self {
        let settings = Settings {
            leader: LeaderId(uuid::Uuid::nil()),
            latency_target: LatencyTarget { local: false },
            hold: HOLD,
            stall_after: Duration::from_secs(30),
            patience: None,
            max_blocks: Some(max_blocks),
            output_cap,
            shuffle_limit: u64::MAX,
        };
        let mut world = Self {
            engine: Engine::new(settings),
            rule_off: rule,
            job: JobId(uuid::Uuid::nil()),
            source: (1..=elements).collect(),
            queue: Vec::new(),
            workers: [WorkerState::Idle, WorkerState::Idle],
            isolates: [true; WORKERS],
            is_one_process: false,
            kept: Vec::new(),
            replies: Vec::new(),
            unconfirmed: Vec::new(),
            outputs: Vec::new(),
            value: None,
            skipped: Vec::new(),
            ended: None,
            poison: None,
            always_fails: None,
            cancellable: false,
            faults,
            suffered: 0,
            deaths: 0,
            sent: BTreeSet::new(),
            reissues: 0,
            reissue_causes: 0,
            losses: 0,
            loss_causes: 0,
            steps: 0,
            queues: Queues::default(),
            output_queues: OutputQueues::default(),
            moments: 0,
        };
        let health = Health { connected: true, ..Health::default() };
        world.input(Input::Health(health));
        world.input(Input::Presence(Box::new(presence())));
        let (job, hints) = (world.job, vec![Some(u64::from(elements))]);
        world.input(Input::Start {
            job,
            plan: Arc::new(plan),
            hints,
            dead_lettering: DeadLettering::On,
        });
        world
    }

    pub(super) fn input(&mut self, input: Input) {
        for action in self.engine.step_without(self.rule_off, input) {
            self.act(action);
        }
        self.engine.check_ownership();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Publish { message, .. } => {
                self.reissues += i32::from(!self.sent.insert(message.header.copy.task));
                self.unconfirmed.push(message.header.copy);
                let copy = Copy { message: Rc::from(message), redelivered: false };
                self.queue.push(Queued::Task(copy));
            }
            Action::Probe { pool, nonce } => {
                if self.rule_off != Some(Rule::Probes) {
                    self.queue.push(Queued::Probe { nonce });
                }
                self.input(Input::Probed { pool, result: Ok(true) });
            }
            Action::Pull { job, elements, .. } => {
                let count = self.source.len().min(elements as usize);
                let bytes: Vec<u8> = self.source.drain(..count).collect();
                let ends = (1..=count as u32).collect();
                let progress = if self.source.is_empty() { Pull::Ended } else { Pull::Done };
                let block = Block { bytes: bytes.into(), ends };
                self.input(Input::Pulled { job, source: 0, block, progress });
            }
            Action::Output { outputs, .. } => {
                for (at, value) in outputs.values.iter().enumerate() {
                    self.outputs.push((outputs.indexes.get(at), *value));
                }
                self.value = Some(outputs.values);
            }
            Action::End { result, .. } => {
                assert!(self.ended.is_none(), "a job ends once");
                self.ended = Some(result.map_err(|error: Error| error.to_string()));
            }
            Action::Emit { event, .. } => self.record(event),
            Action::Manage { action, queues } => self.manage(action, queues),
            Action::ReadOutputs { task, execution, .. } => {
                self.output_queues.asked = Some((task, execution));
            }
            Action::PublishBlocks { blocks } => self.queues.published.extend(blocks),
            Action::Declare { .. }
            | Action::Cancel { .. }
            | Action::Greet { .. }
            | Action::DeadLetter { .. } => {}
        }
    }

    fn record(&mut self, event: JobEvent) {
        match event {
            JobEvent::ElementSkipped { index, error, .. } => {
                self.skipped.push((index, error.kind()));
            }
            JobEvent::TaskReissued { reason, .. }
                if reason.contains("the broker lost the copy") || reason.contains("expired") =>
            {
                self.losses += 1;
            }
            _ => {}
        }
    }

    /// Checks what holds in every world: no copy is reissued without a cause.
    pub(super) fn check(&self) {
        // Without a child process it kills another one at each of its two tries, and whenever a
        // fault keeps the leader from counting one.
        let deaths = if self.isolates == [true; WORKERS] { 1 } else { 3 + self.suffered };
        assert!(self.deaths <= deaths, "{} workers died of an element: {self:#?}", self.deaths);
        assert!(
            self.losses <= self.loss_causes,
            "a copy that was not lost was declared lost: {self:#?}"
        );
        let causes = self.reissue_causes + self.losses;
        assert!(self.reissues <= causes, "{} reissues, {causes} causes: {self:#?}", self.reissues);
    }

    /// The idle workers, but for those that are equal to an earlier one.
    pub(super) fn idle(&self) -> impl Iterator<Item = usize> {
        let first = |isolates: bool| {
            let mut workers = self.workers.iter().zip(self.isolates);
            workers.position(|(state, it)| matches!(state, WorkerState::Idle) && it == isolates)
        };
        first(true).into_iter().chain(first(false))
    }

    /// The leader reads the reply at this index.
    pub(super) fn read(&mut self, at: usize) {
        match self.replies.remove(at) {
            Reply::Result(result) => self.input(Input::Result((*result).clone())),
            Reply::Return(returned) => self.input(Input::Return(returned)),
            Reply::Lease(worker, held) => {
                self.input(Input::Lease(Lease { worker, heartbeat: 0, tasks: vec![held] }));
            }
            Reply::Probe { nonce } => {
                let pool = Pool::default();
                self.input(Input::ProbeReply(ProbeReply { pool, nonce }));
            }
        }
    }

    /// Whether no message is in flight, and all workers are idle.
    pub(super) fn is_quiescent(&self) -> bool {
        let idle = |state: &WorkerState| matches!(state, WorkerState::Idle);
        let queues = self.queue.is_empty() && self.replies.is_empty() && self.kept.is_empty();
        let Queues { managing, published, late, .. } = &self.queues;
        let read = self.output_queues.asked.is_none();
        let arrived = read && managing.is_empty() && published.is_empty() && late.is_empty();
        queues && arrived && self.unconfirmed.is_empty() && self.workers.iter().all(idle)
    }

    /// Whether the leader has announced that its job is dead.
    pub(super) fn is_dead(&self) -> bool {
        !self.engine.live_jobs().any(|job| job == self.job)
    }
}
