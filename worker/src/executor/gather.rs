//! Lets tasks that read queues gather their blocks before they take a slot.

use std::{sync::Arc, time::Duration};

use phalanx_core::wire::ReturnReason;
use tokio::time::Instant;

use super::Executor;
use crate::{execution::Running, gathering};

/// How long a task that has gathered its blocks waits for a slot (rule 38).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Executor {
    /// Starts an admitted task, after it has gathered its blocks if it reads queues.
    pub(super) fn gather_then(
        self: &Arc<Self>,
        running: Arc<Running>,
        run: impl FnOnce(Arc<Self>, Arc<Running>) + Send + 'static,
    ) {
        let executor = Arc::clone(self);
        let header = &running.task.header;
        if let Some(gathered) = self.shared.take_gathered(header) {
            // The parent of this process has the memory for it, and counts the time.
            running.set_gathered(gathered, None, Duration::ZERO);
            return run(executor, running);
        }
        match gathering::queued(header) {
            None => run(executor, running),
            Some(_) => drop(tokio::spawn(executor.gather(running, run))),
        }
    }

    /// Gathers the blocks of a task, and starts it; or returns it.
    async fn gather(
        self: Arc<Self>,
        running: Arc<Running>,
        run: impl FnOnce(Arc<Self>, Arc<Running>),
    ) {
        let Some(queued) = gathering::queued(&running.task.header) else { return };
        let header = &running.task.header;
        let gather = async {
            let (permit, turn) = self.memory.enter(queued).await?;
            if !running.begin_gathering() {
                return None;
            }
            let begun = Instant::now();
            let broker = &**self.shared.broker();
            let gathered = gathering::gather(broker, &self.memory, permit, header, queued).await;
            Some(gathered.map(|(task, permit)| (task, permit, turn, begun.elapsed())))
        };
        // Cancel-safe: what was read goes back into the queues.
        let gathered = tokio::select! {
            biased;
            // Returned meanwhile, or its job is dead.
            () = running.replied.cancelled() => None,
            () = self.shared.shutdown().draining() => Some(Err(ReturnReason::Draining)),
            gathered = gather => gathered,
        };
        match gathered {
            None => self.executions.remove(&running),
            Some(Err(ReturnReason::Refused(refusal))) => {
                running.refuse(refusal);
                self.executions.remove(&running);
            }
            Some(Err(reason)) => self.return_unrun(&running, reason),
            Some(Ok((task, permit, turn, took))) => {
                running.set_gathered(task, Some(permit), took);
                run(Arc::clone(&self), Arc::clone(&running));
                // The next task gathers when this one runs.
                let waited = tokio::time::timeout(LONGEST_WAIT, running.until_begun()).await;
                drop(turn);
                if waited.is_err() {
                    self.return_unrun(&running, ReturnReason::NotStarted);
                }
            }
        }
    }
}
