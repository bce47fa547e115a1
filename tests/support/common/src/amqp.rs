//! Connections to RabbitMQ that bypass Phalanx.

use lapin::Connection;
use phalanx_test_proxy::Parts;

/// The pools that tests use.
const POOLS: [&str; 2] = ["default", "other"];

/// Connects to the first host of the URL that accepts the connection.
///
/// # Errors
/// The error of the last host, when none accepts it.
pub async fn connect(url: &str) -> Result<Connection, lapin::Error> {
    let parts = Parts::of(url);
    // lapin takes a slash at the end for a virtual host without a name.
    let rest = if parts.rest.trim_matches('/').is_empty() { "/%2f" } else { &parts.rest };
    let mut hosts = parts.host.split(',');
    loop {
        let host = hosts.next().unwrap_or_default();
        let url = format!("amqp://{}@{host}{rest}", parts.credentials);
        let connection = Connection::connect(&url, Default::default()).await;
        if connection.is_ok() || hosts.clone().next().is_none() {
            return connection;
        }
    }
}

/// Deletes the exchanges of a namespace, and the task and dead-letter queues of the pools `default`
/// and `other`. All other queues expire by themselves.
///
/// # Errors
/// If the connection is lost. Exchanges and queues that do not exist, or may not be deleted, are
/// skipped.
pub async fn remove_namespace(
    connection: &Connection,
    namespace: &str,
) -> Result<(), lapin::Error> {
    for exchange in ["task", "reply", "control", "event", "dead"] {
        // A refusal closes its channel, so each deletion uses a separate channel.
        let channel = connection.create_channel().await?;
        let name = format!("{namespace}.{exchange}");
        let _ = channel.exchange_delete(name.into(), Default::default()).await;
    }
    for kind in ["task", "dead"] {
        for pool in POOLS {
            let channel = connection.create_channel().await?;
            let name = format!("{namespace}.{kind}.{pool}");
            let _ = channel.queue_delete(name.into(), Default::default()).await;
        }
    }
    Ok(())
}
