//! Closing a leader when its process is told to end.

use std::{io, process};

use tokio::sync::mpsc;

use crate::leader::io::Command;

/// What a shell says of a process that ended by ctrl-c.
const INTERRUPTED: i32 = 130;

/// Closes the leader at the first signal, and ends the process at the second: closing may hang, and
/// from now on the system's own reaction is switched off.
pub(super) async fn close_on_signal(commands: mpsc::WeakUnboundedSender<Command>) {
    if let Err(error) = close_then_exit(commands).await {
        tracing::error!(%error, "signals cannot be heard: they end this process at once");
    }
}

async fn close_then_exit(commands: mpsc::WeakUnboundedSender<Command>) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    signals.next().await?;
    // A runtime that is gone has nothing to close.
    if let Some(commands) = commands.upgrade() {
        tracing::info!("told to end: the runtime closes; a second signal ends the process at once");
        // An error means that it closes already.
        let _ = commands.send(Command::Close);
    }
    signals.next().await?;
    process::exit(INTERRUPTED)
}

/// SIGTERM and ctrl-c, as they come.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self { terminate: signal(SignalKind::terminate())? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => Ok(()),
            heard = tokio::signal::ctrl_c() => heard,
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await
    }
}
