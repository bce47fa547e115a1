//! One connection from the moment it is open until it is lost, and the link that follows its
//! reconnects.

use std::{io, pin::pin, sync::Arc, time::Duration};

use lapin::Connection;
use phalanx_core::broker::{BrokerError, QueueAction, QueueSpec};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    asked::Asked, close_on_drop::CloseOnDrop, error::Failure, greeting::Greeting,
    socket::SocketHandle, version::ServerVersion,
};

/// How long a request may go without a reply. RabbitMQ itself takes up to a minute to find the node
/// of a queue before it refuses.
const RPC_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a request about a queue may go without a reply, while the broker replies to others,
/// before the node of the queue counts as down. RabbitMQ 3.10 refuses such a request at once, 4.3
/// after 86 s.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// The delay before a request is repeated on the same connection.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// One connection from the moment it is open until it is lost.
pub(crate) struct Session {
    /// The number of this connection among those of its link, from 1.
    pub(crate) generation: u64,
    pub(crate) connection: Connection,
    /// Cancelled when the connection is lost; cancelling it makes the supervisor drop the
    /// connection.
    pub(crate) lost: CancellationToken,
    pub(crate) socket: SocketHandle,
    /// Bounds the channels with requests about queues whose replies may take long.
    pub(crate) requests: Arc<Semaphore>,
    /// These requests.
    pub(crate) asked: Asked,
    pub(crate) greeting: Greeting,
}

impl Session {
    /// What [`Self::requests`] begins with, if the broker allows so many channels (0 means any
    /// number): a quarter of them, and no more than are of use.
    pub(crate) fn bound_of_requests(channels: u16) -> Arc<Semaphore> {
        const MOST: usize = 256;
        let quarter = if channels == 0 { MOST } else { usize::from(channels) / 4 };
        Arc::new(Semaphore::new(quarter.clamp(1, MOST)))
    }

    /// The version of the broker; `None` if it is unknown.
    pub(crate) async fn version(&self) -> Result<Option<ServerVersion>, Failure> {
        let version = self.greeting.version().await;
        version.map_err(|error| Failure::Lost(lapin::Error::from(error)))
    }

    /// The version, if it decides the arguments of the queue.
    pub(crate) async fn version_for(
        &self,
        queue: &QueueSpec,
    ) -> Result<Option<ServerVersion>, Failure> {
        match queue {
            QueueSpec::Shuffle(_) => self.version().await,
            _ => Ok(None),
        }
    }

    /// Waits before a failed request is repeated. Returns early if the connection is lost.
    pub(crate) async fn pause(&self) {
        let _ = timeout(RETRY_DELAY, self.lost.cancelled()).await;
    }

    /// Awaits the reply to a request; `None` if the connection is lost first.
    ///
    /// Drops the connection if no reply comes within [`RPC_TIMEOUT`]: heartbeats alone do not prove
    /// that the broker works. Only a broker that has blocked the connection may take longer.
    pub(crate) async fn rpc<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        let mut request = pin!(self.unless_lost(request));
        loop {
            if let Ok(reply) = timeout(RPC_TIMEOUT, &mut request).await {
                return reply;
            }
            if !self.connection.status().blocked() {
                tracing::warn!(
                    timeout = ?RPC_TIMEOUT,
                    "the broker does not reply to a request; dropping the connection"
                );
                self.lost.cancel();
            }
        }
    }

    /// Whether such a request about a queue has had no reply for [`NODE_TIMEOUT`]: then another one
    /// would wait as long.
    pub(crate) fn waits_for_node(&self, queue: &str, action: Option<QueueAction>) -> bool {
        self.asked.has_waited(queue, action, NODE_TIMEOUT)
    }

    /// Runs requests about queues in a task of their own, which owns their channel and sends the
    /// replies; `None` if there is no room for one more such task within [`NODE_TIMEOUT`].
    ///
    /// The task goes on when nobody waits for it any more, because its channel must not be closed
    /// before the last reply: if the broker refuses at the same time, lapin (4.12.3) drops the whole
    /// connection over the second `channel.close-ok`. It ends with the connection.
    pub(crate) async fn ask<T, F>(
        &self,
        request: impl FnOnce(mpsc::UnboundedSender<T>) -> F,
    ) -> Option<mpsc::UnboundedReceiver<T>>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let permit = Arc::clone(&self.requests).acquire_owned();
        // The semaphore is never closed.
        let permit = timeout(NODE_TIMEOUT, permit).await.ok()?.ok()?;
        let (sender, replies) = mpsc::unbounded_channel();
        let (request, lost) = (request(sender), self.lost.clone());
        tokio::spawn(async move {
            // lapin's own futures may never resolve if the connection dies while they wait.
            tokio::select! {
                () = request => {}
                () = lost.cancelled() => {}
            }
            drop(permit);
        });
        Some(replies)
    }

    /// The next reply to a request about a queue; `None` if its node seems to be down, because the
    /// broker replies to other requests for [`NODE_TIMEOUT`], and not to this one.
    ///
    /// Cancel-safe: a reply stays with its receiver.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn reply<T>(
        &self,
        replies: &mut mpsc::UnboundedReceiver<T>,
    ) -> Result<Option<T>, lapin::Error> {
        loop {
            match timeout(NODE_TIMEOUT, replies.recv()).await {
                Ok(Some(reply)) => return Ok(Some(reply)),
                Ok(None) => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                Err(_) => {}
            }
            // A connection that is blocked, or whose own node hangs, gets no reply to this either.
            if let Ok(another) = self.connection.create_channel().await {
                drop(CloseOnDrop::new(another));
                return Ok(replies.try_recv().ok());
            }
        }
    }

    /// Runs `work` to its end; `None` if the connection is lost first. lapin's own futures may
    /// never resolve if the connection dies while they wait.
    ///
    /// As cancel-safe as `work`, which is dropped when the connection is lost.
    pub(crate) async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = work => Some(output),
            () = self.lost.cancelled() => None,
        }
    }
}

/// Follows one of the two connections of a process through its reconnects.
#[derive(Clone)]
pub(crate) struct Link {
    sessions: watch::Receiver<Option<Arc<Session>>>,
}

impl Link {
    /// A link that follows the sessions sent on `sessions`; it is closed when the sender is
    /// dropped.
    pub(crate) fn new(sessions: watch::Receiver<Option<Arc<Session>>>) -> Self {
        Self { sessions }
    }

    /// The current session, or the next one if there is none; `None` if the broker was closed on
    /// this side.
    pub(crate) async fn session(&self) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.clone();
        let session = sessions.wait_for(|session| {
            session.as_ref().is_some_and(|session| !session.lost.is_cancelled())
        });
        session.await.ok().and_then(|session| session.clone())
    }

    /// Runs `attempt` on the current connection until it succeeds or the broker refuses it; repeats
    /// it after every lost channel or connection.
    ///
    /// # Errors
    /// If the broker refuses, if it was closed on this side, or if the attempt itself repeatedly
    /// makes the broker end the connection.
    pub(crate) async fn retry<T, F>(
        &self,
        attempt: impl Fn(Arc<Session>) -> F,
    ) -> Result<T, BrokerError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        /// The broker ends the connection on protocol violations, and the same attempt would cause
        /// the same violation again.
        const MAX_ENDED_CONNECTIONS: u32 = 5;
        let mut ended = 0;
        loop {
            let session = self.session().await.ok_or(BrokerError::Closed)?;
            let Some(result) = session.rpc(attempt(session.clone())).await else { continue };
            match result {
                Ok(value) => return Ok(value),
                Err(Failure::Refused(error) | Failure::NodeDown(error)) => return Err(error),
                Err(Failure::Lost(error)) => {
                    ended += u32::from(error.is_amqp_hard_error());
                    if ended > MAX_ENDED_CONNECTIONS {
                        return Err(BrokerError::Lost { reason: error.to_string() });
                    }
                    session.pause().await;
                }
            }
        }
    }
}
