//! A world: the engine, a broker that keeps little order, two workers, and what is on its way.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{faults::Faults, rules::Rule};
use crate::{
    broker::{Health, Pool},
    error::Error,
    id::{CopyId, JobId, LeaderId, TaskNumber, WorkerId},
    leader::engine::{
        Engine, LatencyTarget, Settings,
        event::JobEvent,
        protocol::{Action, DeadLettering, Input, Pull},
    },
    operation::ErrorKind,
    plan::{Block, End, OnFailure, Plan, Stage, StepPlan},
    registry::{StepReference, Verb},
    wire::{Lease, LeasedTask, Presence, ProbeReply, ResultMessage, Return, TaskMessage},
};

pub(super) const WORKERS: usize = 2;
pub(super) const HOLD: Duration = Duration::from_secs(30);
/// How far a heartbeat of a lease is behind the one before.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// A message in the task queue.
#[derive(Debug, Clone)]
pub(super) enum Queued {
    Task(Copy),
    Probe { nonce: u64 },
}

/// A published copy of a task.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) message: Rc<TaskMessage>,
    pub(super) redelivered: bool,
}

impl Copy {
    pub(super) fn about(&self) -> CopyId {
        self.message.header.copy
    }
}

/// What a worker does.
#[derive(Debug, Clone)]
pub(super) enum Seat {
    Idle,
    /// A delivery that is not settled.
    Holds {
        copy: Copy,
        /// With the leader (or on the way), not yet acked.
        answered: Option<Reply>,
        /// The broker has taken the delivery back: settling it does nothing.
        stale: bool,
    },
    /// Runs on, settled.
    Leases {
        copy: Copy,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    Result(Rc<ResultMessage>),
    Return(Return),
    Lease(WorkerId, LeasedTask),
    ProbeReply { nonce: u64 },
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) rule_off: Option<Rule>,
    pub(super) job: JobId,
    /// Elements that were not pulled yet.
    pub(super) source: Vec<u8>,
    /// In the order in which they came; tasks may overtake each other, a probe overtakes nothing.
    pub(super) queue: Vec<Queued>,
    pub(super) workers: [Seat; WORKERS],
    pub(super) replies: Vec<Reply>,
    /// Copies that the leader has not heard of yet.
    pub(super) unconfirmed: Vec<CopyId>,
    pub(super) combining: Vec<(u64, Bytes)>,
    /// What the reader got.
    pub(super) outputs: Vec<(u64, u8)>,
    pub(super) value: Option<Bytes>,
    pub(super) skipped: Vec<(u64, ErrorKind)>,
    pub(super) ended: Option<Result<(), String>>,
    /// The element that kills who runs it.
    pub(super) poison: Option<u8>,
    /// The element that always fails and asks to be tried again.
    pub(super) stubborn: Option<u8>,
    /// Whether the user may still cancel the job.
    pub(super) cancellable: bool,
    pub(super) faults: Faults,
    /// Workers that died of the poison.
    pub(super) deaths: u32,
    /// The tasks of which a copy was sent.
    pub(super) sent: BTreeSet<TaskNumber>,
    /// Copies that were sent beyond the first of a task, and what may have been the reason.
    pub(super) again: i32,
    pub(super) reasons: i32,
    /// Copies that were given up for lost, and what may have been the reason.
    pub(super) losses: i32,
    pub(super) excuses: i32,
    pub(super) steps: u32,
}

/// What a program does with bytes: `map` multiplies by ten, the fold writes one behind the other.
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
        is_async: false,
        on_failure,
    };
    let stage = Stage {
        pool: Pool::default(),
        steps: verbs.iter().map(step).collect(),
        batch: Some(batch),
    };
    Plan { stages: vec![stage], end }
}

impl World {
    pub(super) fn new(plan: Plan, elements: u8, faults: Faults) -> Self {
        Self::without(None, plan, elements, faults)
    }

    /// A world that does without a rule.
    pub(super) fn without(rule: Option<Rule>, plan: Plan, elements: u8, faults: Faults) -> Self {
        let settings = Settings {
            leader: LeaderId(uuid::Uuid::nil()),
            latency_target: LatencyTarget { local: false },
            hold: HOLD,
            stall_after: Duration::from_secs(30),
            patience: None,
        };
        let mut world = Self {
            engine: Engine::new(settings),
            rule_off: rule,
            job: JobId(uuid::Uuid::nil()),
            source: (1..=elements).collect(),
            queue: Vec::new(),
            workers: [Seat::Idle, Seat::Idle],
            replies: Vec::new(),
            unconfirmed: Vec::new(),
            combining: Vec::new(),
            outputs: Vec::new(),
            value: None,
            skipped: Vec::new(),
            ended: None,
            poison: None,
            stubborn: None,
            cancellable: false,
            faults,
            deaths: 0,
            sent: BTreeSet::new(),
            again: 0,
            reasons: 0,
            losses: 0,
            excuses: 0,
            steps: 0,
        };
        let health = Health { connected: true, ..Health::default() };
        world.hear(Input::Health(health));
        world.hear(Input::Presence(Box::new(presence())));
        let (job, hint) = (world.job, Some(u64::from(elements)));
        world.hear(Input::Start {
            job,
            plan: Arc::new(plan),
            hint,
            dead_lettering: DeadLettering::On,
        });
        world
    }

    pub(super) fn hear(&mut self, input: Input) {
        for action in self.engine.step_without(self.rule_off, input) {
            self.act(action);
        }
        self.engine.check_ownership();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Publish { message, .. } => {
                self.again += i32::from(!self.sent.insert(message.header.copy.task));
                self.unconfirmed.push(message.header.copy);
                let copy = Copy { message: Rc::from(message), redelivered: false };
                self.queue.push(Queued::Task(copy));
            }
            Action::Probe { pool, nonce } => {
                if self.rule_off != Some(Rule::Probes) {
                    self.queue.push(Queued::Probe { nonce });
                }
                self.hear(Input::Probed { pool, result: Ok(true) });
            }
            Action::Pull { job, elements, .. } => {
                let count = self.source.len().min(elements as usize);
                let bytes: Vec<u8> = self.source.drain(..count).collect();
                let ends = (1..=count as u32).collect();
                let progress = if self.source.is_empty() { Pull::Ended } else { Pull::Done };
                let block = Block { bytes: bytes.into(), ends };
                self.hear(Input::Pulled { job, block, progress });
            }
            Action::Output { outputs, .. } => {
                for (at, value) in outputs.values.iter().enumerate() {
                    self.outputs.push((outputs.indexes.get(at), *value));
                }
                self.value = Some(outputs.values);
            }
            Action::Combine { combination, partials, .. } => {
                self.combining.push((combination, partials.concat().into()));
            }
            Action::End { result, .. } => {
                assert!(self.ended.is_none(), "a job ends once");
                self.ended = Some(result.map_err(|error: Error| error.to_string()));
            }
            Action::Emit { event, .. } => self.witness(event),
            Action::Declare { .. }
            | Action::Cancel { .. }
            | Action::Greet { .. }
            | Action::DeadLetter { .. } => {}
        }
    }

    fn witness(&mut self, event: JobEvent) {
        match event {
            JobEvent::ElementSkipped { index, error, .. } => {
                self.skipped.push((index, error.kind()));
            }
            JobEvent::TaskRepublished { reason, .. }
                if reason.contains("the broker lost it") || reason.contains("expired") =>
            {
                self.losses += 1;
            }
            _ => {}
        }
    }

    /// What must hold in every world: nothing is sent again without a reason.
    pub(super) fn check(&self) {
        assert!(self.deaths <= 1, "a poison element kills one worker: {self:#?}");
        assert!(self.losses <= self.excuses, "given up for lost, and was not: {self:#?}");
        let reasons = self.reasons + self.losses;
        assert!(self.again <= reasons, "sent again {} > {reasons}: {self:#?}", self.again);
    }

    /// What makes this world different from others: no clocks, no measurements, no numbers of tasks
    /// and copies, no order where there is none.
    pub(super) fn canonical(&self) -> u64 {
        let sorted = |mut list: Vec<String>| {
            list.sort_unstable();
            list
        };
        let about = |copy: CopyId| self.engine.canonical_copy(copy);
        let copy = |copy: &Copy| {
            let isolated = copy.message.header.isolated;
            format!("{} {} {isolated}", about(copy.about()), copy.redelivered)
        };
        let nonce = |nonce: u64| self.engine.canonical_probe(nonce);
        let answer = |answer: &Reply| match answer {
            Reply::Result(result) => {
                let of = about(result.header.copy);
                format!("{of} {:?}", result.header.segments)
            }
            Reply::Return(it) => {
                format!("{:?} {:?} {:?}", it.copy.map(about), it.reason, it.offset)
            }
            Reply::Lease(_, held) => format!("{} leased", about(held.copy)),
            Reply::ProbeReply { nonce: number } => format!("probe {}", nonce(*number)),
        };
        let seat = |seat: &Seat| match seat {
            Seat::Idle => String::new(),
            Seat::Holds { copy: held, answered, stale } => {
                format!("{} {stale} {:?}", copy(held), answered.as_ref().map(answer))
            }
            Seat::Leases { copy: held } => format!("{} leases", copy(held)),
        };
        let mut probes = Vec::new();
        let mut queue = Vec::new();
        for queued in &self.queue {
            match queued {
                Queued::Probe { nonce: number } => probes.push(nonce(*number)),
                Queued::Task(task) => queue.push(format!("{} {probes:?}", copy(task))),
            }
        }
        let mut outputs = self.outputs.clone();
        outputs.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (sorted(queue), probes).hash(&mut hasher);
        sorted(self.workers.iter().map(seat).collect()).hash(&mut hasher);
        sorted(self.replies.iter().map(answer).collect()).hash(&mut hasher);
        self.unconfirmed.iter().copied().map(about).collect::<Vec<_>>().hash(&mut hasher);
        self.engine.canonical().hash(&mut hasher);
        (&self.source, &self.combining, outputs, &self.value).hash(&mut hasher);
        (self.faults, &self.ended, self.deaths, self.cancellable).hash(&mut hasher);
        (self.reasons - self.again, self.excuses - self.losses).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn idle(&self) -> Option<usize> {
        self.workers.iter().position(|seat| matches!(seat, Seat::Idle))
    }

    /// The next message of the replies is read.
    pub(super) fn read(&mut self, at: usize) {
        match self.replies.remove(at) {
            Reply::Result(result) => self.hear(Input::Result((*result).clone())),
            Reply::Return(returned) => self.hear(Input::Return(returned)),
            Reply::Lease(worker, held) => {
                self.hear(Input::Lease(Lease { worker, heartbeat: 0, tasks: vec![held] }));
            }
            Reply::ProbeReply { nonce } => {
                let pool = Pool::default();
                self.hear(Input::ProbeReply(ProbeReply { pool, nonce }));
            }
        }
    }

    /// Whether nothing is on its way, and nobody does anything.
    pub(super) fn is_at_rest(&self) -> bool {
        let idle = |seat: &Seat| matches!(seat, Seat::Idle);
        let queues = self.queue.is_empty() && self.replies.is_empty();
        queues && self.unconfirmed.is_empty() && self.workers.iter().all(idle)
    }

    /// Whether the leader says that its job is dead.
    pub(super) fn is_dead(&self) -> bool {
        !self.engine.live_jobs().any(|job| job == self.job)
    }
}

pub(super) fn worker(number: usize) -> WorkerId {
    WorkerId(uuid::Uuid::from_u128(number as u128 + 1))
}

pub(super) fn held(copy: &Copy) -> LeasedTask {
    LeasedTask { copy: copy.about(), offset: 0 }
}

fn presence() -> Presence {
    Presence {
        worker: worker(0),
        name: String::new(),
        pools: vec![Pool::default()],
        slots: WORKERS as u32,
        async_slots: 0,
        version: String::new(),
    }
}
