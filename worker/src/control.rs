//! Hearing leaders, and being heard by them.

use std::{sync::Arc, time::Duration};

use phalanx_core::{
    broker::{
        Address, BrokerError, Consumer, Consumption, Message, MessageKind, Properties, QueueSpec,
        Settle,
    },
    wire::{Control, Event, Presence, WIRE_VERSION, timing::HEARTBEAT},
};
use tokio::time::{Instant, MissedTickBehavior};

use crate::engine::Engine;

/// An event that the broker does not take in this time is dropped: the next says the same.
const DEADLINE: Duration = Duration::from_secs(2);

/// Hears leaders and is heard by them, until the broker is closed.
///
/// # Errors
/// When the control queue cannot be used.
pub(crate) async fn listen(engine: Arc<Engine>) -> Result<(), BrokerError> {
    let queue = QueueSpec::control(engine.worker);
    let mut consumer = attach(&engine, &queue).await?;
    let speaker = Speaker { engine: &engine };
    speaker.say(Event::Hello(speaker.presence())).await;
    let mut listened = Some(Instant::now() + engine.options.listen);
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = listened.unwrap_or_else(|| Instant::now() + HEARTBEAT);
        tokio::select! {
            consumption = consumer.next() => match consumption {
                Some(Consumption::Delivery(delivery)) => {
                    let heard = Control::decode(&delivery.message.body);
                    delivery.settle(Settle::Ack);
                    match heard {
                        Ok(control) => {
                            if hear(&engine, control) {
                                engine.listened.cancel();
                                speaker.say(Event::Presence(speaker.presence())).await;
                            }
                        }
                        Err(error) => tracing::warn!(%error, "undecodable control message"),
                    }
                }
                Some(Consumption::Resumed { .. }) => {
                    speaker.say(Event::Hello(speaker.presence())).await;
                }
                None => return Ok(()),
            },
            () = tokio::time::sleep_until(deadline), if listened.is_some() => {
                listened = None;
                engine.listened.cancel();
            }
            _ = heartbeat.tick() => speaker.say(Event::Presence(speaker.presence())).await,
        }
    }
}

async fn attach(engine: &Engine, queue: &QueueSpec) -> Result<Box<dyn Consumer>, BrokerError> {
    /// More than leaders say in the time of a glance.
    const PREFETCH: u16 = 64;
    loop {
        match engine.broker.consume(queue, PREFETCH).await {
            Err(error @ BrokerError::Lost { .. }) => {
                tracing::debug!(%error, "the control queue will be tried again");
                let mut health = engine.broker.health();
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = health.wait_for(|health| health.connected).await;
            }
            other => return other,
        }
    }
}

/// Does what a leader says; `true` when it had not been heard of.
fn hear(engine: &Engine, control: Control) -> bool {
    if let Control::Alive { .. } = control {
        engine.heard.notify_waiters();
    }
    let mut leaders = engine.leaders();
    let first = leaders.hear(control);
    engine.executions.stop_dead(|leader, job| leaders.is_dead(leader, job));
    first
}

/// Says `Bye`.
pub(crate) async fn say_bye(engine: &Engine) {
    Speaker { engine }.say(Event::Bye { worker: engine.worker }).await;
}

struct Speaker<'e> {
    engine: &'e Engine,
}

impl Speaker<'_> {
    fn presence(&self) -> Presence {
        let engine = self.engine;
        let options = &engine.options;
        Presence {
            worker: engine.worker,
            name: options.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pools: options.pools.clone(),
            slots: options.slots as u32,
            async_slots: options.async_slots as u32,
        }
    }

    async fn say(&self, event: Event) {
        let Ok(body) = event.encode() else { return };
        let properties = Properties {
            kind: Some(MessageKind::Event),
            wire_version: WIRE_VERSION,
            ..Properties::default()
        };
        let address = Address::events(self.engine.worker);
        let message = Message { properties, body };
        let said = self.engine.broker.publish(&address, message);
        match tokio::time::timeout(DEADLINE, said).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "nobody hears of this worker for now"),
            Err(_) => tracing::debug!("the broker is slow to take an event"),
        }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        broker::Exchange,
        id::{JobId, LeaderId},
        wire::{NotRunReason, Outcome},
    };

    use super::*;
    use crate::testing::{Bench, TestOp, eventually};

    fn events(bench: &Bench) -> Vec<Event> {
        let said = bench.broker.published(Exchange::Event);
        said.iter().map(|message| Event::decode(&message.body).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_says_hello_and_then_that_it_is_there_every_five_seconds() {
        let bench = Bench::start(|_| {});
        tokio::time::sleep(2 * HEARTBEAT + HEARTBEAT / 2).await;
        let events = events(&bench);
        assert!(matches!(events[..], [Event::Hello(_), Event::Presence(_), Event::Presence(_)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_was_not_known_is_told_at_once() {
        let bench = Bench::start(|_| {});
        let leader = LeaderId::new();
        for heartbeat in 1..4 {
            bench.say(&Control::Alive { leader, heartbeat, up_to: None, live: vec![] });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(matches!(events(&bench)[..], [Event::Hello(_), Event::Presence(_)]));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_taken_after_leaders_had_time_to_say_what_is_dead() {
        let bench = Bench::start(|options| options.listen = Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(990)).await;
        assert_eq!(bench.broker.consumers(), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(bench.broker.consumers(), 1);
        assert!(bench.worker.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_leader_spoke_tasks_are_taken_at_once() {
        let bench = Bench::start(|options| options.listen = Duration::from_secs(1));
        bench.say(&Control::Alive {
            leader: bench.leader,
            heartbeat: 1,
            up_to: None,
            live: vec![],
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(bench.broker.consumers(), 1);
    }

    #[tokio::test]
    async fn a_cancelled_job_ends_while_others_go_on() {
        let bench = Bench::start(|options| options.slots = 2);
        let ended = bench.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        let other = JobId::new();
        let goes_on = bench.send_task(
            vec![crate::testing::reference(TestOp::WaitPolitelyOn('b'), None)],
            &["b"],
            |header| header.job = other,
        );
        eventually("both run", || bench.steps.ran().len() == 2).await;
        bench.say(&Control::Cancel { leader: bench.leader, job: bench.job });
        bench.answered(1).await;
        let reason = NotRunReason::Cancelled;
        assert_eq!(bench.segments(ended)[0].outcome, Outcome::NotRun { reason });
        bench.steps.open_gate();
        bench.answered(2).await;
        assert!(matches!(bench.segments(goes_on)[0].outcome, Outcome::Done { .. }));
        bench.audit();
    }
}
