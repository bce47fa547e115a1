//! Errors of programs that run jobs.

mod refused;
mod shuffle;

use std::{error::Error as StdError, sync::Arc};

pub use refused::RefusedError;
pub use shuffle::{ShuffleError, ShuffleFailure};

pub use crate::operation::{ExecuteError, Group, KeyPrefix};
use crate::{
    broker::{BrokerError, ConnectError, PublishError},
    id::JobId,
    operation::element_name,
    plan::PlanError,
    report::Printable,
};

/// An error from connecting a runtime or running a job, grouped by phase.
///
/// `Display` is one line. `Debug`, which `main` and `unwrap` print, is the same line and the causes
/// that it does not quote.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// use phalanx::Error;
///
/// let texts = ["1", "two"].map(String::from);
/// match IndexedStream::from(texts).map(Parse).collect(&runtime).await {
///     Ok(numbers) => println!("{numbers:?}"),
///     Err(Error::Execute(failure)) => {
///         assert_eq!(failure.index, 1);
///         assert_eq!(failure.error.message(), "invalid digit found in string");
///     }
///     Err(other) => return Err(other), // the connection, the plan, the input, …
/// }
/// # Ok(())
/// # }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Connecting to the broker failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The program has a mistake; nothing was run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The source of the program returned an error or panicked, or an element did not serialize.
    #[error(
        "job {job}: {} failed at element {index}: {}",
        input_name(*input), Printable(&source.to_string())
    )]
    Input {
        /// The job that failed.
        job: JobId,
        /// The number of the source, from 0, as [`explain`](crate::plan::IndexedStream::explain)
        /// shows it. `None` if the program has one source.
        input: Option<usize>,
        /// The index of the element in its source that was not produced.
        index: u64,
        /// The error of the input.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The broker permanently refused a task.
    #[error(
        "job {job}: cannot publish a task of operation `{operation}` at {}: {source}",
        element_name(*index, group.as_deref())
    )]
    Submit {
        /// The job that failed.
        job: JobId,
        /// The first operation of the task.
        operation: String,
        /// The index of the first element of the task.
        index: u64,
        /// Where that element is, if an exchange made it.
        group: Option<Box<Group>>,
        /// The error of the broker.
        #[source]
        source: PublishError,
    },
    /// An element failed permanently.
    #[error(transparent)]
    Execute(#[from] Box<ExecuteError>),
    /// Blocks of an exchange could not be carried through the broker.
    #[error(transparent)]
    Shuffle(#[from] Box<ShuffleError>),
    /// The two streams of a `zip` do not have the same number of elements.
    #[error(
        "job {job}: `zip` needs streams of equal length; the first has {first} elements, and the \
         second has {second}"
    )]
    UnequalLengths {
        /// The job that failed.
        job: JobId,
        /// The number of elements of the first stream.
        first: u64,
        /// The number of elements of the second stream.
        second: u64,
    },
    /// No live worker of a pool can run a stage, because they were built differently from this
    /// program.
    #[error(transparent)]
    Refused(#[from] Box<RefusedError>),
    /// An output does not decode as the type that the program expects.
    #[error("job {job}: the output of element {index} does not decode: {reason}")]
    Decode {
        /// The job that failed.
        job: JobId,
        /// The index of the source element that the output was made from.
        index: u64,
        /// The message of the decoder.
        reason: String,
    },
    /// A key came twice where each may come once: in `collect_map`.
    #[error(
        "job {job}: `collect_map` got a second value for key {key}; combine the values of each key \
         before (`reduce_by_key`, `group_by_key`)"
    )]
    DuplicateKey {
        /// The job that failed.
        job: JobId,
        /// The key.
        key: KeyPrefix,
    },
    /// The job was cancelled by its handle.
    #[error("job {job} was cancelled")]
    Cancelled {
        /// The job that failed.
        job: JobId,
    },
    /// The job made no progress for longer than the
    /// [`patience`](crate::leader::RuntimeBuilder::patience) of its runtime.
    #[error("job {job} made no progress: {cause}")]
    Stalled {
        /// The job that failed.
        job: JobId,
        /// The reason, and what to do: the text of a [`Stall`](crate::leader::Stall).
        cause: String,
    },
    /// The broker failed permanently.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A blocking operation ran a program on its own thread. It would hold its slot while the tasks
    /// of that program wait for one, so that a fleet can stop for ever.
    #[error(
        "operation `{operation}` runs a program inside of it: its slot would wait for tasks that \
         need a slot; return the elements and run the inner steps as further steps of the program \
         (`flat_map`, `map`)"
    )]
    Nested {
        /// The operation that runs on the thread.
        operation: String,
    },
    /// A program was run, or a runtime connected, on a thread that Tokio does not know.
    #[error(
        "not inside of a Tokio runtime: make `main` an `async fn` with `#[tokio::main]`, or use \
         `tokio::runtime::Runtime::block_on`"
    )]
    OutsideTokio,
    /// The program closed the runtime, or Tokio was shut down.
    #[error("the runtime was closed")]
    Closed,
    /// The process received a signal, and the runtime was built with
    /// [`close_on_signal`](crate::leader::RuntimeBuilder::close_on_signal).
    #[error("received {signal}, which closed the runtime")]
    Interrupted {
        /// The signal: `SIGTERM` or `Ctrl-C`.
        signal: &'static str,
    },
    /// The broker that the runtime was given was closed in this program.
    #[error("the broker of the runtime was closed by this program")]
    BrokerClosed,
    /// The leader itself panicked, which ended all its jobs: a bug in Phalanx or in a broker that
    /// the program brought along.
    #[error("the leader {message}; this is a bug: please report it with this message")]
    LeaderPanicked {
        /// The place and the message of the panic.
        message: String,
    },
}

fn input_name(input: Option<usize>) -> String {
    input.map_or_else(|| "the input".to_owned(), |input| format!("source {input}"))
}

crate::__debug_as_report!(Error);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read line 7")]
    struct LineError(#[source] io::Error);

    fn input_error() -> Error {
        let source = Arc::new(LineError(io::Error::other("the disk is on fire")));
        Error::Input { job: JobId(uuid::Uuid::nil()), input: None, index: 6, source }
    }

    #[test]
    fn the_error_of_an_input_displays_its_cause() {
        let text = input_error().to_string();
        assert!(text.ends_with("the input failed at element 6: cannot read line 7"), "{text}");
    }

    #[test]
    fn a_main_that_returns_an_error_prints_its_message_and_its_causes() {
        let error = input_error();
        let expected = format!("{error}\n\nCaused by:\n    the disk is on fire");
        assert_eq!(format!("{error:?}"), expected);
        let plan = Error::from(PlanError::EmptyBatch);
        assert_eq!(format!("{plan:?}"), plan.to_string());
    }

    #[test]
    fn every_error_with_a_source_quotes_it() {
        let job = JobId(uuid::Uuid::nil());
        let (operation, index) = ("fetch".to_owned(), 3);
        let source = PublishError::Nacked { reason: "the queue is full".to_owned() };
        let submit =
            Error::Submit { job, operation: operation.clone(), index, group: None, source };
        let source = crate::broker::Pool::new("No Pool").unwrap_err();
        let pool = Error::from(PlanError::Pool { operation, source });
        let source = BrokerError::Lost { reason: "reset by peer".to_owned() };
        let setup = Error::from(ConnectError::Setup { url: "amqp://broker".to_owned(), source });
        for error in [submit, pool, setup] {
            let cause = StdError::source(&error).expect("a cause").to_string();
            assert!(error.to_string().ends_with(&cause), "{error}");
        }
    }
}
