//! What lies between the engine and the typed ends of a plan.

use tokio::sync::mpsc;

use super::Job;
use crate::{codec, error::Error, leader::io::CreditedBlock, plan::End};

/// A job that runs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) job: Job,
    pub(crate) outputs: OutputReceiver,
}

impl Launched {
    /// Waits for the end of a job with this end; returns the number of its outputs.
    pub(super) async fn count_outputs(mut self, end: &End) -> Result<u64, Error> {
        let mut count = 0;
        while let Some(block) = self.outputs.recv().await {
            let block = block?.block;
            // The only output of a count is the count, which the leader itself encodes.
            count += match end {
                End::Count => codec::decode(&block.values).unwrap_or_default(),
                End::Stream { .. } | End::Fold { .. } => u64::from(block.count),
            };
        }
        Ok(count)
    }
}

/// Outputs of a job, as they come. What waits here is bounded by the job's byte credit.
#[derive(Debug)]
pub(crate) struct OutputReceiver {
    receiver: OutputChannel,
    /// Nothing more is to come.
    over: bool,
    /// Keeps the job alive while somebody reads.
    _job: Job,
}

/// Outputs, then `None` for a good end, or an error. A channel that closes without either is no
/// good end: whoever drove the job is gone.
type OutputChannel = mpsc::UnboundedReceiver<Result<Option<CreditedBlock>, Error>>;

impl OutputReceiver {
    pub(super) fn new(receiver: OutputChannel, job: Job) -> Self {
        Self { receiver, over: false, _job: job }
    }

    /// The next outputs; an error is the last item, `None` the end. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Result<CreditedBlock, Error>> {
        if self.over {
            return None;
        }
        let item = self.receiver.recv().await.unwrap_or(Err(Error::Closed));
        self.over = !matches!(item, Ok(Some(_)));
        item.transpose()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{broadcast, watch};

    use super::*;
    use crate::id::JobId;

    fn channel() -> (mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>, OutputReceiver) {
        let (commands, _) = mpsc::unbounded_channel();
        let (_, progress) = watch::channel(Default::default());
        let (events, _) = broadcast::channel(1);
        let job = Job::new(JobId::new(), commands, progress, events);
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, OutputReceiver::new(receiver, job))
    }

    #[tokio::test]
    async fn a_good_end_is_said_and_then_stays() {
        let (sender, mut outputs) = channel();
        sender.send(Ok(None)).unwrap();
        drop(sender);
        assert!(outputs.recv().await.is_none());
        assert!(outputs.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_driver_that_dies_does_not_look_like_a_good_end() {
        let (sender, mut outputs) = channel();
        drop(sender);
        assert!(matches!(outputs.recv().await, Some(Err(Error::Closed))));
        assert!(outputs.recv().await.is_none());
    }
}
