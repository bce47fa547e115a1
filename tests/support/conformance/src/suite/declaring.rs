//! Queues are declared and deleted.

use phalanx_core::{broker::Pool, broker::QueueSpec, id::LeaderId};

use phalanx_test_support::until;

use crate::tools::{
    BrokerUnderTest, consume, message, publish, replies, take, tasks, to_replies, to_tasks,
};

/// Leaders and workers declare every queue that they use.
pub async fn a_queue_may_be_declared_twice(broker: &impl BrokerUnderTest) {
    let (leader, worker) = (broker.connect().await, broker.connect().await);
    let dead = QueueSpec::Dead { pool: Pool::default() };
    for queue in [tasks(), dead, replies(LeaderId::new())] {
        for connection in [&leader, &worker, &leader] {
            let declared = connection.declare(&queue).await.unwrap();
            assert!(!declared.as_found, "{queue:?} was declared differently");
        }
    }
    publish(&leader, &to_tasks(), "kept").await;
    worker.declare(&tasks()).await.unwrap();
    assert_eq!(take(&mut consume(&worker, &tasks(), 1).await).await, "kept");
}

/// A new queue of the same name starts empty.
pub async fn deleting_a_queue_deletes_its_messages(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let leader = LeaderId::new();
    for (queue, address) in [(tasks(), to_tasks()), (replies(leader), to_replies(leader))] {
        connection.declare(&queue).await.unwrap();
        publish(&connection, &address, "lost").await;
        connection.delete(&queue).await.unwrap();
        until("the deletion of the queue", async || {
            !connection.publish_mandatory(&address, message("unroutable")).await.unwrap()
        })
        .await;
        let mut consumer = consume(&connection, &queue, 1).await;
        publish(&connection, &address, "new").await;
        assert_eq!(take(&mut consumer).await, "new");
    }
}

/// A clean-up need not check which queues exist.
pub async fn deleting_a_missing_queue_is_no_error(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    connection.delete(&replies(LeaderId::new())).await.unwrap();
    connection.delete(&tasks()).await.unwrap();
    connection.delete(&tasks()).await.unwrap();
}
