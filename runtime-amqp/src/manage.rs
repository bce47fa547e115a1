//! Declares, renews, checks and deletes many queues of blocks.

use std::{slice, sync::Arc};

use futures::{StreamExt, future, stream};
use lapin::{
    Channel,
    options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use phalanx_core::broker::{BrokerError, QueueAction, QueueSpec, ShuffleQueue};

use crate::{
    close_on_drop::CloseOnDrop,
    error::{Failure, NOT_FOUND, Refusal, node_down, refused},
    session::{Link, Session},
    topology::{Namespace, QueueShape},
};

/// How many requests are on their way at once. The broker replies to them in order.
const WINDOW: usize = 64;
/// How many channels have a request each on its way once a node is down: a request that gets no
/// reply delays those behind it on its channel.
const CHANNELS: usize = 16;

/// Does `action` to each queue, on the sessions of `link` as they come. The outcomes are in the
/// order of the queues: the messages that waited in each.
pub(crate) async fn manage(
    link: &Link,
    namespace: &Namespace,
    action: QueueAction,
    queues: &[ShuffleQueue],
) -> Vec<Result<u64, BrokerError>> {
    let mut outcomes = Vec::with_capacity(queues.len());
    while outcomes.len() < queues.len() {
        let rest = &queues[outcomes.len()..];
        if matches!(outcomes.last(), Some(Err(BrokerError::NodeDown { .. }))) {
            let one = |queue| first_outcomes(link, namespace, action, slice::from_ref(queue));
            let each: Vec<_> = rest.iter().map(one).collect();
            // Each has one queue, and therefore one outcome.
            let rest: Vec<_> = stream::iter(each).buffered(CHANNELS).collect().await;
            outcomes.extend(rest.into_iter().flatten());
        } else {
            // Not all at once: they share the time in which the broker must reply.
            let next = &rest[..rest.len().min(WINDOW)];
            outcomes.extend(first_outcomes(link, namespace, action, next).await);
        }
    }
    outcomes
}

/// The outcomes of the first of these queues, or of more.
async fn first_outcomes(
    link: &Link,
    namespace: &Namespace,
    action: QueueAction,
    queues: &[ShuffleQueue],
) -> Vec<Result<u64, BrokerError>> {
    let queues: Arc<[ShuffleQueue]> = queues.into();
    let attempt = |session| on_one_channel(session, namespace, action, Arc::clone(&queues));
    link.retry(attempt)
        .await
        .unwrap_or_else(|error| queues.iter().map(|_| Err(error.clone())).collect())
}

/// The outcomes of the first queues: at least one, and all up to the first that the broker refuses.
/// It refuses by closing the channel, so the requests behind that one must be repeated. So must
/// those behind one to which it does not reply because a node is down.
async fn on_one_channel(
    session: Arc<Session>,
    namespace: &Namespace,
    action: QueueAction,
    queues: Arc<[ShuffleQueue]>,
) -> Result<Vec<Result<u64, BrokerError>>, Failure> {
    let shapes = shapes(&session, namespace, action, &queues).await?;
    if let Some(first) = shapes.first()
        && session.waits_for_node(&first.name, Some(action))
    {
        return Ok(vec![Err(node_down(&first.name))]);
    }
    let channel = session.connection.create_channel().await?;
    // The first poll of each future queues its requests, and they are polled in this order.
    let requests: Vec<_> =
        shapes.iter().map(|shape| request(channel.clone(), action, Arc::clone(shape))).collect();
    let close = CloseOnDrop::new(channel);
    let (asked, in_order) = (session.asked.clone(), shapes.clone());
    let asked = session.ask(|sender| async move {
        let mut replies = stream::iter(requests).buffered(WINDOW);
        for shape in in_order {
            // The requests behind this one wait for it, and not for their nodes.
            let _waiting = asked.begin(&shape.name, Some(action));
            // Nobody may want the reply any more.
            let _ = sender.send(replies.select_next_some().await);
        }
        drop(close);
    });
    let Some(mut replies) = asked.await else {
        return Ok(shapes.iter().map(|shape| Err(node_down(&shape.name))).collect());
    };
    let mut outcomes = Vec::new();
    for shape in &shapes {
        let reply = match session.reply(&mut replies).await {
            Ok(Some(reply)) => reply,
            Ok(None) => {
                outcomes.push(Err(node_down(&shape.name)));
                break;
            }
            Err(error) if outcomes.is_empty() => return Err(error.into()),
            Err(_) => break,
        };
        match reply.map_err(|error| (Refusal::on_channel(&error), error)) {
            Ok(messages) => outcomes.push(Ok(messages)),
            // Replies come in order, so the first error is that of the refused request.
            Err((Some(refusal), _)) => {
                outcomes.push(refusal_of(action, shape, refusal));
                break;
            }
            Err((None, error)) if outcomes.is_empty() => return Err(error.into()),
            Err((None, _)) => break,
        }
    }
    Ok(outcomes)
}

async fn shapes(
    session: &Session,
    namespace: &Namespace,
    action: QueueAction,
    queues: &[ShuffleQueue],
) -> Result<Vec<Arc<QueueShape>>, Failure> {
    // Only a declaration has arguments.
    let version = match action {
        QueueAction::Declare => session.version().await?,
        _ => None,
    };
    let shape = |queue: &ShuffleQueue| {
        namespace.queue(&QueueSpec::Shuffle(*queue), session.generation, version).map(Arc::new)
    };
    queues.iter().map(shape).collect::<Result<_, _>>().map_err(Failure::Refused)
}

/// Sends the requests for one queue; resolves to the messages that waited in it.
async fn request(
    channel: Channel,
    action: QueueAction,
    shape: Arc<QueueShape>,
) -> Result<u64, lapin::Error> {
    match action {
        QueueAction::Delete => {
            let name = shape.name.as_str().into();
            channel.queue_delete(name, QueueDeleteOptions::default()).await.map(u64::from)
        }
        _ => declare(&channel, action, &shape).await,
    }
}

async fn declare(
    channel: &Channel,
    action: QueueAction,
    shape: &QueueShape,
) -> Result<u64, lapin::Error> {
    let passive = action != QueueAction::Declare;
    let options = QueueDeclareOptions { passive, ..shape.options };
    let arguments = if passive { FieldTable::default() } else { shape.arguments.clone() };
    let declared = channel.queue_declare(shape.name.as_str().into(), options, arguments);
    let bind = |key: &String| {
        let (queue, exchange) = (shape.name.as_str().into(), shape.exchange.as_str().into());
        let options = QueueBindOptions::default();
        channel.queue_bind(queue, exchange, key.as_str().into(), options, FieldTable::default())
    };
    let is_bound = action != QueueAction::Check;
    let bound: Vec<_> = shape.bindings.iter().filter(|_| is_bound).map(bind).collect();
    // All are sent before the first reply, because the requests of all queues must stay in order.
    let (declared, bound) = future::join(declared, future::join_all(bound)).await;
    let messages = declared?.message_count();
    bound.into_iter().collect::<Result<(), _>>()?;
    Ok(messages.into())
}

fn refusal_of(
    action: QueueAction,
    shape: &QueueShape,
    refusal: Refusal,
) -> Result<u64, BrokerError> {
    let is_absent = refusal.code == NOT_FOUND && refusal.is_queue_absent();
    match action {
        QueueAction::Delete if is_absent => Ok(0),
        _ => Err(refused(&format!("queue `{}`", shape.name), refusal)),
    }
}

/// Why a passive consumer of this queue was interrupted, if the broker gives a reason now.
pub(crate) async fn check(session: &Session, shape: QueueShape) -> Option<BrokerError> {
    let shape = Arc::new(shape);
    let checked = async {
        if session.waits_for_node(&shape.name, Some(QueueAction::Check)) {
            return Some(node_down(&shape.name));
        }
        let channel = session.connection.create_channel().await.ok()?;
        let close = CloseOnDrop::new(channel.clone());
        let waiting = session.asked.begin(&shape.name, Some(QueueAction::Check));
        let checked = Arc::clone(&shape);
        let asked = session.ask(|sender| async move {
            let _waiting = waiting;
            let _ = sender.send(request(channel, QueueAction::Check, checked).await);
            drop(close);
        });
        let reply = match asked.await {
            Some(mut replies) => session.reply(&mut replies).await.ok()?,
            None => None,
        };
        let Some(reply) = reply else { return Some(node_down(&shape.name)) };
        let refusal = Refusal::on_channel(&reply.err()?)?;
        refusal_of(QueueAction::Check, &shape, refusal).err()
    };
    session.rpc(checked).await?
}
