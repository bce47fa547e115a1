//! Consumes the tasks of one pool.

use std::{sync::Arc, time::Duration};

use phalanx_core::broker::{BrokerError, ConsumeOptions, Consumer, Consumption, Pool, QueueSpec};
use tokio::time::Instant;

use super::{
    TaskIntake,
    prefetch::{Load, PrefetchController},
    triage::triage,
};
use crate::reply::RefusalBackoff;

/// Deliveries that are triaged before other events of the loop get their turn.
const DELIVERIES_PER_TURN: usize = 64;

/// The shortest interval between two adjustments of the prefetch.
const ADJUST_INTERVAL: Duration = Duration::from_millis(50);

/// The pause before consuming again after the connection was lost.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The same pause after the node of the queue was lost, and after a refusal: both last a while.
const LONG_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Consumes the tasks of `pool` until the worker drains.
///
/// # Errors
/// If the queue cannot be used at first, or the broker was closed.
pub(crate) async fn consume(intake: Arc<TaskIntake>, pool: Pool) -> Result<(), BrokerError> {
    let shutdown = intake.shared.shutdown();
    let mut consumer = PoolConsumer::new(&intake, pool);
    tokio::select! {
        () = intake.leaders.introduced() => {}
        () = shutdown.draining() => return Ok(()),
    }
    while let Some(pause) = consumer.consume_until_refusal().await? {
        tracing::warn!(queue = ?consumer.queue, ?pause, "pausing consumption after refusals");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = intake.executor.leased().relieved() => {}
            () = shutdown.draining() => return Ok(()),
        }
    }
    Ok(())
}

/// The consumer of one pool across pauses and reconnects.
struct PoolConsumer<'i> {
    intake: &'i TaskIntake,
    queue: QueueSpec,
    backoff: Arc<RefusalBackoff>,
    prefetch: PrefetchController,
    /// When the prefetch was adjusted last.
    adjusted: Instant,
    /// The generation of the last connection on which this worker has waited for leaders.
    generation: u64,
    /// Whether it has consumed before. A refusal is then likely to pass, for example one while the
    /// virtual host is deleted and made again.
    has_consumed: bool,
}

impl<'i> PoolConsumer<'i> {
    fn new(intake: &'i TaskIntake, pool: Pool) -> Self {
        let options = intake.shared.options();
        let (slots, async_slots, pools) = (options.slots, options.async_slots, options.pools.len());
        Self {
            intake,
            queue: QueueSpec::Task { pool },
            backoff: Arc::new(RefusalBackoff::default()),
            prefetch: PrefetchController::new(slots, async_slots, pools),
            adjusted: Instant::now(),
            generation: intake.shared.generation(),
            has_consumed: false,
        }
    }

    /// Consumes until a task is refused. Returns how long to pause, or `None` when the worker
    /// drains.
    async fn consume_until_refusal(&mut self) -> Result<Option<Duration>, BrokerError> {
        let Some(mut consumer) = self.subscribe().await? else { return Ok(None) };
        // The connection may have changed since this worker last consumed.
        self.await_leaders_on_new_connection().await;
        self.has_consumed = true;
        self.intake.consumer_started();
        let ended = self.receive(&mut *consumer).await;
        self.intake.consumer_ended();
        // No delivery must stay in the consumer during the pause.
        consumer.cancel().await;
        while let Some(consumption) = consumer.next().await {
            if let Consumption::Delivery(delivery) = consumption {
                triage(self.intake, delivery, &self.backoff);
            }
        }
        ended?;
        if self.intake.shared.shutdown().is_draining() {
            return Ok(None);
        }
        // A child process never pauses: no other process could run its tasks.
        let pause = self.backoff.take_pause().filter(|_| !self.intake.shared.is_child());
        Ok(pause.or(Some(Duration::ZERO)))
    }

    /// Starts a consumer; `None` if the worker drains first.
    async fn subscribe(&self) -> Result<Option<Box<dyn Consumer>>, BrokerError> {
        let shared = &self.intake.shared;
        // After a refusal, one delivery at a time until a task succeeds: each may be refused again.
        let prefetch = if self.backoff.is_cautious() { 1 } else { self.prefetch.prefetch() };
        let options = ConsumeOptions::new(prefetch);
        let mut last_logged = None;
        loop {
            let consumer = tokio::select! {
                () = shared.shutdown().draining() => return Ok(None),
                consumer = shared.broker().consume(&self.queue, options) => consumer,
            };
            let error = match consumer {
                Ok(consumer) => return Ok(Some(consumer)),
                Err(error) => error,
            };
            let pause = match error {
                BrokerError::Lost { .. } => RETRY_PAUSE,
                BrokerError::Closed => return Err(error),
                BrokerError::NodeDown { .. } => LONG_RETRY_PAUSE,
                _ if self.has_consumed => LONG_RETRY_PAUSE,
                _ => return Err(error),
            };
            // A refusal may last for days, and is logged only once.
            let is_refused = !matches!(error, BrokerError::Lost { .. });
            let error = error.to_string();
            if is_refused && last_logged.as_ref() != Some(&error) {
                tracing::warn!(error, queue = ?self.queue, "cannot consume yet; trying again");
                last_logged = Some(error);
            }
            let mut health = shared.broker().health();
            tokio::select! {
                () = shared.shutdown().draining() => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = shared.shutdown().draining() => return Ok(None),
                _ = health.wait_for(|health| health.connected) => {}
            }
        }
    }

    /// Triages deliveries until a task is refused or the worker drains.
    async fn receive(&mut self, consumer: &mut dyn Consumer) -> Result<(), BrokerError> {
        let mut is_cautious = self.backoff.is_cautious();
        loop {
            // Cancel-safe: `Consumer::next` loses no delivery when it is dropped.
            tokio::select! {
                biased;
                () = self.intake.shared.shutdown().draining() => return Ok(()),
                () = self.backoff.changed() => {}
                consumption = consumer.next() => {
                    // Only the caller cancels the consumer, after this loop. If it ends by itself,
                    // the broker was closed.
                    let mut next = Some(consumption.ok_or(BrokerError::Closed)?);
                    for triaged in 1.. {
                        match next {
                            Some(Consumption::Delivery(delivery)) => {
                                triage(self.intake, delivery, &self.backoff);
                            }
                            Some(Consumption::Resumed { .. }) => {
                                self.await_leaders_on_new_connection().await;
                            }
                            None => break,
                        }
                        let has_turn = triaged < DELIVERIES_PER_TURN;
                        next = if has_turn { consumer.try_next() } else { None };
                    }
                }
                // When this worker holds as many tasks as it may and they run for long, no delivery
                // wakes this loop, although asynchronous tasks may need a larger prefetch.
                () = tokio::time::sleep_until(self.adjusted + ADJUST_INTERVAL),
                    if !is_cautious && !self.intake.replies.is_idle() => {}
            }
            if self.backoff.is_pause_due() {
                return Ok(());
            }
            if is_cautious && !self.backoff.is_cautious() {
                is_cautious = false;
                consumer.set_prefetch(self.prefetch.prefetch()).await;
            } else if !is_cautious && self.adjusted.elapsed() >= ADJUST_INTERVAL {
                self.adjusted = Instant::now();
                if self.prefetch.adjust(self.load()) {
                    consumer.set_prefetch(self.prefetch.prefetch()).await;
                }
            }
        }
    }

    /// On a new connection, gives leaders the time to announce which jobs are dead (rule 21).
    async fn await_leaders_on_new_connection(&mut self) {
        let shared = &self.intake.shared;
        let generation = shared.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(shared.options().leader_wait) => {}
            () = self.intake.leaders.next_alive() => {}
            () = shared.shutdown().draining() => {}
        }
    }

    fn load(&self) -> Load {
        let executor = &self.intake.executor;
        Load {
            mean_run_time: executor.executions().mean_run_time(),
            starved: executor.take_starved(),
            leased: executor.leased().blocking(),
            running_async: executor.running_async(),
        }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        broker::{Exchange, Message},
        wire::{Control, Event},
    };

    use super::*;
    use crate::{
        Exit,
        testing::{TestOp, TestRig, at_once, eventually},
    };

    /// Longer than any work that is due.
    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn consumption_pauses_for_longer_after_each_refusal() {
        let rig = TestRig::start(|_| {});
        for _ in 0..4 {
            rig.send(&[TestOp::Unknown], &["a"]);
        }
        // The prefetch is two: two tasks are refused at once, and the others stay in the queue.
        tokio::time::sleep(MOMENT).await;
        assert_eq!((rig.replies().len(), rig.broker.consumers()), (2, 0));
        for (pause, replies) in [(1, 3), (2, 4)] {
            tokio::time::sleep(Duration::from_secs(pause) - 2 * MOMENT).await;
            assert_eq!(rig.replies().len(), replies - 1);
            tokio::time::sleep(3 * MOMENT).await;
            assert_eq!(rig.replies().len(), replies);
        }
        // After a pause of four seconds, consumption resumes with a prefetch of one.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(rig.broker.consumers(), 1);
        assert_eq!(rig.broker.prefetches(), [2, 1, 1, 1]);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_refused_consumer_ends_a_worker_only_before_it_has_consumed() {
        let denied = || BrokerError::Denied { what: "a queue".into(), reason: "403".into() };
        let rig = TestRig::start(|_| {});
        eventually("it consumes", || rig.broker.consumers() == 1).await;
        rig.broker.refuse_consumers(Some(denied()));
        // The refused task makes the worker consume again.
        rig.send(&[TestOp::Unknown], &["a"]);
        rig.after_settled(1).await;
        tokio::time::pause();
        rig.pass_beside_leader(Duration::from_secs(60)).await;
        assert_eq!((rig.broker.consumers(), rig.broker.prefetches().len()), (0, 1));
        rig.broker.refuse_consumers(None);
        tokio::time::sleep(2 * LONG_RETRY_PAUSE).await;
        tokio::time::resume();
        let number = rig.send(&[TestOp::Append('x')], &["a"]);
        rig.result(number).await;
        rig.assert_settled_once();

        let never = TestRig::start(|_| {});
        never.broker.refuse_consumers(Some(denied()));
        let exit = never.worker.finished().await;
        assert!(matches!(exit, Exit::Broker(BrokerError::Denied { .. })), "{exit:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconnected_worker_hears_from_a_leader_before_it_consumes_tasks() {
        let rig = TestRig::start(|options| options.leader_wait = Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        for heard in [false, true] {
            let before = rig.broker.delivered();
            rig.broker.reconnect();
            rig.send(&[TestOp::Append('x')], &["a"]);
            tokio::time::sleep(Duration::from_millis(980)).await;
            assert_eq!(rig.broker.delivered(), before);
            if heard {
                let leader = rig.leader;
                rig.send_control(&Control::Alive {
                    leader,
                    heartbeat: 1,
                    up_to: None,
                    live: vec![],
                    asks_for_operations: false,
                });
                at_once("it is consumed", || rig.broker.delivered() > before).await;
            } else {
                tokio::time::sleep(2 * MOMENT).await;
                at_once("it is consumed", || rig.broker.delivered() > before).await;
            }
        }
        let events = rig.broker.published(Exchange::Event);
        let is_hello = |event: &Message| matches!(Event::decode(&event.body), Ok(Event::Hello(_)));
        assert_eq!(events.iter().filter(|event| is_hello(event)).count(), 3);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_success_restores_the_prefetch() {
        let rig = TestRig::start(|_| {});
        rig.send(&[TestOp::Unknown], &["a"]);
        rig.after_settled(1).await;
        rig.send(&[TestOp::Append('x')], &["a"]);
        rig.after_settled(2).await;
        eventually("the prefetch is restored", || rig.broker.prefetches().starts_with(&[2, 1, 2]))
            .await;
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn asynchronous_tasks_do_not_wait_for_blocking_ones() {
        let rig = TestRig::start(|_| {});
        rig.send(&[TestOp::WaitOn('a')], &["a"]);
        eventually("the slot is busy", || rig.operations.ran().len() == 1).await;
        for _ in 0..10 {
            rig.send(&[TestOp::AppendAsync('x')], &["b"]);
        }
        rig.after_settled(10).await;
        rig.operations.open_gate();
        rig.after_settled(11).await;
        rig.assert_settled_once();
    }
}
