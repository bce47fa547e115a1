//! Garbage from other publishers, and messages that are too large for the broker.

use futures::TryStreamExt;
use futures::future::join_all;
use lapin::{BasicProperties, options::BasicPublishOptions, types::ShortString};
use phalanx::{
    Error,
    error::{ErrorKind, PublishError},
    prelude::*,
};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_support::soon;

use crate::support::{Fleet, Rendezvous, assert_usable, start_node};

/// Empty, short and long bodies, some of which begin like a message.
fn garbage() -> Vec<Vec<u8>> {
    let noise = (0..4_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        Vec::new(),
        vec![0],
        vec![1],
        vec![1, 0xff, 0xff, 0xff, 0xff, 0xff],
        b"GET /".to_vec(),
        noise,
    ]
}

/// Properties as other publishers send them, and as leaders and workers do.
fn disguises(leader: &str) -> Vec<BasicProperties> {
    let typed = |kind: &str| {
        BasicProperties::default()
            .with_type(kind.into())
            .with_reply_to(leader.into())
            .with_correlation_id("7/1".into())
    };
    let kinds = ["task", "probe", "result", "return", "lease", "probe-reply", "phalanx.task", "?"];
    let mut all = vec![BasicProperties::default()];
    all.extend(kinds.map(typed));
    all.push(typed("task").with_reply_to("nobody".into()));
    all.push(typed("task").with_correlation_id("many/words".into()));
    all.push(typed("task").with_correlation_id(ShortString::from("9".repeat(250))));
    all
}

#[tokio::test]
async fn garbage_messages_affect_no_job() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let rendezvous = Rendezvous::new();
    let leader = runtime.leader().to_string();
    let held = IndexedStream::from(0..20u64).map(Hold { directory: rendezvous.directory() });
    let (_job, results) = held.ordered().start(&runtime).unwrap();
    rendezvous.started(2).await;

    let channel = fleet.raw().await.create_channel().await.unwrap();
    let targets = [
        (format!("{}.task", fleet.namespace), "default"),
        (format!("{}.reply", fleet.namespace), &leader[..]),
        (format!("{}.control", fleet.namespace), "all"),
        (format!("{}.event", fleet.namespace), "presence"),
    ];
    for (exchange, key) in &targets {
        for properties in disguises(&leader) {
            for body in garbage() {
                let options = BasicPublishOptions::default();
                channel
                    .basic_publish(
                        exchange.as_str().into(),
                        (*key).into(),
                        options,
                        &body,
                        properties.clone(),
                    )
                    .await
                    .unwrap();
            }
        }
    }
    rendezvous.release();
    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..20).map(|n| 3 * n).collect::<Vec<_>>());
    assert_usable(&runtime).await;
    for worker in &mut workers {
        worker.signal(rustix::process::Signal::TERM);
        worker.exited_cleanly().await;
    }
    runtime.close().await;
    fleet.end(workers).await;
}

/// The broker's limit is far below the size of a batch, and one element exceeds it.
#[tokio::test]
async fn only_an_element_that_is_itself_too_large_for_the_broker_fails() {
    const LIMIT: u64 = 65_536;
    let node = start_node(NodeOptions::new().config(format!("max_message_size = {LIMIT}"))).await;
    let fleet = Fleet::at(node.url());
    let mut worker = fleet.worker(&[]);
    worker.started().await;
    let runtime = fleet.lead().await;

    // Inputs: each of 1 kB fits, 200 of them do not fit together, and one never fits.
    let text = |n: u64| "x".repeat(if n == 77 { 100_000 } else { 1_000 });
    let texts = move || IndexedStream::from((0..200u64).map(text)).map(Measure);
    let error = soon("the failure", texts().collect(&runtime)).await.unwrap_err();
    match &error {
        Error::Execute(failure) => {
            assert_eq!((failure.index, failure.error.kind()), (77, ErrorKind::TooLarge), "{error}");
        }
        Error::Submit { index, source: PublishError::TooLarge { limit, .. }, .. } => {
            assert_eq!((*index, *limit), (77, LIMIT), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("phalanx_fleet_tests::data::Measure"), "{error}");
    let rest = texts().on_failure(OnFailure::Skip).collect(&runtime);
    assert_eq!(soon("the rest", rest).await.unwrap(), [1_000; 199]);
    let whole = texts().batch(200).on_failure(OnFailure::Skip).collect(&runtime);
    assert_eq!(soon("the rest of large tasks", whole).await.unwrap(), [1_000; 199]);

    // Outputs of the same sizes.
    let lengths = || {
        let lengths = (0..200u64).map(|n| if n == 77 { 100_000 } else { 1_000 });
        IndexedStream::from(lengths).map(Inflate)
    };
    let error = soon("the failure", lengths().collect(&runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert_eq!((failure.index, failure.error.kind()), (77, ErrorKind::TooLarge), "{error}");
    assert!(failure.error.to_string().contains("65536"), "{error}");
    let rest = lengths().on_failure(OnFailure::Skip).collect(&runtime);
    let rest = soon("the rest", rest).await.unwrap();
    assert_eq!(rest.iter().map(String::len).collect::<Vec<_>>(), [1_000; 199]);

    // Rows of an exchange: one never fits into a message.
    let rows = lengths().count_by_value();
    let error = soon("the failure", rows.collect(&runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert_eq!((failure.index, failure.error.kind()), (77, ErrorKind::TooLarge), "{error}");
    let rows = lengths().on_failure(OnFailure::Skip).count_by_value().collect(&runtime);
    let rows = soon("the other rows", rows).await.unwrap();
    assert_eq!(rows, [("x".repeat(1_000), 199)]);
    // The values of one key, which do not fit together.
    let groups = IndexedStream::from([1_000; 200]).map(Inflate).group_by(Measure);
    let error = soon("the failure", groups.collect(&runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert_eq!(failure.error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(error.to_string().contains("`group_by_key` failed at key "), "{error}");

    // Partial results: the values of these folds fit into a message, and do not.
    let words = |count: u64| IndexedStream::from(0..count).map(Word).fold(Concatenate);
    let fitting: String = (0..8_000).map(|n| format!("{n},")).collect();
    assert!(soon("the words", words(8_000).run(&runtime)).await.unwrap() == fitting);
    let error = soon("the failure", words(20_000).run(&runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert_eq!(failure.error.kind(), ErrorKind::TooLarge, "{error}");
    let text = error.to_string();
    assert!(text.contains("65536 bytes") && text.contains("`reduce_by_key`"), "{text}");

    let usable = (0..2).map(|_| assert_usable(&runtime));
    soon("other jobs", join_all(usable)).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}
