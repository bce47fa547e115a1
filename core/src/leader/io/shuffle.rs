//! The queues of spread exchanges: declares, renews and deletes them, and publishes the blocks that
//! the leader holds.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use crate::{
    blocks,
    broker::{Broker, BrokerError, PublishError, QueueAction, ShuffleQueue},
    error::Error,
    id::{JobId, LeaderId},
    leader::engine::{Input, Progress},
    wire::BlockMessage,
};

/// How long the end of a job waits for the deletion of its queues; after that they are left to
/// expire.
const LONGEST_DELETION: Duration = Duration::from_secs(5);

/// The queues of the jobs of a leader.
///
/// What is under way is bounded by the engine: the blocks by what it holds, the rest by the queues
/// of its jobs.
pub(super) struct ShuffleQueues {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    jobs: HashMap<JobId, JobQueues>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// The queues of one job.
#[derive(Default)]
struct JobQueues {
    /// What is to be done to them, in order: a deletion must not overtake a declaration.
    waiting: VecDeque<(QueueAction, Vec<ShuffleQueue>)>,
    is_managing: bool,
    /// Cancelled with the job: nobody reads its blocks any more.
    over: CancellationToken,
    /// The end of the job, which waits for the deletions.
    end: Option<JobEnd>,
}

/// The end of a job.
pub(super) struct JobEnd {
    pub(super) job: JobId,
    pub(super) progress: Progress,
    pub(super) result: Result<(), Error>,
}

/// What follows from work that is done.
pub(super) enum ShuffleEvent {
    /// An input for the engine.
    Input(Input),
    /// A job whose queues are deleted ends.
    End(JobEnd),
}

enum Done {
    Managed { job: JobId, action: QueueAction, outcomes: Vec<(ShuffleQueue, Outcome)> },
    Published { job: JobId, exchange: u32, bytes: usize, result: Result<(), PublishError> },
    TimedOut(JobId),
}

type Outcome = Result<u64, BrokerError>;

impl ShuffleQueues {
    pub(super) fn new(broker: Arc<dyn Broker>, leader: LeaderId) -> Self {
        Self { broker, leader, jobs: HashMap::new(), in_flight: FuturesUnordered::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The next event; `None` once nothing is under way.
    ///
    /// Cancel-safe: what is under way stays so when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<ShuffleEvent> {
        loop {
            match self.in_flight.next().await? {
                Done::Managed { job, action, outcomes } => {
                    if let Some(queues) = self.jobs.get_mut(&job) {
                        queues.is_managing = false;
                    }
                    self.manage_next(job);
                    return Some(match self.take_end(job) {
                        Some(end) => ShuffleEvent::End(end),
                        None => ShuffleEvent::Input(Input::Managed { job, action, outcomes }),
                    });
                }
                Done::Published { job, exchange, bytes, result } => {
                    let input = Input::BlockPublished { job, exchange, bytes, result };
                    return Some(ShuffleEvent::Input(input));
                }
                Done::TimedOut(job) => {
                    // The deletions go on without anybody who waits for them.
                    if let Some(end) = self.jobs.get_mut(&job).and_then(|it| it.end.take()) {
                        tracing::warn!(%job, "the deletion of its queues takes long");
                        return Some(ShuffleEvent::End(end));
                    }
                }
            }
        }
    }

    /// Declares, renews or deletes queues of one job, after what was begun before.
    pub(super) fn manage(&mut self, action: QueueAction, queues: Vec<ShuffleQueue>) {
        let Some(job) = queues.first().map(ShuffleQueue::job) else { return };
        let state = self.jobs.entry(job).or_default();
        state.waiting.push_back((action, queues));
        self.manage_next(job);
    }

    /// Publishes blocks of one job until their queues have them.
    pub(super) fn publish(&mut self, blocks: Vec<BlockMessage>) {
        for block in blocks {
            let (job, exchange) = (block.name.job, block.name.exchange);
            let over = self.jobs.entry(job).or_default().over.clone();
            let (broker, leader) = (Arc::clone(&self.broker), self.leader);
            self.in_flight.push(Box::pin(async move {
                let bytes = block.block.len();
                let result = publish(&*broker, leader, block, &over).await;
                Done::Published { job, exchange, bytes, result }
            }));
        }
    }

    /// Ends a job once its queues are deleted; returns the end if there are none.
    pub(super) fn end(&mut self, end: JobEnd) -> Option<JobEnd> {
        let job = end.job;
        let Some(queues) = self.jobs.get_mut(&job) else { return Some(end) };
        queues.over.cancel();
        queues.end = Some(end);
        let ended = self.take_end(job);
        if ended.is_none() {
            let timeout = tokio::time::sleep(LONGEST_DELETION).map(move |()| Done::TimedOut(job));
            self.in_flight.push(timeout.boxed());
        }
        ended
    }

    /// Takes the end of a job that has nothing under way.
    fn take_end(&mut self, job: JobId) -> Option<JobEnd> {
        let queues = self.jobs.get(&job)?;
        if queues.is_managing || !queues.over.is_cancelled() {
            return None;
        }
        self.jobs.remove(&job)?.end
    }

    fn manage_next(&mut self, job: JobId) {
        let Some(state) = self.jobs.get_mut(&job).filter(|state| !state.is_managing) else {
            return;
        };
        let Some((action, queues)) = state.waiting.pop_front() else { return };
        state.is_managing = true;
        let broker = Arc::clone(&self.broker);
        self.in_flight.push(Box::pin(async move {
            let outcomes = broker.manage(action, &queues).await;
            Done::Managed { job, action, outcomes: queues.into_iter().zip(outcomes).collect() }
        }));
    }

    /// Stops publishing blocks, waits for the deletions that were begun, and adds the ends of the
    /// jobs that waited for theirs to `ends`.
    ///
    /// Cancel-safe.
    pub(super) async fn close(&mut self, ends: &mut Vec<JobEnd>) {
        for queues in self.jobs.values_mut() {
            queues.over.cancel();
            ends.extend(queues.end.take());
        }
        while self.jobs.values().any(|queues| queues.is_managing) && self.next().await.is_some() {}
    }
}

/// Publishes a block, under the same number however often, until its queue has it.
async fn publish(
    broker: &dyn Broker,
    leader: LeaderId,
    block: BlockMessage,
    over: &CancellationToken,
) -> Result<(), PublishError> {
    let name = block.name;
    let (job, exchange, partition) = (name.job, name.exchange, name.partition);
    let queue = ShuffleQueue::Partition { job, exchange, partition };
    let body =
        block.encode().map_err(|error| PublishError::Refused { reason: error.to_string() })?;
    drop(block);
    tokio::select! {
        result = blocks::publish(broker, leader, &queue, body, |_| true) => result.map(drop),
        () = over.cancelled() => Err(PublishError::Closed),
    }
}
