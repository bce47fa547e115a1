//! Deliveries that still owe their leader a reply.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use phalanx_core::{
    broker::{Delivery, MessageKind, Settle},
    id::WorkerId,
    registry::Refusal,
    wire::{
        GatheredElement, Outcome, ProbeReply, ResultHeader, ResultMessage, Return, ReturnReason,
        WireError,
    },
};
use tokio::sync::mpsc;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{OutputStream, RefusalBackoff, ReplyAddress, SharedDelivery, SpreadReply};

/// A delivery that still owes its leader a reply. If it is dropped, the broker requeues the
/// delivery.
#[must_use = "every delivery owes its leader a reply"]
pub(crate) struct PendingReply {
    delivery: Arc<SharedDelivery>,
    address: ReplyAddress,
    sender: Arc<ReplySender>,
    backoff: Arc<RefusalBackoff>,
    /// Held until the broker has the reply: a drain waits for it.
    unpublished: TaskTrackerToken,
}

/// Queues the replies of one worker for [`publish_replies`](super::publish_replies).
#[derive(Debug)]
pub(crate) struct ReplySender {
    worker: WorkerId,
    /// Unbounded because slot threads must not wait for it. Each reply belongs to an unsettled
    /// delivery, which the prefetch bounds, or to a leased slot.
    queue: mpsc::UnboundedSender<OutgoingReply>,
    unpublished: TaskTracker,
}

/// A reply to a delivery that was not returned.
#[expect(clippy::large_enum_variant, reason = "nearly all replies are results, and none is kept")]
pub(crate) enum Reply {
    /// The outcome of each element of the batch.
    Result {
        message: ResultMessage,
        /// The step that is blamed if the only element's output is too large for the broker.
        last_step: u32,
        /// What is published before it.
        preceding: Option<Preceding>,
    },
    Probe(ProbeReply),
}

/// What queues must have before a result is published (rules 30 and 39).
pub(crate) enum Preceding {
    /// The blocks of an exchange.
    Blocks(SpreadReply),
    /// Outputs, most of which have been published while the task ran.
    Outputs(OutputStream),
}

/// A reply on its way to the broker.
pub(crate) struct OutgoingReply {
    pub(crate) content: OutgoingBody,
    pub(super) pending: PendingReply,
}

/// What is published for a reply.
pub(crate) struct OutgoingBody {
    pub(crate) kind: MessageKind,
    pub(crate) body: Bytes,
    /// The header of a result and its last step, to make a smaller reply if the body is too large.
    pub(super) result: Option<(ResultHeader, u32)>,
    /// What is published before.
    pub(super) preceding: Option<Preceding>,
}

impl ReplySender {
    pub(crate) fn new(worker: WorkerId) -> (Arc<Self>, mpsc::UnboundedReceiver<OutgoingReply>) {
        let (queue, outgoing) = mpsc::unbounded_channel();
        let unpublished = TaskTracker::new();
        (Arc::new(Self { worker, queue, unpublished }), outgoing)
    }

    /// Takes charge of a delivery. Refusals are counted in `backoff`.
    pub(crate) fn pending(
        self: &Arc<Self>,
        delivery: Delivery,
        address: ReplyAddress,
        backoff: &Arc<RefusalBackoff>,
    ) -> PendingReply {
        PendingReply {
            delivery: Arc::new(SharedDelivery::new(delivery)),
            address,
            sender: Arc::clone(self),
            backoff: Arc::clone(backoff),
            unpublished: self.unpublished.token(),
        }
    }

    /// Whether no reply is owed.
    pub(crate) fn is_idle(&self) -> bool {
        self.unpublished.is_empty()
    }

    /// Resolves when no reply is owed any more; call it when no more deliveries arrive.
    /// Cancel-safe.
    pub(crate) async fn all_published(&self) {
        self.unpublished.close();
        self.unpublished.wait().await;
    }
}

impl PendingReply {
    pub(super) fn address(&self) -> ReplyAddress {
        self.address
    }

    /// The delivery, which is dropped once the broker has the reply.
    pub(crate) fn delivery(&self) -> Weak<SharedDelivery> {
        Arc::downgrade(&self.delivery)
    }

    /// Replies to a task that was run, or to a probe.
    pub(crate) fn reply(self, reply: Reply) {
        let (kind, encoded, result, preceding) = match reply {
            Reply::Probe(reply) => (MessageKind::ProbeReply, reply.encode(), None, None),
            Reply::Result { message, last_step, preceding } => {
                let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
                if message.header.segments.iter().any(|segment| done(&segment.outcome)) {
                    self.backoff.succeeded();
                }
                let encoded = message.encode();
                (MessageKind::Result, encoded, Some((message.header, last_step)), preceding)
            }
        };
        match encoded {
            Ok(body) => self.send(OutgoingBody { kind, body, result, preceding }),
            Err(error) => self.refuse(Refusal::Message { reason: error.to_string() }),
        }
    }

    /// Returns a task that this worker cannot run. If another worker might be able to, the intake
    /// backs off, so that this worker does not take all such tasks from the others.
    pub(crate) fn refuse(self, refusal: Refusal) {
        if !matches!(refusal, Refusal::Message { .. } | Refusal::Undecodable { .. }) {
            self.backoff.refused();
        }
        let offset = match &refusal {
            Refusal::Undecodable { offset, .. } => Some(*offset),
            _ => None,
        };
        tracing::warn!(copy = ?self.address.copy, %refusal, "refused a task; returning it");
        self.return_unrun(ReturnReason::Refused(refusal), offset);
    }

    /// Returns a task that could wait for hours because all slots are leased. The intake backs off:
    /// other workers may have free slots.
    pub(crate) fn return_and_back_off(self) {
        self.backoff.refused();
        self.return_unrun(ReturnReason::NotStarted, None);
    }

    /// Returns a task that was not run; `offset` is the element at fault, if one is.
    pub(crate) fn return_unrun(self, reason: ReturnReason, offset: Option<u32>) {
        self.return_failed(reason, offset, None);
    }

    /// The same, with what is known about that element.
    pub(crate) fn return_failed(
        self,
        reason: ReturnReason,
        offset: Option<u32>,
        element: Option<GatheredElement>,
    ) {
        match self.encode_return(reason, offset, element) {
            Ok(body) => {
                let kind = MessageKind::Return;
                self.send(OutgoingBody { kind, body, result: None, preceding: None });
            }
            // Every return encodes. If one did not, the broker would redeliver the task to another
            // worker.
            Err(error) => {
                tracing::error!(%error, "could not encode a return; requeueing the task");
                self.delivery.settle(Settle::Requeue);
            }
        }
    }

    /// Acks without a reply: the leader has declared the job dead and waits for none (rule 9).
    pub(crate) fn discard(self) {
        self.delivery.settle(Settle::Ack);
    }

    /// The intake backs off: the broker refuses what this worker writes, and not what others do.
    pub(super) fn back_off(&self) {
        self.backoff.refused();
    }

    pub(super) fn encode_return(
        &self,
        reason: ReturnReason,
        offset: Option<u32>,
        element: Option<GatheredElement>,
    ) -> Result<Bytes, WireError> {
        let element = element.map(Box::new);
        let copy = self.address.copy;
        Return { copy, worker: self.sender.worker, reason, offset, element }.encode()
    }

    /// The slots of the task are free, although its reply is not on its way.
    pub(super) fn vacate(&self) {
        self.delivery.vacate();
    }

    /// Settles the delivery, once the broker has its reply or will never get one.
    pub(super) fn settle(self, settle: Settle) {
        let Self { delivery, unpublished, .. } = self;
        delivery.settle(settle);
        // The leased slot must be free before the drain ends.
        drop(delivery);
        drop(unpublished);
    }

    fn send(self, content: OutgoingBody) {
        let sender = Arc::clone(&self.sender);
        // After a stop nothing is published, and dropping the pending reply requeues the delivery.
        let _ = sender.queue.send(OutgoingReply { content, pending: self });
    }
}
