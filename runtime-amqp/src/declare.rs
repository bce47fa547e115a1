//! Declares, binds and deletes exchanges and queues.
//!
//! A user without the right to declare uses the exchanges and queues that exist ("used as found").

use std::{pin::pin, time::Duration};

use lapin::{
    Channel, Connection, Queue,
    options::{
        BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{FieldTable, ShortString},
};
use phalanx_core::broker::{BrokerError, DeclaredQueue, QueueSpec};
use tokio::time::timeout;

use crate::{
    error::{ACCESS_REFUSED, Failure, NOT_FOUND, PRECONDITION_FAILED, Refusal, refused},
    session::Session,
    topology::{ExchangeShape, Namespace, QueueShape},
};

/// How long the declaration of a dead-letter queue may delay the use of its task queue: the node of
/// the dead-letter queue may be down.
const DEAD_LETTER_QUEUE_TIMEOUT: Duration = Duration::from_secs(3);

/// After this long, a leader abandons a reply queue whose node is down, with the replies in it.
const REPLY_QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Declares all exchanges of the protocol.
///
/// Opens a new channel after each refusal, because the broker refuses by closing the channel.
pub(crate) async fn exchanges(
    connection: &Connection,
    namespace: &Namespace,
) -> Result<(), Failure> {
    let mut channel = connection.create_channel().await?;
    for ExchangeShape { name, kind, optional, may_be_absent } in namespace.exchanges() {
        let declare = |channel: Channel, passive| {
            let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
            let (name, kind) = (name.as_str().into(), kind.clone());
            async move { channel.exchange_declare(name, kind, options, FieldTable::default()).await }
        };
        let Err(error) = declare(channel.clone(), false).await else { continue };
        let what = format!("exchange `{name}`");
        let refusal = unless_fatal(&what, error)?;
        channel = connection.create_channel().await?;
        match declare(channel.clone(), true).await {
            Ok(()) => {
                tracing::warn!(exchange = name, reason = refusal.text, "exchange used as found")
            }
            // From 4.3 on, an exchange is invisible to users without any permission for it.
            Err(error)
                if optional && is(&error, ACCESS_REFUSED)
                    || may_be_absent && is(&error, NOT_FOUND) =>
            {
                channel = connection.create_channel().await?;
            }
            Err(error) => return Err(missing(&what, refusal, error)),
        }
    }
    Ok(())
}

/// Declares the queue and binds it.
pub(crate) async fn queue(
    connection: &Connection,
    shape: &QueueShape,
) -> Result<DeclaredQueue, Failure> {
    let what = format!("queue `{}`", shape.name);
    let declare = async |passive| {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive, ..shape.options };
        let arguments = if passive { FieldTable::default() } else { shape.arguments.clone() };
        let queue = channel.queue_declare(shape.name.as_str().into(), options, arguments).await?;
        Ok::<(Channel, Queue), lapin::Error>((channel, queue))
    };
    let (channel, queue, as_found) = match declare(false).await {
        Ok((channel, queue)) => (channel, queue, false),
        Err(error) if is(&error, NOT_FOUND) => {
            let reason =
                Refusal::on_channel(&error).map(|refusal| refusal.text).unwrap_or_default();
            return Err(Failure::NodeDown(BrokerError::NodeDown { what, reason }));
        }
        Err(error) => {
            let refusal = unless_fatal(&what, error)?;
            let (channel, queue) = match declare(true).await {
                Ok(found) => found,
                Err(error) => return Err(missing(&what, refusal, error)),
            };
            tracing::warn!(queue = shape.name, reason = refusal.text, "queue used as found");
            (channel, queue, true)
        }
    };
    let bound = bind(connection, channel, shape, &what).await?;
    Ok(DeclaredQueue::new(queue.message_count().into(), queue.consumer_count(), as_found || !bound))
}

/// Declares and binds an optional queue: after `limit` it counts as away, provided that the broker
/// replies to other requests. (RabbitMQ itself waits a minute for the node of a queue.)
pub(crate) async fn queue_within(
    connection: &Connection,
    shape: &QueueShape,
    limit: Duration,
) -> Result<(), Failure> {
    let mut declared = pin!(queue(connection, shape));
    if let Ok(outcome) = timeout(limit, &mut declared).await {
        return outcome.map(drop);
    }
    let reply = async { connection.create_channel().await?.close(200, "probe".into()).await };
    // Cancel-safe: a declaration that is dropped may still take effect, and is repeated later with
    // the same outcome.
    tokio::select! {
        biased;
        outcome = &mut declared => outcome.map(drop),
        reply = reply => {
            reply?;
            let reason =
                format!("no reply within {limit:?}, although the broker replies to other requests");
            Err(Failure::NodeDown(BrokerError::NodeDown { what: format!("queue `{}`", shape.name), reason }))
        }
    }
}

/// Declares the dead-letter queue of a task queue; does nothing for other queues.
///
/// Without it, tasks that workers reject are dropped by the dead-letter exchange. The task queue
/// works without it, so a refusal is logged and is not an error.
pub(crate) async fn ensure_dead_letter_queue(
    connection: &Connection,
    generation: u64,
    namespace: &Namespace,
    spec: &QueueSpec,
) -> Result<(), Failure> {
    let QueueSpec::Task { pool } = spec else { return Ok(()) };
    let dead_letters = QueueSpec::Dead { pool: pool.clone() };
    let shape = namespace.queue(&dead_letters, generation, None).map_err(Failure::Refused)?;
    match queue_within(connection, &shape, DEAD_LETTER_QUEUE_TIMEOUT).await {
        Err(Failure::Refused(error) | Failure::NodeDown(error)) => {
            tracing::warn!(
                %pool, %error,
                "cannot declare the dead-letter queue; rejected tasks will be dropped"
            );
            Ok(())
        }
        other => other,
    }
}

/// Declares a queue that is to be consumed from. A reply queue on a node that is down is abandoned
/// for a new one.
pub(crate) async fn for_consumer(
    session: &Session,
    namespace: &Namespace,
    spec: &QueueSpec,
) -> Result<QueueShape, Failure> {
    let (connection, generation) = (&session.connection, session.generation);
    ensure_dead_letter_queue(connection, generation, namespace, spec).await?;
    let replaceable = matches!(spec, QueueSpec::Reply { .. });
    let limit = if replaceable { REPLY_QUEUE_TIMEOUT } else { Duration::MAX };
    let mut abandoned = None;
    let version = session.version_for(spec).await?;
    let shape = loop {
        let shape = namespace.queue(spec, generation, version).map_err(Failure::Refused)?;
        match queue_within(connection, &shape, limit).await {
            Ok(()) => break shape,
            Err(Failure::NodeDown(error)) if replaceable => {
                tracing::warn!(
                    queue = shape.name,
                    %error,
                    "abandoning a reply queue whose node is down"
                );
                namespace.abandon_reply_queue();
                abandoned = Some(shape);
            }
            Err(failure) => return Err(failure),
        }
    };
    if let Some(abandoned) = abandoned {
        // Once its node is back, the abandoned queue would receive a copy of every reply. If it
        // cannot be unbound in time, it does so until it expires.
        let unbound = timeout(limit, unbind(connection, &abandoned)).await;
        unbound.unwrap_or(Ok(()))?;
    }
    Ok(shape)
}

/// Binds the queue; `false` if the user has no permission and must rely on existing bindings.
async fn bind(
    connection: &Connection,
    mut channel: Channel,
    shape: &QueueShape,
    what: &str,
) -> Result<bool, Failure> {
    let mut bound = true;
    for key in &shape.bindings {
        let exchange = shape.exchange.as_str().into();
        let queue = shape.name.as_str().into();
        let Ok(key) = ShortString::try_new(key.as_str()) else {
            let text = "a binding key is longer than 255 bytes".to_owned();
            return Err(Failure::Refused(refused(what, Refusal { code: 0, text })));
        };
        let options = QueueBindOptions::default();
        let Err(error) =
            channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await
        else {
            continue;
        };
        let Some(refusal) = Refusal::on_channel(&error) else { return Err(error.into()) };
        // A queue that only this process declares has no existing bindings.
        if refusal.code != ACCESS_REFUSED || !shape.shared {
            return Err(Failure::Refused(refused(&format!("binding of {what}"), refusal)));
        }
        tracing::warn!(queue = shape.name, reason = refusal.text, "bindings used as found");
        bound = false;
        channel = connection.create_channel().await?;
    }
    Ok(bound)
}

/// Removes the bindings of a queue; those that the broker refuses to remove stay.
pub(crate) async fn unbind(connection: &Connection, shape: &QueueShape) -> Result<(), Failure> {
    let keys = shape.bindings.iter().filter_map(|key| ShortString::try_new(key.as_str()).ok());
    for key in keys {
        let channel = connection.create_channel().await?;
        let (queue, exchange) = (shape.name.as_str().into(), shape.exchange.as_str().into());
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default());
        match unbound.await {
            Err(error) if Refusal::on_channel(&error).is_none() => return Err(error.into()),
            Err(error) => tracing::debug!(queue = shape.name, %error, "cannot remove a binding"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Sets the prefetch of consumers that start on this channel from now on; 0 means unlimited.
pub(crate) async fn set_prefetch(channel: &Channel, prefetch: u16) -> Result<(), lapin::Error> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await
}

/// Deletes the queue; it is not an error if the queue does not exist.
pub(crate) async fn delete(connection: &Connection, shape: &QueueShape) -> Result<(), Failure> {
    let channel = connection.create_channel().await?;
    let deleted = channel.queue_delete(shape.name.as_str().into(), QueueDeleteOptions::default());
    let Err(error) = deleted.await else { return Ok(()) };
    match Refusal::on_channel(&error) {
        Some(refusal) if refusal.code == NOT_FOUND => Ok(()),
        Some(refusal) => {
            Err(Failure::Refused(refused(&format!("queue `{}`", shape.name), refusal)))
        }
        None => Err(error.into()),
    }
}

fn is(error: &lapin::Error, code: u16) -> bool {
    Refusal::on_channel(error).is_some_and(|refusal| refusal.code == code)
}

/// The refusal, if an existing exchange or queue may still be usable after it; otherwise the
/// failure.
fn unless_fatal(what: &str, error: lapin::Error) -> Result<Refusal, Failure> {
    match Refusal::on_channel(&error) {
        Some(refusal) if [ACCESS_REFUSED, PRECONDITION_FAILED].contains(&refusal.code) => {
            Ok(refusal)
        }
        Some(refusal) => Err(Failure::Refused(refused(what, refusal))),
        None => Err(error.into()),
    }
}

/// The failure if `what` can be neither declared nor used as found. Has the code of the first
/// refusal, which is the one to act on.
fn missing(what: &str, first: Refusal, error: lapin::Error) -> Failure {
    match Refusal::on_channel(&error) {
        Some(second) => {
            let text = format!("{}; nor can an existing one be used: {}", first.text, second.text);
            Failure::Refused(refused(what, Refusal { code: first.code, text }))
        }
        None => error.into(),
    }
}
