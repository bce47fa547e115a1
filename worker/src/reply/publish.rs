//! Publishes replies; their deliveries are acked once the broker has confirmed them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, Message, MessageKind, Properties, PublishError, Settle,
    },
    id::LeaderId,
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::{Outcome, ResultHeader, ResultMessage, ReturnReason, WIRE_VERSION, WireError},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    OutgoingReply, PendingReply, ReplyAddress,
    encodings::without_encodings,
    kept::KeptReplies,
    pending::{OutgoingBody, Preceding},
    spread::SpreadError,
};
use crate::leaders::Leaders;

/// Replies that may wait for their confirms at once. Those whose blocks go first are not among them
/// before their blocks are confirmed: the window of blocks bounds their number.
const UNCONFIRMED_REPLIES: usize = 256;

/// The first pause before a reply is published again. Each further pause is twice as long.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// What became of a reply.
enum Published {
    /// The broker has it, or never will.
    Done,
    /// A queue has it: the leader can be reached.
    Arrived(LeaderId),
    /// The broker has confirmed and dropped it: no queue is bound to the exchange for this leader.
    Unroutable(LeaderId, Message),
}

/// Publishes replies until their sender is dropped. Calls `rejected` when the broker does not
/// accept the replies of this worker: it must not accept further tasks.
///
/// The reply queue of a leader that is alive can be unroutable for a while (rule 16). Its replies
/// are kept and published again, until `leaders` have not heard from it for too long. They keep
/// neither a slot nor their delivery, and no drain waits for them: what is lost with this process,
/// the leader finds missing (rule 12).
pub(crate) async fn publish_replies(
    broker: Arc<dyn Broker>,
    leaders: Arc<Leaders>,
    mut replies: mpsc::UnboundedReceiver<OutgoingReply>,
    rejected: impl Fn(BrokerError),
) {
    let mut kept = KeptReplies::default();
    let mut spreading = FuturesUnordered::new();
    let mut first_tries = FuturesUnordered::new();
    let mut next_tries = FuturesUnordered::new();
    loop {
        let next_try = kept.next_try();
        // Cancel-safe: futures stay in their sets, `recv` loses nothing, and a timer only observes.
        let (published, is_first) = tokio::select! {
            biased;
            reply = replies.recv(), if first_tries.len() < UNCONFIRMED_REPLIES => match reply {
                Some(OutgoingReply { mut content, pending }) => {
                    match content.preceding.take() {
                        Some(preceding) => {
                            spreading.push(publish_preceding(&*broker, &leaders, preceding, content, pending));
                        }
                        None => first_tries.push(publish(&*broker, content, pending, &rejected)),
                    }
                    continue;
                }
                None => break,
            },
            Some(spread) = spreading.next() => {
                if let Some((content, pending)) = spread {
                    first_tries.push(publish(&*broker, content, pending, &rejected));
                }
                continue;
            }
            Some(published) = first_tries.next() => (published, true),
            Some(published) = next_tries.next() => (published, false),
            () = sleep_until(next_try.unwrap_or_else(Instant::now)), if next_try.is_some() => {
                for (leader, reply) in kept.take_due(Instant::now()) {
                    next_tries.push(publish_again(&*broker, leader, reply));
                }
                continue;
            }
        };
        match published {
            Published::Done => {}
            Published::Arrived(leader) => {
                for reply in kept.take_all(leader) {
                    next_tries.push(publish_again(&*broker, leader, reply));
                }
            }
            Published::Unroutable(leader, _) if leaders.unroutable_is_gone(leader) => {
                kept.forget(leader);
            }
            Published::Unroutable(leader, reply) if is_first => {
                kept.keep(leader, reply, Instant::now());
            }
            Published::Unroutable(leader, reply) => {
                kept.still_unroutable(leader, reply, Instant::now());
            }
        }
    }
    // Blocks that are published hold a sender, so that there are none.
    while first_tries.next().await.is_some() {}
}

/// Publishes what precedes a result, and resolves with what is then to be published (rules 30 and 39);
/// `None` if the task is returned, or its delivery settled.
async fn publish_preceding(
    broker: &dyn Broker,
    leaders: &Leaders,
    preceding: Preceding,
    content: OutgoingBody,
    pending: PendingReply,
) -> Option<(OutgoingBody, PendingReply)> {
    pending.vacate();
    let published = match preceding {
        Preceding::Blocks(blocks) => blocks.publish(broker, leaders).await,
        Preceding::Outputs(outputs) => outputs.finish().await,
    };
    let reason = match published {
        Ok(()) => return Some((content, pending)),
        Err(SpreadError::Dead) => {
            pending.settle(Settle::Ack);
            return None;
        }
        Err(SpreadError::Unroutable) => ReturnReason::NotStarted,
        Err(SpreadError::Refused(PublishError::Closed)) => {
            pending.settle(Settle::Requeue);
            return None;
        }
        Err(SpreadError::Refused(PublishError::TooLarge { size, limit })) => {
            ReturnReason::TooLarge { size, limit }
        }
        Err(SpreadError::Refused(error)) => {
            pending.back_off();
            let reason = format!("it cannot publish blocks: {error}");
            ReturnReason::Refused(Refusal::Permission { reason })
        }
    };
    tracing::warn!(?reason, "could not publish the blocks of a task; returning it");
    pending.return_unrun(reason, None);
    None
}

/// Publishes a reply until the broker confirms it, then acks its delivery (rule 11).
async fn publish(
    broker: &dyn Broker,
    content: OutgoingBody,
    pending: PendingReply,
    rejected: &impl Fn(BrokerError),
) -> Published {
    let OutgoingBody { kind, body, mut result, .. } = content;
    let ReplyAddress { leader, copy } = pending.address();
    let properties = Properties {
        kind: Some(kind),
        wire_version: WIRE_VERSION,
        copy,
        persistent: true,
        ..Properties::default()
    };
    let mut message = Message { properties, body };
    let (settle, published) = loop {
        match publish_until_known(broker, leader, &message).await {
            Ok(true) => break (Settle::Ack, Published::Arrived(leader)),
            // Probes are repeated by their leader.
            Ok(false) if kind == MessageKind::ProbeReply => break (Settle::Ack, Published::Done),
            Ok(false) => break (Settle::Ack, Published::Unroutable(leader, message)),
            Err(PublishError::TooLarge { size, limit }) => {
                if let Some(smaller) = without_encodings(kind, &message.body) {
                    message.body = smaller;
                    continue;
                }
                let Some((header, last_step)) = result.take() else {
                    let reason =
                        format!("a return has {size} bytes, but the limit is {limit}; raise it");
                    rejected(BrokerError::Unusable { what: "the broker".to_owned(), reason });
                    break (Settle::Requeue, Published::Done);
                };
                let (kind, smaller) = shrink(&pending, header, last_step, size, limit);
                let Ok(body) = smaller else { break (Settle::Requeue, Published::Done) };
                message.properties.kind = Some(kind);
                message.body = body;
            }
            Err(PublishError::Closed) => break (Settle::Requeue, Published::Done),
            Err(error) => {
                let what = "the exchange of replies".to_owned();
                rejected(BrokerError::Denied { what, reason: error.to_string() });
                break (Settle::Requeue, Published::Done);
            }
        }
    };
    pending.settle(settle);
    published
}

/// Publishes a reply that was unroutable once more. If the broker refuses it, it is dropped.
async fn publish_again(broker: &dyn Broker, leader: LeaderId, reply: Message) -> Published {
    match publish_until_known(broker, leader, &reply).await {
        Ok(true) => Published::Arrived(leader),
        Ok(false) => Published::Unroutable(leader, reply),
        Err(error) => {
            tracing::warn!(%leader, %error, "dropping a reply that was unroutable");
            // As after a reply that arrived: the others are tried for themselves.
            Published::Arrived(leader)
        }
    }
}

/// Publishes a reply until it is known whether a queue has it.
///
/// # Errors
/// If the broker refuses it, or was closed on this side.
async fn publish_until_known(
    broker: &dyn Broker,
    leader: LeaderId,
    message: &Message,
) -> Result<bool, PublishError> {
    let address = Address::replies(leader);
    let mut pause = FIRST_RETRY_PAUSE;
    loop {
        match broker.publish_mandatory(&address, message.clone()).await {
            Err(error @ (PublishError::Lost | PublishError::Nacked { .. })) => {
                let copy = message.properties.copy;
                tracing::debug!(?copy, %error, "could not publish a reply; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
                let mut health = broker.health();
                // Fails if the broker object is gone; then publishing fails too.
                let _ = health.wait_for(|health| health.is_well()).await;
            }
            known => return known,
        }
    }
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
        segment.outcome = Outcome::Failed { step: last_step, error, element: None };
        header.blocks.clear();
        // Those that were published do not count.
        header.spread.clear();
        header.output_blocks = 0;
        header.uncombined = Default::default();
        let message = ResultMessage { header, payload: Bytes::new() };
        return (MessageKind::Result, message.encode());
    }
    (MessageKind::Return, pending.encode_return(ReturnReason::TooLarge { size, limit }, None, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use phalanx_core::wire::timing::FIRST_ALIVE_TIMEOUT;

    use crate::{
        Exit,
        testing::{TestOp, TestRig, at_once, eventually, pass},
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

    /// The second task runs on the slot of the first, and its delivery fits into the prefetch.
    #[tokio::test(start_paused = true)]
    async fn an_unroutable_reply_keeps_no_slot_and_is_published_again_until_it_arrives() {
        let rig = TestRig::start(|_| {});
        rig.broker.set_routable(false);
        let first = rig.send(&[TestOp::Append('x')], &["a"]);
        let second = rig.send(&[TestOp::Append('x')], &["b"]);
        at_once("both are settled", || rig.broker.settled().len() == 2).await;
        assert!(rig.replies().is_empty());
        pass(FIRST_ALIVE_TIMEOUT / 2).await;
        let tries = rig.broker.dropped();
        assert!((3..9).contains(&tries), "the pauses grow: {tries} tries");

        rig.broker.set_routable(true);
        pass(FIRST_ALIVE_TIMEOUT / 2).await;
        assert!(rig.result_of(first).is_some() && rig.result_of(second).is_some());
        assert_eq!((rig.replies().len(), rig.operations.ran().len()), (2, 2));
        rig.assert_settled_once();
    }

    #[tokio::test(start_paused = true)]
    async fn replies_to_a_leader_that_is_gone_are_dropped() {
        let rig = TestRig::start(|_| {});
        rig.broker.set_routable(false);
        rig.send(&[TestOp::Append('x')], &["a"]);
        at_once("it is settled", || rig.broker.settled().len() == 1).await;
        pass(3 * FIRST_ALIVE_TIMEOUT).await;
        let tries = rig.broker.dropped();
        rig.broker.set_routable(true);
        pass(3 * FIRST_ALIVE_TIMEOUT).await;
        assert!(rig.replies().is_empty());

        // Each of its further replies is tried once.
        rig.broker.set_routable(false);
        rig.send(&[TestOp::Append('x')], &["b"]);
        at_once("it is settled", || rig.broker.settled().len() == 2).await;
        pass(3 * FIRST_ALIVE_TIMEOUT).await;
        assert_eq!(rig.broker.dropped(), tries + 1);
    }

    /// No task of this leader has ever run here.
    #[tokio::test(start_paused = true)]
    async fn the_return_of_a_redelivered_task_is_dropped_once_its_leader_is_gone() {
        let rig = TestRig::start(|_| {});
        rig.broker.set_routable(false);
        let (_, message) = rig.message(vec![rig.step(&TestOp::Append('x'))], &["a"], |_| {});
        rig.broker.send_task(message, true);
        at_once("it is settled", || rig.broker.settled().len() == 1).await;
        pass(3 * FIRST_ALIVE_TIMEOUT).await;
        rig.broker.set_routable(true);
        pass(3 * FIRST_ALIVE_TIMEOUT).await;
        assert!(rig.replies().is_empty());
    }
}
