//! A worker, from its start to its end.

use std::{fmt, sync::Arc};

use phalanx_core::{
    broker::{Broker, BrokerError},
    id::WorkerId,
    registry::{Registry, RegistryError},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    WorkerOptions,
    answer::publish_answers,
    control::listen,
    drain::drain,
    engine::Engine,
    intake::consume,
    operations::{Catalogue, Operations},
    watchdog::watch,
};

/// How a worker ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Exit {
    /// As asked for: what it held was finished or given back.
    #[error("drained")]
    Drained,
    /// At once, as asked for: what it held goes back to the broker.
    #[error("stopped at once")]
    Stopped,
    /// Drained, because as many threads as it has slots were given up: each runs an operation
    /// that did not end.
    #[error("{threads} threads were given up to operations that do not end")]
    Abandoned {
        /// How many.
        threads: usize,
    },
    /// The operations of the program cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A queue cannot be used, or the broker was closed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The system gave no threads.
    #[error("the system gives no threads: {reason}")]
    Threads {
        /// What it said.
        reason: String,
    },
}

/// A worker that serves. Dropping it stops it at once; see [`drain`](Self::drain).
pub struct Worker {
    engine: Option<Arc<Engine>>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Worker {
    /// Starts a worker of all operations that are part of this program.
    ///
    /// The broker stays the caller's: it is not closed at the end. What goes wrong is told by
    /// [`finished`](Self::finished).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(broker: Arc<dyn Broker>, options: WorkerOptions) -> Self {
        match Registry::global() {
            Ok(registry) => Self::with(broker, options, Box::new(registry)),
            Err(error) => Self::ended(Exit::Registry(error)),
        }
    }

    /// Starts a worker of these operations.
    pub(crate) fn with(
        broker: Arc<dyn Broker>,
        mut options: WorkerOptions,
        catalogue: Box<dyn Catalogue>,
    ) -> Self {
        options.slots = options.slots.max(1);
        options.async_slots = options.async_slots.clamp(1, usize::from(u16::MAX));
        let operations = Operations::new(catalogue);
        match Engine::new(Arc::clone(&broker), options, operations) {
            Ok((engine, outgoing)) => {
                let (ended, exit) = watch::channel(None);
                let answers = tokio::spawn(publish_answers(broker, outgoing));
                let serving = Arc::clone(&engine);
                tokio::spawn(async move {
                    serve(&serving).await;
                    answers.abort();
                    let _ = ended.send(Some(serving.exit()));
                });
                Self { engine: Some(engine), exit }
            }
            Err(error) => Self::ended(Exit::Threads { reason: error.to_string() }),
        }
    }

    fn ended(exit: Exit) -> Self {
        let (_, exit) = watch::channel(Some(exit));
        Self { engine: None, exit }
    }

    /// Who it is; `None` when it never started.
    pub fn id(&self) -> Option<WorkerId> {
        self.engine.as_ref().map(|engine| engine.worker)
    }

    /// Takes no more tasks, gives back those that have not begun, lets the others end within the
    /// grace period, and ends.
    pub fn drain(&self) {
        if let Some(engine) = &self.engine {
            engine.drain(Exit::Drained);
        }
    }

    /// Ends at once; what it holds goes back to the broker.
    pub fn stop(&self) {
        if let Some(engine) = &self.engine {
            engine.stop();
        }
    }

    /// Whether it takes tasks of all its pools.
    pub fn is_ready(&self) -> bool {
        self.exit.borrow().is_none() && self.engine.as_ref().is_some_and(|engine| engine.is_ready())
    }

    /// Whether it takes no more tasks.
    pub fn is_draining(&self) -> bool {
        self.engine.as_ref().is_none_or(|engine| engine.draining.is_cancelled())
    }

    /// Resolves when it has ended, and says how. Cancel-safe.
    pub async fn finished(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Stopped),
            // The runtime that it ran on is gone.
            Err(_) => Exit::Stopped,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id())
            .field("exit", &*self.exit.borrow())
            .finish_non_exhaustive()
    }
}

/// Runs all parts until the worker has ended.
async fn serve(engine: &Arc<Engine>) {
    let mut parts = JoinSet::new();
    parts.spawn(watch(Arc::clone(engine)));
    parts.spawn(or_drain(Arc::clone(engine), listen(Arc::clone(engine))));
    let mut intake = JoinSet::new();
    for pool in engine.options.pools.clone() {
        intake.spawn(or_drain(Arc::clone(engine), consume(Arc::clone(engine), pool)));
    }
    engine.draining.cancelled().await;
    tokio::select! {
        biased;
        () = engine.stopping.cancelled() => {}
        () = drain(engine, intake) => {}
    }
    // Whoever still runs is told to end, and what waits for a slot loses its ticket.
    engine.stop_all();
    drop(engine.slots.take_back());
}

/// A part that cannot go on takes the worker down with it.
async fn or_drain(engine: Arc<Engine>, part: impl Future<Output = Result<(), BrokerError>>) {
    if let Err(error) = part.await {
        tracing::error!(%error, "a worker cannot go on");
        engine.drain(error.into());
    }
}
