//! The runtime: a leader and its connection to a broker.

use std::{
    fmt,
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
    broker::{Broker, BrokerError, BrokerUrl, ConnectError, ConsumeOptions, Pool, QueueSpec},
    dead_letters::{DeadLetters, RunPlan},
    error::Error,
    id::{JobId, LeaderId},
    leader::{
        engine::{
            DeadLettering, Ending, Engine, LatencyTarget, MAX_BLOCKS, Progress, Settings,
            output_cap,
        },
        io::{Command, Driver, reply_queue},
    },
    notice::Notices,
    plan::{Plan, PlanError, Source},
    registry::{Registry, running_operation},
};

/// How long a leader that has connected tries to consume its queues: the broker may end each
/// connection as soon as it is open.
const CONSUME_TIMEOUT: Duration = Duration::from_secs(20);
/// The most replies that the broker delivers before they are acked.
const REPLY_PREFETCH: u16 = 500;
/// The most events of workers that the broker delivers before they are acked.
const EVENT_PREFETCH: u16 = 100;

/// The settings of the leader of a runtime.
#[derive(Debug, Clone)]
pub(super) struct LeaderOptions {
    pub(super) close_on_signal: bool,
    pub(super) hold: Duration,
    pub(super) stall_after: Duration,
    pub(super) patience: Option<Duration>,
    pub(super) block_memory: Option<usize>,
    pub(super) shuffle_limit: u64,
    pub(super) quiet: bool,
}

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

    pub(super) async fn lead(
        broker: Arc<dyn Broker>,
        options: &LeaderOptions,
    ) -> Result<Self, Error> {
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
            hold: options.hold,
            stall_after: options.stall_after,
            patience: options.patience,
            max_blocks: options.block_memory.or((!local).then_some(MAX_BLOCKS)),
            output_cap: output_cap(options.block_memory),
            shuffle_limit: options.shuffle_limit,
        };
        let url = broker.url().clone();
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ended, ending) = watch::channel(None);
        let drives = Arc::clone(&broker);
        let engine = Engine::new(settings);
        let notices = Notices::new(options.quiet);
        let driver = Driver::new(drives, leader, engine, receiver, replies, events, notices);
        tokio::spawn(async move {
            let ending = driver.run().await;
            ended.send_replace(Some(ending));
        });
        if options.close_on_signal {
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

/// The leader and its jobs run as Tokio tasks.
pub(super) fn inside_tokio() -> Result<(), Error> {
    tokio::runtime::Handle::try_current().map(drop).map_err(|_| Error::OutsideTokio)
}
