//! Answers: published, confirmed, and only then is their delivery acked.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, Message, MessageKind, Properties, PublishError, Settle,
    },
    id::{CopyId, LeaderId, WorkerId},
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::{
        Outcome, ProbeReply, ResultHeader, ResultMessage, Return, ReturnReason, WIRE_VERSION,
        WireError,
    },
};
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{claim::Claim, intake::Refusing};

/// How many answers may wait for their confirms at once.
const WINDOW: usize = 256;

/// Pause before an answer is published again; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where to reply, from the properties of a message alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReturnAddress {
    pub(crate) leader: LeaderId,
    /// The copy to reply about; `None` for a probe.
    pub(crate) copy: Option<CopyId>,
}

impl ReturnAddress {
    /// `None` when the message does not say.
    pub(crate) fn of(properties: &Properties) -> Option<Self> {
        let leader = properties.reply_to?;
        match properties.kind {
            Some(MessageKind::Probe) => Some(Self { leader, copy: None }),
            _ => Some(Self { leader, copy: Some(properties.copy?) }),
        }
    }
}

/// A delivery that must be answered, and how.
#[must_use = "a delivery must be answered"]
pub(crate) struct Ticket {
    pub(crate) claim: Arc<Claim>,
    pub(crate) address: ReturnAddress,
    pub(crate) desk: Arc<Desk>,
    pub(crate) refusing: Arc<Refusing>,
    /// LeasedTask until the answer is with the broker: a drain waits for it.
    pub(crate) open: TaskTrackerToken,
}

/// Where answers are handed in.
#[derive(Debug)]
pub(crate) struct Desk {
    worker: WorkerId,
    /// Unbounded because threads that must not wait hand in; each answer is of an unsettled
    /// delivery, which prefetch bounds, or of a slot that was lent.
    queue: mpsc::UnboundedSender<Outgoing>,
}

/// What to say of a task that was run.
pub(crate) enum Answer {
    Result { message: ResultMessage, last_step: u32 },
    Probe(ProbeReply),
}

/// An answer on its way to the broker.
pub(crate) struct Outgoing {
    pub(crate) kind: MessageKind,
    pub(crate) body: Bytes,
    /// What the body was made of, should it be too large: the header, and the last step.
    result: Option<(ResultHeader, u32)>,
    ticket: Ticket,
}

impl Desk {
    pub(crate) fn new(worker: WorkerId) -> (Arc<Self>, mpsc::UnboundedReceiver<Outgoing>) {
        let (queue, outgoing) = mpsc::unbounded_channel();
        (Arc::new(Self { worker, queue }), outgoing)
    }
}

impl Ticket {
    /// Answers a task that was run.
    pub(crate) fn answer(self, answer: Answer) {
        let (kind, encoded, result) = match answer {
            Answer::Probe(reply) => (MessageKind::ProbeReply, reply.encode(), None),
            Answer::Result { message, last_step } => {
                let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
                if message.header.segments.iter().any(|segment| done(&segment.outcome)) {
                    self.refusing.succeeded();
                }
                let encoded = message.encode();
                (MessageKind::Result, encoded, Some((message.header, last_step)))
            }
        };
        match encoded {
            Ok(body) => self.hand_in(kind, body, result),
            Err(error) => self.refuse(Refusal::Message { reason: error.to_string() }),
        }
    }

    /// Answers a task that is not run because this worker cannot. Slows the intake if another
    /// worker might: this one must not take all such tasks from it.
    pub(crate) fn refuse(self, refusal: Refusal) {
        if !matches!(refusal, Refusal::Message { .. } | Refusal::Undecodable { .. }) {
            self.refusing.refused();
        }
        let offset = match &refusal {
            Refusal::Undecodable { offset, .. } => Some(*offset),
            _ => None,
        };
        tracing::warn!(copy = ?self.address.copy, %refusal, "task refused");
        self.give_back(ReturnReason::Refused(refusal), offset);
    }

    /// Gives back a task that would wait here for hours, and stays away a while: other workers may
    /// have room for it.
    pub(crate) fn postpone(self) {
        self.refusing.refused();
        self.give_back(ReturnReason::NotStarted, None);
    }

    /// Answers a task that is not run.
    pub(crate) fn give_back(self, reason: ReturnReason, offset: Option<u32>) {
        match self.returned(reason, offset) {
            Ok(body) => self.hand_in(MessageKind::Return, body, None),
            // It cannot be; should it be after all, the broker gives the task to somebody else.
            Err(error) => {
                tracing::error!(%error, "a return does not encode");
                self.claim.settle(Settle::Requeue);
            }
        }
    }

    /// Acks without an answer: the leader itself said that nobody waits for one (rule 9).
    pub(crate) fn forget(self) {
        self.claim.settle(Settle::Ack);
    }

    fn returned(&self, reason: ReturnReason, offset: Option<u32>) -> Result<Bytes, WireError> {
        let copy = self.address.copy;
        Return { copy, worker: self.desk.worker, reason, offset }.encode()
    }

    fn hand_in(self, kind: MessageKind, body: Bytes, result: Option<(ResultHeader, u32)>) {
        let desk = Arc::clone(&self.desk);
        // After a stop nobody publishes any more, and dropping the ticket puts the delivery back.
        let _ = desk.queue.send(Outgoing { kind, body, result, ticket: self });
    }
}

/// Publishes what is handed in, at most a window at once, until the desk is gone. `silenced` hears
/// when the broker takes no answers of this worker: it had better end than take tasks.
pub(crate) async fn publish_answers(
    broker: Arc<dyn Broker>,
    mut handed_in: mpsc::UnboundedReceiver<Outgoing>,
    silenced: impl Fn(BrokerError),
) {
    let mut window = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            outgoing = handed_in.recv(), if window.len() < WINDOW => match outgoing {
                Some(outgoing) => window.push(publish(&*broker, outgoing, &silenced)),
                None => break,
            },
            Some(()) = window.next() => {}
        }
    }
    while let Some(()) = window.next().await {}
}

/// Publishes one answer until the broker has it, then acks its delivery (rule 11).
async fn publish(broker: &dyn Broker, outgoing: Outgoing, silenced: &impl Fn(BrokerError)) {
    let Outgoing { kind, body, mut result, ticket } = outgoing;
    let ReturnAddress { leader, copy } = ticket.address;
    let address = Address::replies(leader);
    let properties = Properties {
        kind: Some(kind),
        wire_version: WIRE_VERSION,
        copy,
        persistent: true,
        ..Properties::default()
    };
    let mut message = Message { properties, body };
    let mut pause = FIRST_PAUSE;
    let settle = loop {
        match broker.publish(&address, message.clone()).await {
            Ok(()) => break Settle::Ack,
            Err(PublishError::TooLarge { size, limit }) => {
                let Some((header, last_step)) = result.take() else {
                    let reason = format!("a return of {size} bytes where it takes {limit}");
                    silenced(BrokerError::Unusable { what: "the broker".to_owned(), reason });
                    break Settle::Requeue;
                };
                let (kind, smaller) = too_large(&ticket, header, last_step, size, limit);
                let Ok(body) = smaller else { break Settle::Requeue };
                message.properties.kind = Some(kind);
                message.body = body;
            }
            Err(error @ (PublishError::Lost | PublishError::Nacked { .. })) => {
                tracing::debug!(?copy, %error, "answer will be published again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let mut health = broker.health();
                // An error means that the broker object is gone: publishing will say so.
                let _ = health.wait_for(|health| health.is_well()).await;
            }
            Err(PublishError::Closed) => break Settle::Requeue,
            Err(error) => {
                let what = "the exchange of replies".to_owned();
                silenced(BrokerError::Denied { what, reason: error.to_string() });
                break Settle::Requeue;
            }
        }
    };
    let Ticket { claim, open, .. } = ticket;
    claim.settle(settle);
    drop(claim);
    drop(open);
}

/// What to say in place of a result that is larger than the broker takes: of one element that it
/// fails, of several that the leader must split them (rule 19).
fn too_large(
    ticket: &Ticket,
    mut header: ResultHeader,
    last_step: u32,
    size: u64,
    limit: u64,
) -> (MessageKind, Result<Bytes, WireError>) {
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
    let mut all = header.segments.iter_mut().filter(|segment| done(&segment.outcome));
    if let (Some(segment), None) = (all.next(), all.next())
        && segment.to == segment.from + 1
    {
        let message =
            format!("its output makes a message of {size} bytes where the broker takes {limit}");
        let error = OperationError::new(ErrorKind::TooLarge, message);
        segment.outcome = Outcome::Failed { step: last_step, error };
        let message = ResultMessage { header, payload: Bytes::new() };
        return (MessageKind::Result, message.encode());
    }
    (MessageKind::Return, ticket.returned(ReturnReason::TooLarge { size, limit }, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exit,
        testing::{Bench, TestOp, eventually},
    };

    #[tokio::test]
    async fn a_delivery_is_acked_after_its_answer_was_confirmed_and_not_before() {
        let bench = Bench::start(|_| {});
        bench.broker.hold_answers(true);
        bench.send(&[TestOp::Append('x')], &["a"]);
        eventually("the task ran", || bench.steps.ran().len() == 1).await;
        assert!(bench.broker.settled().is_empty());
        bench.broker.hold_answers(false);
        bench.answered(1).await;
        assert_eq!(bench.broker.log(), ["confirm", "settle"]);
        assert_eq!(bench.broker.settled(), [(1, Settle::Ack)]);
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_is_published_again_and_the_task_is_not_run_again() {
        let bench = Bench::start(|_| {});
        bench.broker.refuse_next(PublishError::Lost);
        bench.broker.refuse_next(PublishError::Nacked { reason: "full".to_owned() });
        bench.send(&[TestOp::Append('x')], &["a"]);
        let said = bench.answered(1).await;
        assert_eq!((said.len(), bench.steps.ran().len()), (1, 1));
        bench.audit();
    }

    #[tokio::test]
    async fn an_answer_waits_for_a_broker_that_is_away() {
        let bench = Bench::start(|_| {});
        bench.broker.refuse_next(PublishError::Lost);
        bench.broker.set_connected(false);
        bench.send(&[TestOp::Append('x')], &["a"]);
        eventually("the task ran", || bench.steps.ran().len() == 1).await;
        bench.broker.set_connected(true);
        assert_eq!(bench.answered(1).await.len(), 1);
        bench.audit();
    }

    #[tokio::test]
    async fn a_worker_that_may_not_answer_ends_and_says_why() {
        let bench = Bench::start(|_| {});
        let reason = "no write access".to_owned();
        bench.broker.refuse_next(PublishError::Refused { reason });
        bench.send(&[TestOp::Append('x')], &["a"]);
        let exit = bench.worker.finished().await;
        assert!(matches!(exit, Exit::Broker(BrokerError::Denied { .. })), "{exit:?}");
        assert_eq!(bench.broker.settled(), [(1, Settle::Requeue)]);
    }

    #[tokio::test]
    async fn one_element_too_large_for_the_broker_fails_and_several_are_returned() {
        let bench = Bench::start(|_| {});
        let too_large = PublishError::TooLarge { size: 20, limit: 10 };
        bench.broker.refuse_next(too_large.clone());
        let one = bench.send(&[TestOp::Append('x')], &["a"]);
        bench.answered(1).await;
        let Outcome::Failed { error, .. } = &bench.segments(one)[0].outcome else {
            panic!("not failed")
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge);

        bench.broker.refuse_next(too_large);
        let several = bench.send(&[TestOp::Append('x')], &["a", "b"]);
        bench.answered(2).await;
        assert_eq!(bench.why(several), ReturnReason::TooLarge { size: 20, limit: 10 });
        bench.audit();
    }
}
