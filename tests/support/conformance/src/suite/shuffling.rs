//! Queues of blocks, and how they are read.

use std::sync::Arc;

use futures::future::join_all;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, ConsumeOptions, Consumer, MessageKind, QueueAction,
        QueueSpec, Settle, ShuffleQueue,
    },
    id::{JobId, TaskNumber},
};
use phalanx_test_support::until;

use crate::tools::{BrokerUnderTest, body, message, publish, receive, take};

/// The partition queues of one exchange.
fn partitions(count: u32) -> Vec<ShuffleQueue> {
    let job = JobId::new();
    (0..count).map(|partition| ShuffleQueue::Partition { job, exchange: 1, partition }).collect()
}

/// Declares new queues, whose job no other test uses.
async fn declared(connection: &Arc<dyn Broker>, count: u32) -> Vec<ShuffleQueue> {
    let queues = partitions(count);
    assert_eq!(counts(connection, QueueAction::Declare, &queues).await, vec![0; queues.len()]);
    queues
}

/// The outcomes of an action that succeeds for each queue.
async fn counts(
    connection: &Arc<dyn Broker>,
    action: QueueAction,
    queues: &[ShuffleQueue],
) -> Vec<u64> {
    let outcomes = connection.manage(action, queues).await;
    outcomes.into_iter().map(|outcome| outcome.expect("the action succeeds")).collect()
}

fn reading(prefetch: u16) -> ConsumeOptions {
    ConsumeOptions::new(prefetch).exclusive().passive()
}

/// Reads the queue as soon as the broker has noticed that its last reader is gone.
async fn read(
    connection: &Arc<dyn Broker>,
    queue: ShuffleQueue,
    prefetch: u16,
) -> Box<dyn Consumer> {
    let mut reader = None;
    until("the reader before to be gone", async || {
        match connection.consume(&QueueSpec::Shuffle(queue), reading(prefetch)).await {
            Ok(consumer) => reader = Some(consumer),
            Err(BrokerError::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        reader.is_some()
    })
    .await;
    reader.expect("it was opened")
}

/// A leader declares the queues of an exchange at once, keeps them, and deletes them.
pub async fn many_queues_are_declared_renewed_checked_and_deleted(broker: &impl BrokerUnderTest) {
    let leader = broker.connect().await;
    let mut queues = declared(&leader, 20).await;
    let output = ShuffleQueue::Output { job: queues[0].job(), task: TaskNumber(7) };
    assert_eq!(counts(&leader, QueueAction::Declare, &[output]).await, [0]);
    queues.push(output);
    for queue in [output, queues[7], output] {
        assert!(leader.publish_mandatory(&Address::blocks(&queue), message("x")).await.unwrap());
    }
    let mut expected = vec![0; queues.len()];
    (expected[7], expected[20]) = (1, 2);
    for action in [QueueAction::Check, QueueAction::Renew, QueueAction::Declare] {
        assert_eq!(counts(&leader, action, &queues).await, expected, "{action:?}");
    }
    assert_eq!(counts(&leader, QueueAction::Delete, &queues).await, expected);
    for action in [QueueAction::Check, QueueAction::Renew] {
        for outcome in leader.manage(action, &queues).await {
            assert!(matches!(outcome, Err(BrokerError::Absent { .. })), "{action:?}: {outcome:?}");
        }
    }
    assert_eq!(counts(&leader, QueueAction::Delete, &queues).await, vec![0; queues.len()]);
    assert!(leader.manage(QueueAction::Declare, &[]).await.is_empty());
}

/// A deleted queue must be found, and the others must not pay for it.
pub async fn each_of_many_queues_has_its_own_outcome(broker: &impl BrokerUnderTest) {
    let leader = broker.connect().await;
    let queues = partitions(60);
    let is_kept = |index: &usize| !index.is_multiple_of(7);
    let kept: Vec<_> = (0..queues.len()).filter(is_kept).map(|index| queues[index]).collect();
    counts(&leader, QueueAction::Declare, &kept).await;
    for action in [QueueAction::Renew, QueueAction::Check] {
        for (index, outcome) in leader.manage(action, &queues).await.into_iter().enumerate() {
            match outcome {
                Ok(0) => assert!(is_kept(&index), "queue {index} does not exist"),
                Err(BrokerError::Absent { what, .. }) => {
                    assert!(!is_kept(&index), "queue {index} exists");
                    assert!(what.contains(&queues[index].to_string()), "{what}");
                }
                other => panic!("{action:?} of queue {index}: {other:?}"),
            }
        }
    }
}

/// A renewal makes up for an exchange that was deleted and declared again; it must not bind twice.
pub async fn a_renewed_queue_receives_each_block_once(broker: &impl BrokerUnderTest) {
    let leader = broker.connect().await;
    let queues = declared(&leader, 1).await;
    for _ in 0..3 {
        counts(&leader, QueueAction::Renew, &queues).await;
    }
    publish(&leader, &Address::blocks(&queues[0]), "once").await;
    assert_eq!(counts(&leader, QueueAction::Check, &queues).await, [1]);
}

/// The copies of a reading task meet here.
pub async fn an_exclusive_consumer_is_alone(broker: &impl BrokerUnderTest) {
    let (one, two) = (broker.connect().await, broker.connect().await);
    let queues = declared(&one, 1).await;
    let spec = QueueSpec::Shuffle(queues[0]);
    let first = one.consume(&spec, reading(10)).await.unwrap();
    for connection in [&one, &two] {
        for options in [reading(1), ConsumeOptions::new(1).passive(), ConsumeOptions::new(1)] {
            match connection.consume(&spec, options).await {
                Err(BrokerError::InUse { what, .. }) => {
                    assert!(what.contains(&queues[0].to_string()), "{what}");
                }
                other => panic!("{options:?}: {other:?}"),
            }
        }
    }
    drop(first);
    drop(read(&two, queues[0], 1).await);

    let queues = declared(&one, 1).await;
    let spec = QueueSpec::Shuffle(queues[0]);
    let shared = one.consume(&spec, ConsumeOptions::new(1)).await.unwrap();
    let refused = two.consume(&spec, reading(1)).await;
    assert!(matches!(refused, Err(BrokerError::InUse { .. })), "{refused:?}");
    let other = two.consume(&spec, ConsumeOptions::new(1)).await.unwrap();
    drop((shared, other));
    drop(read(&two, queues[0], 1).await);
}

/// A queue that is gone must not be made again, empty.
pub async fn a_passive_consumer_never_declares_its_queue(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let queues = partitions(1);
    for options in [reading(1), ConsumeOptions::new(1).passive()] {
        match connection.consume(&QueueSpec::Shuffle(queues[0]), options).await {
            Err(BrokerError::Absent { what, .. }) => {
                assert!(what.contains(&queues[0].to_string()), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
    let checked = &connection.manage(QueueAction::Check, &queues).await[0];
    assert!(matches!(checked, Err(BrokerError::Absent { .. })), "{checked:?}");
}

/// A lost reader costs another read, never data.
pub async fn what_is_read_and_left_is_read_again_in_order(broker: &impl BrokerUnderTest) {
    const MANY: usize = 300;
    let (leader, reader) = (broker.connect().await, broker.connect().await);
    let queues = declared(&leader, 1).await;
    let address = Address::blocks(&queues[0]);
    for n in 0..MANY {
        publish(&leader, &address, n.to_string()).await;
    }
    // Some readers stop early, and some leave messages in the queue.
    let all = MANY as u16 + 64;
    let readers = [(&reader, 50, 50), (&reader, all, MANY), (&leader, all, 1), (&leader, 100, 100)];
    for (connection, prefetch, count) in [readers, readers].concat() {
        let mut consumer = read(connection, queues[0], prefetch).await;
        for n in 0..count {
            let delivery = receive(&mut consumer).await;
            assert_eq!(delivery.leave().body, n.to_string());
        }
        drop(consumer);
    }
    let mut consumer = read(&reader, queues[0], 1).await;
    for n in 0..MANY {
        assert_eq!(take(&mut consumer).await, n.to_string());
    }
}

/// A reader removes the blocks that can never count, and no others.
pub async fn a_reader_removes_only_what_it_acks(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let queues = declared(&connection, 1).await;
    for n in 0..6 {
        publish(&connection, &Address::blocks(&queues[0]), n.to_string()).await;
    }
    let mut consumer = read(&connection, queues[0], 10).await;
    for n in 0..6 {
        let delivery = receive(&mut consumer).await;
        match n % 2 {
            0 => drop(delivery.leave()),
            _ => delivery.settle(Settle::Ack),
        }
    }
    drop(consumer);
    let mut consumer = read(&connection, queues[0], 10).await;
    for n in [0, 2, 4] {
        let delivery = receive(&mut consumer).await;
        assert_eq!((body(&delivery), delivery.redelivered), (n.to_string(), true));
        delivery.settle(Settle::Ack);
    }
}

/// A second consumer beside an exclusive one would be refused.
pub async fn the_prefetch_of_an_exclusive_consumer_is_fixed(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let queues = declared(&connection, 1).await;
    let mut consumer = read(&connection, queues[0], 2).await;
    consumer.set_prefetch(50).await;
    for text in ["a", "b", "c"] {
        publish(&connection, &Address::blocks(&queues[0]), text).await;
    }
    let (first, second) = (receive(&mut consumer).await, receive(&mut consumer).await);
    consumer.set_prefetch(1).await;
    assert!(consumer.try_next().is_none());
    assert_eq!(counts(&connection, QueueAction::Check, &queues).await, [1]);
    first.settle(Settle::Ack);
    assert_eq!(take(&mut consumer).await, "c");
    assert_eq!(body(&second), "b");
    second.settle(Settle::Ack);
}

/// A partition can have more blocks than 16 bits count.
pub async fn an_exclusive_consumer_can_hold_any_number(broker: &impl BrokerUnderTest) {
    const MANY: usize = 66_000;
    let connection = broker.connect().await;
    let queues = declared(&connection, 1).await;
    let address = Address::blocks(&queues[0]);
    let published = (0..MANY).map(|_| connection.publish_mandatory(&address, message(vec![7])));
    assert!(join_all(published).await.into_iter().all(|routed| routed.unwrap()));
    let mut consumer = read(&connection, queues[0], u16::MAX).await;
    for _ in 0..MANY {
        receive(&mut consumer).await.leave();
    }
}

/// Its blocks are lost: waiting for them would take forever.
pub async fn a_passive_consumer_ends_when_its_queue_is_deleted(broker: &impl BrokerUnderTest) {
    let (leader, reader) = (broker.connect().await, broker.connect().await);
    let queues = declared(&leader, 2).await;
    publish(&leader, &Address::blocks(&queues[0]), "x").await;
    let mut consumer = read(&reader, queues[0], 10).await;
    let mut other = read(&reader, queues[1], 10).await;
    let held = receive(&mut consumer).await;
    assert!(consumer.error().is_none());
    counts(&leader, QueueAction::Delete, &queues[..1]).await;
    let ended = consumer.next().await;
    assert!(ended.is_none(), "{ended:?}");
    let error = consumer.error();
    assert!(matches!(error, Some(BrokerError::Absent { .. })), "{error:?}");
    assert!(consumer.next().await.is_none() && consumer.try_next().is_none());
    drop(held.leave());

    publish(&leader, &Address::blocks(&queues[1]), "y").await;
    assert_eq!(take(&mut other).await, "y");
}

/// Writers come and go before anybody reads.
pub async fn blocks_outlive_the_connection_of_their_writer(broker: &impl BrokerUnderTest) {
    let (leader, writer) = (broker.connect().await, broker.connect().await);
    let queues = declared(&leader, 1).await;
    let mut block = message("block");
    block.properties.kind = Some(MessageKind::Block);
    let routed = writer.publish_mandatory(&Address::blocks(&queues[0]), block).await;
    assert!(routed.unwrap());
    writer.close().await;
    leader.close().await;
    let reader = broker.connect().await;
    let mut consumer = read(&reader, queues[0], 10).await;
    let delivery = receive(&mut consumer).await;
    assert_eq!(delivery.message.properties.kind, Some(MessageKind::Block));
    assert_eq!(body(&delivery), "block");
    delivery.settle(Settle::Ack);
}

/// A writer has many blocks on their way, and publishes those again that no queue has got.
pub async fn each_of_many_blocks_is_routed_or_returned(broker: &impl BrokerUnderTest) {
    const MANY: usize = 400;
    let (leader, writer) = (broker.connect().await, broker.connect().await);
    let queues = partitions(4);
    counts(&leader, QueueAction::Declare, &queues[1..]).await;
    let addresses: Vec<_> = queues.iter().map(Address::blocks).collect();
    let publish_all = async || {
        let published = (0..MANY).map(|n| {
            writer.publish_mandatory(&addresses[n % addresses.len()], message(vec![0; 10_000]))
        });
        let published = join_all(published).await;
        published.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let routed = publish_all().await;
    assert_eq!(routed, (0..MANY).map(|n| n % queues.len() != 0).collect::<Vec<_>>());
    counts(&leader, QueueAction::Declare, &queues[..1]).await;
    assert!(publish_all().await.into_iter().all(|routed| routed));
    let share = MANY as u64 / 4;
    let expected = [share, 2 * share, 2 * share, 2 * share];
    assert_eq!(counts(&leader, QueueAction::Check, &queues).await, expected);
}
