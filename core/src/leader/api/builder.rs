//! The settings of a runtime, and how it connects.

use std::{env, sync::Arc, time::Duration};

use super::runtime::{LeaderOptions, Runtime, inside_tokio};
use crate::{
    broker::{self, Broker, BrokerUrl, ConnectOptions, QueueType, Role},
    error::Error,
    wire::timing::{HOLD, SHORTEST_HOLD},
};

/// The environment variable with the URL of the broker; default `memory://`.
const URL_VARIABLE: &str = "PHALANX_URL";
/// The environment variable with the prefix of exchanges and queues; default `phalanx`.
const NAMESPACE_VARIABLE: &str = "PHALANX_NAMESPACE";
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
/// The most bytes that a job shuffles through the broker, unless the program sets another limit.
const SHUFFLE_LIMIT: u64 = 16 << 30;

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
    leader: LeaderOptions,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self {
            url: None,
            namespace: None,
            slots: None,
            async_slots: None,
            queue_type: QueueType::Quorum,
            leader: LeaderOptions {
                close_on_signal: false,
                hold: HOLD,
                stall_after: Duration::from_secs(25),
                patience: None,
                block_memory: None,
                shuffle_limit: SHUFFLE_LIMIT,
                quiet: false,
            },
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
        self.leader.close_on_signal = true;
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
        self.leader.hold = hold.clamp(SHORTEST_HOLD, LONGEST_HOLD);
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
        self.leader.stall_after = idle.max(SHORTEST_STALL);
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
        self.leader.patience = Some(patience.max(SHORTEST_PATIENCE));
        self
    }

    /// The most bytes of blocks of exchanges that the leader holds, of all its jobs; each exchange
    /// may have a quarter. The blocks of an exchange that has more go through queues of the broker,
    /// all of them: with 0 at once. So do further outputs of a job whose last stage reads such an
    /// exchange, once a task has given a quarter of this in outputs, or 8 MiB.
    /// Default: 32 MiB on a fleet; in memory no limit, because there blocks are handed on without
    /// a copy.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().block_memory(256 << 20).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn block_memory(mut self, bytes: usize) -> Self {
        self.leader.block_memory = Some(bytes);
        self
    }

    /// The most bytes that one job shuffles through the queues of the broker, all its exchanges and
    /// its unread outputs together. Default: 16 GiB. A job that writes more fails with
    /// [`ShuffleFailure::LimitExceeded`](crate::error::ShuffleFailure::LimitExceeded): the bytes
    /// lie on the disk of the broker until the job is over.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// let runtime = Runtime::builder().shuffle_limit(64 << 30).connect().await?;
    /// # drop(runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shuffle_limit(mut self, bytes: u64) -> Self {
        self.leader.shuffle_limit = bytes;
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
        self.leader.quiet = true;
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
        Runtime::lead(broker, &self.leader).await
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
        Runtime::lead(broker, &self.leader).await
    }
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
        assert_eq!((most.slots, most.leader.patience), (Some(MAX_SLOTS), Some(Duration::MAX)));
        assert_eq!((most.async_slots, most.leader.hold), (Some(MAX_ASYNC_SLOTS), LONGEST_HOLD));
        let zero = Duration::ZERO;
        let least = RuntimeBuilder::default().slots(0).patience(zero).stall_after(zero).hold(zero);
        assert_eq!((least.slots, least.leader.patience), (Some(1), Some(SHORTEST_PATIENCE)));
        assert_eq!((least.leader.stall_after, least.leader.hold), (SHORTEST_STALL, SHORTEST_HOLD));
    }

    #[test]
    fn a_runtime_outside_of_tokio_is_an_error() {
        let connected = Runtime::connect("memory://").now_or_never();
        assert!(matches!(connected, Some(Err(Error::OutsideTokio))), "{connected:?}");
    }
}
