//! The event loop of a leader: turns events into inputs of the engine, and carries out its actions.

mod actions;
mod shutdown;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    command::Command,
    decode,
    job_channels::{JobChannels, SourcePlace},
    notices::LeaderNotices,
    output::ReturnedCredit,
    output_readers::OutputReaders,
    publisher::Publisher,
    pull::Pulled,
    shuffle::{ShuffleEvent, ShuffleQueues},
};
use crate::{
    broker::{Broker, Consumer, Consumption, Delivery, Message, QueueSpec, Settle},
    dead_letters::DeadLetterWriter,
    id::{JobId, LeaderId},
    leader::engine::{Ending, Engine, Input, Pull},
    notice::Notices,
    plan::{Source, SourceState},
    wire::timing::{HEARTBEAT, REPLY_QUEUE_EXPIRES},
};

/// The number of replies that are handled in a row before other events get a turn.
const REPLIES_IN_A_ROW: usize = 64;
/// The interval of the engine's clock while there are jobs.
const TICK: Duration = Duration::from_millis(10);
/// A longer gap between two ticks is a pause of this process, and counts only this much.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// The number of pulled blocks, of all jobs, that wait for the driver. If it is reached, pulls
/// wait.
const MAX_WAITING_BLOCKS: usize = 64;

/// The I/O of a leader. The [`Engine`] makes all decisions.
pub(in crate::leader) struct Driver {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    engine: Engine,
    jobs: HashMap<JobId, JobChannels>,
    /// The newest job that was started.
    newest: Option<JobId>,
    /// The number of the last `Alive`.
    heartbeat: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    replies: Box<dyn Consumer>,
    events: Box<dyn Consumer>,
    publisher: Publisher,
    shuffle: ShuffleQueues,
    output_readers: OutputReaders,
    dead_letters: DeadLetterWriter,
    notices: LeaderNotices,
    pulled: mpsc::Receiver<Pulled>,
    /// Cloned into each pull.
    pulls: mpsc::Sender<Pulled>,
    returned_credit: Arc<ReturnedCredit>,
}

impl Driver {
    pub(in crate::leader) fn new(
        broker: Arc<dyn Broker>,
        leader: LeaderId,
        engine: Engine,
        commands: mpsc::UnboundedReceiver<Command>,
        replies: Box<dyn Consumer>,
        events: Box<dyn Consumer>,
        notices: Notices,
    ) -> Self {
        let (pulls, pulled) = mpsc::channel(MAX_WAITING_BLOCKS);
        Self {
            publisher: Publisher::new(Arc::clone(&broker), leader),
            shuffle: ShuffleQueues::new(Arc::clone(&broker), leader),
            output_readers: OutputReaders::new(Arc::clone(&broker)),
            dead_letters: DeadLetterWriter::new(Arc::clone(&broker), leader),
            notices: LeaderNotices::new(notices),
            broker,
            leader,
            engine,
            jobs: HashMap::new(),
            newest: None,
            heartbeat: 0,
            commands,
            replies,
            events,
            pulled,
            pulls,
            returned_credit: Arc::default(),
        }
    }

    /// Runs until all handles are dropped, the runtime is closed, or the broker is closed; returns
    /// why.
    async fn drive(&mut self) -> Ending {
        let mut health = self.broker.health();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        let first = health.borrow_and_update().clone();
        self.input(Input::Health(first));
        let returned_credit = Arc::clone(&self.returned_credit);
        // Every branch is cancel-safe: consumers, channels and the publisher lose nothing when
        // their futures are dropped.
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Close(ending)) => return ending,
                    None => return Ending::Closed,
                    Some(command) => self.command(command),
                },
                reply = self.replies.next() => match reply {
                    Some(reply) => self.replies_from(reply),
                    None => return Ending::BrokerClosed,
                },
                Some(input) = self.publisher.next(), if !self.publisher.is_empty() => {
                    self.input(input);
                }
                Some(event) = self.shuffle.next(), if !self.shuffle.is_empty() => match event {
                    ShuffleEvent::Input(input) => self.input(input),
                    ShuffleEvent::End(end) => self.end(end),
                },
                Some(input) = self.output_readers.next(), if !self.output_readers.is_empty() => {
                    self.input(input);
                }
                Some(pulled) = self.pulled.recv() => self.pulled(pulled),
                () = returned_credit.arrived() => self.credit_returned(),
                event = self.events.next() => match event {
                    Some(event) => self.event(event),
                    None => return Ending::BrokerClosed,
                },
                now = ticks.tick(), if !self.jobs.is_empty() => {
                    let elapsed = now.saturating_duration_since(last_tick).min(LONGEST_TICK);
                    last_tick = now;
                    // A reply that arrived while this process was paused is read before time
                    // passes.
                    let unread = self.replies.try_next();
                    let tick = Input::Tick { elapsed, unread: unread.is_some() };
                    if let Some(reply) = unread {
                        self.replies_from(reply);
                    }
                    self.input(tick);
                }
                _ = heartbeats.tick() => {
                    // Without jobs there are no ticks, but dead workers must be removed.
                    if self.jobs.is_empty() {
                        let elapsed = last_tick.elapsed().min(HEARTBEAT);
                        last_tick = Instant::now();
                        self.input(Input::Tick { elapsed, unread: false });
                    }
                    self.publish_alive();
                }
                changed = health.changed() => {
                    if changed.is_err() {
                        return Ending::BrokerClosed;
                    }
                    let now = health.borrow_and_update().clone();
                    self.publisher.reconnected();
                    self.dead_letters.reconnected();
                    self.notices.connection(&now);
                    self.input(Input::Health(now));
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        let jobs = &self.jobs;
        self.engine.watch(&input, |job| {
            jobs.get(&job).is_some_and(|channels| channels.events.receiver_count() > 0)
        });
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
            Command::Start { job, plan, sources, outputs, progress, events, dead_lettering } => {
                let hint = |source: &Source| match source.size_hint() {
                    (least, Some(most)) if least == most => Some(most),
                    _ => None,
                };
                let hints = sources.iter().map(hint).collect();
                let sources = sources.into_iter().map(SourcePlace::Here).collect();
                self.jobs.insert(job, JobChannels { outputs, progress, events, sources });
                self.newest = self.newest.max(Some(job));
                self.input(Input::Start { job, plan, hints, dead_lettering });
            }
            Command::Cancel { job } => self.input(Input::Cancel { job }),
            Command::Close(_) => {}
        }
    }

    /// Handles a reply, and those that have arrived with it.
    fn replies_from(&mut self, first: Consumption) {
        let mut next = Some(first);
        for _ in 0..REPLIES_IN_A_ROW {
            let Some(consumption) = next else { return };
            self.reply(consumption);
            next = self.replies.try_next();
        }
        // The last reply has already left the consumer, and must not be lost.
        if let Some(consumption) = next {
            self.reply(consumption);
        }
    }

    /// Rule 18: a reply is acked at once. Outputs that are not read are limited by credit, not by
    /// acks.
    fn reply(&mut self, consumption: Consumption) {
        match consumption {
            Consumption::Delivery(delivery) => self.delivered(delivery, decode::reply),
            Consumption::Resumed { generation } => {
                tracing::info!(generation, "consuming replies again");
                self.input(Input::Interrupted);
            }
        }
    }

    fn event(&mut self, consumption: Consumption) {
        if let Consumption::Delivery(delivery) = consumption {
            self.delivered(delivery, decode::event);
        }
    }

    fn delivered(&mut self, delivery: Delivery, decode: fn(&Message) -> Option<Input>) {
        if let Some(input) = decode(&delivery.message) {
            self.input(input);
        }
        delivery.settle(Settle::Ack);
    }

    fn pulled(&mut self, pulled: Pulled) {
        let Pulled { job, number: source, block, over } = pulled;
        let channels = self.jobs.get_mut(&job);
        let Some(place) = channels.and_then(|it| it.sources.get_mut(source)) else { return };
        let progress = match over {
            None => Pull::Pausing,
            Some((source, SourceState::More)) => {
                *place = SourcePlace::Here(source);
                Pull::Done
            }
            Some((_, SourceState::Ended)) => {
                *place = SourcePlace::Ended;
                Pull::Ended
            }
            Some((_, SourceState::Failed { error })) => {
                *place = SourcePlace::Ended;
                Pull::Failed(Arc::from(error.source))
            }
        };
        self.input(Input::Pulled { job, source, block, progress });
    }

    fn credit_returned(&mut self) {
        for (job, bytes) in self.returned_credit.take() {
            self.input(Input::Taken { job, bytes });
        }
    }
}

/// The reply queue of a leader.
pub(in crate::leader) fn reply_queue(leader: LeaderId) -> QueueSpec {
    QueueSpec::Reply { leader, expires: REPLY_QUEUE_EXPIRES }
}
