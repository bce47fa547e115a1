//! A worker, from its start to its end.

use std::{fmt, sync::Arc, time::Duration};

use phalanx_core::{
    broker::{Broker, BrokerError},
    id::WorkerId,
    registry::{Registry, RegistryError},
    wire::timing::{HOLD, SHORTEST_HOLD},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    WorkerOptions,
    answer::publish_answers,
    control::listen,
    drain::drain,
    engine::{Engine, Role},
    intake::consume,
    isolation::end_idle,
    lease::keep,
    operations::{Catalogue, Operations},
    silence::listen_for_silence,
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
    #[error("gave up {threads} of its threads to operations that do not end")]
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
            Ok(registry) => Self::assemble(broker, options, Box::new(registry), Role::Worker),
            Err(error) => Self::ended(Exit::Registry(error)),
        }
    }

    /// Starts a worker of these operations.
    pub(crate) fn assemble(
        broker: Arc<dyn Broker>,
        mut options: WorkerOptions,
        catalogue: Box<dyn Catalogue>,
        role: Role,
    ) -> Self {
        // Clocks can still add it.
        let year = Duration::from_secs(366 * 24 * 3600);
        options.grace = options.grace.min(year);
        options.listen = options.listen.min(year);
        options.hold = options.hold.clamp(SHORTEST_HOLD, HOLD);
        options.slots = options.slots.max(1);
        options.async_slots = options.async_slots.clamp(1, usize::from(u16::MAX));
        let operations = Operations::new(catalogue);
        match Engine::new(Arc::clone(&broker), options, operations, role) {
            Ok((engine, outgoing)) => {
                let (ended, exit) = watch::channel(None);
                let silenced = {
                    let engine = Arc::clone(&engine);
                    move |error: BrokerError| {
                        tracing::error!(%error, "a worker cannot answer");
                        engine.drain(error.into());
                    }
                };
                let answers = tokio::spawn(publish_answers(broker, outgoing, silenced));
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
    if !engine.is_child() {
        parts.spawn(keep(Arc::clone(engine)));
        parts.spawn(listen_for_silence(Arc::clone(engine)));
    }
    if let Some(crew) = &engine.crew {
        parts.spawn(end_idle(Arc::clone(crew)));
    }
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
    // Whoever still runs is told to end, and what waits loses its ticket: its delivery goes back.
    engine.stop_all();
    drop(engine.slots.take_back());
    for running in engine.executions.all() {
        drop(running.hand_back());
    }
    if let Some(crew) = engine.crew.clone() {
        // An error means that the runtime ends, and this process with it.
        let _ = tokio::task::spawn_blocking(move || crew.end_all()).await;
    }
}

/// A part that cannot go on takes the worker down with it.
async fn or_drain(engine: Arc<Engine>, part: impl Future<Output = Result<(), BrokerError>>) {
    if let Err(error) = part.await {
        tracing::error!(%error, "a worker cannot go on");
        engine.drain(error.into());
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        Monoid, codec, operation,
        operation::{AsyncOperation, ErrorKind, RemoteExecute, Result, TaskContext},
        registry::{StepReference, Verb},
        wire::{Outcome, ReturnReason, Segment},
    };
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::testing::{Bench, Said};

    #[operation(crate = phalanx_core)]
    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[operation(crate = phalanx_core)]
    fn length(word: String, cx: &TaskContext) -> u64 {
        assert!(word != "poison", "poison at {}", cx.index());
        word.len() as u64
    }

    #[derive(Serialize, Deserialize, phalanx_core::RemoteExecute)]
    #[remote(crate = phalanx_core)]
    struct Sum;

    impl Monoid for Sum {
        type Elem = u64;
        fn empty(&self) -> u64 {
            0
        }
        fn combine(&self, a: u64, b: u64, _: &TaskContext) -> Result<u64> {
            Ok(a + b)
        }
    }

    /// Takes long for long words.
    #[derive(Serialize, Deserialize, phalanx_core::RemoteExecute)]
    #[remote(crate = phalanx_core, timeout = "50ms")]
    struct LookUp;

    impl AsyncOperation for LookUp {
        type Input = String;
        type Output = String;
        async fn execute(&self, word: String, _: &TaskContext) -> Result<String> {
            let time = if word.len() > 5 { 3_600_000 } else { 1 };
            tokio::time::sleep(Duration::from_millis(time)).await;
            Ok(word.to_uppercase())
        }
    }

    fn step<O: RemoteExecute>(operation: &O, verb: Verb) -> StepReference {
        Registry::global().unwrap().reference(operation, verb).unwrap().0
    }

    fn outcomes(segments: &[Segment]) -> Vec<&Outcome> {
        segments.iter().map(|segment| &segment.outcome).collect()
    }

    #[tokio::test]
    async fn registered_operations_are_found_by_name_and_run_as_one_pass() {
        let bench = Bench::of_registered();
        let steps =
            vec![step(&Words, Verb::FlatMap), step(&Length, Verb::Map), step(&Sum, Verb::Fold)];
        let number = bench.send_task(steps, &["one two", "a poison", "three", ""], |_| {});
        let said = bench.answered(1).await;
        let segments = bench.segments(number);
        let [
            Outcome::Done { outputs: 1, .. },
            Outcome::Failed { step: 1, error },
            Outcome::Done { outputs: 1, .. },
        ] = outcomes(&segments)[..]
        else {
            panic!("{segments:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.to_string().contains("poison at 1"), "{error}");
        let Said::Result(result) = &said[0] else { panic!("{said:?}") };
        let mut payload = &result.payload[..];
        assert_eq!(codec::decode_front::<u64>(&mut payload).unwrap(), 6);
        assert_eq!(codec::decode::<u64>(payload).unwrap(), 5);
        bench.audit();
    }

    #[tokio::test]
    async fn asynchronous_operations_run_at_once_and_time_out_one_by_one() {
        let bench = Bench::of_registered();
        let steps = vec![step(&LookUp, Verb::Map), step(&Length, Verb::Map)];
        let words: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words[100] = "everlasting";
        let number = bench.send_task(steps, &words, |_| {});
        bench.answered(1).await;
        let segments = bench.segments(number);
        let [Outcome::Done { .. }, Outcome::Failed { step: 0, error }, Outcome::Done { .. }] =
            outcomes(&segments)[..]
        else {
            panic!("{segments:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(segments[1].from, 100);
        bench.audit();
    }

    #[tokio::test]
    async fn an_operation_that_is_built_differently_is_refused() {
        let bench = Bench::of_registered();
        let mut changed = step(&Length, Verb::Map);
        changed.fingerprint ^= 1;
        let number = bench.send_task(vec![changed], &["a"], |_| {});
        bench.answered(1).await;
        let why = bench.why(number);
        assert!(matches!(
            why,
            ReturnReason::Refused(phalanx_core::registry::Refusal::Fingerprint { .. })
        ));
        bench.audit();
    }
}
