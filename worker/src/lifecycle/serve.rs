//! Runs the parts of a worker until it has ended.

use std::sync::Arc;

use phalanx_core::broker::BrokerError;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Parts, control::listen, drain::drain, leader_timeout::watch_leaders, notices::tell,
    watchdog::watch_timeouts,
};
use crate::{
    intake::consume,
    isolation::reap_idle,
    lease::keep_leases,
    reply::{OutgoingReply, publish_replies},
    shared::Shared,
};

/// Runs the parts of a worker until it has drained or was stopped.
pub(crate) async fn serve(parts: &Parts, outgoing: mpsc::UnboundedReceiver<OutgoingReply>) {
    let Parts { shared, leaders, executor, intake, .. } = parts;
    let rejected = {
        let shared = Arc::clone(shared);
        move |error: BrokerError| {
            tracing::error!(%error, "the broker does not accept replies; draining");
            shared.shutdown().drain(error.into());
        }
    };
    let (broker, heard) = (Arc::clone(shared.broker()), Arc::clone(leaders));
    let publishing = tokio::spawn(publish_replies(broker, heard, outgoing, rejected));
    let mut background = JoinSet::new();
    background.spawn(watch_timeouts(Arc::clone(shared), Arc::clone(executor)));
    if !shared.is_child() {
        background.spawn(tell(Arc::clone(shared)));
        background.spawn(keep_leases(Arc::clone(shared), Arc::clone(executor)));
        let (leaders, executor) = (Arc::clone(leaders), Arc::clone(executor));
        background.spawn(watch_leaders(Arc::clone(shared), leaders, executor));
    }
    if let Some(children) = executor.children() {
        background.spawn(reap_idle(Arc::clone(children)));
    }
    let control = listen(Arc::clone(shared), Arc::clone(leaders), Arc::clone(executor));
    background.spawn(drain_on_error(Arc::clone(shared), control));
    let mut consumers = JoinSet::new();
    for pool in shared.options().pools.clone() {
        let consumer = consume(Arc::clone(intake), pool);
        consumers.spawn(drain_on_error(Arc::clone(shared), consumer));
    }
    shared.shutdown().draining().await;
    tokio::select! {
        biased;
        // Dropping the drain ends the consumers, whose deliveries the broker requeues.
        () = shared.shutdown().stopping() => {}
        () = drain(parts, consumers) => {}
    }
    executor.stop_all();
    executor.drop_unbegun();
    if let Some(children) = executor.children().cloned() {
        // Fails only when the runtime shuts down, and with it this process.
        let _ = tokio::task::spawn_blocking(move || children.end_all()).await;
    }
    publishing.abort();
}

/// Drains the worker if one of its parts fails.
async fn drain_on_error(shared: Arc<Shared>, part: impl Future<Output = Result<(), BrokerError>>) {
    if let Err(error) = part.await {
        tracing::error!(%error, "a part of the worker failed; draining");
        shared.shutdown().drain(error.into());
    }
}
