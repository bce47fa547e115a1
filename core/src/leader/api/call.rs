//! One operation on one input.

use std::{fmt, future::IntoFuture, time::Duration};

use futures::future::BoxFuture;

use super::Runtime;
use crate::{
    error::Error,
    operation::{Data, Step},
    plan::{IndexedStream, ValueProgram},
};

/// One call of an operation: awaited, it resolves to the output. Made by [`Runtime::call`].
///
/// Nothing runs before it is awaited. Dropping the future cancels the call.
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
/// use phalanx::Call;
/// use std::time::Duration;
///
/// let call: Call<'_, u64> = runtime.call(Double, 21);
/// assert_eq!(call.pool("io").retries(0).timeout(Duration::from_secs(30)).await?, 42);
/// # Ok(())
/// # }
/// ```
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<'a, T> {
    runtime: &'a Runtime,
    program: IndexedStream<T>,
}

impl Runtime {
    /// Runs an operation on one input: a future of the output.
    ///
    /// For many inputs use one [`IndexedStream`](crate::plan::IndexedStream): it sends them in
    /// batches.
    ///
    /// # Errors
    /// When awaited: if the operation is not registered, a setting is invalid, the runtime is
    /// closed, or the operation fails permanently.
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
    /// assert_eq!(runtime.call(Double, 21).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "submit")]
    #[doc(alias = "delay")]
    #[doc(alias = "Literal")]
    pub fn call<O, Mode>(&self, operation: O, input: O::Input) -> Call<'_, O::Output>
    where
        O: Step<Mode>,
    {
        Call { runtime: self, program: IndexedStream::from([input]).map(operation) }
    }
}

impl<T: Data> Call<'_, T> {
    /// The pool of workers that runs it; like [`IndexedStream::pool`].
    pub fn pool(mut self, name: &str) -> Self {
        self.program = self.program.pool(name);
        self
    }

    /// How often it is retried; like [`IndexedStream::retries`].
    pub fn retries(mut self, retries: u32) -> Self {
        self.program = self.program.retries(retries);
        self
    }

    /// How long it waits before it is retried; like [`IndexedStream::backoff`].
    pub fn backoff(mut self, from: Duration, to: Duration) -> Self {
        self.program = self.program.backoff(from, to);
        self
    }

    /// How long it may run; like [`IndexedStream::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.program = self.program.timeout(timeout);
        self
    }
}

impl<'a, T: Data> IntoFuture for Call<'a, T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let program = ValueProgram::first_output(self.program.program);
        Box::pin(program.run(self.runtime))
    }
}

impl<T> fmt::Debug for Call<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(&self.program).finish()
    }
}
