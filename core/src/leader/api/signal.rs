//! Closing a leader on Ctrl-C or SIGTERM.

use std::{io, process};

use tokio::sync::mpsc;

use crate::leader::{engine::Ending, io::Command};

/// The exit code by which shells report a process that was ended by Ctrl-C.
const INTERRUPTED: i32 = 130;
const CTRL_C: &str = "Ctrl-C";

/// Closes the leader at the first signal, and ends the process at the second: closing may hang, and
/// from here on signals no longer end the process by default.
pub(super) async fn close_on_signal(commands: mpsc::WeakUnboundedSender<Command>) {
    if let Err(error) = close_then_exit(commands).await {
        tracing::error!(
            %error,
            "cannot listen for signals; a signal ends this process immediately"
        );
    }
}

async fn close_then_exit(commands: mpsc::WeakUnboundedSender<Command>) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    let signal = signals.next().await?;
    // If the runtime was dropped, there is nothing to close.
    if let Some(commands) = commands.upgrade() {
        tracing::info!(
            "received {signal}; closing the runtime (a second signal ends the process immediately)"
        );
        // An error means that the runtime is closing already.
        let _ = commands.send(Command::Close(Ending::Interrupted { signal }));
    }
    signals.next().await?;
    process::exit(INTERRUPTED)
}

/// SIGTERM and Ctrl-C.
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

    /// The name of the next signal.
    async fn next(&mut self) -> io::Result<&'static str> {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => return Ok("SIGTERM"),
            received = tokio::signal::ctrl_c() => received?,
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await?;
        Ok(CTRL_C)
    }
}
