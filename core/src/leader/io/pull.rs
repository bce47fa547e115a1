//! Pulls elements from a source of a job, in a separate Tokio task.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    id::JobId,
    plan::{Block, BlockBuffer, Budget, Source, SourceState},
};

/// If a source pauses for this long, the elements that it has yielded are passed to the driver.
const PAUSE: Duration = Duration::from_millis(5);

/// The elements that a pull has yielded so far.
#[derive(Debug)]
pub(super) struct Pulled {
    pub(super) job: JobId,
    /// The number of the source among those of the job.
    pub(super) number: usize,
    pub(super) block: Block,
    /// The source and its state if the pull is over; `None` if the source pauses.
    pub(super) over: Option<(Source, SourceState)>,
}

/// Starts a pull; dropping the handle ends it and drops the source.
pub(super) fn spawn(
    (job, number): (JobId, usize),
    source: Source,
    budget: Budget,
    pulled: mpsc::Sender<Pulled>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(pull((job, number), source, budget, pulled)))
}

async fn pull(
    (job, number): (JobId, usize),
    source: Source,
    budget: Budget,
    pulled: mpsc::Sender<Pulled>,
) {
    let buffer = Arc::new(BlockBuffer::with(source.layout()));
    let mut fill = std::pin::pin!(source.fill(Arc::clone(&buffer), budget));
    // A pull that begins with a pause reports that, although it has no elements: the leader may
    // hold elements of the previous pull, too few for a batch, which nothing else would send.
    let mut has_paused = false;
    loop {
        let over = tokio::select! {
            biased;
            over = &mut fill => Some(over),
            () = pause(&buffer, has_paused) => None,
        };
        let (block, is_over) = (buffer.take(), over.is_some());
        if block.ends.is_empty() && !is_over && has_paused {
            continue;
        }
        has_paused = true;
        if pulled.send(Pulled { job, number, block, over }).await.is_err() || is_over {
            return;
        }
    }
}

/// Resolves when [`PAUSE`] has passed: from now on, or after the next element.
async fn pause(buffer: &BlockBuffer, after_next: bool) {
    if after_next {
        buffer.ready().await;
    }
    tokio::time::sleep(PAUSE).await;
}
