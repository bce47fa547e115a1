//! Programs on whole fleets: a leader in this process, workers in processes of their own, RabbitMQ
//! between them. Whatever is wrong with the input, the builds, the workers or the broker.

mod answers;
mod brokers;
mod builds;
mod cancelling;
mod counting;
mod elements;
mod fleet;
mod leases;
mod letters;
mod meeting;
mod messages;
mod node;
mod places;
mod privileges;
mod refusals;
mod stalls;
mod workers;

use std::{future::Future, time::Duration};

/// No condition of these tests takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test rather than hang.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: it takes too long"))
}

/// All that an error shows, through its sources, in both forms.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}
