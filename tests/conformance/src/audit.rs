//! Watches what is done with deliveries.

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
    Address, Broker, BrokerError, BrokerUrl, Consumer, Consumption, DeclaredQueue, Delivery,
    Exchange, Health, Message, Properties, PublishError, QueueSpec, Settle, Settler,
};
use phalanx_core::id::CopyId;
use tokio::sync::watch;

/// A broker that checks that each delivery is settled exactly once, and that a task is acked only
/// when the broker has its answer (rules 6, 9 and 11 of the protocol).
///
/// When it is dropped with a violation that nobody has asked for, it panics and names it. Where its
/// last owner may be a task, whose panics nobody sees, ask for the report.
#[derive(Debug)]
pub struct DeliveryAudit {
    broker: Arc<dyn Broker>,
    ledger: Arc<Ledger>,
    /// Whether somebody has asked for the report, and answers for what is in it.
    reported: AtomicBool,
}

/// What was done with the deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many were handed out.
    pub deliveries: usize,
    /// How many were acked.
    pub acked: usize,
    /// How many were rejected.
    pub rejected: usize,
    /// How many were requeued, or dropped, which comes to the same.
    pub requeued: usize,
    /// What must not be.
    pub violations: Vec<Violation>,
}

/// What must not be done with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// It was never settled.
    Unsettled(Properties),
    /// It was settled again.
    SettledTwice,
    /// It was acked, and the broker had not confirmed an answer to it.
    AckedUnanswered(Properties),
    /// It was thrown to the dead letters although there was somebody to answer.
    RejectedAnswerable(Properties),
}

/// The leader of a task, as a routing key, and the copy.
type Question = (String, CopyId);

#[derive(Debug, Default)]
struct Ledger {
    /// Whether tasks of dead jobs may be acked without an answer.
    dead_jobs: bool,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    report: Report,
    handed_out: HashMap<u64, Delivery>,
    /// Confirmed answers that no ack has used yet: a copy that was delivered twice needs two.
    answers: HashMap<Question, usize>,
}

impl DeliveryAudit {
    /// Watches this broker.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, ledger: Arc::default(), reported: AtomicBool::new(false) }
    }

    /// Watches this broker, where jobs are cancelled: their tasks are acked without an answer.
    pub fn with_dead_jobs(broker: Arc<dyn Broker>) -> Self {
        let ledger = Arc::new(Ledger { dead_jobs: true, ..Ledger::default() });
        Self { broker, ledger, reported: AtomicBool::new(false) }
    }

    /// What was done so far. What is still out counts as unsettled: ask at the end.
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
        let out = entries.handed_out.values();
        report
            .violations
            .extend(out.map(|delivery| Violation::Unsettled(delivery.message.properties.clone())));
        report
    }

    /// Keeps the delivery and hands out one of its own in its place.
    fn hand_out(self: &Arc<Self>, delivery: Delivery) -> Delivery {
        let (message, redelivered) = (delivery.message.clone(), delivery.redelivered);
        let mut entries = self.entries();
        entries.report.deliveries += 1;
        let tag = entries.report.deliveries as u64;
        entries.handed_out.insert(tag, delivery);
        Delivery::new(message, redelivered, tag, self.clone())
    }

    fn answered(&self, address: &Address, copy: Option<CopyId>) {
        if let (Exchange::Reply, Some(copy)) = (address.exchange, copy) {
            *self.entries().answers.entry((address.key.clone(), copy)).or_default() += 1;
        }
    }
}

impl Entries {
    fn check(&mut self, properties: &Properties, settle: Settle, dead_jobs: bool) {
        let leader = properties.reply_to.map(|leader| leader.to_string());
        let question = leader.zip(properties.copy);
        match settle {
            Settle::Ack => self.report.acked += 1,
            Settle::Reject => self.report.rejected += 1,
            Settle::Requeue => self.report.requeued += 1,
        }
        let Some(question) = question else { return };
        match settle {
            Settle::Ack => match self.answers.get_mut(&question) {
                Some(left) if *left > 0 => *left -= 1,
                _ if dead_jobs => {}
                _ => self.report.violations.push(Violation::AckedUnanswered(properties.clone())),
            },
            Settle::Reject => {
                self.report.violations.push(Violation::RejectedAnswerable(properties.clone()));
            }
            Settle::Requeue => {}
        }
    }
}

impl Settler for Ledger {
    fn settle(&self, tag: u64, settle: Settle) {
        let delivery = {
            let mut entries = self.entries();
            let Some(delivery) = entries.handed_out.remove(&tag) else {
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
        self.ledger.answered(address, copy);
        Ok(())
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        let copy = message.properties.copy;
        let routed = self.broker.publish_mandatory(address, message).await?;
        self.ledger.answered(address, copy);
        Ok(routed)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.broker.consume(queue, prefetch).await?;
        Ok(Box::new(AuditedConsumer { consumer, ledger: self.ledger.clone() }))
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
            Consumption::Delivery(delivery) => {
                Consumption::Delivery(self.ledger.hand_out(delivery))
            }
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

    async fn answer(audit: &DeliveryAudit) {
        let properties = Properties { reply_to: None, ..task().properties };
        let address = Address::replies(leader());
        audit.publish(&address, Message { properties, body: "result".into() }).await.unwrap();
    }

    async fn consumer_of(audit: &DeliveryAudit, copies: usize) -> Box<dyn Consumer> {
        let queue = QueueSpec::Task { pool: Pool::default() };
        let consumer = audit.consume(&queue, 10).await.unwrap();
        for _ in 0..copies {
            audit.publish(&to_tasks(), task()).await.unwrap();
        }
        consumer
    }

    fn audit() -> DeliveryAudit {
        DeliveryAudit::new(Arc::new(InMemoryBroker::new()))
    }

    #[tokio::test]
    async fn an_answer_and_then_an_ack_is_what_is_wanted() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        let delivery = receive(&mut consumer).await;
        answer(&audit).await;
        delivery.settle(Settle::Ack);
    }

    #[tokio::test]
    #[should_panic(expected = "AckedUnanswered")]
    async fn an_ack_before_the_answer_is_named() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        receive(&mut consumer).await.settle(Settle::Ack);
        answer(&audit).await;
    }

    #[tokio::test]
    async fn one_answer_does_not_do_for_two_deliveries() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 2).await;
        let (first, second) = (receive(&mut consumer).await, receive(&mut consumer).await);
        answer(&audit).await;
        first.settle(Settle::Ack);
        second.settle(Settle::Ack);
        assert_eq!(audit.report().violations, [Violation::AckedUnanswered(task().properties)]);
    }

    #[tokio::test]
    #[should_panic(expected = "Unsettled")]
    async fn a_delivery_that_is_kept_for_ever_is_named() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        let _kept = receive(&mut consumer).await;
        drop(audit);
    }

    #[tokio::test]
    async fn a_task_with_a_return_address_must_not_be_rejected() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        receive(&mut consumer).await.settle(Settle::Reject);
        assert_eq!(audit.report().violations, [Violation::RejectedAnswerable(task().properties)]);
    }

    #[tokio::test]
    async fn a_dropped_delivery_counts_as_requeued() {
        let audit = audit();
        let mut consumer = consumer_of(&audit, 1).await;
        drop(receive(&mut consumer).await);
        let again = receive(&mut consumer).await;
        assert!(again.redelivered);
        answer(&audit).await;
        again.settle(Settle::Ack);
        let report = audit.report();
        assert_eq!((report.requeued, report.acked), (1, 1));
        assert!(report.violations.is_empty(), "{report}");
    }

    #[tokio::test]
    async fn the_task_of_a_dead_job_may_go_unanswered() {
        let audit = DeliveryAudit::with_dead_jobs(Arc::new(InMemoryBroker::new()));
        let mut consumer = consumer_of(&audit, 1).await;
        receive(&mut consumer).await.settle(Settle::Ack);
    }
}
