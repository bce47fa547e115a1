//! The interface of a worker to the program that starts it.

use std::{fmt, sync::Arc, time::Duration};

use phalanx_core::{
    broker::Broker,
    id::WorkerId,
    registry::Registry,
    wire::timing::{HOLD, SHORTEST_HOLD},
};
use tokio::sync::watch;

use crate::{
    Exit, WorkerOptions,
    lifecycle::{Parts, serve},
    options::{LARGEST_STACK, SMALLEST_GATHER_MEMORY, SMALLEST_STACK},
    process_kind::ProcessKind,
};

/// The longest duration of an option: clocks can still add it.
const LONGEST_DURATION: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A worker: consumes tasks, and runs the operations of this program.
///
/// Dropping it stops it at once. To end it without losing work, [`drain`](Self::drain) it and wait
/// until it has [`finished`](Self::finished):
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use phalanx::{
///     inmemory::InMemoryBroker,
///     worker::{Exit, Worker, WorkerOptions},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let broker = InMemoryBroker::new();
/// let mut options = WorkerOptions::default();
/// options.grace = Duration::from_secs(5);
/// let worker = Worker::start(Arc::new(broker.connect()), options);
/// // … until the program is asked to end:
/// worker.drain();
/// assert!(matches!(worker.finished().await, Exit::Drained));
/// # }
/// ```
pub struct Worker {
    /// `None` if the worker did not start.
    parts: Option<Parts>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Worker {
    /// Starts a worker of all operations that are linked into this program.
    ///
    /// The worker does not close the broker when it ends. Errors, including those of the start, are
    /// reported by [`finished`](Self::finished). Options outside of their range are clamped.
    ///
    /// # Panics
    /// If called outside of a Tokio runtime.
    pub fn start(broker: Arc<dyn Broker>, options: WorkerOptions) -> Self {
        Self::start_in(broker, options, ProcessKind::Worker)
    }

    /// Starts a worker in a process of this kind.
    pub(crate) fn start_in(
        broker: Arc<dyn Broker>,
        mut options: WorkerOptions,
        process: ProcessKind,
    ) -> Self {
        let registry = match Registry::global() {
            Ok(registry) => registry,
            Err(error) => return Self::not_started(Exit::Registry(error)),
        };
        options.grace = options.grace.min(LONGEST_DURATION);
        options.leader_wait = options.leader_wait.min(LONGEST_DURATION);
        options.hold = options.hold.clamp(SHORTEST_HOLD, HOLD);
        options.slots = options.slots.clamp(1, usize::from(u16::MAX));
        options.stack = options.stack.clamp(SMALLEST_STACK, LARGEST_STACK);
        options.gather_memory = options.gather_memory.max(SMALLEST_GATHER_MEMORY);
        options.async_slots = options.async_slots.clamp(1, usize::from(u16::MAX));
        match Parts::new(broker, options, registry, process) {
            Ok((parts, outgoing)) => {
                let (ended, exit) = watch::channel(None);
                let serving = parts.clone();
                tokio::spawn(async move {
                    serve(&serving, outgoing).await;
                    let _ = ended.send(Some(serving.shared.shutdown().exit()));
                });
                Self { parts: Some(parts), exit }
            }
            Err(error) => Self::not_started(Exit::Threads { reason: error.to_string() }),
        }
    }

    fn not_started(exit: Exit) -> Self {
        let (_, exit) = watch::channel(Some(exit));
        Self { parts: None, exit }
    }

    /// The identity of the worker, which errors and events contain; `None` if it did not start.
    pub fn id(&self) -> Option<WorkerId> {
        self.parts.as_ref().map(|parts| parts.shared.worker())
    }

    /// Ends the worker without losing work: it accepts no more tasks, returns those that have not
    /// begun, and lets the others finish. Takes at most [`WorkerOptions::grace`]; near its end,
    /// running operations are cancelled, and their elements returned.
    pub fn drain(&self) {
        if let Some(parts) = &self.parts {
            parts.shared.shutdown().drain(Exit::Drained);
        }
    }

    /// Ends the worker at once. The broker requeues the deliveries that it holds, and their tasks
    /// run again elsewhere.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use phalanx::{inmemory::InMemoryBroker, worker::{Exit, Worker, WorkerOptions}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let broker = Arc::new(InMemoryBroker::new().connect());
    /// let worker = Worker::start(broker, WorkerOptions::default());
    /// worker.stop();
    /// assert!(matches!(worker.finished().await, Exit::Stopped));
    /// # }
    /// ```
    pub fn stop(&self) {
        if let Some(parts) = &self.parts {
            parts.shared.shutdown().stop();
        }
    }

    /// Whether the worker is connected, consumes from all its pools and does not drain.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use phalanx::{inmemory::InMemoryBroker, worker::{Worker, WorkerOptions}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let broker = Arc::new(InMemoryBroker::new().connect());
    /// # let mut options = WorkerOptions::default();
    /// # options.leader_wait = Duration::ZERO;
    /// let worker = Worker::start(broker, options);
    /// while !worker.is_ready() {
    ///     tokio::time::sleep(Duration::from_millis(1)).await;
    /// }
    /// assert!(worker.id().is_some() && !worker.is_draining());
    /// # }
    /// ```
    pub fn is_ready(&self) -> bool {
        let is_ready = |parts: &Parts| parts.intake.is_ready();
        self.exit.borrow().is_none() && self.parts.as_ref().is_some_and(is_ready)
    }

    /// Whether the worker accepts no more tasks: it drains, was stopped, or has ended.
    pub fn is_draining(&self) -> bool {
        let is_draining = |parts: &Parts| parts.shared.shutdown().is_draining();
        self.parts.as_ref().is_none_or(is_draining)
    }

    /// Resolves when the worker has ended, with the reason. Cancel-safe; may be called several
    /// times.
    pub async fn finished(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Stopped),
            // The runtime that ran the worker has shut down.
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
    use crate::testing::{SentReply, TestRig};

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
    async fn the_steps_of_a_stage_are_found_by_name_and_run_in_one_pass() {
        let rig = TestRig::start(|_| {});
        let steps =
            vec![step(&Words, Verb::FlatMap), step(&Length, Verb::Map), step(&Sum, Verb::Fold)];
        let number = rig.send_task(steps, &["one two", "a poison", "three", ""], |_| {});
        let replies = rig.after_settled(1).await;
        let segments = rig.segments(number);
        let [
            Outcome::Done { outputs: 1, .. },
            Outcome::Failed { step: 1, error, .. },
            Outcome::Done { outputs: 1, .. },
        ] = outcomes(&segments)[..]
        else {
            panic!("{segments:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.to_string().contains("poison at 1"), "{error}");
        let SentReply::Result(result) = &replies[0] else { panic!("{replies:?}") };
        let mut payload = &result.payload[..];
        assert_eq!(codec::decode_front::<u64>(&mut payload).unwrap(), 6);
        assert_eq!(codec::decode::<u64>(payload).unwrap(), 5);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn asynchronous_elements_run_concurrently_and_time_out_one_by_one() {
        let rig = TestRig::start(|_| {});
        let steps = vec![step(&LookUp, Verb::Map), step(&Length, Verb::Map)];
        let words: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words[100] = "everlasting";
        let number = rig.send_task(steps, &words, |_| {});
        rig.after_settled(1).await;
        let segments = rig.segments(number);
        let [Outcome::Done { .. }, Outcome::Failed { step: 0, error, .. }, Outcome::Done { .. }] =
            outcomes(&segments)[..]
        else {
            panic!("{segments:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(segments[1].from, 100);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn an_operation_of_another_build_is_refused() {
        let rig = TestRig::start(|_| {});
        let mut changed = step(&Length, Verb::Map);
        changed.fingerprint ^= 1;
        let number = rig.send_task(vec![changed], &["a"], |_| {});
        rig.after_settled(1).await;
        let why = rig.return_reason(number);
        assert!(matches!(
            why,
            ReturnReason::Refused(phalanx_core::registry::Refusal::Fingerprint { .. })
        ));
        rig.assert_settled_once();
    }
}
