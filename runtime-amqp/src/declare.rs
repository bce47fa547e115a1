//! Declares exchanges and queues, or uses what exists.

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
    topology::{ExchangeShape, Namespace, QueueShape},
};

/// How long a fleet does without its tasks for the net beneath them, whose node may be down.
const NET_PATIENCE: Duration = Duration::from_secs(3);

/// Makes sure that all exchanges are there.
///
/// Each attempt has a channel of its own: the broker closes a channel to say no.
pub(crate) async fn exchanges(
    connection: &Connection,
    namespace: &Namespace,
) -> Result<(), Failure> {
    let mut channel = connection.create_channel().await?;
    for ExchangeShape { name, kind, may_be_hidden } in namespace.exchanges() {
        let declare = |channel: Channel, passive| {
            let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
            let (name, kind) = (name.as_str().into(), kind.clone());
            async move { channel.exchange_declare(name, kind, options, FieldTable::default()).await }
        };
        let Err(error) = declare(channel.clone(), false).await else { continue };
        let what = format!("exchange `{name}`");
        let refusal = may_go_on(&what, error)?;
        channel = connection.create_channel().await?;
        match declare(channel.clone(), true).await {
            Ok(()) => tracing::warn!(exchange = name, reason = refusal.text, "used as found"),
            // From 4.3 on one must have some right to an exchange to see it.
            Err(error) if may_be_hidden && is(&error, ACCESS_REFUSED) => {
                channel = connection.create_channel().await?;
            }
            Err(error) => return Err(missing(&what, refusal, error)),
        }
    }
    Ok(())
}

/// Makes sure that the queue is there and bound.
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
            let reason = soft(&error).map(|refusal| refusal.text).unwrap_or_default();
            return Err(Failure::Away(BrokerError::Away { what, reason }));
        }
        Err(error) => {
            let refusal = may_go_on(&what, error)?;
            let (channel, queue) = match declare(true).await {
                Ok(found) => found,
                Err(error) => return Err(missing(&what, refusal, error)),
            };
            tracing::warn!(queue = shape.name, reason = refusal.text, "used as found");
            (channel, queue, true)
        }
    };
    let bound = bind(connection, channel, shape, &what).await?;
    Ok(DeclaredQueue::new(queue.message_count().into(), queue.consumer_count(), as_found || !bound))
}

/// The same for a queue that there is something to do without: it is away when it cannot be had for so
/// long though the broker answers. RabbitMQ itself looks for the node of a queue for a minute.
pub(crate) async fn queue_or_away(
    connection: &Connection,
    shape: &QueueShape,
    patience: Duration,
) -> Result<(), Failure> {
    let mut declared = pin!(queue(connection, shape));
    if let Ok(outcome) = timeout(patience, &mut declared).await {
        return outcome.map(drop);
    }
    let answers = async { connection.create_channel().await?.close(200, "heard".into()).await };
    tokio::select! {
        biased;
        outcome = &mut declared => outcome.map(drop),
        answered = answers => {
            answered?;
            let reason = format!("no answer for {patience:?}, though the broker answers");
            Err(Failure::Away(BrokerError::Away { what: format!("queue `{}`", shape.name), reason }))
        }
    }
}

/// Makes sure that there is a net beneath a task queue: without it, a dead-letter exchange drops
/// what falls. A task queue can be used without, so a refusal is no error.
pub(crate) async fn net(
    connection: &Connection,
    generation: u64,
    namespace: &Namespace,
    spec: &QueueSpec,
) -> Result<(), Failure> {
    let QueueSpec::Task { pool } = spec else { return Ok(()) };
    let dead = QueueSpec::Dead { pool: pool.clone() };
    let shape = namespace.queue(&dead, generation).map_err(Failure::Refused)?;
    match queue_or_away(connection, &shape, NET_PATIENCE).await {
        Err(Failure::Refused(error) | Failure::Away(error)) => {
            tracing::warn!(%pool, %error, "rejected tasks of this pool will be dropped");
            Ok(())
        }
        other => other,
    }
}

/// Binds the queue; `false` where it may not, and somebody else will have done it.
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
        let Some(refusal) = soft(&error) else { return Err(error.into()) };
        // Nobody else can have bound a queue that only we know.
        if refusal.code != ACCESS_REFUSED || !shape.shared {
            return Err(Failure::Refused(refused(&format!("binding of {what}"), refusal)));
        }
        tracing::warn!(queue = shape.name, reason = refusal.text, "bindings used as found");
        bound = false;
        channel = connection.create_channel().await?;
    }
    Ok(bound)
}

/// Takes the bindings of a queue back, as far as that is possible.
pub(crate) async fn unbind(connection: &Connection, shape: &QueueShape) -> Result<(), Failure> {
    let keys = shape.bindings.iter().filter_map(|key| ShortString::try_new(key.as_str()).ok());
    for key in keys {
        let channel = connection.create_channel().await?;
        let (queue, exchange) = (shape.name.as_str().into(), shape.exchange.as_str().into());
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default());
        match unbound.await {
            Err(error) if soft(&error).is_none() => return Err(error.into()),
            Err(error) => tracing::debug!(queue = shape.name, %error, "bindings stay"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// For the consumers that begin from now on. Never 0, which means "any number".
pub(crate) async fn set_prefetch(channel: &Channel, prefetch: u16) -> Result<(), lapin::Error> {
    channel.basic_qos(prefetch.max(1), BasicQosOptions::default()).await
}

/// Deletes the queue, if it is there.
pub(crate) async fn delete(connection: &Connection, shape: &QueueShape) -> Result<(), Failure> {
    let channel = connection.create_channel().await?;
    let deleted = channel.queue_delete(shape.name.as_str().into(), QueueDeleteOptions::default());
    let Err(error) = deleted.await else { return Ok(()) };
    match soft(&error) {
        Some(refusal) if refusal.code == NOT_FOUND => Ok(()),
        Some(refusal) => {
            Err(Failure::Refused(refused(&format!("queue `{}`", shape.name), refusal)))
        }
        None => Err(error.into()),
    }
}

/// What closed the channel alone. A closed connection is another matter: it may come back.
pub(crate) fn soft(error: &lapin::Error) -> Option<Refusal> {
    if error.is_amqp_soft_error() { Refusal::of(error) } else { None }
}

fn is(error: &lapin::Error, code: u16) -> bool {
    soft(error).is_some_and(|refusal| refusal.code == code)
}

/// The refusals after which what exists may do.
fn may_go_on(what: &str, error: lapin::Error) -> Result<Refusal, Failure> {
    match soft(&error) {
        Some(refusal) if [ACCESS_REFUSED, PRECONDITION_FAILED].contains(&refusal.code) => {
            Ok(refusal)
        }
        Some(refusal) => Err(Failure::Refused(refused(what, refusal))),
        None => Err(error.into()),
    }
}

/// Neither declared nor found: the first refusal is the one that helps.
fn missing(what: &str, first: Refusal, error: lapin::Error) -> Failure {
    match soft(&error) {
        Some(second) => {
            let text = format!("{}; and it cannot be used as it is: {}", first.text, second.text);
            Failure::Refused(refused(what, Refusal { code: first.code, text }))
        }
        None => error.into(),
    }
}
