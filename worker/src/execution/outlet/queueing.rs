//! The outlet of a task whose outputs are more than fit into its reply (rule 39).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use phalanx_core::wire::TaskOutlet;

use super::super::{Running, Stop, running::Progress};

impl Running {
    /// Publishes the outputs in the ledger to the queue of the task, if the task has one and they
    /// are many enough. While the window of the worker is full, the slot waits with its task;
    /// returns how long.
    ///
    /// Cancel-safe: until they are published as a whole, they are in the ledger.
    pub(in crate::execution) async fn queue_outputs(&self) -> Duration {
        let TaskOutlet::Queue { block } = self.task.header.outlet else { return Duration::ZERO };
        let Some(publisher) = &self.publisher else { return Duration::ZERO };
        let bytes = self.progress().ledger.payload_bytes();
        if bytes < block as usize {
            return Duration::ZERO;
        }
        let started = Instant::now();
        let permit = self.enter_window(bytes).await.map(Arc::new);
        let waited = started.elapsed();
        let mut progress = self.progress();
        // Who abandons the execution sends them with its reply.
        if progress.is_replied() {
            return waited;
        }
        let begin = || publisher.begin(&self.task.header, self.execution);
        let Progress { ledger, outputs, .. } = &mut *progress;
        let outputs = outputs.get_or_insert_with(begin);
        for (values, count) in ledger.take_blocks(block as usize) {
            outputs.push(values, count, permit.as_ref());
        }
        if outputs.has_failed() {
            // The task is returned: nothing that it still does counts.
            self.stop(Stop::Cancelled);
        }
        waited
    }
}

impl Progress {
    /// Publishes the outputs that are still in the ledger, if others have been published.
    pub(in crate::execution) fn queue_rest(&mut self) {
        if let Some(outputs) = &mut self.outputs
            && let Some((values, count)) = self.ledger.take_rest()
        {
            outputs.push(values, count, None);
        }
    }
}
