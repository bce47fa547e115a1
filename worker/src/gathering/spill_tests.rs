//! Tasks that need more memory than their worker has, and so gather on disk.

use std::path::Path;

use phalanx_core::{
    codec,
    id::{ExecutionId, TaskNumber},
    operation::KeyPrefix,
    registry::Refusal,
    wire::{Grouping, Outcome, ReturnReason, TaskHeader, TaskInlet},
};

use super::tests::{PARTITION, outputs, put, reads};
use crate::testing::{SentReply, TestOp, TestRig};

/// Far more than what was put into the queue, and than the memory of the worker.
const ANNOUNCED: u64 = 80 << 20;

/// Changes a task to one that reads a large partition in this many parts.
fn reads_much(winner: ExecutionId, blocks: u32, parts: u32) -> impl FnOnce(&mut TaskHeader) {
    move |header| {
        reads(PARTITION, winner, blocks)(header);
        if let TaskInlet::Queues(queued) = &mut header.inlet {
            queued.partitions[0].bytes = ANNOUNCED;
            queued.partitions[0].parts = parts;
        }
    }
}

/// A worker with so much memory for what it gathers, and this spill directory.
fn worker(memory: u64, directory: &Path) -> TestRig {
    TestRig::start(|options| {
        options.gather_memory = memory;
        options.spill_dir = directory.to_owned();
    })
}

/// Puts blocks with many different rows into the queue.
fn put_many(rig: &TestRig, winner: ExecutionId) -> u32 {
    for number in 0..4 {
        let rows: Vec<String> = (0..20).map(|row| format!("{row} of {number}")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        put(rig, PARTITION, winner, number, &rows);
    }
    4
}

fn send(rig: &TestRig, op: TestOp, winner: ExecutionId, blocks: u32, parts: u32) -> TaskNumber {
    rig.send_task(vec![rig.step(&op)], &[], reads_much(winner, blocks, parts))
}

#[tokio::test]
async fn a_list_is_the_same_in_memory_and_on_disk_and_no_file_is_left() {
    let directory = tempfile::tempdir().unwrap();
    for parts in [1, 5] {
        let mut lists = Vec::new();
        for memory in [1 << 20, 1 << 30] {
            let rig = worker(memory, directory.path());
            let winner = ExecutionId::new();
            let blocks = put_many(&rig, winner);
            let task = send(&rig, TestOp::Append('x'), winner, blocks, parts);
            rig.result(task).await;
            let results = rig.replies().into_iter().filter_map(|reply| match reply {
                SentReply::Result(result) => Some(result.header.spilled),
                _ => None,
            });
            let spilled: u64 = results.sum();
            assert_eq!(spilled > 0, memory == 1 << 20, "{spilled}");
            lists.push(outputs(&rig));
        }
        assert_eq!(lists[0], lists[1]);
        assert_eq!(lists[0].len(), 80);
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn an_element_of_any_part_that_fails_is_reported_with_the_length_of_the_whole_list() {
    let directory = tempfile::tempdir().unwrap();
    let rig = worker(1 << 20, directory.path());
    let winner = ExecutionId::new();
    put(&rig, PARTITION, winner, 0, &["a", "bad", "c", "d", "e", "f"]);
    let task = send(&rig, TestOp::FailOn('b'), winner, 1, 4);
    let segments = rig.result(task).await;
    let failed = segments.iter().find_map(|segment| match &segment.outcome {
        Outcome::Failed { element: Some(element), .. } => Some(element),
        _ => None,
    });
    let element = failed.expect("it fails, and is reported");
    assert_eq!((element.list.partition, element.list.elements), (PARTITION, 6));
    let encoded = codec::encode(&"bad".to_owned()).unwrap();
    assert_eq!(element.key, KeyPrefix::of(&encoded));
    assert!(element.encodings.as_ref().expect("its encoding").ends_with(&encoded));
}

#[tokio::test]
async fn a_worker_that_cannot_write_its_spill_directory_refuses_the_task() {
    let directory = tempfile::tempdir().unwrap();
    let rig = worker(1 << 20, &directory.path().join("missing"));
    let winner = ExecutionId::new();
    let blocks = put_many(&rig, winner);
    let task = send(&rig, TestOp::Append('x'), winner, blocks, 2);
    rig.after_settled(1).await;
    match rig.return_reason(task) {
        ReturnReason::Refused(Refusal::Spill { reason }) => {
            assert!(reason.contains("missing") && reason.contains("--spill-dir"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    rig.assert_settled_once();
}

#[tokio::test]
async fn values_of_one_key_that_do_not_fit_into_memory_are_reported_with_the_key_and_their_size() {
    let directory = tempfile::tempdir().unwrap();
    let rig = worker(1 << 20, directory.path());
    let winner = ExecutionId::new();
    // Equal rows: all of them are in one part. The least limit is 32 MiB.
    let row = "x".repeat(1 << 20);
    for number in 0..33 {
        put(&rig, PARTITION, winner, number, &[&row]);
    }
    put(&rig, PARTITION, winner, 33, &["y"]);
    let task = rig.send_task(vec![rig.step(&TestOp::Append('x'))], &[], |header| {
        reads_much(winner, 34, 4)(header);
        if let TaskInlet::Queues(queued) = &mut header.inlet {
            queued.grouping = Grouping::Group;
        }
    });
    rig.after_settled(1).await;
    match rig.return_reason(task) {
        ReturnReason::PartTooLarge { partition: PARTITION, bytes, limit, key, key_bytes } => {
            assert_eq!(limit, 32 << 20);
            assert!(bytes >= key_bytes && key_bytes > limit, "{bytes}, {key_bytes}");
            assert!(key.to_string().starts_with("\"xxx"), "{key}");
        }
        other => panic!("{other:?}"),
    }
}
