//! Settles the deliveries of one channel, and sends many acks as one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions},
};
use phalanx_core::broker::{Role, Settle, Settler};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::unacked::{Ack, Unacked};

/// When acks are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AckPolicy {
    /// Acks are sent as soon as this many are pending.
    batch: usize,
    /// How long the first ack of a batch waits for others; `None` sends it as soon as no further
    /// delivery is settled.
    linger: Option<Duration>,
}

impl AckPolicy {
    /// A worker's acks make room for its next tasks, so they are sent at once. A leader acks
    /// results in streams, so it waits for batches.
    pub(crate) fn of(role: Role) -> Self {
        match role {
            Role::Leader => Self { batch: 64, linger: Some(Duration::from_millis(2)) },
            _ => Self { batch: 16, linger: None },
        }
    }
}

/// Settles the deliveries of one channel, as long as one of them is held.
///
/// A new channel gets a new settler. Settling a delivery of a lost channel has no effect and needs
/// none: the broker has requeued that delivery.
pub(crate) struct ChannelSettler {
    /// Bounded by the prefetch: each delivery is settled once.
    commands: mpsc::UnboundedSender<Command>,
}

enum Command {
    Settle(u64, Settle),
    Flush(oneshot::Sender<()>),
}

impl Settler for ChannelSettler {
    fn settle(&self, tag: u64, settle: Settle) {
        // An error means that the channel is gone.
        let _ = self.commands.send(Command::Settle(tag, settle));
    }
}

impl ChannelSettler {
    /// Spawns the task that settles. It owns a clone of the channel, which keeps the channel open.
    pub(crate) fn spawn(
        channel: Channel,
        policy: AckPolicy,
        prefetch: Arc<AtomicU16>,
    ) -> Arc<Self> {
        let (commands, received) = mpsc::unbounded_channel();
        let acker =
            Acker { channel, policy, prefetch, commands: received, unacked: Unacked::default() };
        tokio::spawn(acker.run());
        Arc::new(Self { commands })
    }

    /// Resolves when every settlement so far has been written to the connection.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.commands.send(Command::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }
}

struct Acker {
    channel: Channel,
    policy: AckPolicy,
    /// The prefetch that the consumer asks for. Relaxed: only a hint for the size of batches.
    prefetch: Arc<AtomicU16>,
    commands: mpsc::UnboundedReceiver<Command>,
    unacked: Unacked,
}

impl Acker {
    async fn run(mut self) {
        while let Some(command) = self.commands.recv().await {
            if let Err(error) = self.process_batch(command).await {
                tracing::debug!(%error, "lost the channel and its unsent acks");
                return;
            }
        }
    }

    /// Processes one command and those that follow it, up to a batch, then sends all acks.
    async fn process_batch(&mut self, first: Command) -> Result<(), lapin::Error> {
        let until = self.policy.linger.map(|linger| Instant::now() + linger);
        // At most half of the prefetch may be pending: the broker stops delivering when the whole
        // prefetch is.
        let half = usize::from(self.prefetch.load(Ordering::Relaxed) / 2);
        let batch = self.policy.batch.min(half).max(1);
        let mut flushed = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Settle(tag, settle) => self.settle(tag, settle).await?,
                Command::Flush(done) => flushed.push(done),
            }
            if self.unacked.pending() >= batch || !flushed.is_empty() {
                break;
            }
            next = match (self.commands.try_recv(), until) {
                (Ok(command), _) => Some(command),
                (Err(_), Some(until)) if self.unacked.pending() > 0 => {
                    timeout_at(until, self.commands.recv()).await.ok().flatten()
                }
                _ => None,
            };
        }
        for Ack { tag, multiple } in self.unacked.flush() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
        }
        for done in flushed {
            let _ = done.send(());
        }
        Ok(())
    }

    async fn settle(&mut self, tag: u64, settle: Settle) -> Result<(), lapin::Error> {
        match settle {
            Settle::Ack => {
                self.unacked.ack(tag);
                Ok(())
            }
            Settle::Reject => {
                self.unacked.settle(tag);
                self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await
            }
            Settle::Requeue => {
                self.unacked.settle(tag);
                // Not `basic.reject`: from 4.3 on, that counts as a failed delivery.
                let options = BasicNackOptions { multiple: false, requeue: true };
                self.channel.basic_nack(tag, options).await
            }
        }
    }
}
