//! The ends of a program that run it.

use futures::{Stream, StreamExt, stream};

use super::{
    Job, Runtime,
    launch::OutputReceiver,
    results::Results,
    value::{Reading, ValueFuture},
};
use crate::{
    error::Error,
    leader::io::CreditedBlock,
    operation::Data,
    plan::{End, FoldProgram, IndexedStream, ValueProgram},
};

impl<T: Data> IndexedStream<T> {
    /// Runs the program; its outputs come as a stream, as they are completed.
    ///
    /// Dropping the stream cancels the job.
    ///
    /// # Errors
    /// When the program cannot be run as it is written. What happens later comes out of the stream.
    pub async fn run(self, runtime: &Runtime) -> Result<Results<T>, Error> {
        let (_, results) = self.start(runtime)?;
        Ok(results)
    }

    /// As [`run`](Self::run), with a handle to watch and cancel the job.
    ///
    /// # Errors
    /// When the program cannot be run as it is written.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self, runtime: &Runtime) -> Result<(Job, Results<T>), Error> {
        let (plan, source) = self.program.into_parts()?;
        let take = match plan.end {
            End::Stream { take, .. } => take,
            End::Fold { .. } | End::Count => None,
        };
        let launched = runtime.launch(plan, source)?;
        let results = Results::new(launched.job.id(), blocks(launched.outputs), take);
        Ok((launched.job, results))
    }

    /// Runs the program and collects its outputs, in input order.
    ///
    /// # Errors
    /// When the program cannot be run as it is written, or its job fails.
    pub async fn collect(self, runtime: &Runtime) -> Result<Vec<T>, Error> {
        let mut results = self.ordered().run(runtime).await?;
        let mut collected = Vec::new();
        while let Some(item) = results.next().await {
            collected.push(item?.1);
        }
        Ok(collected)
    }
}

impl<V: Send + 'static> ValueProgram<V> {
    /// Runs the program to its value. Dropping the future cancels the job.
    ///
    /// # Errors
    /// When the program cannot be run as it is written, or its job fails.
    pub async fn run(self, runtime: &Runtime) -> Result<V, Error> {
        let (_, value) = self.start(runtime)?;
        value.await
    }

    /// As [`run`](Self::run), with a handle to watch and cancel the job.
    ///
    /// # Errors
    /// When the program cannot be run as it is written.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self, runtime: &Runtime) -> Result<(Job, ValueFuture<V>), Error> {
        let (plan, source) = self.program.into_parts()?;
        let reading = match plan.end {
            End::Stream { .. } => Reading::First,
            End::Fold { .. } | End::Count => Reading::All,
        };
        let launched = runtime.launch(plan, source)?;
        let outputs = blocks(launched.outputs);
        let value = ValueFuture::new(launched.job.id(), outputs, reading, self.decode);
        Ok((launched.job, value))
    }
}

impl<V: Send + 'static> FoldProgram<V> {
    /// Runs the program to its value. Dropping the future cancels the job.
    ///
    /// # Errors
    /// When the program cannot be run as it is written, or its job fails.
    pub async fn run(self, runtime: &Runtime) -> Result<V, Error> {
        self.0.run(runtime).await
    }

    /// As [`run`](Self::run), with a handle to watch and cancel the job.
    ///
    /// # Errors
    /// When the program cannot be run as it is written.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self, runtime: &Runtime) -> Result<(Job, ValueFuture<V>), Error> {
        self.0.start(runtime)
    }
}

fn blocks(outputs: OutputReceiver) -> impl Stream<Item = Result<CreditedBlock, Error>> + Send {
    stream::unfold(outputs, async |mut outputs| {
        let block = outputs.recv().await?;
        Some((block, outputs))
    })
}
