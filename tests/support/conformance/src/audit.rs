//! Checks how deliveries are settled.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, Consumption, DeclaredQueue,
    Delivery, Exchange, Health, Message, MessageKind, Properties, PublishError, QueueAction,
    QueueSpec, Settle, Settler, ShuffleQueue,
};
use phalanx_core::id::CopyId;
use tokio::sync::watch;

/// A wrapper around a broker that checks that each delivery is settled exactly once, and that a
/// task is acked only after the broker has confirmed its reply (rules 6, 9 and 11 of the protocol).
///
/// It panics when it is dropped with violations and [`report`](Self::report) was never called. Call
/// `report` if the last owner may be a spawned task, whose panics are lost.
#[derive(Debug)]
pub struct DeliveryAudit {
    broker: Arc<dyn Broker>,
    ledger: Arc<Ledger>,
    /// Whether the caller has requested the report, and handles violations itself.
    reported: AtomicBool,
}

/// How the deliveries were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Deliveries that consumers received.
    pub deliveries: usize,
    /// Deliveries that were acked.
    pub acked: usize,
    /// Deliveries that were rejected.
    pub rejected: usize,
    /// Deliveries that were requeued or dropped, which has the same effect.
    pub requeued: usize,
    /// The violations of the protocol's rules.
    pub violations: Vec<Violation>,
}

/// A broken rule of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A delivery was never settled.
    Unsettled(Properties),
    /// A delivery was settled again.
    SettledTwice,
    /// A task was acked before the broker had confirmed a reply to it.
    AckedWithoutReply(Properties),
    /// A task with a return address was rejected instead of returned.
    RejectedInsteadOfReturned(Properties),
}

/// The leader of a task, as a routing key, and the copy of the task.
type TaskCopy = (String, CopyId);

#[derive(Debug, Default)]
struct Ledger {
    /// Whether tasks may be acked without a reply, as those of cancelled jobs are.
    dead_jobs: bool,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    report: Report,
    unsettled: HashMap<u64, Delivery>,
    /// Confirmed replies that no ack has used yet: a copy that was delivered twice needs two.
    replies: HashMap<TaskCopy, usize>,
}

impl DeliveryAudit {
    /// Audits a broker.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, ledger: Arc::default(), reported: AtomicBool::new(false) }
    }

    /// Audits a broker on which jobs are cancelled: workers ack their tasks without a reply.
    pub fn with_dead_jobs(broker: Arc<dyn Broker>) -> Self {
        let ledger = Arc::new(Ledger { dead_jobs: true, ..Ledger::default() });
        Self { broker, ledger, reported: AtomicBool::new(false) }
    }

    /// The report so far. Call it at the end: an open delivery counts as a violation.
    pub fn report(&self) -> Report {
        self.reported.store(true, Ordering::Relaxed);
        self.ledger.report()
    }
}

impl Drop for DeliveryAudit {
    fn drop(&mut self) {
        if std::thread::panicking() || self.reported.load(Ordering::Relaxed) {
            return;
        }
        let report = self.ledger.report();
        assert!(report.violations.is_empty(), "{report}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} deliveries, {} acked, {} rejected, {} requeued, {} violations",
            self.deliveries,
            self.acked,
            self.rejected,
            self.requeued,
            self.violations.len(),
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n- {violation:?}"))
    }
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> Report {
        let entries = self.entries();
        let mut report = entries.report.clone();
        let unsettled = entries.unsettled.values();
        report.violations.extend(
            unsettled.map(|delivery| Violation::Unsettled(delivery.message.properties.clone())),
        );
        report
    }

    /// Keeps the delivery, and returns another one whose settling is checked.
    fn audited(self: &Arc<Self>, delivery: Delivery) -> Delivery {
        // Reading does not consume them.
        if delivery.message.properties.kind == Some(MessageKind::Block) {
            return delivery;
        }
        let (message, redelivered) = (delivery.message.clone(), delivery.redelivered);
        let mut entries = self.entries();
        entries.report.deliveries += 1;
        let tag = entries.report.deliveries as u64;
        entries.unsettled.insert(tag, delivery);
        Delivery::new(message, redelivered, tag, self.clone())
    }

    fn replied(&self, address: &Address, copy: Option<CopyId>) {
        if let (Exchange::Reply, Some(copy)) = (address.exchange, copy) {
            *self.entries().replies.entry((address.key.clone(), copy)).or_default() += 1;
        }
    }
}

impl Entries {
    fn check(&mut self, properties: &Properties, settle: Settle, dead_jobs: bool) {
        let leader = properties.reply_to.map(|leader| leader.to_string());
        let task_copy = leader.zip(properties.copy);
        match settle {
            Settle::Ack => self.report.acked += 1,
            Settle::Reject => self.report.rejected += 1,
            Settle::Requeue => self.report.requeued += 1,
        }
        let Some(task_copy) = task_copy else { return };
        match settle {
            Settle::Ack => match self.replies.get_mut(&task_copy) {
                Some(left) if *left > 0 => *left -= 1,
                _ if dead_jobs => {}
                _ => self.report.violations.push(Violation::AckedWithoutReply(properties.clone())),
            },
            Settle::Reject => {
                self.report
                    .violations
                    .push(Violation::RejectedInsteadOfReturned(properties.clone()));
            }
            Settle::Requeue => {}
        }
    }
}

impl Settler for Ledger {
    fn settle(&self, tag: u64, settle: Settle) {
        let delivery = {
            let mut entries = self.entries();
            let Some(delivery) = entries.unsettled.remove(&tag) else {
                entries.report.violations.push(Violation::SettledTwice);
                return;
            };
            entries.check(&delivery.message.properties, settle, self.dead_jobs);
            delivery
        };
        delivery.settle(settle);
    }
}

#[async_trait]
impl Broker for DeliveryAudit {
    fn url(&self) -> &BrokerUrl {
        self.broker.url()
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        self.broker.declare(queue).await
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        let copy = message.properties.copy;
        self.broker.publish(address, message).await?;
        self.ledger.replied(address, copy);
        Ok(())
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        let copy = message.properties.copy;
        let routed = self.broker.publish_mandatory(address, message).await?;
        self.ledger.replied(address, copy);
        Ok(routed)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.broker.consume(queue, options).await?;
        Ok(Box::new(AuditedConsumer { consumer, ledger: self.ledger.clone() }))
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        self.broker.manage(action, queues).await
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        self.broker.delete(queue).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.broker.health()
    }

    async fn close(&self) {
        self.broker.close().await;
    }
}

#[derive(Debug)]
struct AuditedConsumer {
    consumer: Box<dyn Consumer>,
    ledger: Arc<Ledger>,
}

impl AuditedConsumer {
    fn audited(&self, consumption: Consumption) -> Consumption {
        match consumption {
            Consumption::Delivery(delivery) => Consumption::Delivery(self.ledger.audited(delivery)),
            resumed @ Consumption::Resumed { .. } => resumed,
        }
    }
}

#[async_trait]
impl Consumer for AuditedConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        let consumption = self.consumer.next().await?;
        Some(self.audited(consumption))
    }

    fn try_next(&mut self) -> Option<Consumption> {
        let consumption = self.consumer.try_next()?;
        Some(self.audited(consumption))
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.consumer.set_prefetch(prefetch).await;
    }

    async fn cancel(&mut self) {
        self.consumer.cancel().await;
    }

    fn error(&self) -> Option<BrokerError> {
        self.consumer.error()
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::broker::{MessageKind, Pool};
    use phalanx_core::id::{LeaderId, TaskNumber};
    use phalanx_inmemory::InMemoryBroker;

    use super::*;
    use crate::tools::{receive, to_tasks};

    fn leader() -> LeaderId {
        static LEADER: std::sync::LazyLock<LeaderId> = std::sync::LazyLock::new(LeaderId::new);
        *LEADER
    }

    fn task() -> Message {
        let properties = Properties {
            kind: Some(MessageKind::Task),
            reply_to: Some(leader()),
            copy: Some(CopyId::new(TaskNumber(1), 1)),
            ..Properties::default()
        };
        Message { properties, body: "task".into() }
    }

    async fn reply(audit: &DeliveryAudit) {
        let properties = Properties { reply_to: None, ..task().properties };
        let address = Address::replies(leader());
        audit.publish(&address, Message { properties, body: "result".into() }).await.unwrap();
    }

    async fn consumer_of(audit: &DeliveryAudit, copies: usize) -> Box<dyn Consumer> {
        let queue = QueueSpec::Task { pool: Pool::default() };
        let consumer = audit.consume(&queue, ConsumeOptions::new(10)).await.unwrap();
        for _ in 0..copies {
            audit.publish(&to_tasks(), task()).await.unwrap();
        }
        consumer
    }

    fn audit() -> DeliveryAudit {
        DeliveryAudit::new(Arc::new(InMemoryBroker::new()))
    }

    #[tokio::test]
    async fn a_reply_followed_by_an_ack_is_no_violation() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        let delivery = receive(&mut consumer).await;
        reply(&audit).await;
        delivery.settle(Settle::Ack);
    }

    #[tokio::test]
    #[should_panic(expected = "AckedWithoutReply")]
    async fn an_ack_before_the_reply_is_a_violation() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        receive(&mut consumer).await.settle(Settle::Ack);
        reply(&audit).await;
    }

    #[tokio::test]
    async fn one_reply_does_not_cover_two_deliveries() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 2).await;
        let (first, second) = (receive(&mut consumer).await, receive(&mut consumer).await);
        reply(&audit).await;
        first.settle(Settle::Ack);
        second.settle(Settle::Ack);
        assert_eq!(audit.report().violations, [Violation::AckedWithoutReply(task().properties)]);
    }

    #[tokio::test]
    #[should_panic(expected = "Unsettled")]
    async fn a_delivery_that_is_never_settled_is_a_violation() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        let _kept = receive(&mut consumer).await;
        drop(audit);
    }

    #[tokio::test]
    async fn rejecting_a_task_with_a_return_address_is_a_violation() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        receive(&mut consumer).await.settle(Settle::Reject);
        assert_eq!(
            audit.report().violations,
            [Violation::RejectedInsteadOfReturned(task().properties)]
        );
    }

    #[tokio::test]
    async fn a_dropped_delivery_counts_as_requeued() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        drop(receive(&mut consumer).await);
        let again = receive(&mut consumer).await;
        assert!(again.redelivered);
        reply(&audit).await;
        again.settle(Settle::Ack);
        let report = audit.report();
        assert_eq!((report.requeued, report.acked), (1, 1));
        assert!(report.violations.is_empty(), "{report}");
    }

    #[tokio::test]
    async fn a_task_of_a_dead_job_needs_no_reply() {
        let audit = DeliveryAudit::with_dead_jobs(Arc::new(InMemoryBroker::new()));
        let mut consumer = consumer_of(&audit, 1).await;
        receive(&mut consumer).await.settle(Settle::Ack);
    }
}
