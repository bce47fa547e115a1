//! How a worker ends without losing anything.

use std::{sync::Arc, time::Duration};

use phalanx_core::wire::ReturnReason;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    control::say_bye,
    engine::{Engine, give_back},
};

/// How long operations have to end once they were told to, when the grace period is over.
const MOMENT: Duration = Duration::from_millis(500);

/// How long the last answers have to reach the broker.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends a worker that takes no more tasks: gives back what is buffered, waits for what runs, ends
/// it when the grace period is over, answers, and says `Bye`. Bounded by the grace period and two
/// and a half seconds, whether the broker is there or not.
pub(crate) async fn drain(engine: &Arc<Engine>, mut intake: JoinSet<()>) {
    let until = Instant::now() + engine.options.grace;
    take_back(engine);
    // Its last deliveries come back at once; a broker that is away must not hold up the rest.
    let all_in = async { while intake.join_next().await.is_some() {} };
    let _ = tokio::time::timeout_at(until, all_in).await;
    intake.abort_all();
    take_back(engine);
    engine.open.close();
    if tokio::time::timeout_at(until, engine.open.wait()).await.is_err() {
        engine.stop_all();
        if tokio::time::timeout(MOMENT, engine.open.wait()).await.is_err() {
            for running in engine.executions.all() {
                running.abandon();
            }
            let _ = tokio::time::timeout(LAST_WORDS, engine.open.wait()).await;
        }
    }
    if engine.broker.health().borrow().connected {
        say_bye(engine).await;
    }
}

fn take_back(engine: &Engine) {
    for running in engine.slots.take_back() {
        give_back(&running, ReturnReason::Draining);
    }
}
