//! Snapshots of the bytes on the wire: a change of the format must be a change of its version.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    broker::Pool,
    codec::Layout,
    id::{CopyId, DeadLetterId, ExecutionId, JobId, LeaderId, TaskNumber, WorkerId},
    operation::{ElementRange, ErrorKind, ExecuteError, Group, KeyPrefix, OperationError},
    registry::{Refusal, StepReference, Verb},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuid(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

const COPY: CopyId = CopyId { task: TaskNumber(300), attempt: 2 };

fn task() -> TaskMessage {
    let step = StepReference {
        name: "ops::Double".to_owned(),
        fingerprint: 0x0102_0304_0506_0708,
        verb: Verb::Map,
        timeout: Some(Duration::from_secs(30)),
        state: Bytes::from_static(&[9]),
    };
    let header = TaskHeader {
        leader: LeaderId(uuid(0xaa)),
        job: JobId(uuid(0xbb)),
        stage: 1,
        copy: COPY,
        kind: TaskKind::Run,
        isolated: false,
        ranges: vec![ElementRange { from: 5, to: 8, tries: 1 }],
        indexes: vec![2, 2, 4],
        steps: vec![step],
        time_slice: Duration::from_millis(75),
        output_cap: 1 << 20,
        inlet: TaskInlet::default(),
        outlet: TaskOutlet::Stage(Layout::Plain),
    };
    TaskMessage { header, payload: Bytes::from_static(b"abc") }
}

fn result() -> ResultMessage {
    let done =
        Outcome::Done { bytes: 2, outputs: 2, counts: Some(vec![2]), lengths: Some(vec![1, 1]) };
    let error = OperationError::new(ErrorKind::Transient, "busy");
    let header = ResultHeader {
        leader: LeaderId(uuid(0xaa)),
        copy: COPY,
        execution: ExecutionId(uuid(0xcc)),
        worker: WorkerId(uuid(0xdd)),
        busy_us: 1000,
        waited_us: 0,
        segments: vec![
            Segment { from: 0, to: 1, outcome: done },
            Segment { from: 1, to: 2, outcome: Outcome::Failed { step: 0, error, element: None } },
            Segment {
                from: 2,
                to: 3,
                outcome: Outcome::NotRun { reason: NotRunReason::TimeSlice },
            },
        ],
        output_blocks: 0,
        blocks: Vec::new(),
        spread: Vec::new(),
        uncombined: RowTotal::default(),
        lists: Vec::new(),
        spilled: 0,
    };
    ResultMessage { header, payload: Bytes::from_static(b"xy") }
}

/// A task that reads an exchange, and feeds another one.
fn task_of_exchanges() -> TaskMessage {
    let TaskMessage { header, .. } = task();
    let partitions = vec![
        PartitionBlocks { partition: 3, blocks: vec![2], second: vec![] },
        PartitionBlocks { partition: 4, blocks: vec![], second: vec![1] },
    ];
    let header = TaskHeader {
        ranges: vec![ElementRange {
            from: list_position(3, 0),
            to: list_position(3, u64::MAX),
            tries: 1,
        }],
        indexes: Vec::new(),
        inlet: TaskInlet::Partitions(Gather {
            grouping: Grouping::Join(JoinKind::Left),
            partitions,
        }),
        outlet: TaskOutlet::Exchange(Scatter {
            partitions: 64,
            layout: Layout::Pairs,
            combine: Combine::Count,
            route: BlockRoute::Inline { cap: 1 << 18 },
        }),
        ..header
    };
    TaskMessage { header, payload: Bytes::from_static(b"abc") }
}

/// A task that reads a spread exchange, and feeds another one.
fn task_of_queues() -> TaskMessage {
    let TaskMessage { header, .. } = task_of_exchanges();
    let header = TaskHeader {
        inlet: TaskInlet::Queues(QueuedGather {
            grouping: Grouping::Group,
            exchange: 1,
            first_side: 2,
            of: 64,
            partitions: vec![AnnouncedBlocks {
                partition: 3,
                blocks: 300,
                bytes: 70_000,
                parts: 2,
            }],
            winners: vec![ExecutionId(uuid(0xcc))],
            layout: Layout::Pairs,
        }),
        outlet: TaskOutlet::Exchange(Scatter {
            partitions: 64,
            layout: Layout::Whole,
            combine: Combine::First,
            route: BlockRoute::Spread { exchange: 2, feeder: 1 },
        }),
        ..header
    };
    TaskMessage { header, payload: Bytes::new() }
}

/// The result of a task that reads a spread exchange, and feeds another one.
fn result_of_queues() -> ResultMessage {
    let element = GatheredElement {
        list: ListEnd { partition: 3, elements: 1 },
        key: KeyPrefix::of(b"\x04pear"),
        encodings: Some(Bytes::from_static(b"abc")),
        lengths: vec![3],
    };
    let error = OperationError::new(ErrorKind::Fatal, "odd");
    let outcome = Outcome::Failed { step: 0, error, element: Some(Box::new(element)) };
    let header = ResultHeader {
        segments: vec![Segment { from: 0, to: 1, outcome }],
        spread: vec![SpreadBlocks { partition: 9, blocks: 2, rows: 300, bytes: 70_000 }],
        ..result_of_exchanges().header
    };
    let header = ResultHeader { blocks: Vec::new(), ..header };
    ResultMessage { header, payload: Bytes::new() }
}

fn block() -> BlockMessage {
    let name = BlockName {
        job: JobId(uuid(0xbb)),
        exchange: 1,
        feeder: 0,
        partition: 3,
        task: TaskNumber(300),
        execution: ExecutionId(uuid(0xcc)),
        number: 7,
        first: 500,
    };
    BlockMessage { name, block: Bytes::from_static(b"abc") }
}

/// A task for a reader that needs the largest outputs alone.
fn task_of_top() -> TaskMessage {
    let TaskMessage { header, payload } = task();
    let outlet = TaskOutlet::Top { most: 10, by_key: true };
    TaskMessage { header: TaskHeader { outlet, ..header }, payload }
}

/// The result of a task that reads an exchange, and feeds another one.
fn result_of_exchanges() -> ResultMessage {
    let done = Outcome::Done { bytes: 0, outputs: 0, counts: None, lengths: None };
    let header = ResultHeader {
        segments: vec![Segment { from: 0, to: 7, outcome: done }],
        blocks: vec![BlockHeader { partition: 9, first: 0, rows: 1, bytes: 2 }],
        spread: Vec::new(),
        uncombined: RowTotal { rows: 300, bytes: 1_000 },
        lists: vec![ListEnd { partition: 3, elements: 7 }],
        spilled: 70_000,
        ..result().header
    };
    ResultMessage { header, payload: Bytes::from_static(b"xy") }
}

/// A task that reads a spread exchange, and has a queue for its outputs.
fn task_with_a_queue() -> TaskMessage {
    let TaskMessage { header, payload } = task_of_queues();
    let header = TaskHeader { outlet: TaskOutlet::Queue { block: 1 << 20 }, ..header };
    TaskMessage { header, payload }
}

/// The result of such a task.
fn result_of_outputs() -> ResultMessage {
    let outcome = Outcome::Done { bytes: 70_000, outputs: 300, counts: None, lengths: None };
    let header = ResultHeader {
        segments: vec![Segment { from: 0, to: 1, outcome }],
        output_blocks: 2,
        lists: vec![ListEnd { partition: 3, elements: 1 }],
        ..result().header
    };
    ResultMessage { header, payload: Bytes::new() }
}

fn outputs() -> OutputMessage {
    let (job, execution) = (JobId(uuid(0xbb)), ExecutionId(uuid(0xcc)));
    let header = OutputHeader { job, task: COPY.task, execution, number: 1, outputs: 2 };
    OutputMessage { header, values: Bytes::from_static(b"abc") }
}

fn dead_letter() -> DeadLetter {
    let error = ExecuteError {
        job: JobId(uuid(0xbb)),
        operation: "ops::Double".to_owned(),
        stage: 1,
        index: (3 << 40) + 7,
        group: Some(Group::new(3, 7, Some(KeyPrefix::of(b"\x04pear")))),
        copy: COPY,
        tries: 4,
        worker: Some(WorkerId(uuid(0xdd))),
        error: OperationError::new(ErrorKind::Fatal, "odd"),
    };
    let header = DeadLetterHeader {
        id: DeadLetterId(uuid(0xee)),
        written_ms: 1_700_000_000_000,
        leader: LeaderId(uuid(0xaa)),
        pool: Pool::default(),
        error,
        steps: task().header.steps,
        lengths: vec![3],
        left_out: None,
    };
    DeadLetter { header, payload: Bytes::from_static(b"abc") }
}

fn presence() -> Presence {
    Presence {
        worker: WorkerId(uuid(0xdd)),
        name: "host/7".to_owned(),
        version: "0.1.0".to_owned(),
        pools: vec![Pool::default()],
        slots: 2,
        async_slots: 256,
        isolates: true,
        operations: Some(vec![("double".to_owned(), 7)]),
    }
}

fn returned(copy: Option<CopyId>, reason: ReturnReason) -> Return {
    Return { copy, worker: WorkerId(uuid(0xdd)), reason, offset: Some(1), element: None }
}

/// Every kind of message, by name.
fn messages() -> Vec<(&'static str, Bytes)> {
    let refusal = Refusal::WireVersion { found: 9, supported: 1 };
    let missing = ReturnReason::BlocksMissing { partition: 3, announced: 300, found: 299 };
    let key = KeyPrefix::of(b"\x04pear");
    let (bytes, limit, key_bytes) = (70_000, 60_000, 50_000);
    let large = ReturnReason::PartTooLarge { partition: 3, bytes, limit, key, key_bytes };
    let leased = LeasedTask { copy: COPY, offset: 1, in_process: true };
    let leader = LeaderId(uuid(0xaa));
    let (job, worker) = (JobId(uuid(0xbb)), WorkerId(uuid(0xdd)));
    let alive = Control::Alive {
        leader,
        heartbeat: 3,
        up_to: Some(job),
        live: vec![job],
        asks_for_operations: true,
    };
    vec![
        ("task", task().encode().unwrap()),
        ("task of exchanges", task_of_exchanges().encode().unwrap()),
        ("task of queues", task_of_queues().encode().unwrap()),
        ("task of top", task_of_top().encode().unwrap()),
        ("result", result().encode().unwrap()),
        ("result of exchanges", result_of_exchanges().encode().unwrap()),
        ("result of queues", result_of_queues().encode().unwrap()),
        ("result of outputs in a queue", result_of_outputs().encode().unwrap()),
        ("task with a queue", task_with_a_queue().encode().unwrap()),
        ("block", block().encode().unwrap()),
        ("outputs", outputs().encode().unwrap()),
        ("return redelivered", returned(Some(COPY), ReturnReason::Redelivered).encode().unwrap()),
        ("return refused", returned(Some(COPY), ReturnReason::Refused(refusal)).encode().unwrap()),
        ("return of missing blocks", returned(Some(COPY), missing).encode().unwrap()),
        ("return of a large part", returned(Some(COPY), large).encode().unwrap()),
        ("lease", Lease { worker, heartbeat: 3, tasks: vec![leased] }.encode().unwrap()),
        ("return of a probe", returned(None, ReturnReason::Redelivered).encode().unwrap()),
        ("probe", Probe { leader, pool: Pool::default(), nonce: 7 }.encode().unwrap()),
        ("probe reply", ProbeReply { pool: Pool::default(), nonce: 7 }.encode().unwrap()),
        ("alive", alive.encode().unwrap()),
        ("cancel", Control::Cancel { leader, job }.encode().unwrap()),
        ("presence", Event::Presence(presence()).encode().unwrap()),
        ("bye", Event::Bye { worker }.encode().unwrap()),
        ("dead letter", dead_letter().encode().unwrap()),
        ("dead letter without payload", dead_letter().without_payload().encode().unwrap()),
    ]
}

#[test]
fn each_message_has_the_bytes_of_the_snapshot() {
    let text: Vec<String> =
        messages().iter().map(|(name, bytes)| format!("{name}: {}", hex(bytes))).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn an_encoded_message_decodes_to_itself() {
    assert_eq!(TaskMessage::decode(&task().encode().unwrap()).unwrap(), task());
    assert_eq!(ResultMessage::decode(&result().encode().unwrap()).unwrap(), result());
    assert_eq!(DeadLetter::decode(&dead_letter().encode().unwrap()).unwrap(), dead_letter());
    assert_eq!(TaskMessage::decode(&task_of_queues().encode().unwrap()).unwrap(), task_of_queues());
    assert_eq!(BlockMessage::decode(&block().encode().unwrap()).unwrap(), block());
    assert_eq!(OutputMessage::decode(&outputs().encode().unwrap()).unwrap(), outputs());
    let queued = result_of_outputs();
    assert_eq!(ResultMessage::decode(&queued.encode().unwrap()).unwrap(), queued);
    let event = Event::Presence(presence());
    assert_eq!(Event::decode(&event.encode().unwrap()).unwrap(), event);
}

#[test]
fn another_version_is_named_and_a_truncated_message_is_rejected() {
    let bytes = task().encode().unwrap();
    let mut other = bytes.to_vec();
    other[0] = 9;
    assert_eq!(TaskMessage::decode(&other.into()), Err(WireError::Version { found: 9 }));
    let mut packed = bytes.to_vec();
    packed[1] = 7;
    assert_eq!(TaskMessage::decode(&packed.into()), Err(WireError::Compression { found: 7 }));
    let header = bytes.len() - task().payload.len();
    for end in 0..header {
        assert!(TaskMessage::decode(&bytes.slice(..end)).is_err(), "cut at {end}");
    }
    let bye = Event::Bye { worker: WorkerId(uuid(1)) }.encode().unwrap();
    assert!(Event::decode(&[&bye[..], &[0]].concat().into()).is_err(), "one byte left over");
}

#[test]
fn a_result_that_contradicts_itself_is_rejected() {
    let broken: [fn(&mut ResultMessage); 6] = [
        |result| result.header.output_blocks = 1,
        |result| result.header.segments[1].from = 2,
        |result| result.header.segments[0].to = 0,
        |result| result.payload = Bytes::from_static(b"x"),
        |result| drop(result.header.segments.remove(0)),
        |result| {
            if let Outcome::Done { counts, .. } = &mut result.header.segments[0].outcome {
                *counts = Some(vec![u32::MAX]);
            }
        },
    ];
    for (at, breaks) in broken.iter().enumerate() {
        let mut result = result();
        breaks(&mut result);
        assert!(ResultMessage::decode(&result.encode().unwrap()).is_err(), "broken way {at}");
    }
}

#[test]
fn impossible_ranges_are_rejected() {
    for (from, to) in [(8, 5), (0, 1 << 40)] {
        let mut task = task();
        task.header.ranges = vec![ElementRange { from, to, tries: 1 }];
        assert!(TaskMessage::decode(&task.encode().unwrap()).is_err());
    }
}

#[test]
fn indexes_are_listed_for_all_elements_or_for_none() {
    let mut task = task();
    for (indexes, accepted) in
        [(vec![], true), (vec![0; 3], true), (vec![0; 2], false), (vec![0; 4], false)]
    {
        task.header.indexes = indexes;
        assert_eq!(TaskMessage::decode(&task.encode().unwrap()).is_ok(), accepted);
    }
}

#[test]
fn a_dead_letter_and_its_lengths_must_agree() {
    let broken: [fn(&mut DeadLetter); 3] = [
        |letter| letter.header.lengths = vec![2],
        |letter| letter.header.lengths = vec![u32::MAX, 3],
        |letter| letter.header.left_out = Some(LeftOut::NotGathered),
    ];
    for (at, breaks) in broken.iter().enumerate() {
        let mut letter = dead_letter();
        breaks(&mut letter);
        assert!(DeadLetter::decode(&letter.encode().unwrap()).is_err(), "broken way {at}");
    }
    let mut several = dead_letter();
    several.header.lengths = vec![1, 0, 2];
    let elements: Vec<Bytes> = several.elements().collect();
    assert_eq!(elements, [&b"a"[..], b"", b"bc"]);
    assert_eq!(several.without_payload().elements().map(|element| element.len()).sum::<usize>(), 0);
}

fn decode_all(bytes: &Bytes) {
    // Errors are fine; panics and huge allocations are not.
    let _ = TaskMessage::decode(bytes);
    let _ = ResultMessage::decode(bytes);
    let _ = Return::decode(bytes);
    let _ = Lease::decode(bytes);
    let _ = Probe::decode(bytes);
    let _ = ProbeReply::decode(bytes);
    let _ = Control::decode(bytes);
    let _ = Event::decode(bytes);
    let _ = DeadLetter::decode(bytes);
    let _ = BlockMessage::decode(bytes);
    let _ = OutputMessage::decode(bytes);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&[&[WIRE_VERSION, 0], &bytes[..]].concat().into());
        decode_all(&bytes.into());
    }

    #[test]
    fn no_damage_to_a_message_makes_a_decoder_panic(
        which in 0..messages().len(), at in 0..400usize, byte in any::<u8>(),
    ) {
        let mut bytes = messages()[which].1.to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        decode_all(&bytes.into());
    }
}
