//! Elements that failed permanently: listing, showing, replaying and deleting their dead letters.

use std::time::Duration;

use lapin::{BasicProperties, options::BasicPublishOptions};
use phalanx::{
    Error, Runtime,
    broker::Pool,
    dead_letters::{
        DeadLetterEntry, DeadLetterError, DeadLetterId, DeadLetters, LeftOut, MessageKind,
    },
    error::ErrorKind,
    prelude::*,
};
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;
use tokio::process::Command;

use crate::support::{Fleet, WORKER, assert_usable, on_every_runtime};

/// A fault in an operation, present for as long as a file exists.
struct Fault {
    directory: tempfile::TempDir,
}

impl Fault {
    fn new() -> Self {
        let fault = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(fault.path(), "").unwrap();
        fault
    }

    /// The state of the operation.
    fn path(&self) -> String {
        self.directory.path().join("broken").to_str().unwrap().to_owned()
    }

    fn fix(&self) {
        std::fs::remove_file(self.path()).unwrap();
    }
}

/// Waits until a pool has `count` dead letters: leaders write them in the background.
pub(crate) async fn listed(letters: &DeadLetters, count: usize) -> Vec<DeadLetterEntry> {
    let list = async {
        loop {
            let entries = letters.list(1_000).await.unwrap();
            if entries.len() == count {
                return entries;
            }
            assert!(entries.len() < count, "{entries:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the dead letters", list).await
}

#[tokio::test]
async fn a_skipped_element_can_be_replayed_once_its_operation_is_fixed() {
    on_every_runtime(async |runtime: &Runtime| {
        let fault = Fault::new();
        let letters = runtime.dead_letters(&Pool::default());
        let declining = DeclineWhile { broken: fault.path(), unwanted: 12 };
        let skipping = IndexedStream::from(0..10u64).map(Triple).map(declining);
        let skipping = skipping.on_failure(OnFailure::Skip).map(Triple);
        assert_eq!(skipping.collect(runtime).await.unwrap().len(), 9);
        show_and_replay(runtime, &letters, &fault).await;
    })
    .await;
}

async fn show_and_replay(runtime: &Runtime, letters: &DeadLetters, fault: &Fault) {
    let entries = listed(letters, 1).await;
    let [DeadLetterEntry::Element(letter)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(letter.error.operation, "phalanx_fleet_tests::failing::DeclineWhile");
    assert_eq!(letter.error.error.downcast(), Some(Declined { number: 12 }));
    assert_eq!(letter.error.error.kind(), ErrorKind::Fatal);
    assert_eq!((letter.error.index, letter.error.tries, letter.error.stage), (4, 1, 0));
    assert_eq!((letter.leader, letter.steps.len()), (runtime.leader(), 3));
    assert!(letter.error.worker.is_some());
    let content = letters.show(letter.id).await.unwrap();
    assert_eq!((&content.entry, &content.payload[..]), (&entries[0], &[4][..]));

    // The element fails again: its dead letter stays, and no second one is written.
    let again = letters.replay(letter.id).await.unwrap_err();
    let DeadLetterError::Replay { source, .. } = &again else { panic!("{again:?}") };
    assert!(matches!(**source, Error::Execute(_)), "{source:?}");
    assert_eq!(listed(letters, 1).await, entries);

    fault.fix();
    assert_eq!(letters.replay(letter.id).await.unwrap(), 1);
    assert!(listed(letters, 0).await.is_empty());
    let missing = letters.replay(letter.id).await.unwrap_err();
    assert!(matches!(missing, DeadLetterError::Missing { .. }), "{missing:?}");
}

#[tokio::test]
async fn dead_letters_are_kept_in_order_and_deleted_one_by_one_or_all_at_once() {
    on_every_runtime(async |runtime: &Runtime| {
        let letters = runtime.dead_letters(&Pool::default());
        for unwanted in 0..5 {
            let declining = IndexedStream::from(0..5u64).map(Decline { unwanted });
            let kept = declining.on_failure(OnFailure::Skip).count().run(runtime).await;
            assert_eq!(kept.unwrap(), 4);
            listed(&letters, unwanted as usize + 1).await;
        }
        let indexes = |entries: &[DeadLetterEntry]| -> Vec<u64> {
            let index = |entry: &DeadLetterEntry| match entry {
                DeadLetterEntry::Element(letter) => letter.error.index,
                other => panic!("{other:?}"),
            };
            entries.iter().map(index).collect()
        };
        let entries = listed(&letters, 5).await;
        assert_eq!(indexes(&entries), [0, 1, 2, 3, 4]);
        assert_eq!(indexes(&letters.list(2).await.unwrap()), [0, 1]);
        letters.delete(entries[2].id()).await.unwrap();
        assert_eq!(indexes(&listed(&letters, 4).await), [0, 1, 3, 4]);
        let missing = letters.delete(entries[2].id()).await.unwrap_err();
        assert!(matches!(missing, DeadLetterError::Missing { id, .. } if id == entries[2].id()));
        let missing = letters.show(DeadLetterId::new()).await.unwrap_err();
        assert!(missing.to_string().contains("pool `default` has no dead letter"), "{missing}");
        assert_eq!(letters.delete_all().await.unwrap(), 4);
        assert_eq!(letters.delete_all().await.unwrap(), 0);
        assert!(listed(&letters, 0).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn try_map_and_cancelled_jobs_leave_no_dead_letter_and_a_failed_fold_leaves_one() {
    on_every_runtime(async |runtime: &Runtime| {
        let letters = runtime.dead_letters(&Pool::default());
        let values = IndexedStream::from(0..10u64).try_map(Decline { unwanted: 3 });
        assert_eq!(values.collect(runtime).await.unwrap().len(), 10);
        // Few elements, because each of them fails once and is then a separate task.
        let stumbling = IndexedStream::from(0..200u64).map(Triple).map(Stumble);
        let (job, mut results) = stumbling.start(runtime).unwrap();
        results.next().await.unwrap().unwrap();
        job.cancel();
        // An element that panics in a folded batch is isolated, so that its dead letter is its own.
        let folded = IndexedStream::from(0..100u64).map(BlowUp { unwanted: 99 }).fold(Sum);
        assert!(folded.run(runtime).await.is_err());
        let entries = listed(&letters, 1).await;
        let DeadLetterEntry::Element(letter) = &entries[0] else { panic!("{entries:?}") };
        assert_eq!((letter.error.error.kind(), letter.error.index), (ErrorKind::Panic, 99));
        assert!(letters.replay(letter.id).await.is_err());
        assert_eq!(letters.delete_all().await.unwrap(), 1);
    })
    .await;
}

/// They are far more than the dead letters that may be in flight; the rest is counted in the log.
#[tokio::test]
async fn a_job_whose_elements_all_fail_does_not_wait_for_dead_letters() {
    on_every_runtime(async |runtime: &Runtime| {
        let text = |n: u64| format!("{n}{}", "x".repeat(20_000));
        let failing = IndexedStream::from((0..2_000).map(text)).map(DeclineText);
        let count = failing.on_failure(OnFailure::Skip).count().run(runtime).await;
        assert_eq!(count.unwrap(), 0);
        let letters = runtime.dead_letters(&Pool::default());
        assert!(letters.delete_all().await.unwrap() <= 2_000);
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_leaves_out_a_payload_that_is_too_large() {
    on_every_runtime(async |runtime: &Runtime| {
        let letters = runtime.dead_letters(&Pool::default());
        let large = IndexedStream::from(["x".repeat(2 << 20)]).map(DeclineText);
        assert!(large.collect(runtime).await.is_err());
        let entries = listed(&letters, 1).await;
        let DeadLetterEntry::Element(letter) = &entries[0] else { panic!("{entries:?}") };
        assert!(
            letter.left_out == Some(LeftOut::TooLarge) && letter.size() > 2 << 20,
            "{letter:?}"
        );
        let error = letters.replay(letter.id).await.unwrap_err();
        assert!(matches!(error, DeadLetterError::LeftOut { .. }), "{error:?}");
        letters.delete(letter.id).await.unwrap();
    })
    .await;
}

/// Workers cannot reply to such messages, so they reject them.
#[tokio::test]
async fn undecodable_messages_are_listed_as_dead_letters_and_can_be_deleted() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let runtime = fleet.lead().await;
    // After a job, the task queue exists.
    assert_usable(&runtime).await;
    let letters = runtime.dead_letters(&Pool::default());
    let channel = fleet.raw().await.create_channel().await.unwrap();
    let typed = BasicProperties::default().with_type("task".into());
    for (properties, body) in [
        (typed, &[1, 0, 0xff][..]),
        (BasicProperties::default(), b"GET /"),
        (Default::default(), b"GET /"),
    ] {
        let exchange = format!("{}.task", fleet.namespace);
        let options = BasicPublishOptions::default();
        let publish =
            channel.basic_publish(exchange.into(), "default".into(), options, body, properties);
        publish.await.unwrap();
    }
    let mut entries = listed(&letters, 3).await;
    entries.sort_by_key(|entry| match entry {
        DeadLetterEntry::Unreadable(letter) => letter.size,
        other => panic!("{other:?}"),
    });
    let DeadLetterEntry::Unreadable(task) = &entries[0] else { panic!() };
    assert_eq!((task.kind, task.size), (Some(MessageKind::Task), 3));
    assert_eq!(entries[1].id(), entries[2].id(), "equal messages share an id");
    let content = letters.show(entries[1].id()).await.unwrap();
    assert_eq!(content.payload, "GET /");
    let error = letters.replay(task.id).await.unwrap_err();
    assert!(matches!(error, DeadLetterError::Unreadable { .. }), "{error:?}");
    letters.delete(entries[1].id()).await.unwrap();
    assert_eq!(listed(&letters, 1).await[0].id(), task.id);
    runtime.close().await;
    fleet.end(workers).await;
}

/// A leader publishes its dead letters before it closes. Other leaders and the command line of a
/// worker find them on the broker.
#[tokio::test]
async fn dead_letters_outlive_their_leader_and_the_command_line_manages_them() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let fault = Fault::new();
    let runtime = fleet.lead().await;
    let declining = DeclineWhile { broken: fault.path(), unwanted: 7 };
    let failing = IndexedStream::from(0..10u64).map(declining).collect(&runtime);
    assert!(soon("the failure", failing).await.is_err());
    runtime.close().await;

    let (code, table, stderr) = command(&fleet, &["list"]).await;
    assert_eq!((code, &stderr[..]), (0, ""));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[0].ends_with("ERROR"), "{table}");
    assert!(lines[1].contains("phalanx_fleet_tests::failing::DeclineWhile"), "{table}");
    assert!(lines[1].ends_with("declined 7"), "{table}");
    let id = lines[1].split_whitespace().next().unwrap();
    assert_eq!(lines.len(), 2, "{table}");

    let (code, text, _) = command(&fleet, &["show", id]).await;
    assert_eq!(code, 0);
    for part in ["index 7 of the source", "declined 7", "  0000  07", "DeclineWhile (fingerprint"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, _, stderr) = command(&fleet, &["replay", id]).await;
    assert_eq!(code, 8, "{stderr}");
    assert!(stderr.contains("it was kept") && stderr.contains("declined 7"), "{stderr}");
    fault.fix();
    let (code, text, stderr) = command(&fleet, &["replay", id]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(text.contains("1 outputs"), "{text}");
    let (code, _, stderr) = command(&fleet, &["delete", id]).await;
    assert_eq!(code, 7, "{stderr}");
    let (code, text, _) = command(&fleet, &["delete", "--all"]).await;
    assert_eq!((code, &text[..]), (0, "0 deleted\n"));
    let (code, text, _) = command(&fleet, &["list", "--pool", "other"]).await;
    assert_eq!((code, &text[..]), (0, "pool `other` has no dead letters\n"));
    for wrong in [&["delete"][..], &["show", "7"], &["list", "--limit", "0"]] {
        assert_eq!(command(&fleet, wrong).await.0, 2, "{wrong:?}");
    }
    fleet.end(workers).await;
}

/// Runs `worker dead-letters`: exit code, standard output, standard error.
async fn command(fleet: &Fleet, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(WORKER);
    command.args(["worker", "dead-letters"]).args(arguments);
    command.env("PHALANX_URL", &fleet.url).env("PHALANX_NAMESPACE", &fleet.namespace);
    // The command ends when its standard input does.
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let output = soon("the command", child.wait_with_output()).await.unwrap();
    drop(stdin);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
