//! Queues of blocks at a real broker: their arguments, expiry, restarts, timeouts and permissions.

mod common;

use std::sync::Arc;

use common::*;
use futures::future::join_all;
use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, ConsumeOptions, Consumer, MessageKind, PublishError,
        QueueAction, QueueSpec, Role, Settle, ShuffleQueue,
    },
    id::JobId,
};
use phalanx_test_node::NodeOptions;
use phalanx_test_proxy::{BrokerMethod, Proxy};
use phalanx_test_support::{start_node, until, with_node};

fn partition(partition: u32) -> ShuffleQueue {
    static JOB: std::sync::LazyLock<JobId> = std::sync::LazyLock::new(JobId::new);
    ShuffleQueue::Partition { job: *JOB, exchange: 0, partition }
}

async fn manage(
    broker: &AmqpBroker,
    action: QueueAction,
    queue: ShuffleQueue,
) -> Result<u64, BrokerError> {
    broker.manage(action, &[queue]).await.remove(0)
}

fn block(bytes: usize) -> phalanx_core::broker::Message {
    let mut block = message(vec![7; bytes]);
    block.properties.kind = Some(MessageKind::Block);
    block
}

async fn read(broker: &AmqpBroker, queue: ShuffleQueue) -> Result<Box<dyn Consumer>, BrokerError> {
    let options = ConsumeOptions::new(100).exclusive().passive();
    broker.consume(&QueueSpec::Shuffle(queue), options).await
}

#[tokio::test]
async fn a_queue_of_blocks_has_the_arguments_that_fit_the_version_of_its_broker() {
    let node = start_node(NodeOptions::new()).await;
    let broker = connect_to(&node.url(), "ns", Role::Leader).await.unwrap();
    assert_eq!(manage(&broker, QueueAction::Declare, partition(0)).await.unwrap(), 0);
    let mut expected = vec![
        r#"{<<"x-expires">>,signedint,1800000}"#,
        r#"{<<"x-queue-type">>,longstr,<<"classic">>}"#,
    ];
    match node.version().unwrap() {
        old if old.starts_with("3.10.") || old.starts_with("3.11.") => expected.extend([
            r#"{<<"x-queue-mode">>,longstr,<<"lazy">>}"#,
            r#"{<<"x-queue-master-locator">>,longstr,<<"min-masters">>}"#,
        ]),
        old if old.starts_with("3.") => {
            expected.push(r#"{<<"x-queue-master-locator">>,longstr,<<"min-masters">>}"#);
        }
        _ => expected.push(r#"{<<"x-queue-leader-locator">>,longstr,<<"balanced">>}"#),
    }
    // Fails unless the queue is durable and has these arguments and no others.
    let name = format!("ns.shuffle.{}", partition(0));
    let compare = format!(
        r#"{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{name}">>)),
        true = amqqueue:is_durable(Queue),
        Long = fun({{N, long, V}}) -> {{N, signedint, V}}; (Other) -> Other end,
        Found = lists:sort(lists:map(Long, amqqueue:get_arguments(Queue))),
        Found = lists:sort([{}])."#,
        expected.join(",")
    );
    let (node, compared) = with_node(node, move |node| node.control(&["eval", &compare])).await;
    compared.unwrap();
    broker.close().await;
    drop(node);
}

/// Publishing does not keep it, nor do the deliveries that a consumer without a future holds.
#[tokio::test]
async fn a_queue_of_blocks_expires_although_it_is_fed_and_its_deliveries_are_unsettled() {
    let node = start_node(NodeOptions::new()).await;
    let policy = ["set_policy", "short", r"^ns\.shuffle\.", r#"{"expires":2000}"#];
    let (node, set) = with_node(node, move |node| node.control(&policy)).await;
    set.unwrap();
    let broker = connect_to(&node.url(), "ns", Role::Leader).await.unwrap();
    manage(&broker, QueueAction::Declare, partition(0)).await.unwrap();
    let address = Address::blocks(&partition(0));
    assert!(broker.publish_mandatory(&address, block(10)).await.unwrap());
    let mut consumer = read(&broker, partition(0)).await.unwrap();
    let held = delivery(&mut *consumer).await;
    consumer.cancel().await;
    let has_expired = async || match broker.publish_mandatory(&address, block(10)).await {
        // It is being deleted.
        Err(PublishError::Nacked { .. }) => false,
        published => !published.unwrap(),
    };
    until("the expiry", has_expired).await;
    let gone = manage(&broker, QueueAction::Renew, partition(0)).await;
    assert!(matches!(gone, Err(BrokerError::Absent { .. })), "{gone:?}");
    let gone = read(&broker, partition(0)).await;
    assert!(matches!(gone, Err(BrokerError::Absent { .. })), "{gone:?}");
    drop(held.leave());
    broker.close().await;
    drop(node);
}

/// Once after an orderly restart, once after a crash.
#[tokio::test]
async fn blocks_survive_restarts_of_the_broker_between_and_under_their_readers() {
    let mut node = start_node(NodeOptions::new()).await;
    let broker = connect_to(&node.url(), "ns", Role::Leader).await.unwrap();
    manage(&broker, QueueAction::Declare, partition(0)).await.unwrap();
    let address = Address::blocks(&partition(0));
    for number in 0..40u8 {
        assert!(broker.publish_mandatory(&address, message([number])).await.unwrap());
    }
    for crash in [false, true] {
        let mut consumer = read(&broker, partition(0)).await.unwrap();
        for number in 0..20 {
            assert_eq!(delivery(&mut *consumer).await.leave().body[0], number);
        }
        let restarted;
        (node, restarted) = with_node(node, move |node| match crash {
            true => node.kill().and_then(|()| node.restart()),
            false => node.restart(),
        })
        .await;
        restarted.unwrap();
        while let Some(consumption) = soon("the end", consumer.next()).await {
            drop(consumption);
        }
        let error = consumer.error();
        assert!(matches!(error, Some(BrokerError::Lost { .. })), "{error:?}");
    }
    let mut consumer = read(&broker, partition(0)).await.unwrap();
    for number in 0..40 {
        let delivery = delivery(&mut *consumer).await;
        assert_eq!(delivery.message.body[0], number);
        delivery.settle(Settle::Ack);
    }
    broker.close().await;
    drop(node);
}

/// Classic queues of later versions have no such timeout.
#[tokio::test]
async fn a_reader_that_exceeds_the_acknowledgement_timeout_ends_with_that_reason() {
    let short = NodeOptions::new()
        .config("consumer_timeout = 1000")
        .advanced("{channel_tick_interval, 200}");
    let node = start_node(short).await;
    let broker = connect_to(&node.url(), "ns", Role::Leader).await.unwrap();
    manage(&broker, QueueAction::Declare, partition(0)).await.unwrap();
    assert!(broker.publish_mandatory(&Address::blocks(&partition(0)), block(1)).await.unwrap());
    let mut consumer = read(&broker, partition(0)).await.unwrap();
    drop(delivery(&mut *consumer).await.leave());
    let version = node.version().unwrap();
    if !version.starts_with("4.3") {
        let ended = soon("the timeout", consumer.next()).await;
        assert!(ended.is_none(), "{ended:?}");
        let Some(BrokerError::AckTimeout { what, reason }) = consumer.error() else {
            panic!("{:?}", consumer.error())
        };
        assert!(what.contains("ns.shuffle") && reason.contains("1000"), "{what}: {reason}");
        consumer = read(&broker, partition(0)).await.unwrap();
        assert!(delivery(&mut *consumer).await.redelivered);
    }
    broker.close().await;
    drop(node);
}

/// As RabbitMQ 4.3 does for a minute and a half about the queues of a node that is down.
#[tokio::test]
async fn a_queue_about_which_the_broker_does_not_reply_is_on_a_node_that_is_down() {
    let (direct, scratch) = connect().await;
    let proxy = Proxy::to(&phalanx_test_support::test_url()).await.unwrap();
    let broker = connect_to(&proxy.url(), &scratch.0, Role::Leader).await.unwrap();
    let queues = [partition(0), partition(1)];
    for declared in direct.manage(QueueAction::Declare, &queues).await {
        declared.unwrap();
    }
    let generation = broker.health().borrow().generation;

    proxy.hide(Some(BrokerMethod::DeclareOk));
    let checked = soon("the outcomes", broker.manage(QueueAction::Check, &queues)).await;
    for outcome in checked {
        assert!(matches!(outcome, Err(BrokerError::NodeDown { .. })), "{outcome:?}");
    }
    // While a request waits, no other one does: 100 of them would take more than eight minutes.
    let again = async {
        for _ in 0..100 {
            let checked = broker.manage(QueueAction::Check, &queues).await;
            assert!(matches!(checked[1], Err(BrokerError::NodeDown { .. })), "{checked:?}");
        }
    };
    soon("the outcomes", again).await;
    proxy.hide(Some(BrokerMethod::ConsumeOk));
    let error = soon("the outcome", read(&broker, partition(0))).await.err();
    assert!(matches!(error, Some(BrokerError::NodeDown { .. })), "{error:?}");

    // Everything else goes on, over the same connection.
    proxy.hide(None);
    assert!(broker.publish_mandatory(&Address::blocks(&partition(1)), block(1)).await.unwrap());
    let mut consumer = soon("a consumer", read(&broker, partition(1))).await.unwrap();
    assert_eq!(delivery(&mut *consumer).await.message.body.len(), 1);
    assert_eq!(broker.health().borrow().generation, generation);
    broker.close().await;
    direct.close().await;
    scratch.clean_up().await;
}

/// The next publisher declares the exchange again, without its bindings.
#[tokio::test]
async fn renewing_binds_the_queues_again_after_their_exchange_was_deleted() {
    let (broker, scratch) = connect().await;
    manage(&broker, QueueAction::Declare, partition(0)).await.unwrap();
    let channel = raw_connection().await.create_channel().await.unwrap();
    let exchange = format!("{}.shuffle", scratch.0);
    channel.exchange_delete(exchange.into(), Default::default()).await.unwrap();
    let address = Address::blocks(&partition(0));
    let publish = async || loop {
        match broker.publish_mandatory(&address, block(1)).await {
            Ok(routed) => return routed,
            Err(error) => assert!(matches!(error, PublishError::Lost), "{error}"),
        }
    };
    assert!(!soon("the return", publish()).await);
    assert_eq!(manage(&broker, QueueAction::Renew, partition(0)).await.unwrap(), 0);
    assert!(soon("the confirm", publish()).await);
    broker.close().await;
    scratch.clean_up().await;
}

/// A window of 16 MiB, and no reply waits behind it.
#[tokio::test]
async fn blocks_are_pipelined_in_a_window_of_their_own() {
    const BYTES: usize = 256 << 10;
    const WINDOW: u64 = 64;
    let proxy = Proxy::to(&test_url()).await.unwrap();
    let scratch = Scratch(namespace());
    let url = format!("{}?heartbeat=60", proxy.url());
    let writer = Arc::new(connect_to(&url, &scratch.0, Role::Leader).await.unwrap());
    let observer = connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap();
    manage(&observer, QueueAction::Declare, partition(0)).await.unwrap();
    observer.declare(&tasks()).await.unwrap();

    proxy.hide(Some(BrokerMethod::Ack));
    let blocks = tokio::spawn({
        let writer = writer.clone();
        async move {
            let address = Address::blocks(&partition(0));
            let publish = (0..2 * WINDOW).map(|_| writer.publish_mandatory(&address, block(BYTES)));
            join_all(publish).await
        }
    });
    let counted = async || manage(&observer, QueueAction::Check, partition(0)).await.unwrap();
    until("a window of blocks", async || counted().await >= WINDOW).await;
    let reply = tokio::spawn({
        let writer = writer.clone();
        async move { writer.publish_mandatory(&to_tasks(), message("reply")).await }
    });
    until("the reply", async || observer.declare(&tasks()).await.unwrap().messages == 1).await;
    assert_eq!(counted().await, WINDOW);

    // What is unconfirmed when the connection is lost may have been published.
    proxy.hide(None);
    proxy.cut();
    let outcomes = soon("the outcomes", blocks).await.unwrap();
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(PublishError::Lost))).count();
    let routed = outcomes.iter().filter(|outcome| matches!(outcome, Ok(true))).count();
    assert_eq!((lost, routed), (WINDOW as usize, WINDOW as usize));
    assert!(matches!(soon("the reply", reply).await.unwrap(), Err(PublishError::Lost)));
    assert_eq!(manage(&observer, QueueAction::Delete, partition(0)).await.unwrap(), 2 * WINDOW);
    writer.close().await;
    observer.close().await;
    scratch.clean_up().await;
}
