//! Publishes replies; their deliveries are acked once the broker has confirmed them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, Message, MessageKind, Properties, PublishError, Settle,
    },
    operation::{ErrorKind, OperationError},
    wire::{Outcome, ResultHeader, ResultMessage, ReturnReason, WIRE_VERSION, WireError},
};
use tokio::sync::mpsc;

use super::{OutgoingReply, PendingReply, ReplyAddress};

/// Replies that may wait for their confirms at once.
const UNCONFIRMED_REPLIES: usize = 256;

/// The first pause before a reply is published again. Each further pause is twice as long.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Publishes replies until their sender is dropped. Calls `rejected` when the broker does not
/// accept the replies of this worker: it must not accept further tasks.
pub(crate) async fn publish_replies(
    broker: Arc<dyn Broker>,
    mut replies: mpsc::UnboundedReceiver<OutgoingReply>,
    rejected: impl Fn(BrokerError),
) {
    let mut unconfirmed = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            reply = replies.recv(), if unconfirmed.len() < UNCONFIRMED_REPLIES => match reply {
                Some(reply) => unconfirmed.push(publish(&*broker, reply, &rejected)),
                None => break,
            },
            Some(()) = unconfirmed.next() => {}
        }
    }
    while let Some(()) = unconfirmed.next().await {}
}

/// Publishes one reply until the broker confirms it, then acks its delivery (rule 11).
async fn publish(broker: &dyn Broker, reply: OutgoingReply, rejected: &impl Fn(BrokerError)) {
    let OutgoingReply { kind, body, mut result, pending } = reply;
    let ReplyAddress { leader, copy } = pending.address();
    let address = Address::replies(leader);
    let properties = Properties {
        kind: Some(kind),
        wire_version: WIRE_VERSION,
        copy,
        persistent: true,
        ..Properties::default()
    };
    let mut message = Message { properties, body };
    let mut pause = FIRST_RETRY_PAUSE;
    let settle = loop {
        match broker.publish(&address, message.clone()).await {
            Ok(()) => break Settle::Ack,
            Err(PublishError::TooLarge { size, limit }) => {
                let Some((header, last_step)) = result.take() else {
                    let reason =
                        format!("a return has {size} bytes, but the limit is {limit}; raise it");
                    rejected(BrokerError::Unusable { what: "the broker".to_owned(), reason });
                    break Settle::Requeue;
                };
                let (kind, smaller) = shrink(&pending, header, last_step, size, limit);
                let Ok(body) = smaller else { break Settle::Requeue };
                message.properties.kind = Some(kind);
                message.body = body;
            }
            Err(error @ (PublishError::Lost | PublishError::Nacked { .. })) => {
                tracing::debug!(?copy, %error, "could not publish a reply; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
                let mut health = broker.health();
                // Fails if the broker object is gone; then publishing fails too.
                let _ = health.wait_for(|health| health.is_well()).await;
            }
            Err(PublishError::Closed) => break Settle::Requeue,
            Err(error) => {
                let what = "the exchange of replies".to_owned();
                rejected(BrokerError::Denied { what, reason: error.to_string() });
                break Settle::Requeue;
            }
        }
    };
    pending.settle(settle);
}

/// The reply in place of a result that is larger than the broker accepts: a single element fails,
/// with an error that is short; several are returned, so that the leader splits the task (rule 19).
fn shrink(
    pending: &PendingReply,
    mut header: ResultHeader,
    last_step: u32,
    size: u64,
    limit: u64,
) -> (MessageKind, Result<Bytes, WireError>) {
    let ran = |outcome: &Outcome| !matches!(outcome, Outcome::NotRun { .. });
    let mut all = header.segments.iter_mut().filter(|segment| ran(&segment.outcome));
    if let (Some(segment), None) = (all.next(), all.next())
        && segment.to == segment.from + 1
    {
        let what = match segment.outcome {
            Outcome::Failed { .. } => "error",
            _ => "output",
        };
        let message =
            format!("its {what} needs a message of {size} bytes, but the broker accepts {limit}");
        let error = OperationError::new(ErrorKind::TooLarge, message);
        segment.outcome = Outcome::Failed { step: last_step, error };
        let message = ResultMessage { header, payload: Bytes::new() };
        return (MessageKind::Result, message.encode());
    }
    (MessageKind::Return, pending.encode_return(ReturnReason::TooLarge { size, limit }, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exit,
        testing::{TestOp, TestRig, eventually},
    };

    #[tokio::test]
    async fn a_delivery_is_acked_after_its_reply_was_confirmed_and_not_before() {
        let rig = TestRig::start(|_| {});
        rig.broker.hold_confirms(true);
        rig.send(&[TestOp::Append('x')], &["a"]);
        eventually("the task ran", || rig.operations.ran().len() == 1).await;
        assert!(rig.broker.settled().is_empty());
        rig.broker.hold_confirms(false);
        rig.after_settled(1).await;
        assert_eq!(rig.broker.log(), ["confirm", "settle"]);
        assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
    }

    #[tokio::test]
    async fn a_lost_reply_is_published_again_and_the_task_is_not_run_again() {
        let rig = TestRig::start(|_| {});
        rig.broker.refuse_next(PublishError::Lost);
        rig.broker.refuse_next(PublishError::Nacked { reason: "full".to_owned() });
        rig.send(&[TestOp::Append('x')], &["a"]);
        let replies = rig.after_settled(1).await;
        assert_eq!((replies.len(), rig.operations.ran().len()), (1, 1));
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_reply_waits_until_the_broker_is_connected() {
        let rig = TestRig::start(|_| {});
        rig.broker.refuse_next(PublishError::Lost);
        rig.broker.set_connected(false);
        rig.send(&[TestOp::Append('x')], &["a"]);
        eventually("the task ran", || rig.operations.ran().len() == 1).await;
        rig.broker.set_connected(true);
        assert_eq!(rig.after_settled(1).await.len(), 1);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_worker_whose_replies_are_denied_drains_with_that_reason() {
        let rig = TestRig::start(|_| {});
        let reason = "no write access".to_owned();
        rig.broker.refuse_next(PublishError::Refused { reason });
        rig.send(&[TestOp::Append('x')], &["a"]);
        let exit = rig.worker.finished().await;
        assert!(matches!(exit, Exit::Broker(BrokerError::Denied { .. })), "{exit:?}");
        assert_eq!(rig.broker.settled(), [(1, Settle::Requeue)]);
    }

    #[tokio::test]
    async fn one_element_too_large_for_the_broker_fails_and_several_are_returned() {
        let rig = TestRig::start(|_| {});
        let too_large = PublishError::TooLarge { size: 20, limit: 10 };
        rig.broker.refuse_next(too_large.clone());
        let one = rig.send(&[TestOp::Append('x')], &["a"]);
        rig.after_settled(1).await;
        let Outcome::Failed { error, .. } = &rig.segments(one)[0].outcome else {
            panic!("not failed")
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge);

        rig.broker.refuse_next(too_large);
        let several = rig.send(&[TestOp::Append('x')], &["a", "b"]);
        rig.after_settled(2).await;
        assert_eq!(rig.return_reason(several), ReturnReason::TooLarge { size: 20, limit: 10 });
        rig.assert_settled_once();
    }

    /// The errors are what makes the reply too large, not the only element that is done.
    #[tokio::test]
    async fn a_neighbour_of_elements_with_long_errors_is_not_blamed_for_their_size() {
        let rig = TestRig::start(|_| {});
        let too_large = PublishError::TooLarge { size: 20, limit: 10 };
        rig.broker.refuse_next(too_large.clone());
        let several = rig.send(&[TestOp::FailOn('x')], &["x", "a", "x"]);
        rig.after_settled(1).await;
        assert_eq!(rig.return_reason(several), ReturnReason::TooLarge { size: 20, limit: 10 });

        rig.broker.refuse_next(too_large);
        let one = rig.send(&[TestOp::FailOn('x')], &["x"]);
        rig.after_settled(2).await;
        let Outcome::Failed { error, .. } = &rig.segments(one)[0].outcome else {
            panic!("not failed")
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        rig.assert_settled_once();
    }
}
