//! Users with the permissions that `docs/operations.md` documents, and no others.

use std::fmt::Debug;

use lapin::{
    Channel, Connection,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};
use phalanx::{
    Error, Job, Results, Runtime,
    broker::Pool,
    dead_letters::{DeadLetterEntry, DeadLetterError},
    error::BrokerError,
    prelude::*,
};
use phalanx_fleet_tests::*;
use phalanx_test_node::{NodeOptions, Permissions, PrivateNode};
use phalanx_test_support::{soon, until};
use rustix::process::Signal;

use crate::{
    dead_letters::listed,
    support::{Fleet, assert_usable, start_node},
};

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");
const SECRET: &str = "hunter2";
const ROLES: [&str; 3] = ["leader", "worker", "keeper"];

/// The documented permissions of a role.
fn permissions(role: &str) -> Permissions<'static> {
    let command = format!("rabbitmqctl set_permissions {role} ");
    let line = OPERATIONS.lines().find_map(|line| line.strip_prefix(&command));
    let mut quoted =
        line.expect("the page has a line for each role").split('\'').skip(1).step_by(2);
    let mut next = || quoted.next().expect("three expressions in quotes");
    Permissions { configure: next(), write: next(), read: next() }
}

/// A node with a user for each role, with the documented permissions.
async fn start() -> PrivateNode {
    let options = NodeOptions::new().user("provisioner", SECRET);
    let options = options.allow("provisioner", "/", &Permissions::ALL);
    let options = ROLES.into_iter().fold(options, |options, role| {
        options.user(role, SECRET).allow(role, "/", &permissions(role))
    });
    start_node(options).await
}

/// The fleet of the documented namespace, as one of these users.
fn fleet(node: &PrivateNode, user: &str) -> Fleet {
    Fleet { url: node.url_for(user, SECRET, "%2f"), namespace: "phalanx".to_owned() }
}

#[tokio::test]
async fn the_documented_permissions_suffice_for_a_job_and_allow_nothing_else() {
    let node = start().await;
    let provisioner = fleet(&node, "provisioner");
    let mut provisioning = provisioner.worker(&[]);
    let queue = provisioner.task_queue();
    let consumed = async || provisioner.consumers(&queue).await.is_some_and(|count| count > 0);
    until("the queues", consumed).await;
    provisioning.signal(Signal::TERM);
    provisioning.exited_cleanly().await;

    let mut workers = [fleet(&node, "worker").worker(&[]), fleet(&node, "worker").worker(&[])];
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet(&node, "leader").lead().await;
    assert_usable(&runtime).await;
    let words = IndexedStream::from(0..2_000u64).map(Word).fold(Concatenate).run(&runtime);
    let expected: String = (0..2_000).map(|n| format!("{n},")).collect();
    assert!(soon("the words", words).await.unwrap() == expected);
    let skipping = IndexedStream::from(0..5u64).map(Decline { unwanted: 3 });
    let kept = skipping.on_failure(OnFailure::Skip).count().run(&runtime);
    assert_eq!(soon("the others", kept).await.unwrap(), 4);

    let spreading = fleet(&node, "leader").builder().block_memory(0);
    let spreading = soon("the connection", spreading.connect()).await.unwrap();
    let (job, keys) = spread(&spreading);
    assert_eq!(soon("the keys", keys.collect()).await.unwrap().len(), 13);
    assert!(job.progress().borrow().exchanges[0].queues > 0);
    spreading.close().await;

    assert_dead_letters(&node, &runtime).await;
    assert_worker_is_confined(&node, &runtime).await;
    assert_leader_is_confined(&node).await;

    assert_usable(&runtime).await;
    runtime.close().await;
    for mut worker in workers {
        worker.signal(Signal::TERM);
        worker.exited_cleanly().await;
    }
}

/// A job whose blocks go through queues, if its leader holds none. It has 13 results.
fn spread(runtime: &Runtime) -> (Job, Results<u64>) {
    let numbers = IndexedStream::from(0..100u64).map(Keyed);
    numbers.group_by_key().partitions(4).keys().start(runtime).unwrap()
}

#[tokio::test]
async fn a_worker_without_rights_on_blocks_is_spared_and_a_fleet_without_any_ends_the_job() {
    let worker = permissions("worker");
    let without = |rights: &str| &*rights.replace("shuffle", "nothing").leak();
    let users = [
        ("writer", Permissions { read: without(worker.read), ..worker }),
        ("reader", Permissions { write: without(worker.write), ..worker }),
        ("worker", worker),
        ("leader", permissions("leader")),
    ];
    let options = NodeOptions::new().user("provisioner", SECRET);
    let options = options.allow("provisioner", "/", &Permissions::ALL);
    let node = users.into_iter().fold(options, |options, (user, permissions)| {
        options.user(user, SECRET).allow(user, "/", &permissions)
    });
    let node = start_node(node).await;
    let mut provisioning = fleet(&node, "provisioner").worker(&[]);
    provisioning.started().await;
    provisioning.signal(Signal::TERM);
    provisioning.exited_cleanly().await;

    for user in ["writer", "reader"] {
        let mut confined = fleet(&node, user).worker(&[]);
        confined.started().await;
        let builder = fleet(&node, "leader").builder().block_memory(0);
        let runtime = soon("the connection", builder.connect()).await.unwrap();
        let (_job, keys) = spread(&runtime);
        let Err(Error::Refused(error)) = soon("the end", keys.collect()).await else {
            panic!("{user} cannot run it")
        };
        let text = error.to_string();
        assert!(text.contains("does not let it use the blocks"), "{text}");
        assert!(text.contains("phalanx.shuffle") && !text.contains("same build"), "{text}");

        let mut able = fleet(&node, "worker").worker(&[]);
        able.started().await;
        let (_job, keys) = spread(&runtime);
        assert_eq!(soon("the keys", keys.collect()).await.unwrap().len(), 13);
        runtime.close().await;
        for mut worker in [confined, able] {
            worker.signal(Signal::TERM);
            worker.exited_cleanly().await;
        }
    }
}

/// The leader may write dead letters but not read them; the keeper may do both.
async fn assert_dead_letters(node: &PrivateNode, runtime: &Runtime) {
    let denied = runtime.dead_letters(&Pool::default()).list(1).await.unwrap_err();
    let DeadLetterError::Broker { source: BrokerError::Denied { .. }, .. } = denied else {
        panic!("{denied:?}")
    };
    let keeper = fleet(node, "keeper").lead().await;
    let letters = keeper.dead_letters(&Pool::default());
    let entries = listed(&letters, 1).await;
    let DeadLetterEntry::Element(letter) = &entries[0] else { panic!("{entries:?}") };
    assert_eq!((letter.error.index, letter.leader), (3, runtime.leader()));
    // The workers run the element again, and it fails again.
    assert!(matches!(letters.replay(letter.id).await, Err(DeadLetterError::Replay { .. })));
    letters.delete(letter.id).await.unwrap();
    keeper.close().await;
}

async fn assert_worker_is_confined(node: &PrivateNode, runtime: &Runtime) {
    let connection = fleet(node, "worker").raw().await;
    let leader = runtime.leader().to_string();
    let reply = format!("phalanx.reply.{leader}");
    for (exchange, key) in [
        ("phalanx.task", "default"),
        ("phalanx.control", "all"),
        ("phalanx.dead", "default"),
        ("", "phalanx.task.default"),
        ("", &reply),
    ] {
        assert_publishing_is_refused(&connection, exchange, key).await;
    }
    for queue in [&reply[..], "phalanx.dead.default"] {
        assert_reading_is_refused(&connection, queue).await;
    }
    for queue in [&reply[..], "phalanx.dead.default", "phalanx.task.default"] {
        assert_deleting_is_refused(&connection, queue).await;
    }
    // A worker may not bind its own queue to the replies of a leader.
    let own = format!("phalanx.control.{}-7", uuid::Uuid::new_v4());
    let channel = connection.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(own.as_str().into(), exclusive, FieldTable::default()).await.unwrap();
    for (exchange, key) in [("phalanx.reply", &leader[..]), ("phalanx.task", "default")] {
        let channel = connection.create_channel().await.unwrap();
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let (queue, exchange) = (own.as_str().into(), exchange.into());
        assert_refused(channel.queue_bind(queue, exchange, key.into(), options, arguments).await);
    }
    connection.close(200, "done".into()).await.unwrap();
}

async fn assert_leader_is_confined(node: &PrivateNode) {
    let connection = fleet(node, "leader").raw().await;
    assert_publishing_is_refused(&connection, "", "phalanx.task.default").await;
    for queue in ["phalanx.task.default", "phalanx.dead.default"] {
        assert_reading_is_refused(&connection, queue).await;
        assert_deleting_is_refused(&connection, queue).await;
    }
    connection.close(200, "done".into()).await.unwrap();
}

async fn assert_publishing_is_refused(connection: &Connection, exchange: &str, key: &str) {
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions::default();
    let publish =
        channel.basic_publish(exchange.into(), key.into(), options, b"x", Default::default());
    // The broker closes the channel instead of sending a confirm.
    match soon("a refusal", publish).await {
        Ok(confirm) => assert_refused(soon("a refusal", confirm).await),
        Err(error) => assert_refused(Err::<(), _>(error)),
    }
}

async fn assert_reading_is_refused(connection: &Connection, queue: &str) {
    let channel = || async { connection.create_channel().await.unwrap() };
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    assert_refused(
        channel().await.basic_consume(queue.into(), "".into(), options, arguments).await,
    );
    assert_refused(channel().await.basic_get(queue.into(), BasicGetOptions::default()).await);
    assert_refused(channel().await.queue_purge(queue.into(), QueuePurgeOptions::default()).await);
}

async fn assert_deleting_is_refused(connection: &Connection, queue: &str) {
    let channel: Channel = connection.create_channel().await.unwrap();
    assert_refused(channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await);
}

fn assert_refused<T: Debug>(outcome: Result<T, lapin::Error>) {
    let error = outcome.expect_err("the broker refuses this").to_string();
    assert!(error.contains("ACCESS_REFUSED"), "{error}");
}
