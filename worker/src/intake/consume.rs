//! Consuming the tasks of one pool.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use phalanx_core::broker::{BrokerError, Consumer, Consumption, Pool, QueueSpec};
use tokio::time::Instant;

use super::{
    Refusing,
    pace::{Pace, Sample},
    sort::sort,
};
use crate::engine::Engine;

/// Deliveries taken in one go before others get their turn.
const GO: usize = 64;

/// How often the prefetch is thought over, at most.
const PACE: Duration = Duration::from_millis(50);

/// Consumes the tasks of `pool` until the worker drains.
///
/// # Errors
/// When the queue cannot be used, or the broker was closed.
pub(crate) async fn consume(engine: Arc<Engine>, pool: Pool) -> Result<(), BrokerError> {
    let refusing = Arc::new(Refusing::default());
    let options = &engine.options;
    let pace = Pace::new(options.slots, options.async_slots, options.pools.len());
    let queue = QueueSpec::Task { pool };
    let looked = Instant::now();
    let generation = engine.generation();
    let mut intake = Intake { engine: &engine, queue, refusing, pace, looked, generation };
    tokio::select! {
        () = engine.listened.cancelled() => {}
        () = engine.draining.cancelled() => return Ok(()),
    }
    while let Some(pause) = intake.serve().await? {
        tracing::warn!(queue = ?intake.queue, ?pause, "staying away after refusals");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = engine.lent.relieved() => {}
            () = engine.draining.cancelled() => return Ok(()),
        }
    }
    Ok(())
}

struct Intake<'e> {
    engine: &'e Arc<Engine>,
    queue: QueueSpec,
    refusing: Arc<Refusing>,
    pace: Pace,
    /// When the pace was looked at last.
    looked: Instant,
    /// The connection on which leaders have had the time to be heard.
    generation: u64,
}

impl Intake<'_> {
    /// Takes what comes; returns how long to stay away, or `None` when the worker drains.
    async fn serve(&mut self) -> Result<Option<Duration>, BrokerError> {
        let Some(mut consumer) = self.attach().await? else { return Ok(None) };
        // The connection may have been another when this worker last took tasks.
        self.listen().await;
        self.engine.attach();
        let ended = self.take(&mut *consumer).await;
        self.engine.detach();
        // Nothing stays behind in the consumer while it is away.
        consumer.cancel().await;
        while let Some(consumption) = consumer.next().await {
            if let Consumption::Delivery(delivery) = consumption {
                sort(self.engine, delivery, &self.refusing);
            }
        }
        ended?;
        if self.engine.draining.is_cancelled() {
            return Ok(None);
        }
        // Nobody else could take the tasks of a child process.
        let pause = self.refusing.take_pause().filter(|_| !self.engine.is_child());
        Ok(pause.or(Some(Duration::ZERO)))
    }

    /// `None` when the worker drains before a consumer came about.
    async fn attach(&self) -> Result<Option<Box<dyn Consumer>>, BrokerError> {
        // One at a time until something succeeds: each may be refused again.
        let prefetch = if self.refusing.is_wary() { 1 } else { self.pace.prefetch() };
        loop {
            let consumer = tokio::select! {
                () = self.engine.draining.cancelled() => return Ok(None),
                consumer = self.engine.broker.consume(&self.queue, prefetch) => consumer,
            };
            match consumer {
                Err(error @ (BrokerError::Lost { .. } | BrokerError::Away { .. })) => {
                    tracing::debug!(%error, queue = ?self.queue, "consuming will be tried again");
                    let mut health = self.engine.broker.health();
                    // A node takes its time to come back.
                    let is_away = matches!(error, BrokerError::Away { .. });
                    let pause = if is_away { Duration::from_secs(1) } else { PACE };
                    tokio::select! {
                        () = self.engine.draining.cancelled() => return Ok(None),
                        () = tokio::time::sleep(pause) => {}
                    }
                    tokio::select! {
                        () = self.engine.draining.cancelled() => return Ok(None),
                        _ = health.wait_for(|health| health.connected) => {}
                    }
                }
                other => return other.map(Some),
            }
        }
    }

    /// Takes deliveries until something was refused or the worker drains.
    async fn take(&mut self, consumer: &mut dyn Consumer) -> Result<(), BrokerError> {
        let mut is_wary = self.refusing.is_wary();
        loop {
            tokio::select! {
                biased;
                () = self.engine.draining.cancelled() => return Ok(()),
                () = self.refusing.changed() => {}
                consumption = consumer.next() => {
                    // Gone for good: only this loop cancels the consumer, and only behind it.
                    let mut next = Some(consumption.ok_or(BrokerError::Closed)?);
                    for taken in 1.. {
                        match next {
                            Some(Consumption::Delivery(delivery)) => {
                                sort(self.engine, delivery, &self.refusing);
                            }
                            Some(Consumption::Resumed { .. }) => self.listen().await,
                            None => break,
                        }
                        next = if taken < GO { consumer.try_next() } else { None };
                    }
                }
                // When all that may be held is held and runs for long, nothing comes that would
                // lead here: and just then asynchronous tasks want more of them.
                () = tokio::time::sleep_until(self.looked + PACE),
                    if !is_wary && !self.engine.open.is_empty() => {}
            }
            if self.refusing.is_pending() {
                return Ok(());
            }
            if is_wary && !self.refusing.is_wary() {
                is_wary = false;
                consumer.set_prefetch(self.pace.prefetch()).await;
            } else if !is_wary && self.looked.elapsed() >= PACE {
                self.looked = Instant::now();
                if self.pace.learn(self.sample()) {
                    consumer.set_prefetch(self.pace.prefetch()).await;
                }
            }
        }
    }

    /// On a new connection, leaders get the time to say which jobs are dead (rule 21).
    async fn listen(&mut self) {
        let generation = self.engine.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(self.engine.options.listen) => {}
            () = self.engine.heard.notified() => {}
            () = self.engine.draining.cancelled() => {}
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            mean: self.engine.executions.mean(),
            starved: self.engine.slots.take_starved() > 0,
            lent: self.engine.lent.slots(),
            running_async: self.engine.running_async.load(Ordering::Relaxed),
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
    use crate::testing::{Bench, TestOp, at_once, eventually};

    /// Long enough for everything that is due to happen.
    const GLANCE: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn who_refuses_stays_away_longer_and_longer() {
        let bench = Bench::start(|_| {});
        for _ in 0..4 {
            bench.send(&[TestOp::Unknown], &["a"]);
        }
        // Two slots' worth are held already and refused at once; the others wait for it.
        tokio::time::sleep(GLANCE).await;
        assert_eq!((bench.said().len(), bench.broker.consumers()), (2, 0));
        for (pause, answers) in [(1, 3), (2, 4)] {
            tokio::time::sleep(Duration::from_secs(pause) - 2 * GLANCE).await;
            assert_eq!(bench.said().len(), answers - 1);
            tokio::time::sleep(3 * GLANCE).await;
            assert_eq!(bench.said().len(), answers);
        }
        // Away for four seconds, back one at a time.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(bench.broker.consumers(), 1);
        assert_eq!(bench.broker.prefetches(), [2, 1, 1, 1]);
        bench.audit();
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_interruption_leaders_are_listened_to_before_tasks_are_taken() {
        let bench = Bench::start(|options| options.listen = Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        for heard in [false, true] {
            let before = bench.broker.delivered();
            bench.broker.interrupt();
            bench.send(&[TestOp::Append('x')], &["a"]);
            tokio::time::sleep(Duration::from_millis(980)).await;
            assert_eq!(bench.broker.delivered(), before);
            if heard {
                let leader = bench.leader;
                bench.say(&Control::Alive { leader, heartbeat: 1, up_to: None, live: vec![] });
                at_once("it is taken", || bench.broker.delivered() > before).await;
            } else {
                tokio::time::sleep(2 * GLANCE).await;
                at_once("it is taken", || bench.broker.delivered() > before).await;
            }
        }
        let events = bench.broker.published(Exchange::Event);
        let hello = |event: &Message| matches!(Event::decode(&event.body), Ok(Event::Hello(_)));
        assert_eq!(events.iter().filter(|event| hello(event)).count(), 3);
        bench.audit();
    }

    #[tokio::test]
    async fn a_success_brings_the_prefetch_back() {
        let bench = Bench::start(|_| {});
        bench.send(&[TestOp::Unknown], &["a"]);
        bench.answered(1).await;
        bench.send(&[TestOp::Append('x')], &["a"]);
        bench.answered(2).await;
        eventually("the prefetch is back", || bench.broker.prefetches().starts_with(&[2, 1, 2]))
            .await;
        bench.audit();
    }

    #[tokio::test]
    async fn asynchronous_tasks_do_not_wait_behind_blocking_ones() {
        let bench = Bench::start(|_| {});
        bench.send(&[TestOp::WaitOn('a')], &["a"]);
        eventually("the slot is taken", || bench.steps.ran().len() == 1).await;
        for _ in 0..10 {
            bench.send(&[TestOp::AppendSoon('x')], &["b"]);
        }
        bench.answered(10).await;
        bench.steps.open_gate();
        bench.answered(11).await;
        bench.audit();
    }
}
