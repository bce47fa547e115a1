//! The runtime: a leader and its connection to a broker.

use std::{
    env, fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, watch};

use super::{
    dropped::DropNotice,
    job::{Job, JobEvents},
    launch::{Launched, OutputReceiver, ending},
    signal::close_on_signal,
};
use crate::{
    broker::{
        self, Broker, BrokerError, BrokerUrl, ConnectError, ConnectOptions, ConsumeOptions, Pool,
        QueueSpec, QueueType, Role,
    },
    dead_letters::{DeadLetters, RunPlan},
    error::Error,
    id::{JobId, LeaderId},
    leader::{
        engine::{DeadLettering, Ending, Engine, LatencyTarget, MAX_BLOCKS, Progress, Settings},
        io::{Command, Driver, reply_queue},
    },
    notice::Notices,
    plan::{Plan, PlanError, Source},
    registry::{Registry, running_operation},
    wire::timing::{HOLD, SHORTEST_HOLD},
};

/// The environment variable with the URL of the broker; default `memory://`.
const URL_VARIABLE: &str = "PHALANX_URL";
/// The environment variable with the prefix of exchanges and queues; default `phalanx`.
const NAMESPACE_VARIABLE: &str = "PHALANX_NAMESPACE";
/// How long a leader that has connected tries to consume its queues: the broker may end each
/// connection as soon as it is open.
const CONSUME_TIMEOUT: Duration = Duration::from_secs(20);
/// The most replies that the broker delivers before they are acked.
const REPLY_PREFETCH: u16 = 500;
/// The most events of workers that the broker delivers before they are acked.
const EVENT_PREFETCH: u16 = 100;

/// The most slots in memory: each is a thread, and a process may map only so many stacks.
const MAX_SLOTS: usize = 8_192;
/// The most asynchronous slots in memory, as of other workers.
const MAX_ASYNC_SLOTS: usize = 65_535;
/// The longest `hold`: far more than that of any worker, and small enough to be multiplied.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// The shortest `stall_after`.
const SHORTEST_STALL: Duration = Duration::from_millis(100);
/// The shortest `patience`: without any, every job would fail at the next look.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

/// A leader that is connected to a broker: it runs programs.
///
/// The URL of the broker decides where operations run:
///
/// - `memory://`: on threads of this process.
/// - `amqp://user:password@host/vhost`: on the workers that are connected to this RabbitMQ (feature
///   `amqp`; `amqps://` with the feature `tls`). For a cluster, list every node, separated by
///   commas.
///
/// One runtime runs many jobs at once; clones share the same leader. When the last clone and the
/// last [`Job`] are dropped, it disconnects and deletes its queues.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// let runtime = Runtime::from_env().await?;
/// let (doubled, count) = tokio::try_join!(
///     IndexedStream::from([1, 2, 3]).map(Double).collect(&runtime),
///     IndexedStream::from(0..1000).map(Double).count().run(&runtime),
/// )?;
/// assert_eq!((doubled, count), (vec![2, 4, 6], 1000));
/// runtime.close().await;
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
    /// Locked while a job id is created and sent, so that jobs start in the order of their ids:
    /// `Alive` covers all jobs up to the newest id (rule 21).
    commands: Mutex<mpsc::UnboundedSender<Command>>,
    /// Why the driver has ended, once it has.
    ending: watch::Receiver<Option<Ending>>,
    drop_notice: DropNotice,
}

impl Runtime {
    /// Connects to the broker that the environment variable `PHALANX_URL` names; default
    /// `memory://`.
    ///
    /// # Errors
    /// If the broker cannot be reached or refuses the connection, if two operations of this program
    /// have the same name, or if it is not polled inside of Tokio.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::from_env().await?;
    /// println!("connected to {}", runtime.url());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_env() -> Result<Self, Error> {
        Self::builder().connect().await
    }

    /// Connects to the broker at `url`.
    ///
    /// # Errors
    /// If the broker cannot be reached or refuses the connection, if two operations of this program
    /// have the same name, or if it is not polled inside of Tokio.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::connect("memory://").await?;
    /// assert_eq!(runtime.url().scheme(), "memory");
    ///
    /// let error = Runtime::connect("kafka://broker").await.unwrap_err();
    /// assert!(error.to_string().starts_with("no broker for `kafka://` in this program"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().url(url).connect().await
    }

    /// Configures a runtime before it connects.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder()
    ///     .url("memory://")
    ///     .slots(2)
    ///     .patience(Duration::from_secs(600))
    ///     .connect()
    ///     .await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// The identity of this leader, which is part of the name of its reply queue.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::connect("memory://").await?;
    /// assert_eq!(runtime.clone().leader(), runtime.leader());
    /// # Ok(())
    /// # }
    /// ```
    pub fn leader(&self) -> LeaderId {
        self.inner.leader
    }

    /// The URL of the broker. Displayed, its password is replaced by `***`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::connect("memory://").await?;
    /// assert_eq!(runtime.url().to_string(), "memory://");
    /// # Ok(())
    /// # }
    /// ```
    pub fn url(&self) -> &BrokerUrl {
        &self.inner.url
    }

    /// Cancels the jobs that still run, and disconnects. Resolves when the queues of this leader
    /// are deleted and the connection is closed.
    ///
    /// Programs that are started afterwards fail with [`Error::Closed`].
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let other_handle = runtime.clone();
    /// runtime.close().await;
    /// let late = IndexedStream::from([1]).map(Double).collect(&other_handle).await;
    /// assert!(matches!(late, Err(phalanx::Error::Closed)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) {
        let _ = self.commands().send(Command::Close(Ending::Closed));
        ending(&mut self.inner.ending.clone()).await;
    }

    pub(super) fn launch(&self, plan: Plan, sources: Vec<Source>) -> Result<Launched, Error> {
        self.launch_with(plan, sources, DeadLettering::On)
    }

    fn launch_with(
        &self,
        plan: Plan,
        mut sources: Vec<Source>,
        dead_lettering: DeadLettering,
    ) -> Result<Launched, Error> {
        if let Some(operation) = running_operation() {
            return Err(Error::Nested { operation });
        }
        inside_tokio()?;
        let (outputs, receiver) = mpsc::unbounded_channel();
        let (progress, watching) = watch::channel(Progress::default());
        let (events, _) = broadcast::channel(JobEvents::KEPT);
        let commands = self.commands();
        let id = JobId::new();
        let job = Job::new(
            id,
            commands.clone(),
            watching,
            events.clone(),
            self.inner.drop_notice.clone(),
        );
        let plan = Arc::new(plan);
        // Here, so that the leader never drops it itself.
        sources.iter_mut().for_each(Source::start);
        let start =
            Command::Start { job: id, plan, sources, outputs, progress, events, dead_lettering };
        let ending = self.inner.ending.clone();
        if commands.send(start).is_err() {
            return Err(ending.borrow().clone().unwrap_or(Ending::Closed).into());
        }
        drop(commands);
        Ok(Launched { outputs: OutputReceiver::new(receiver, ending, job.clone()), job })
    }

    /// The dead letters of a pool: elements that failed permanently, to list, show, replay and
    /// delete.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use phalanx::broker::Pool;
    ///
    /// let runtime = Runtime::connect("memory://").await?;
    /// let dead_letters = runtime.dead_letters(&Pool::default());
    /// assert_eq!(dead_letters.pool().as_str(), "default");
    /// # Ok(())
    /// # }
    /// ```
    pub fn dead_letters(&self, pool: &Pool) -> DeadLetters {
        let runtime = self.clone();
        let run_plan: RunPlan = Arc::new(move |plan, source| {
            let end = plan.end.clone();
            let launched = runtime.launch_with(plan, vec![source], DeadLettering::Off);
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
        let consume = async {
            let replies =
                broker.consume(&reply_queue(leader), ConsumeOptions::new(REPLY_PREFETCH)).await?;
            let events = broker
                .consume(&QueueSpec::Event { leader }, ConsumeOptions::new(EVENT_PREFETCH))
                .await?;
            Ok::<_, BrokerError>((replies, events))
        };
        let unreachable = |reason: String| {
            let url = broker.url().to_string();
            Error::from(ConnectError::Unreachable { url, reason, source: None })
        };
        let (replies, events) = match tokio::time::timeout(CONSUME_TIMEOUT, consume).await {
            Ok(Ok(consumers)) => consumers,
            Ok(Err(BrokerError::Lost { reason })) => return Err(unreachable(reason)),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let reason = broker.health().borrow().reason.clone();
                return Err(unreachable(reason.unwrap_or_else(|| {
                    format!("connected, but could not consume replies within {CONSUME_TIMEOUT:?}")
                })));
            }
        };
        let local = broker.url().scheme() == "memory";
        let settings = Settings {
            leader,
            latency_target: LatencyTarget { local },
            hold: builder.hold,
            stall_after: builder.stall_after,
            patience: builder.patience,
            max_blocks: (!local).then_some(MAX_BLOCKS),
        };
        let url = broker.url().clone();
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ended, ending) = watch::channel(None);
        let drives = Arc::clone(&broker);
        let engine = Engine::new(settings);
        let notices = Notices::new(builder.quiet);
        let driver = Driver::new(drives, leader, engine, receiver, replies, events, notices);
        tokio::spawn(async move {
            let ending = driver.run().await;
            ended.send_replace(Some(ending));
        });
        if builder.close_on_signal {
            tokio::spawn(close_on_signal(commands.downgrade()));
        }
        let commands = Mutex::new(commands);
        let drop_notice = DropNotice::new(notices);
        Ok(Self { inner: Arc::new(Inner { leader, url, broker, commands, ending, drop_notice }) })
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

/// The settings of a [`Runtime`], from [`Runtime::builder`].
///
/// ```
/// # use phalanx::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// use std::time::Duration;
///
/// let runtime = Runtime::builder()
///     .namespace("billing")
///     .close_on_signal()
///     .stall_after(Duration::from_secs(10))
///     .connect()
///     .await?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RuntimeBuilder {
    url: Option<String>,
    namespace: Option<String>,
    slots: Option<usize>,
    async_slots: Option<usize>,
    queue_type: QueueType,
    close_on_signal: bool,
    hold: Duration,
    stall_after: Duration,
    patience: Option<Duration>,
    quiet: bool,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self {
            url: None,
            namespace: None,
            slots: None,
            async_slots: None,
            queue_type: QueueType::Quorum,
            close_on_signal: false,
            hold: HOLD,
            stall_after: Duration::from_secs(25),
            patience: None,
            quiet: false,
        }
    }
}

impl RuntimeBuilder {
    /// The URL of the broker. Default: the environment variable `PHALANX_URL`, otherwise
    /// `memory://`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().url("memory://").connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The prefix of all exchanges and queues. Only leaders and workers of the same namespace work
    /// together. Default: the environment variable `PHALANX_NAMESPACE`, otherwise `phalanx`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().namespace("staging").connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The number of blocking operations that the workers of `memory://` run at once, from 1 to
    /// 8,192: each has a thread of its own. Default: the number of cores. Ignored by other brokers.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().url("memory://").slots(2).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots.clamp(1, MAX_SLOTS));
        self
    }

    /// The number of elements of asynchronous operations that each worker of `memory://` runs at
    /// once, from 1 to 65,535. Default: 256. Ignored by other brokers; the flag of workers is
    /// `--async-slots`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().url("memory://").async_slots(2_000).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn async_slots(mut self, async_slots: usize) -> Self {
        self.async_slots = Some(async_slots.clamp(1, MAX_ASYNC_SLOTS));
        self
    }

    /// The type of task queues that do not exist yet; existing queues are used unchanged.
    /// Default: [`QueueType::Quorum`]. Ignored by `memory://`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use phalanx::broker::QueueType;
    ///
    /// let runtime = Runtime::builder().queue_type(QueueType::Classic).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn queue_type(mut self, queue_type: QueueType) -> Self {
        self.queue_type = queue_type;
        self
    }

    /// Closes the runtime when the process receives Ctrl-C or SIGTERM, so that its jobs are
    /// cancelled on every worker. Default: off.
    ///
    /// The jobs end with [`Error::Interrupted`]; the program itself continues, and `?` on that
    /// error ends it. A second signal ends the process immediately, with exit code 130.
    ///
    /// Without this, a signal kills the leader, and workers continue its running tasks until its
    /// reply queue has expired, 30 minutes later.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().close_on_signal().connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn close_on_signal(mut self) -> Self {
        self.close_on_signal = true;
        self
    }

    /// How long workers hold a task before they reply or send a lease: their `--hold`. From
    /// 100 ms to an hour; default, as for workers: 30 s.
    ///
    /// A task that left its queue is reissued if there was no reply and no lease for twice this
    /// time. If this is shorter than the workers' `--hold`, some tasks run twice (but still count
    /// once).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use std::time::Duration;
    ///
    /// // For workers that were started with `--hold 5s`.
    /// let runtime = Runtime::builder().hold(Duration::from_secs(5)).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold.clamp(SHORTEST_HOLD, LONGEST_HOLD);
        self
    }

    /// How long a job may make no progress before it emits
    /// [`JobEvent::Stalled`](crate::leader::JobEvent::Stalled), which explains why. At least 100
    /// ms; default: 25 s.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().stall_after(Duration::from_secs(5)).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stall_after(mut self, idle: Duration) -> Self {
        self.stall_after = idle.max(SHORTEST_STALL);
        self
    }

    /// How long a job may make no progress before it fails with [`Error::Stalled`], which explains
    /// why. At least 1 s, because stalls are looked for once a second; default: never.
    ///
    /// Waiting for the program itself does not count: for its input, for the reader of its results,
    /// or for the delay before a retry.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().patience(Duration::from_secs(600)).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience.max(SHORTEST_PATIENCE));
        self
    }

    /// Prints nothing. Default: a program without a `tracing` subscriber prints one line to
    /// standard error when the connection to the broker is lost, when a job stalls, and when that
    /// is over.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().quiet().connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Connects to the broker.
    ///
    /// # Errors
    /// If the broker cannot be reached or refuses the connection, if two operations of this program
    /// have the same name, or if it is not polled inside of Tokio.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().url("memory://").connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self) -> Result<Runtime, Error> {
        inside_tokio()?;
        let url = self.url.clone().or_else(|| variable(URL_VARIABLE));
        let url = BrokerUrl::parse(url.as_deref().unwrap_or(BrokerUrl::MEMORY))?;
        let mut options = ConnectOptions::new(Role::Leader);
        if let Some(namespace) = self.namespace.clone().or_else(|| variable(NAMESPACE_VARIABLE)) {
            options.namespace = namespace;
        }
        options.slots = self.slots;
        options.async_slots = self.async_slots;
        options.queue_type = self.queue_type;
        let broker = broker::connect(url, options).await?;
        Runtime::lead(broker, &self).await
    }

    /// Starts a leader on a broker that is already connected: your own implementation, or one that
    /// several leaders share. The settings `url`, `namespace`, `slots`, `async_slots` and
    /// `queue_type` have no effect.
    ///
    /// # Errors
    /// If the queues of the leader cannot be declared, if two operations of this program have the
    /// same name, or if it is not polled inside of Tokio.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// use phalanx::inmemory::InMemoryBroker;
    /// use std::sync::Arc;
    ///
    /// let broker = InMemoryBroker::new();
    /// broker.start_workers(2);
    /// let first = Runtime::builder().lead(Arc::new(broker.connect())).await?;
    /// let second = Runtime::builder().lead(Arc::new(broker.connect())).await?;
    /// assert_ne!(first.leader(), second.leader());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lead(self, broker: Arc<dyn Broker>) -> Result<Runtime, Error> {
        inside_tokio()?;
        Runtime::lead(broker, &self).await
    }
}

/// The leader and its jobs run as Tokio tasks.
fn inside_tokio() -> Result<(), Error> {
    tokio::runtime::Handle::try_current().map(drop).map_err(|_| Error::OutsideTokio)
}

/// An environment variable; an empty one counts as not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn no_setting_is_outside_of_its_range() {
        let most = RuntimeBuilder::default()
            .slots(usize::MAX)
            .async_slots(usize::MAX)
            .patience(Duration::MAX)
            .stall_after(Duration::MAX)
            .hold(Duration::MAX);
        assert_eq!((most.slots, most.patience), (Some(MAX_SLOTS), Some(Duration::MAX)));
        assert_eq!((most.async_slots, most.hold), (Some(MAX_ASYNC_SLOTS), LONGEST_HOLD));
        let zero = Duration::ZERO;
        let least = RuntimeBuilder::default().slots(0).patience(zero).stall_after(zero).hold(zero);
        assert_eq!((least.slots, least.patience), (Some(1), Some(SHORTEST_PATIENCE)));
        assert_eq!((least.stall_after, least.hold), (SHORTEST_STALL, SHORTEST_HOLD));
    }

    #[test]
    fn a_runtime_outside_of_tokio_is_an_error() {
        let connected = Runtime::connect("memory://").now_or_never();
        assert!(matches!(connected, Some(Err(Error::OutsideTokio))), "{connected:?}");
    }
}
