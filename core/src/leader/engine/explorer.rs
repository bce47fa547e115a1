//! Small worlds, explored whole: the engine, a broker that keeps no order, two workers, and faults
//! at every point.
//!
//! A world is explored depth first over all that can happen next; worlds that look alike are
//! explored once. Every world must end, with each element counted exactly once.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{Engine, Settings};
use crate::{
    broker::{Health, Pool, PublishError},
    error::Error,
    id::{ExecutionId, JobId, LeaderId, TaskNumber, WorkerId},
    leader::{
        batch::Tempo,
        protocol::{Action, Input, Pull, PulledBlock},
    },
    operation::{ErrorKind, OperationError},
    plan::{End, OnFailure, Plan, Stage, StepPlan},
    registry::{StepReference, Verb},
    wire::{
        NotRunReason, Outcome, Presence, ResultHeader, ResultMessage, Return, ReturnReason,
        Segment, TaskKind, TaskMessage,
    },
};

const WORKERS: usize = 2;

/// What may go wrong, and how often in one world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Faults {
    /// A worker dies, with what it holds.
    crashes: u8,
    /// The leader does not learn whether a copy was taken (it was, or it was not).
    lost_publishes: u8,
    /// A worker does not learn that its answer was taken, and sends it again.
    lost_confirms: u8,
    /// An element fails and may be tried again.
    transients: u8,
    /// A worker answers with a prefix only.
    cuts: u8,
    /// A worker gives a task back unread.
    returns: u8,
}

/// A message with a worker, and how far the worker is with it.
#[derive(Debug, Clone)]
struct Held {
    copy: Copy,
    /// With the leader (or on the way), not yet acked.
    answered: Option<Answer>,
}

#[derive(Debug, Clone)]
struct Copy {
    message: Rc<TaskMessage>,
    redelivered: bool,
}

#[derive(Debug, Clone)]
enum Answer {
    Result(Rc<ResultMessage>),
    Return(Return),
}

impl Answer {
    fn about(&self) -> (TaskNumber, u32) {
        match self {
            Self::Result(result) => (result.header.task, result.header.attempt),
            Self::Return(returned) => (returned.task, returned.attempt),
        }
    }
}

#[derive(Debug, Clone)]
struct World {
    engine: Engine,
    job: JobId,
    /// Elements that were not pulled yet.
    source: Vec<u8>,
    queue: Vec<Copy>,
    workers: Vec<Option<Held>>,
    replies: Vec<Answer>,
    /// Copies that the leader has not heard of yet.
    unconfirmed: Vec<(TaskNumber, u32)>,
    combining: Vec<(u64, Bytes)>,
    /// What the reader got.
    outputs: Vec<(u64, u8)>,
    value: Option<Bytes>,
    ended: Option<Result<(), String>>,
    faults: Faults,
    steps: u32,
}

/// What a program does with bytes: `map` multiplies by ten, the fold writes one behind the other.
fn plan(end: End, verbs: &[Verb], batch: u32) -> Plan {
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
        on_failure: OnFailure::FailJob,
    };
    let stage = Stage {
        pool: Pool::default(),
        steps: verbs.iter().map(step).collect(),
        batch: Some(batch),
    };
    Plan { stages: vec![stage], end }
}

impl World {
    fn new(plan: Plan, elements: u8, faults: Faults) -> Self {
        let settings = Settings {
            leader: LeaderId(uuid::Uuid::nil()),
            tempo: Tempo { local: false },
            stall_after: Duration::from_secs(30),
            patience: None,
        };
        let mut world = Self {
            engine: Engine::new(settings),
            job: JobId(uuid::Uuid::nil()),
            source: (1..=elements).collect(),
            queue: Vec::new(),
            workers: vec![None; WORKERS],
            replies: Vec::new(),
            unconfirmed: Vec::new(),
            combining: Vec::new(),
            outputs: Vec::new(),
            value: None,
            ended: None,
            faults,
            steps: 0,
        };
        let health = Health { connected: true, ..Health::default() };
        world.hear(Input::Health(health));
        world.hear(Input::Presence(Box::new(presence())));
        let (job, hint) = (world.job, Some(u64::from(elements)));
        world.hear(Input::Start { job, plan: Arc::new(plan), hint });
        world
    }

    fn hear(&mut self, input: Input) {
        for action in self.engine.step(input) {
            self.act(action);
        }
        self.engine.check_ownership();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Publish { message, .. } => {
                self.unconfirmed.push((message.header.task, message.header.attempt));
                self.queue.push(Copy { message: Rc::from(message), redelivered: false });
            }
            Action::Pull { job, elements, .. } => {
                let count = self.source.len().min(elements as usize);
                let bytes: Vec<u8> = self.source.drain(..count).collect();
                let ends = (1..=count as u32).collect();
                let progress = if self.source.is_empty() { Pull::Ended } else { Pull::Done };
                let block = PulledBlock { bytes: bytes.into(), ends };
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
            Action::Cancel { .. } | Action::Emit { .. } | Action::DeadLetter { .. } => {}
        }
    }

    /// All worlds that can follow.
    fn next(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        let mut branch = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            world.steps += 1;
            change(&mut world);
            worlds.push(world);
        };
        if !self.unconfirmed.is_empty() {
            branch(&|world| {
                let (task, attempt) = world.unconfirmed.remove(0);
                world.hear(Input::Published { task, attempt });
            });
            if self.faults.lost_publishes > 0 {
                // The connection is lost; the broker has the copy, or it has not.
                for taken in [true, false] {
                    branch(&|world| {
                        world.faults.lost_publishes -= 1;
                        let (task, attempt) = world.unconfirmed.remove(0);
                        if !taken {
                            let is_it = |copy: &Copy| {
                                (copy.message.header.task, copy.message.header.attempt)
                                    == (task, attempt)
                            };
                            world.queue.retain(|copy| !is_it(copy));
                        }
                        let error = PublishError::Lost;
                        world.hear(Input::NotPublished { task, attempt, error });
                    });
                }
            }
        }
        for at in 0..self.queue.len() {
            // Workers are alike: the first idle one is enough.
            if let Some(worker) = self.workers.iter().position(Option::is_none) {
                branch(&|world| {
                    let copy = world.queue.remove(at);
                    world.workers[worker] = Some(Held { copy, answered: None });
                });
            }
        }
        for worker in 0..WORKERS {
            let Some(held) = &self.workers[worker] else { continue };
            if self.faults.crashes > 0 {
                branch(&|world| {
                    world.faults.crashes -= 1;
                    world.redeliver(worker);
                });
            }
            if held.answered.is_some() {
                branch(&|world| world.workers[worker] = None);
                if self.faults.lost_confirms > 0 {
                    branch(&|world| {
                        world.faults.lost_confirms -= 1;
                        let answer =
                            world.workers[worker].as_ref().and_then(|held| held.answered.clone());
                        world.replies.extend(answer);
                    });
                }
                continue;
            }
            for (faults, answer) in self.answers(&held.copy) {
                branch(&|world| {
                    world.faults = faults;
                    world.replies.push(answer.clone());
                    if let Some(held) = &mut world.workers[worker] {
                        held.answered = Some(answer.clone());
                    }
                });
            }
        }
        for at in 0..self.replies.len() {
            branch(&|world| match world.replies.remove(at) {
                Answer::Result(result) => world.hear(Input::Result((*result).clone())),
                Answer::Return(returned) => world.hear(Input::Return(returned)),
            });
        }
        for at in 0..self.combining.len() {
            branch(&|world| {
                let (combination, bytes) = world.combining.remove(at);
                let job = world.job;
                world.hear(Input::Combined { job, combination, result: Ok(bytes) });
            });
        }
        if worlds.is_empty() {
            // Nothing moves but time: back-offs come to their end.
            let mut world = self.clone();
            world.steps += 1;
            world.hear(Input::Tick(Duration::from_millis(800)));
            worlds.push(world);
        }
        worlds
    }

    /// What makes this world different from others: no clocks, no measurements, no numbers of tasks
    /// and copies, no order where there is none.
    fn likeness(&self) -> u64 {
        let sorted = |mut list: Vec<String>| {
            list.sort_unstable();
            list
        };
        let about = |(task, attempt): (TaskNumber, u32)| self.engine.likeness_of(task, attempt);
        let copy = |copy: &Copy| {
            let header = &copy.message.header;
            format!("{} {}", about((header.task, header.attempt)), copy.redelivered)
        };
        let answer = |answer: &Answer| match answer {
            Answer::Result(result) => {
                format!("{} {:?}", about(answer.about()), result.header.segments)
            }
            Answer::Return(returned) => format!("{} {:?}", about(answer.about()), returned.why),
        };
        let held = |held: &Option<Held>| {
            held.as_ref().map_or(String::new(), |held| {
                format!("{} {:?}", copy(&held.copy), held.answered.as_ref().map(answer))
            })
        };
        let mut outputs = self.outputs.clone();
        outputs.sort_unstable();
        let mut hasher = DefaultHasher::new();
        sorted(self.queue.iter().map(copy).collect()).hash(&mut hasher);
        sorted(self.workers.iter().map(held).collect()).hash(&mut hasher);
        sorted(self.replies.iter().map(answer).collect()).hash(&mut hasher);
        self.unconfirmed.iter().copied().map(about).collect::<Vec<_>>().hash(&mut hasher);
        self.engine.likeness().hash(&mut hasher);
        (&self.source, &self.combining, outputs, &self.value).hash(&mut hasher);
        (self.faults, &self.ended).hash(&mut hasher);
        hasher.finish()
    }

    fn redeliver(&mut self, worker: usize) {
        if let Some(held) = self.workers[worker].take() {
            self.queue.push(Copy { redelivered: true, ..held.copy });
        }
    }

    /// What a worker may answer, and the faults that are left then.
    fn answers(&self, copy: &Copy) -> Vec<(Faults, Answer)> {
        let header = &copy.message.header;
        let returned = |why| {
            Answer::Return(Return {
                task: header.task,
                attempt: header.attempt,
                worker: worker(),
                why,
                position: None,
            })
        };
        if copy.redelivered {
            return vec![(self.faults, returned(ReturnReason::Redelivered))];
        }
        let count = header.count().unwrap();
        let mut answers = vec![(self.faults, run(&copy.message, count, None))];
        if self.faults.returns > 0 {
            let faults = Faults { returns: self.faults.returns - 1, ..self.faults };
            answers.push((faults, returned(ReturnReason::Draining)));
        }
        if self.faults.cuts > 0 && count > 1 {
            let faults = Faults { cuts: self.faults.cuts - 1, ..self.faults };
            answers.push((faults, run(&copy.message, 1, None)));
        }
        if self.faults.transients > 0 && matches!(header.kind, TaskKind::Run) {
            let faults = Faults { transients: self.faults.transients - 1, ..self.faults };
            for failing in 0..count {
                answers.push((faults, run(&copy.message, count, Some(failing))));
            }
        }
        answers
    }
}

/// Runs the first `count` elements of a batch; one of them may fail.
fn run(message: &TaskMessage, count: u32, failing: Option<u32>) -> Answer {
    let folds = message.header.steps.iter().any(|step| step.verb == Verb::Fold);
    let maps = message.header.steps.iter().any(|step| step.verb == Verb::Map);
    let batch = message.header.count().unwrap();
    let mut segments = Vec::new();
    let mut payload = Vec::new();
    let mut done = |from: u32, to: u32, segments: &mut Vec<Segment>| {
        if from < to {
            let part = match message.header.kind {
                // Partial results have no length of their own here: a combination is whole.
                TaskKind::Combine => &message.payload[..],
                _ => &message.payload[from as usize..to as usize],
            };
            payload.extend(part.iter().map(|n| if maps { n * 10 } else { *n }));
            segments.push(Segment {
                from,
                to,
                outcome: Outcome::Done {
                    bytes: part.len() as u64,
                    outputs: if folds { 1 } else { to - from },
                    counts: None,
                    lengths: None,
                    counters: Vec::new(),
                },
            });
        }
    };
    let combines_partly = message.header.kind == TaskKind::Combine && count < batch;
    let not_run_from = if combines_partly { 0 } else { count };
    if let Some(at) = failing {
        done(0, at, &mut segments);
        let error = OperationError::new(ErrorKind::Transient, "busy");
        segments.push(Segment {
            from: at,
            to: at + 1,
            outcome: Outcome::Failed { step: 0, error },
        });
        done(at + 1, not_run_from, &mut segments);
    } else {
        done(0, not_run_from, &mut segments);
    }
    if not_run_from < batch {
        let outcome = Outcome::NotRun { why: NotRunReason::TimeSlice };
        segments.push(Segment { from: not_run_from, to: batch, outcome });
    }
    let header = ResultHeader {
        leader: message.header.leader,
        task: message.header.task,
        attempt: message.header.attempt,
        execution: ExecutionId(uuid::Uuid::nil()),
        worker: worker(),
        busy_us: 1000 * u64::from(count),
        waited_us: 0,
        segments,
    };
    Answer::Result(Rc::new(ResultMessage { header, payload: payload.into() }))
}

fn worker() -> WorkerId {
    WorkerId(uuid::Uuid::nil())
}

fn presence() -> Presence {
    Presence {
        worker: worker(),
        name: String::new(),
        incarnation: 1,
        pools: vec![Pool::default()],
        slots: WORKERS as u32,
        async_slots: 0,
        free: 0,
        operations: Vec::new(),
        version: String::new(),
    }
}

/// Explores all worlds that can follow; returns how many there are.
fn explore(first: World, check: &dyn Fn(&World)) -> usize {
    let mut seen = HashSet::new();
    let mut ahead = vec![first];
    while let Some(world) = ahead.pop() {
        if !seen.insert(world.likeness()) {
            continue;
        }
        assert!(world.steps < 400, "this world does not end: {world:#?}");
        if world.ended.is_some() {
            check(&world);
            // What is still on its way comes too late, and counts for nothing.
            assert!(world.engine.live_jobs().next().is_none());
            world.engine.check_credit();
            continue;
        }
        ahead.extend(world.next());
    }
    seen.len()
}

fn counted_once(elements: u8) -> impl Fn(&World) {
    move |world| {
        assert_eq!(world.ended, Some(Ok(())));
        let expected: Vec<_> = (0..elements).map(|n| (u64::from(n), (n + 1) * 10)).collect();
        let mut outputs = world.outputs.clone();
        outputs.sort_unstable();
        assert_eq!(outputs, expected, "each element counts exactly once");
    }
}

/// All combinations of this many faults out of the kinds there are.
fn combinations(count: usize) -> BTreeSet<[u8; 6]> {
    let mut all = BTreeSet::from([[0; 6]]);
    for _ in 0..count {
        all = all
            .iter()
            .flat_map(|before| {
                (0..6).map(move |kind| {
                    let mut more = *before;
                    more[kind] += 1;
                    more
                })
            })
            .collect();
    }
    all
}

fn faults([crashes, lost_publishes, lost_confirms, transients, cuts, returns]: [u8; 6]) -> Faults {
    Faults { crashes, lost_publishes, lost_confirms, transients, cuts, returns }
}

#[test]
fn every_pair_of_faults_leaves_each_element_counted_once() {
    let end = || End::Stream { ordered: false, take: None };
    for kinds in combinations(2) {
        explore(World::new(plan(end(), &[Verb::Map], 2), 3, faults(kinds)), &counted_once(3));
    }
}

#[test]
fn every_triple_of_faults_leaves_each_element_of_a_batch_counted_once() {
    let end = || End::Stream { ordered: false, take: None };
    for kinds in combinations(3) {
        explore(World::new(plan(end(), &[Verb::Map], 2), 2, faults(kinds)), &counted_once(2));
    }
}

#[test]
fn every_pair_of_faults_keeps_the_order_that_was_asked_for() {
    let end = || End::Stream { ordered: true, take: None };
    for kinds in combinations(2) {
        let first = World::new(plan(end(), &[Verb::Map], 1), 2, faults(kinds));
        explore(first, &|world| {
            counted_once(2)(world);
            assert!(world.outputs.is_sorted(), "{:?}", world.outputs);
        });
    }
}

#[test]
fn every_pair_of_faults_leaves_a_fold_exact_and_in_order() {
    let end = || End::Fold { empty: Some(Bytes::new()), deterministic: false };
    for kinds in combinations(2) {
        let first = World::new(plan(end(), &[Verb::Fold], 2), 3, faults(kinds));
        explore(first, &|world| {
            assert_eq!(world.ended, Some(Ok(())));
            assert_eq!(world.value.as_deref(), Some(&[1, 2, 3][..]));
        });
    }
}
