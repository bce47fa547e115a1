//! The two ways to end a worker, drain and stop, and the reason.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

use crate::Exit;

/// Whether a worker drains or stops, and why.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    /// Fires when the worker accepts no more tasks.
    draining: CancellationToken,
    /// Fires when everything ends now.
    stopping: CancellationToken,
    exit: OnceLock<Exit>,
}

impl Shutdown {
    /// Makes the worker accept no more tasks. The first reason is kept.
    pub(crate) fn drain(&self, exit: Exit) {
        let _ = self.exit.set(exit);
        self.draining.cancel();
    }

    /// Ends the worker now.
    pub(crate) fn stop(&self) {
        let _ = self.exit.set(Exit::Stopped);
        self.stopping.cancel();
        self.draining.cancel();
    }

    /// The reason for the drain or stop.
    pub(crate) fn exit(&self) -> Exit {
        self.exit.get().cloned().unwrap_or(Exit::Drained)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves when the worker drains or stops. Cancel-safe.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Resolves when the worker stops. Cancel-safe.
    pub(crate) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }
}
