//! Pulls the input of a job, off the driver's task.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    id::JobId,
    plan::{Block, BlockBuffer, Budget, Source, SourceState},
};

/// A source that has given something and then pauses for so long gets it sent.
const PAUSE: Duration = Duration::from_millis(5);

/// What a pull has brought.
#[derive(Debug)]
pub(super) struct Pulled {
    pub(super) job: JobId,
    pub(super) block: Block,
    /// The source and how it is, when the pull is over; `None` while it pauses.
    pub(super) over: Option<(Source, SourceState)>,
}

/// Pulls in a task of its own; dropping the handle drops the source.
pub(super) fn spawn(
    job: JobId,
    source: Source,
    budget: Budget,
    news: mpsc::Sender<Pulled>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(pull(job, source, budget, news)))
}

async fn pull(job: JobId, source: Source, budget: Budget, news: mpsc::Sender<Pulled>) {
    let buffer = Arc::new(BlockBuffer::default());
    let mut fill = std::pin::pin!(source.fill(Arc::clone(&buffer), budget));
    // A pull that begins with a pause says so, empty as it is: the leader may hold elements of the
    // pull before, too few for a batch, and nothing else would send them.
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
        if news.send(Pulled { job, block, over }).await.is_err() || is_over {
            return;
        }
    }
}

/// Resolves when nothing has come for a while: behind the next element, or from now on.
async fn pause(buffer: &BlockBuffer, behind_the_next: bool) {
    if behind_the_next {
        buffer.ready().await;
    }
    tokio::time::sleep(PAUSE).await;
}
