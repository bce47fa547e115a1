//! Where programs run.

use std::{
    env, fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, watch};

use super::{
    job::{Job, JobEvents},
    launch::{Launched, OutputReceiver},
    signal::close_on_signal,
};
use crate::{
    broker::{self, Broker, BrokerUrl, ConnectOptions, Pool, QueueSpec, QueueType, Role},
    dead_letters::{DeadLetters, RunPlan},
    error::Error,
    id::{JobId, LeaderId},
    leader::{
        engine::{Engine, LatencyTarget, Progress, Settings},
        io::{Command, DeadLettering, Driver, reply_queue},
    },
    plan::{Plan, PlanError, Source},
    registry::Registry,
    wire::timing::{HOLD, SHORTEST_HOLD},
};

/// Names the broker; `memory://` where it is not set.
const URL_VARIABLE: &str = "PHALANX_URL";
/// The prefix of exchanges and queues; `phalanx` where it is not set.
const NAMESPACE_VARIABLE: &str = "PHALANX_NAMESPACE";
/// Answers that the broker hands out before they are acked.
const REPLY_PREFETCH: u16 = 500;
const EVENT_PREFETCH: u16 = 100;

/// Where programs run: a leader, connected to a broker.
///
/// Clones are the same leader. It runs many jobs at once, over one pair of connections. When the
/// last clone and the last [`Job`] are gone, it disconnects and leaves nothing behind.
///
/// ```no_run
/// # async fn example() -> Result<(), phalanx_core::Error> {
/// use phalanx_core::leader::Runtime;
///
/// // PHALANX_URL: `memory://` (the default), or `amqp://user:password@host/vhost`.
/// let runtime = Runtime::from_env().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    leader: LeaderId,
    url: BrokerUrl,
    broker: Arc<dyn Broker>,
    /// Locked while an identity is made and sent, so that jobs start in the order of their
    /// identities: what `Alive` says of those up to the newest depends on it (rule 21).
    commands: Mutex<mpsc::UnboundedSender<Command>>,
    /// Ends when the driver has ended.
    over: watch::Receiver<()>,
}

impl Runtime {
    /// Connects to the broker that `PHALANX_URL` names; without it, to workers in this process.
    ///
    /// # Errors
    /// When there is no such broker, or it refuses.
    pub async fn from_env() -> Result<Self, Error> {
        Self::builder().connect().await
    }

    /// Connects to the broker that `url` names.
    ///
    /// # Errors
    /// When there is no such broker, or it refuses.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().url(url).connect().await
    }

    /// A runtime with other settings than the default ones.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// The identity of this leader, which names its reply queue.
    pub fn leader(&self) -> LeaderId {
        self.inner.leader
    }

    /// The URL of the broker, without secrets.
    pub fn url(&self) -> &BrokerUrl {
        &self.inner.url
    }

    /// Cancels what still runs, and disconnects; comes back when nothing is left behind.
    pub async fn close(self) {
        let _ = self.commands().send(Command::Close);
        let mut over = self.inner.over.clone();
        // Changes only by the driver's end.
        let _ = over.changed().await;
    }

    pub(super) fn launch(&self, plan: Plan, source: Source) -> Result<Launched, Error> {
        self.launch_with(plan, source, DeadLettering::On)
    }

    fn launch_with(
        &self,
        plan: Plan,
        source: Source,
        dead_lettering: DeadLettering,
    ) -> Result<Launched, Error> {
        let (outputs, receiver) = mpsc::unbounded_channel();
        let (progress, watching) = watch::channel(Progress::default());
        let (events, _) = broadcast::channel(JobEvents::KEPT);
        let commands = self.commands();
        let id = JobId::new();
        let job = Job::new(id, commands.clone(), watching, events.clone());
        let plan = Arc::new(plan);
        let start =
            Command::Start { job: id, plan, source, outputs, progress, events, dead_lettering };
        commands.send(start).map_err(|_| Error::Closed)?;
        drop(commands);
        Ok(Launched { outputs: OutputReceiver::new(receiver, job.clone()), job })
    }

    /// The elements of a pool that failed permanently: to list, show, replay and delete.
    pub fn dead_letters(&self, pool: &Pool) -> DeadLetters {
        let runtime = self.clone();
        let run_plan: RunPlan = Arc::new(move |plan, source| {
            let end = plan.end.clone();
            let launched = runtime.launch_with(plan, source, DeadLettering::Off);
            Box::pin(async move { launched?.count_outputs(&end).await })
        });
        DeadLetters::new(Arc::clone(&self.inner.broker), pool.clone(), run_plan)
    }

    fn commands(&self) -> std::sync::MutexGuard<'_, mpsc::UnboundedSender<Command>> {
        self.inner.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lead(broker: Arc<dyn Broker>, builder: &RuntimeBuilder) -> Result<Self, Error> {
        Registry::global().map_err(PlanError::from)?;
        let leader = LeaderId::new();
        let replies = broker.consume(&reply_queue(leader), REPLY_PREFETCH).await?;
        let events = broker.consume(&QueueSpec::Event { leader }, EVENT_PREFETCH).await?;
        let settings = Settings {
            leader,
            latency_target: LatencyTarget { local: broker.url().scheme() == "memory" },
            hold: builder.hold,
            stall_after: builder.stall_after,
            patience: builder.patience,
        };
        let url = broker.url().clone();
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ending, over) = watch::channel(());
        let drives = Arc::clone(&broker);
        let driver = Driver::new(drives, leader, Engine::new(settings), receiver, replies, events);
        tokio::spawn(async move {
            driver.run().await;
            drop(ending);
        });
        if builder.close_on_signal {
            tokio::spawn(close_on_signal(commands.downgrade()));
        }
        let commands = Mutex::new(commands);
        Ok(Self { inner: Arc::new(Inner { leader, url, broker, commands, over }) })
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("leader", &self.inner.leader)
            .field("url", &self.inner.url)
            .finish_non_exhaustive()
    }
}

/// A runtime that is being set up.
#[derive(Debug, Clone)]
pub struct RuntimeBuilder {
    url: Option<String>,
    namespace: Option<String>,
    slots: Option<usize>,
    queue_type: QueueType,
    close_on_signal: bool,
    hold: Duration,
    stall_after: Duration,
    patience: Option<Duration>,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self {
            url: None,
            namespace: None,
            slots: None,
            queue_type: QueueType::Quorum,
            close_on_signal: false,
            hold: HOLD,
            stall_after: Duration::from_secs(25),
            patience: None,
        }
    }
}

impl RuntimeBuilder {
    /// The broker. Default: what `PHALANX_URL` says, else `memory://`.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The prefix of all exchanges and queues: leaders and workers of one namespace see each other.
    /// Default: what `PHALANX_NAMESPACE` says, else `phalanx`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Concurrent executions of the workers that `memory://` brings along. Default: one for each
    /// core.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// The type of task queues that do not exist yet. Default: [`QueueType::Quorum`].
    #[must_use]
    pub fn queue_type(mut self, queue_type: QueueType) -> Self {
        self.queue_type = queue_type;
        self
    }

    /// Closes the runtime when the process gets ctrl-c or SIGTERM: jobs end with an error, their
    /// queued tasks are dropped, and what runs is told so on every worker. A second signal ends the
    /// process at once, with code 130. Without this a leader that is told to end dies: workers go
    /// on with what they run until its reply queue has expired, 30 minutes later.
    ///
    /// The program goes on after the first signal, and is to end by itself: `?` on the error of a
    /// job does it.
    #[must_use]
    pub fn close_on_signal(mut self) -> Self {
        self.close_on_signal = true;
        self
    }

    /// How long workers hold a task before they answer for it or say that it runs (their `--hold`).
    /// A task that was taken from its queue and of which nothing was heard for twice as long is
    /// sent again. Less than the workers' makes some tasks run twice, though count once.
    /// Default, as theirs: 30 s.
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold.max(SHORTEST_HOLD);
        self
    }

    /// After how long without movement a job says why, as an event. Default: 25 s.
    #[must_use]
    pub fn stall_after(mut self, silence: Duration) -> Self {
        self.stall_after = silence;
        self
    }

    /// After how long without movement a job fails, saying why. Default: never.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// When there is no such broker, it refuses, or two operations of this program have one name.
    pub async fn connect(self) -> Result<Runtime, Error> {
        let url = self.url.clone().or_else(|| variable(URL_VARIABLE));
        let url = BrokerUrl::parse(url.as_deref().unwrap_or(BrokerUrl::MEMORY))?;
        let mut options = ConnectOptions::new(Role::Leader);
        if let Some(namespace) = self.namespace.clone().or_else(|| variable(NAMESPACE_VARIABLE)) {
            options.namespace = namespace;
        }
        options.slots = self.slots;
        options.queue_type = self.queue_type;
        let broker = broker::connect(url, options).await?;
        Runtime::lead(broker, &self).await
    }

    /// Leads over a broker that is there already.
    ///
    /// # Errors
    /// When the broker refuses, or two operations of this program have one name.
    pub async fn lead(self, broker: Arc<dyn Broker>) -> Result<Runtime, Error> {
        Runtime::lead(broker, &self).await
    }
}

/// An empty variable is one that is not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}
