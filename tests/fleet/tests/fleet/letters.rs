//! Elements that failed for good, and what can be done about them.

use std::time::Duration;

use lapin::{BasicProperties, options::BasicPublishOptions};
use phalanx::{
    Error, Runtime,
    broker::Pool,
    dead_letters::{DeadLetterEntry, DeadLetterError, DeadLetterId, DeadLetters, MessageKind},
    error::ErrorKind,
    prelude::*,
};
use phalanx_fleet_tests::*;
use tokio::process::Command;

use crate::{
    fleet::{Fleet, WORKER},
    places::{assert_usable, everywhere},
    soon,
};

/// A file that breaks an operation while it is there.
struct Fault {
    directory: tempfile::TempDir,
}

impl Fault {
    fn new() -> Self {
        let fault = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(fault.path(), "").unwrap();
        fault
    }

    /// As the state of an operation.
    fn path(&self) -> String {
        self.directory.path().join("broken").to_str().unwrap().to_owned()
    }

    fn mend(&self) {
        std::fs::remove_file(self.path()).unwrap();
    }
}

/// Waits until so many are there: they are written beside the job.
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
    soon("the letters", list).await
}

#[tokio::test]
async fn an_element_that_was_skipped_is_run_again_when_its_operation_is_mended() {
    everywhere(async |runtime: &Runtime| {
        let fault = Fault::new();
        let letters = runtime.dead_letters(&Pool::default());
        let declining = DeclineWhile { broken: fault.path(), unwanted: 12 };
        let skipping = IndexedStream::from(0..10u64).map(Triple).map(declining);
        let skipping = skipping.on_failure(OnFailure::Skip).map(Triple);
        assert_eq!(skipping.collect(runtime).await.unwrap().len(), 9);
        look_and_run_again(runtime, &letters, &fault).await;
    })
    .await;
}

async fn look_and_run_again(runtime: &Runtime, letters: &DeadLetters, fault: &Fault) {
    let entries = listed(letters, 1).await;
    let [DeadLetterEntry::Letter(letter)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(letter.operation, "phalanx_fleet_tests::failing::DeclineWhile");
    assert_eq!(letter.error.downcast(), Some(Declined { number: 12 }));
    assert_eq!(letter.error.kind(), ErrorKind::Fatal);
    assert_eq!((letter.index, letter.tries, letter.stage), (4, 1, 0));
    assert_eq!((letter.leader, letter.steps.len()), (runtime.leader(), 3));
    assert!(letter.worker.is_some());
    let content = letters.show(letter.id).await.unwrap();
    assert_eq!((&content.entry, &content.payload[..]), (&entries[0], &[4][..]));

    // It fails again: the letter stays, and there is no second one.
    let again = letters.replay(letter.id).await.unwrap_err();
    let DeadLetterError::Replay { source, .. } = &again else { panic!("{again:?}") };
    assert!(matches!(**source, Error::Execute(_)), "{source:?}");
    assert_eq!(listed(letters, 1).await, entries);

    fault.mend();
    assert_eq!(letters.replay(letter.id).await.unwrap(), 1);
    assert!(listed(letters, 0).await.is_empty());
    let gone = letters.replay(letter.id).await.unwrap_err();
    assert!(matches!(gone, DeadLetterError::Missing { .. }), "{gone:?}");
}

#[tokio::test]
async fn letters_are_kept_in_order_and_removed_one_by_one_or_all_at_once() {
    everywhere(async |runtime: &Runtime| {
        let letters = runtime.dead_letters(&Pool::default());
        for unwanted in 0..5 {
            let declining = IndexedStream::from(0..5u64).map(Decline { unwanted });
            let kept = declining.on_failure(OnFailure::Skip).count().run(runtime).await;
            assert_eq!(kept.unwrap(), 4);
            listed(&letters, unwanted as usize + 1).await;
        }
        let indexes = |entries: &[DeadLetterEntry]| -> Vec<u64> {
            let index = |entry: &DeadLetterEntry| match entry {
                DeadLetterEntry::Letter(letter) => letter.index,
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
async fn what_becomes_a_value_or_is_cancelled_leaves_no_letter_and_a_fold_leaves_one() {
    everywhere(async |runtime: &Runtime| {
        let letters = runtime.dead_letters(&Pool::default());
        let values = IndexedStream::from(0..10u64).try_map(Decline { unwanted: 3 });
        assert_eq!(values.collect(runtime).await.unwrap().len(), 10);
        // Few: each of them fails at first, and is a task of its own then.
        let stumbling = IndexedStream::from(0..200u64).map(Triple).map(Stumble);
        let (job, mut results) = stumbling.start(runtime).unwrap();
        results.next().await.unwrap().unwrap();
        job.cancel();
        // Blown up in a batch that is folded: its letter can be folded by itself.
        let folded = IndexedStream::from(0..100u64).map(BlowUp { unwanted: 99 }).fold(Sum);
        assert!(folded.run(runtime).await.is_err());
        let entries = listed(&letters, 1).await;
        let DeadLetterEntry::Letter(letter) = &entries[0] else { panic!("{entries:?}") };
        assert_eq!((letter.error.kind(), letter.index), (ErrorKind::Panic, 99));
        assert!(letters.replay(letter.id).await.is_err());
        assert_eq!(letters.delete_all().await.unwrap(), 1);
    })
    .await;
}

/// Far more than may be on their way at once; what does not get a letter is counted in the log.
#[tokio::test]
async fn a_job_whose_elements_all_fail_waits_for_no_letter() {
    everywhere(async |runtime: &Runtime| {
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
async fn what_is_too_large_is_left_out_of_its_letter_and_the_rest_is_told() {
    everywhere(async |runtime: &Runtime| {
        let letters = runtime.dead_letters(&Pool::default());
        let large = IndexedStream::from(["x".repeat(2 << 20)]).map(DeclineText);
        assert!(large.collect(runtime).await.is_err());
        let entries = listed(&letters, 1).await;
        let DeadLetterEntry::Letter(letter) = &entries[0] else { panic!("{entries:?}") };
        assert!(letter.left_out && letter.size() > 2 << 20, "{letter:?}");
        let error = letters.replay(letter.id).await.unwrap_err();
        assert!(matches!(error, DeadLetterError::LeftOut { .. }), "{error:?}");
        letters.delete(letter.id).await.unwrap();
    })
    .await;
}

/// What nobody could have answered is in the net beneath.
#[tokio::test]
async fn garbage_is_found_among_the_letters_and_can_be_removed() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let runtime = fleet.lead().await;
    // So there is a task queue.
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
    assert_eq!(entries[1].id(), entries[2].id(), "they are alike");
    let content = letters.show(entries[1].id()).await.unwrap();
    assert_eq!(content.payload, "GET /");
    let error = letters.replay(task.id).await.unwrap_err();
    assert!(matches!(error, DeadLetterError::Unreadable { .. }), "{error:?}");
    letters.delete(entries[1].id()).await.unwrap();
    assert_eq!(listed(&letters, 1).await[0].id(), task.id);
    runtime.close().await;
    fleet.end(workers).await;
}

/// A leader that ends at once takes its letters to the broker first, and another one finds them
/// there; so does the command line of a worker.
#[tokio::test]
async fn letters_outlive_their_leader_and_the_command_line_knows_them() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let fault = Fault::new();
    let runtime = fleet.lead().await;
    let declining = DeclineWhile { broken: fault.path(), unwanted: 7 };
    let failing = IndexedStream::from(0..10u64).map(declining).collect(&runtime);
    assert!(soon("the failure", failing).await.is_err());
    runtime.close().await;

    let (code, table, said) = command(&fleet, &["list"]).await;
    assert_eq!((code, &said[..]), (0, ""));
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
    let (code, _, said) = command(&fleet, &["replay", id]).await;
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("its letter stays") && said.contains("declined 7"), "{said}");
    fault.mend();
    let (code, text, said) = command(&fleet, &["replay", id]).await;
    assert_eq!(code, 0, "{said}");
    assert!(text.contains("1 outputs"), "{text}");
    let (code, _, said) = command(&fleet, &["drop", id]).await;
    assert_eq!(code, 7, "{said}");
    let (code, text, _) = command(&fleet, &["drop", "--all"]).await;
    assert_eq!((code, &text[..]), (0, "0 dropped\n"));
    let (code, text, _) = command(&fleet, &["list", "--pool", "other"]).await;
    assert_eq!((code, &text[..]), (0, "pool `other` has no dead letters\n"));
    for wrong in [&["drop"][..], &["show", "7"], &["list", "--limit", "0"]] {
        assert_eq!(command(&fleet, wrong).await.0, 2, "{wrong:?}");
    }
    fleet.end(workers).await;
}

/// Exit code, standard output, standard error.
async fn command(fleet: &Fleet, order: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(WORKER);
    command.args(["worker", "dead-letters"]).args(order);
    command.env("PHALANX_URL", &fleet.url).env("PHALANX_NAMESPACE", &fleet.namespace);
    // It ends with its input, which must stay open meanwhile.
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let life = child.stdin.take();
    let output = soon("the command", child.wait_with_output()).await.unwrap();
    drop(life);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
