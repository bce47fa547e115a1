//! Receives the messages of leaders, and announces the presence of this worker.

use std::{sync::Arc, time::Duration};

use phalanx_core::{
    broker::{
        Address, BrokerError, ConsumeOptions, Consumer, Consumption, Message, MessageKind,
        Properties, QueueSpec, Settle,
    },
    wire::{Control, Event, MAX_LISTED, Presence, WIRE_VERSION, timing::HEARTBEAT},
};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{executor::Executor, leaders::Leaders, shared::Shared};

/// An event that the broker has not confirmed by then is dropped: the next one repeats it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before the control queue is consumed again after the connection was lost.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The prefetch of the control queue: leaders send a few messages every few seconds.
const PREFETCH: u16 = 64;

/// Receives the messages of leaders, and announces the presence of this worker, until the broker is
/// closed.
///
/// # Errors
/// If the control queue cannot be used.
pub(super) async fn listen(
    shared: Arc<Shared>,
    leaders: Arc<Leaders>,
    executor: Arc<Executor>,
) -> Result<(), BrokerError> {
    let queue = QueueSpec::control(shared.worker());
    let mut consumer = subscribe(&shared, &queue).await?;
    publish(&shared, Event::Hello(presence(&shared, &executor))).await;
    let mut introduction_ends = Some(Instant::now() + shared.options().leader_wait);
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = introduction_ends.unwrap_or_else(|| Instant::now() + HEARTBEAT);
        // Cancel-safe: `Consumer::next` loses no delivery, and an interval no tick.
        tokio::select! {
            consumption = consumer.next() => match consumption {
                Some(Consumption::Delivery(delivery)) => {
                    let control = Control::decode(&delivery.message.body);
                    delivery.settle(Settle::Ack);
                    match control {
                        Ok(control) => {
                            let asks = matches!(
                                control,
                                Control::Alive { asks_for_operations: true, .. }
                            );
                            let is_new = leaders.update(control);
                            executor
                                .executions()
                                .stop_dead(|leader, job| leaders.is_dead(leader, job));
                            if is_new {
                                leaders.set_introduced();
                            }
                            if is_new || asks {
                                let mut presence = presence(&shared, &executor);
                                if asks {
                                    presence.operations = operations(&shared).await;
                                }
                                publish(&shared, Event::Presence(presence)).await;
                            }
                        }
                        Err(error) => {
                            tracing::warn!(%error, "ignoring an undecodable control message");
                        }
                    }
                }
                Some(Consumption::Resumed { .. }) => {
                    publish(&shared, Event::Hello(presence(&shared, &executor))).await;
                }
                None => return Ok(()),
            },
            () = tokio::time::sleep_until(deadline), if introduction_ends.is_some() => {
                introduction_ends = None;
                leaders.set_introduced();
            }
            _ = heartbeat.tick() => publish(&shared, Event::Presence(presence(&shared, &executor))).await,
        }
    }
}

async fn subscribe(shared: &Shared, queue: &QueueSpec) -> Result<Box<dyn Consumer>, BrokerError> {
    loop {
        match shared.broker().consume(queue, ConsumeOptions::new(PREFETCH)).await {
            Err(error @ BrokerError::Lost { .. }) => {
                tracing::debug!(%error, "could not consume the control queue; trying again");
                let mut health = shared.broker().health();
                tokio::time::sleep(RETRY_PAUSE).await;
                let _ = health.wait_for(|health| health.connected).await;
            }
            other => return other,
        }
    }
}

/// Announces that this worker ends.
pub(super) async fn publish_bye(shared: &Shared) {
    publish(shared, Event::Bye { worker: shared.worker() }).await;
}

fn presence(shared: &Shared, executor: &Executor) -> Presence {
    let options = shared.options();
    Presence {
        worker: shared.worker(),
        name: options.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pools: options.pools.clone(),
        slots: options.slots as u32,
        async_slots: options.async_slots as u32,
        isolates: executor.children().is_some_and(|children| children.is_able()),
        operations: None,
    }
}

/// The names and fingerprints of the operations of this worker; `None` if there are too many.
async fn operations(shared: &Shared) -> Option<Vec<(String, u64)>> {
    let registry = shared.registry();
    // A fingerprint is made when it is first asked for, which runs code of the operation's types.
    let listed = tokio::task::spawn_blocking(move || {
        let operations = registry.iter().take(MAX_LISTED + 1);
        operations.map(|it| (it.name().to_owned(), it.fingerprint())).collect::<Vec<_>>()
    });
    listed.await.ok().filter(|listed| listed.len() <= MAX_LISTED)
}

/// Publishes an event, which may be lost.
async fn publish(shared: &Shared, event: Event) {
    let Ok(body) = event.encode() else { return };
    let properties = Properties {
        kind: Some(MessageKind::Event),
        wire_version: WIRE_VERSION,
        ..Properties::default()
    };
    let address = Address::events(shared.worker());
    let published = shared.broker().publish(&address, Message { properties, body });
    match tokio::time::timeout(PUBLISH_TIMEOUT, published).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "could not publish an event; dropping it"),
        Err(_) => tracing::debug!("the broker did not confirm an event in time; dropping it"),
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
    use crate::testing::{TestOp, TestRig, eventually};

    fn events(rig: &TestRig) -> Vec<Event> {
        let events = rig.broker.published(Exchange::Event);
        events.iter().map(|message| Event::decode(&message.body).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_publishes_hello_and_then_its_presence_every_five_seconds() {
        let rig = TestRig::start(|_| {});
        tokio::time::sleep(2 * HEARTBEAT + HEARTBEAT / 2).await;
        let events = events(&rig);
        assert!(matches!(events[..], [Event::Hello(_), Event::Presence(_), Event::Presence(_)]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_alive_of_a_leader_is_replied_to_with_a_presence() {
        let rig = TestRig::start(|_| {});
        let leader = LeaderId::new();
        for heartbeat in 1..4 {
            rig.send_control(&Control::Alive {
                leader,
                heartbeat,
                up_to: None,
                live: vec![],
                asks_for_operations: false,
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(matches!(events(&rig)[..], [Event::Hello(_), Event::Presence(_)]));
    }

    #[tokio::test]
    async fn a_leader_that_asks_for_operations_gets_a_presence_that_lists_them() {
        let rig = TestRig::start(|_| {});
        for asks_for_operations in [false, true] {
            rig.send_control(&Control::Alive {
                leader: rig.leader,
                heartbeat: 1,
                up_to: None,
                live: vec![],
                asks_for_operations,
            });
        }
        let listed = || {
            events(&rig).into_iter().find_map(|event| match event {
                Event::Presence(Presence { operations: Some(operations), .. }) => Some(operations),
                _ => None,
            })
        };
        eventually("the operations", || listed().is_some()).await;
        let step = rig.step(&TestOp::Append('x'));
        assert!(listed().unwrap().contains(&(step.name, step.fingerprint)));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_consumed_after_leaders_had_time_to_announce_dead_jobs() {
        let rig = TestRig::start(|options| options.leader_wait = Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(990)).await;
        assert_eq!(rig.broker.consumers(), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rig.broker.consumers(), 1);
        assert!(rig.worker.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_consumed_as_soon_as_the_first_alive_arrives() {
        let rig = TestRig::start(|options| options.leader_wait = Duration::from_secs(1));
        rig.send_control(&Control::Alive {
            leader: rig.leader,
            heartbeat: 1,
            up_to: None,
            live: vec![],
            asks_for_operations: false,
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(rig.broker.consumers(), 1);
    }

    #[tokio::test]
    async fn a_cancelled_job_ends_while_others_continue() {
        let rig = TestRig::start(|options| options.slots = 2);
        let ended = rig.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        let other = JobId::new();
        let goes_on =
            rig.send_task(vec![rig.step(&TestOp::WaitPolitelyOn('b'))], &["b"], |header| {
                header.job = other
            });
        eventually("both run", || rig.operations.ran().len() == 2).await;
        rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
        rig.after_settled(1).await;
        let reason = NotRunReason::Cancelled;
        assert_eq!(rig.segments(ended)[0].outcome, Outcome::NotRun { reason });
        rig.operations.open_gate();
        rig.after_settled(2).await;
        assert!(matches!(rig.segments(goes_on)[0].outcome, Outcome::Done { .. }));
        rig.assert_settled_once();
    }
}
