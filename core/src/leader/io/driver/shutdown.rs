//! The end of a leader: in order, or by a panic.

use std::time::Duration;

use super::{Driver, reply_queue};
use crate::{
    leader::{
        engine::{Action, Ending, Input},
        io::shuffle::JobEnd,
    },
    registry::caught_async,
};

/// The time that the broker may take to confirm, delete and close when the leader shuts down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl Driver {
    /// Runs until all handles are dropped, the runtime is closed, or the broker is closed; returns
    /// why it ended. A panic ends all jobs with an error that names its place.
    pub(in crate::leader) async fn run(mut self) -> Ending {
        let ended = match caught_async(self.drive()).await {
            Ok(ending) => caught_async(self.shut_down(ending.clone())).await.map(|()| ending),
            Err(panicked) => Err(panicked),
        };
        let panicked = match ended {
            Ok(ending) => return ending,
            Err(panicked) => panicked,
        };
        tracing::error!(leader = %self.leader, "the leader {panicked}");
        let ending = Ending::Panicked { message: panicked.to_string() };
        self.notices.failed(&ending.clone().into());
        for (_, channels) in self.jobs.drain() {
            channels.abandon(ending.clone().into());
        }
        // The state of the engine means nothing after a panic. What follows needs none of it, and
        // only spares the workers and the broker some work.
        let _ = caught_async(self.disconnect(&mut Vec::new())).await;
        ending
    }

    /// Ends all jobs, and deletes the reply queue.
    async fn shut_down(&mut self, ending: Ending) {
        let mut ends = Vec::new();
        for action in self.engine.step(Input::Close(ending)) {
            match action {
                Action::End { job, progress, result } => {
                    ends.push(JobEnd { job, progress, result });
                }
                action => self.act(action),
            }
        }
        self.disconnect(&mut ends).await;
        // Last, because the process may end as soon as a reader sees the end of its job.
        ends.into_iter().for_each(|end| self.end(end));
    }

    /// Announces that all jobs are dead, deletes the reply queue, and disconnects. Adds the ends of
    /// jobs that waited for the deletion of their queues to `ends`.
    async fn disconnect(&mut self, ends: &mut Vec<JobEnd>) {
        // Tasks in flight are no longer needed; the announcement that their jobs are dead is.
        self.publisher.clear();
        self.publish_end();
        let close = async {
            while self.publisher.next().await.is_some() {}
            self.shuffle.close(ends).await;
            self.dead_letters.flush().await;
            // First: a consumer whose queue is deleted under it declares the queue again.
            self.replies.cancel().await;
            if let Err(error) = self.broker.delete(&reply_queue(self.leader)).await {
                tracing::debug!(%error, "could not delete the reply queue; leaving it to expire");
            }
            self.broker.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
            tracing::warn!(leader = %self.leader, "timed out while disconnecting from the broker");
        }
    }
}
