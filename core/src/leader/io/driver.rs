//! The doing half of the leader: carries messages between the engine, the broker and the readers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{OnceCell, broadcast, mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    combine::combine,
    command::{Command, DeadLettering},
    output::{CreditGuard, CreditedBlock, ReturnedCredit},
    pull::{self, Pulled},
};
use crate::{
    broker::{
        Address, Broker, Consumer, Consumption, Delivery, Message, MessageKind, Pool, Properties,
        PublishError, QueueSpec, Settle, Topic,
    },
    dead_letters::DeadLetterWriter,
    error::Error,
    id::{CopyId, JobId, LeaderId},
    leader::engine::{Action, Engine, Input, JobEvent, OutputBlock, Progress, Pull},
    operation::OperationError,
    plan::{Budget, Source, SourceState},
    wire::{
        Control, Event, Lease, Probe, ProbeReply, ResultMessage, Return, TaskMessage, WIRE_VERSION,
        WireError,
        timing::{HEARTBEAT, REPLY_QUEUE_EXPIRES},
    },
};

/// Answers that are taken from the broker in one go.
const ANSWERS_IN_A_ROW: usize = 64;
/// While so many messages are on their way, workers that say hello wait for the next heartbeat.
const BUSY: usize = 4_096;
/// How often the engine hears that time has passed, while it has jobs.
const TICK: Duration = Duration::from_millis(10);
/// A longer gap between two ticks is this process's own pause, and counts as one of these.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// What the driver holds for a job.
struct JobChannels {
    outputs: mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>,
    progress: watch::Sender<Progress>,
    events: broadcast::Sender<JobEvent>,
    source: SourcePlace,
    dead_lettering: DeadLettering,
}

/// Where the source of a job is.
enum SourcePlace {
    Here(Source),
    /// Held only to be dropped with the job: the pull ends with it.
    Pulling(#[expect(dead_code, reason = "dropping it ends the pull")] AbortOnDropHandle<()>),
    Ended,
}

/// A publish on its way: of a copy of a task, or (`None`) of a control message.
type Publishing = BoxFuture<'static, (Option<CopyId>, Result<(), PublishError>)>;
type Combined = (JobId, u64, Result<Bytes, OperationError>);

/// The doing half of a leader. Decides nothing.
pub(in crate::leader) struct Driver {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    engine: Engine,
    jobs: HashMap<JobId, JobChannels>,
    /// The newest job that was started.
    newest: Option<JobId>,
    heartbeat: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    replies: Box<dyn Consumer>,
    events: Box<dyn Consumer>,
    /// The task queues of this connection: a task for a queue that does not exist would vanish,
    /// confirmed, when the leader is there before the first worker.
    declared: HashMap<Pool, Arc<OnceCell<()>>>,
    /// Publishes that are not confirmed: as many as the engine has credit for.
    publishing: FuturesUnordered<Publishing>,
    letters: DeadLetterWriter,
    /// Probes and declarations on their way: at most one for each pool.
    inquiries: FuturesUnordered<BoxFuture<'static, Input>>,
    combining: JoinSet<Combined>,
    pulls: mpsc::Receiver<Pulled>,
    pull_news: mpsc::Sender<Pulled>,
    returned: Arc<ReturnedCredit>,
}

impl Driver {
    pub(in crate::leader) fn new(
        broker: Arc<dyn Broker>,
        leader: LeaderId,
        engine: Engine,
        commands: mpsc::UnboundedReceiver<Command>,
        replies: Box<dyn Consumer>,
        events: Box<dyn Consumer>,
    ) -> Self {
        let (pull_news, pulls) = mpsc::channel(64);
        Self {
            letters: DeadLetterWriter::new(Arc::clone(&broker), leader),
            broker,
            leader,
            engine,
            jobs: HashMap::new(),
            newest: None,
            heartbeat: 0,
            declared: HashMap::new(),
            commands,
            replies,
            events,
            publishing: FuturesUnordered::new(),
            inquiries: FuturesUnordered::new(),
            combining: JoinSet::new(),
            pulls,
            pull_news,
            returned: Arc::default(),
        }
    }

    /// Runs until all handles are gone, or somebody closes it.
    pub(in crate::leader) async fn run(mut self) {
        let mut health = self.broker.health();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut alive = tokio::time::interval(HEARTBEAT);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        let first = health.borrow_and_update().clone();
        self.hear(Input::Health(first));
        let returned = Arc::clone(&self.returned);
        // Every branch is cancel-safe: consumers and channels lose nothing when they are dropped.
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Close) | None => break,
                    Some(command) => self.command(command),
                },
                answer = self.replies.next() => match answer {
                    Some(answer) => self.answers(answer),
                    None => break,
                },
                Some(published) = self.publishing.next(), if !self.publishing.is_empty() => {
                    self.published(published);
                }
                Some(input) = self.inquiries.next(), if !self.inquiries.is_empty() => {
                    self.hear(input);
                }
                Some(pulled) = self.pulls.recv() => self.pulled(pulled),
                () = returned.news.notified() => self.taken(),
                Some(combined) = self.combining.join_next(), if !self.combining.is_empty() => {
                    self.combined(combined);
                }
                event = self.events.next() => match event {
                    Some(event) => self.event(event),
                    None => break,
                },
                now = ticks.tick(), if !self.jobs.is_empty() => {
                    let elapsed = now.saturating_duration_since(last_tick).min(LONGEST_TICK);
                    last_tick = now;
                    // What came in while this process was paused is read before time passes.
                    let unread = self.replies.try_next();
                    let tick = Input::Tick { elapsed, unread: unread.is_some() };
                    if let Some(answer) = unread {
                        self.answers(answer);
                    }
                    self.hear(tick);
                }
                _ = alive.tick() => {
                    // Without jobs there are no ticks, but workers that went must be forgotten.
                    if self.jobs.is_empty() {
                        let elapsed = last_tick.elapsed().min(HEARTBEAT);
                        last_tick = Instant::now();
                        self.hear(Input::Tick { elapsed, unread: false });
                    }
                    self.say_alive();
                }
                changed = health.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = health.borrow_and_update().clone();
                    // Queues may have gone with the connection.
                    self.declared.clear();
                    self.letters.reconnected();
                    self.hear(Input::Health(now));
                }
            }
        }
        self.shut_down().await;
    }

    /// Ends what still runs, and leaves nothing behind at the broker.
    async fn shut_down(mut self) {
        let mut ends = Vec::new();
        for action in self.engine.step(Input::Close) {
            match action {
                Action::End { job, result } => ends.push((job, result)),
                action => self.act(action),
            }
        }
        // Task messages on their way are of no use any more; the hints that their jobs are dead are.
        self.publishing.clear();
        self.say_alive();
        let goodbye = async {
            while self.publishing.next().await.is_some() {}
            self.letters.flush().await;
            let reply = reply_queue(self.leader);
            if let Err(error) = self.broker.delete(&reply).await {
                tracing::debug!(%error, "reply queue is left to expire");
            }
            self.broker.close().await;
        };
        if tokio::time::timeout(Duration::from_secs(5), goodbye).await.is_err() {
            tracing::warn!(leader = %self.leader, "broker did not answer at the end");
        }
        // Last: whoever hears of it may end the process.
        for (job, result) in ends {
            self.end(job, result);
        }
    }

    fn hear(&mut self, input: Input) {
        for action in self.engine.step(input) {
            self.act(action);
        }
        for (job, progress) in self.engine.take_progress() {
            if let Some(channels) = self.jobs.get(&job) {
                channels.progress.send_replace(progress);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Start { job, plan, source, outputs, progress, events, dead_lettering } => {
                let hint = match source.size_hint() {
                    (least, Some(most)) if least == most => Some(most),
                    _ => None,
                };
                let source = SourcePlace::Here(source);
                let channels = JobChannels { outputs, progress, events, source, dead_lettering };
                self.jobs.insert(job, channels);
                self.newest = self.newest.max(Some(job));
                self.hear(Input::Start { job, plan, hint });
            }
            Command::Cancel { job } => self.hear(Input::Cancel { job }),
            Command::Close => {}
        }
    }

    /// Takes an answer, and those that have come with it.
    fn answers(&mut self, first: Consumption) {
        let mut next = Some(first);
        for _ in 0..ANSWERS_IN_A_ROW {
            match next {
                Some(Consumption::Delivery(delivery)) => self.answer(delivery),
                Some(Consumption::Resumed { generation }) => {
                    tracing::info!(generation, "answers come again");
                    self.hear(Input::Interrupted);
                }
                None => return,
            }
            next = self.replies.try_next();
        }
        // What was taken out last is not lost.
        match next {
            Some(Consumption::Delivery(delivery)) => self.answer(delivery),
            Some(Consumption::Resumed { .. }) => self.hear(Input::Interrupted),
            None => {}
        }
    }

    /// Rule 18: acked on acceptance; what a reader has not taken is held by credit, not by acks.
    fn answer(&mut self, delivery: Delivery) {
        let body = &delivery.message.body;
        let input = match delivery.message.properties.kind {
            Some(MessageKind::Result) => ResultMessage::decode(body).map(Input::Result),
            Some(MessageKind::Return) => Return::decode(body).map(Input::Return),
            Some(MessageKind::Lease) => Lease::decode(body).map(Input::Lease),
            Some(MessageKind::ProbeReply) => ProbeReply::decode(body).map(Input::ProbeReply),
            other => Err(WireError::Malformed { reason: format!("{other:?} is no answer") }),
        };
        match input {
            Ok(input) => self.hear(input),
            Err(error) => {
                tracing::warn!(%error, "undecodable answer");
                // Its worker believes that it has answered: nobody else will.
                if let Some(copy) = delivery.message.properties.copy {
                    self.hear(Input::Garbled { copy, reason: error.to_string() });
                }
            }
        }
        delivery.settle(Settle::Ack);
    }

    fn event(&mut self, event: Consumption) {
        let Consumption::Delivery(delivery) = event else { return };
        match Event::decode(&delivery.message.body) {
            Ok(Event::Hello(presence)) => {
                // It takes no task before it has heard a leader, or waited for one. Where the broker
                // takes nothing, or a whole fleet comes at once, the next heartbeat will do.
                if self.broker.health().borrow().is_well() && self.publishing.len() < BUSY {
                    let alive = self.alive();
                    self.say(Topic::Worker(presence.worker), &alive);
                }
                self.hear(Input::Presence(Box::new(presence)));
            }
            Ok(Event::Presence(presence)) => self.hear(Input::Presence(Box::new(presence))),
            Ok(Event::Bye { worker }) => self.hear(Input::Bye(worker)),
            Err(error) => tracing::debug!(%error, "undecodable event dropped"),
        }
        delivery.settle(Settle::Ack);
    }

    fn published(&mut self, (copy, result): (Option<CopyId>, Result<(), PublishError>)) {
        // A lost control message is replaced by the next heartbeat.
        let Some(copy) = copy else { return };
        match result {
            Ok(()) => self.hear(Input::Published { copy }),
            Err(error) => self.hear(Input::NotPublished { copy, error }),
        }
    }

    fn pulled(&mut self, pulled: Pulled) {
        let Some(channels) = self.jobs.get_mut(&pulled.job) else { return };
        let progress = match pulled.over {
            None => Pull::Pausing,
            Some((source, state)) => {
                channels.source = SourcePlace::Here(source);
                match state {
                    SourceState::More => Pull::Done,
                    SourceState::Ended => Pull::Ended,
                    SourceState::Failed { error } => Pull::Failed(Arc::from(error.source)),
                }
            }
        };
        if matches!(progress, Pull::Ended | Pull::Failed(_)) {
            channels.source = SourcePlace::Ended;
        }
        self.hear(Input::Pulled { job: pulled.job, block: pulled.block, progress });
    }

    fn taken(&mut self) {
        for (job, bytes) in self.returned.take() {
            self.hear(Input::Taken { job, bytes });
        }
    }

    fn combined(&mut self, combined: Result<Combined, tokio::task::JoinError>) {
        match combined {
            Ok((job, combination, result)) => {
                self.hear(Input::Combined { job, combination, result });
            }
            // Steps catch panics; only the end of the tokio runtime is left.
            Err(error) => tracing::error!(%error, "a combination was lost"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Publish { pool, message } => self.publish(&pool, &message),
            Action::Probe { pool, nonce } => self.probe(pool, nonce),
            Action::Declare { pool } => self.declare(pool),
            Action::Pull { job, elements, bytes } => self.pull(job, Budget { elements, bytes }),
            Action::Output { job, outputs } => self.output(job, outputs),
            Action::Combine { job, combination, step, partials } => {
                self.combining
                    .spawn_blocking(move || (job, combination, combine(job, &step, &partials)));
            }
            Action::End { job, result } => self.end(job, result),
            Action::Cancel { job } => {
                let cancel = Control::Cancel { leader: self.leader, job };
                self.say(Topic::AllWorkers, &cancel);
            }
            Action::Emit { job, event } => {
                if let Some(channels) = self.jobs.get(&job) {
                    // Nobody has to listen.
                    let _ = channels.events.send(event);
                }
            }
            Action::DeadLetter { job, element } => {
                if self
                    .jobs
                    .get(&job)
                    .is_some_and(|channels| channels.dead_lettering == DeadLettering::On)
                {
                    self.letters.write(*element);
                }
            }
        }
    }

    fn publish(&mut self, pool: &Pool, message: &TaskMessage) {
        let copy = message.header.copy;
        let message = match message.encode() {
            Ok(body) => Message { properties: self.task_properties(message), body },
            Err(error) => {
                let error = PublishError::Refused { reason: error.to_string() };
                let failed = async move { (Some(copy), Err(error)) };
                return self.publishing.push(Box::pin(failed));
            }
        };
        let broker = Arc::clone(&self.broker);
        let address = Address::tasks(pool);
        let declared = Arc::clone(self.declared.entry(pool.clone()).or_default());
        let queue = QueueSpec::Task { pool: pool.clone() };
        self.publishing.push(Box::pin(async move {
            // Whoever comes first declares; the others wait for it, and one of them tries again
            // when it fails.
            let declaring = declared.get_or_try_init(async || {
                broker.declare(&queue).await.map(drop).map_err(PublishError::from)
            });
            let result = match declaring.await {
                Ok(()) => broker.publish(&address, message).await,
                Err(error) => Err(error),
            };
            (Some(copy), result)
        }));
    }

    /// A probe goes through the queue as tasks do, but says whether there is one.
    fn probe(&mut self, pool: Pool, nonce: u64) {
        let probe = Probe { leader: self.leader, pool: pool.clone(), nonce };
        // Three fields always encode; if one did not, the next probe would not either.
        let Ok(body) = probe.encode() else { return };
        let properties = Properties {
            kind: Some(MessageKind::Probe),
            wire_version: WIRE_VERSION,
            reply_to: Some(self.leader),
            persistent: true,
            ..Properties::default()
        };
        let message = Message { properties, body };
        let broker = Arc::clone(&self.broker);
        self.inquiries.push(Box::pin(async move {
            let address = Address::tasks(&pool);
            let result = broker.publish_mandatory(&address, message).await;
            Input::Probed { pool, result }
        }));
    }

    /// Makes a queue again that somebody deleted.
    fn declare(&mut self, pool: Pool) {
        self.declared.remove(&pool);
        let broker = Arc::clone(&self.broker);
        self.inquiries.push(Box::pin(async move {
            let queue = QueueSpec::Task { pool: pool.clone() };
            let result = broker.declare(&queue).await.map(drop);
            Input::Declared { pool, result }
        }));
    }

    fn task_properties(&self, message: &TaskMessage) -> Properties {
        let header = &message.header;
        let operations: Vec<&str> = header.steps.iter().map(|step| step.name.as_str()).collect();
        Properties {
            kind: Some(MessageKind::Task),
            wire_version: WIRE_VERSION,
            reply_to: Some(self.leader),
            copy: Some(header.copy),
            persistent: true,
            headers: vec![
                ("job".to_owned(), header.job.to_string()),
                ("stage".to_owned(), header.stage.to_string()),
                ("operations".to_owned(), operations.join(",")),
            ],
        }
    }

    fn pull(&mut self, job: JobId, budget: Budget) {
        let Some(channels) = self.jobs.get_mut(&job) else { return };
        if let SourcePlace::Here(source) =
            std::mem::replace(&mut channels.source, SourcePlace::Ended)
        {
            let pull = pull::spawn(job, source, budget, self.pull_news.clone());
            channels.source = SourcePlace::Pulling(pull);
        }
    }

    fn output(&mut self, job: JobId, block: OutputBlock) {
        let Some(channels) = self.jobs.get(&job) else { return };
        let returned = Arc::clone(&self.returned);
        let credit = CreditGuard { job, bytes: block.charged, returned };
        // A reader that is gone has dropped its job, which cancels it.
        let _ = channels.outputs.send(Ok(Some(CreditedBlock { block, credit })));
    }

    fn end(&mut self, job: JobId, result: Result<(), Error>) {
        let Some(channels) = self.jobs.remove(&job) else { return };
        let _ = channels.outputs.send(result.map(|()| None));
        channels.progress.send_modify(|progress| progress.ended = true);
    }

    /// Rule 21: which jobs live is state, said again and again; that one is dead follows from it.
    fn say_alive(&mut self) {
        let alive = self.alive();
        self.say(Topic::AllWorkers, &alive);
    }

    fn alive(&mut self) -> Control {
        self.heartbeat += 1;
        Control::Alive {
            leader: self.leader,
            heartbeat: self.heartbeat,
            up_to: self.newest,
            live: self.engine.live_jobs().collect(),
        }
    }

    fn say(&mut self, topic: Topic, control: &Control) {
        let Ok(body) = control.encode() else { return };
        let properties = Properties {
            kind: Some(MessageKind::Control),
            wire_version: WIRE_VERSION,
            reply_to: Some(self.leader),
            ..Properties::default()
        };
        let broker = Arc::clone(&self.broker);
        let address = Address::control(topic);
        // State that is said again: whether this one arrives matters little.
        self.publishing.push(Box::pin(async move {
            let result = broker.publish(&address, Message { properties, body }).await;
            (None, result)
        }));
    }
}

/// The queue that answers to this leader come to.
pub(in crate::leader) fn reply_queue(leader: LeaderId) -> QueueSpec {
    QueueSpec::Reply { leader, expires: REPLY_QUEUE_EXPIRES }
}
