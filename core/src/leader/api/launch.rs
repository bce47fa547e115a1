//! A started job, between the driver and the typed ends of a program.

use tokio::sync::{mpsc, watch};

use super::Job;
use crate::{
    codec,
    error::Error,
    leader::{engine::Ending, io::CreditedBlock},
    plan::End,
};

/// A started job and its encoded outputs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) job: Job,
    pub(crate) outputs: OutputReceiver,
}

impl Launched {
    /// Waits until the job is over; returns the number of its outputs. `end` is the end of its
    /// plan.
    pub(super) async fn count_outputs(mut self, end: &End) -> Result<u64, Error> {
        let mut count = 0;
        while let Some(block) = self.outputs.recv().await {
            let block = block?.block;
            // The only output of a count is the number, which the leader itself encodes.
            count += match end {
                End::Count => codec::decode(&block.values).unwrap_or_default(),
                End::Stream { .. } | End::Top { .. } | End::Fold { .. } => u64::from(block.count),
            };
        }
        Ok(count)
    }
}

/// The outputs of a job, as they arrive. The byte credit of the job bounds the channel.
#[derive(Debug)]
pub(crate) struct OutputReceiver {
    receiver: OutputChannel,
    /// Whether the last item has been received.
    over: bool,
    /// Why the leader has ended, once it has.
    leader: watch::Receiver<Option<Ending>>,
    /// Keeps the job alive while its outputs are read.
    _job: Job,
}

/// Outputs, then `None` if the job succeeded, or an error. A channel that closes without either
/// means that the driver has ended.
type OutputChannel = mpsc::UnboundedReceiver<Result<Option<CreditedBlock>, Error>>;

impl OutputReceiver {
    pub(super) fn new(
        receiver: OutputChannel,
        leader: watch::Receiver<Option<Ending>>,
        job: Job,
    ) -> Self {
        Self { receiver, over: false, leader, _job: job }
    }

    /// The next outputs; `None` after the job has succeeded or an error was returned. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Result<CreditedBlock, Error>> {
        if self.over {
            return None;
        }
        let item = match self.receiver.recv().await {
            Some(item) => item,
            None => Err(ending(&mut self.leader).await.into()),
        };
        self.over = !matches!(item, Ok(Some(_)));
        item.transpose()
    }
}

/// Waits until the leader has ended, and returns why.
pub(super) async fn ending(leader: &mut watch::Receiver<Option<Ending>>) -> Ending {
    let ended = leader.wait_for(Option::is_some).await;
    // Without a reason, Tokio was shut down.
    ended.ok().and_then(|ending| ending.clone()).unwrap_or(Ending::Closed)
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;
    use crate::{id::JobId, leader::api::dropped::DropNotice, notice::Notices};

    type Sender = mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>;

    fn channel() -> (Sender, watch::Sender<Option<Ending>>, OutputReceiver) {
        let (commands, _) = mpsc::unbounded_channel();
        let (_, progress) = watch::channel(Default::default());
        let (events, _) = broadcast::channel(1);
        let job =
            Job::new(JobId::new(), commands, progress, events, DropNotice::new(Notices::new(true)));
        let (sender, receiver) = mpsc::unbounded_channel();
        let (leader, ending) = watch::channel(None);
        (sender, leader, OutputReceiver::new(receiver, ending, job))
    }

    #[tokio::test]
    async fn the_end_of_a_successful_job_is_returned_again_and_again() {
        let (sender, _leader, mut outputs) = channel();
        sender.send(Ok(None)).unwrap();
        drop(sender);
        assert!(outputs.recv().await.is_none());
        assert!(outputs.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_driver_that_ends_early_does_not_look_like_success() {
        let (sender, leader, mut outputs) = channel();
        drop((sender, leader));
        assert!(matches!(outputs.recv().await, Some(Err(Error::Closed))));
        assert!(outputs.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_job_that_the_leader_did_not_begin_ends_with_the_reason_of_the_leader() {
        let (sender, leader, mut outputs) = channel();
        drop(sender);
        let (end, ()) = tokio::join!(outputs.recv(), async {
            leader.send_replace(Some(Ending::BrokerClosed));
        });
        assert!(matches!(end, Some(Err(Error::BrokerClosed))));
    }
}
