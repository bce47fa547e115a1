//! Compares executions with the naive interpretation: each element by itself, step by step.

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use phalanx_core::{
    broker::{Delivery, Message, MessageKind, Properties, Settle, Settler},
    codec,
    id::{CopyId, JobId, LeaderId, TaskNumber, WorkerId},
    operation::ElementRange,
    registry::Registry,
    wire::{
        NotRunReason, Outcome, ResultMessage, Return, ReturnReason, TaskHeader, TaskInlet,
        TaskKind, TaskMessage, TaskOutlet,
    },
};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::{ExecutionConfig, Pipeline, Running, Stop, run_async, run_blocking};
use crate::{
    lock::lock,
    process_kind::ChunkReporter,
    reply::{OutgoingReply, ReplyAddress, ReplySender},
    slots::Slots,
    testing::{TestOp, TestOperations},
};

struct NoSettler;

impl Settler for NoSettler {
    fn settle(&self, _: u64, _: Settle) {}
}

/// One execution, and its replies.
pub(super) struct TestExecution {
    pub(super) running: Arc<Running>,
    pub(super) operations: TestOperations,
    /// The first elements of its chunks, as reported.
    pub(super) reported: Arc<Mutex<Vec<u32>>>,
    replies: mpsc::UnboundedReceiver<OutgoingReply>,
}

impl TestExecution {
    pub(super) fn new(
        ops: &[TestOp],
        inputs: &[String],
        change: impl FnOnce(&mut TaskHeader),
    ) -> Self {
        let mut payload = Vec::new();
        for input in inputs {
            codec::encode_into(input, &mut payload).unwrap();
        }
        Self::of(ops, inputs.len() as u64, payload, change)
    }

    /// An execution on `count` elements, or on the blocks in the payload.
    pub(super) fn of(
        ops: &[TestOp],
        count: u64,
        payload: Vec<u8>,
        change: impl FnOnce(&mut TaskHeader),
    ) -> Self {
        let operations = TestOperations::new();
        let mut header = TaskHeader {
            leader: LeaderId::new(),
            job: JobId::new(),
            stage: 0,
            copy: CopyId::new(TaskNumber(1), 1),
            kind: TaskKind::Run,
            isolated: false,
            ranges: vec![ElementRange { from: 100, to: 100 + count, tries: 1 }],
            indexes: Vec::new(),
            steps: operations.steps(ops),
            time_slice: Duration::from_secs(3_600),
            output_cap: u64::MAX,
            inlet: TaskInlet::default(),
            outlet: TaskOutlet::Reply,
        };
        change(&mut header);
        let task = TaskMessage { header, payload: payload.into() };
        let registry = Registry::global().unwrap();
        let pipeline = Pipeline::new(&task.header.steps, |step| registry.compile(step)).unwrap();
        let (sender, replies) = ReplySender::new(WorkerId::new());
        let message = Message { properties: Properties::default(), body: Default::default() };
        let delivery = Delivery::new(message, false, 1, Arc::new(NoSettler));
        let address = ReplyAddress { leader: task.header.leader, copy: Some(task.header.copy) };
        let pending = sender.pending(delivery, address, &Arc::default());
        let reported = Arc::<Mutex<Vec<u32>>>::default();
        let reports = Arc::clone(&reported);
        let reporter: ChunkReporter = Arc::new(move |first| lock(&reports).push(first));
        let (worker, kind) = (WorkerId::new(), pipeline.kind());
        let config = ExecutionConfig { worker, kind, reporter: Some(reporter), publisher: None };
        let running = Running::new(task, Arc::new(pipeline), config, pending);
        Self { running, operations, reported, replies }
    }

    /// The result. Decoding checks that the segments tile the batch and fit the payload.
    pub(super) fn result(&mut self) -> ResultMessage {
        let outgoing = self.replies.try_recv().expect("replied");
        assert!(self.replies.try_recv().is_err(), "replied once");
        assert_eq!(outgoing.content.kind, MessageKind::Result);
        let result = ResultMessage::decode(&outgoing.content.body).unwrap();
        let end = result.header.segments.last().map_or(0, |segment| segment.to);
        if !self.running.reads_partitions() {
            assert_eq!(end, self.running.count(), "the segments tile the batch");
        }
        result
    }

    fn returned(&mut self) -> Return {
        let outgoing = self.replies.try_recv().expect("replied");
        assert_eq!(outgoing.content.kind, MessageKind::Return);
        Return::decode(&outgoing.content.body).unwrap()
    }
}

/// The outputs of an element before the fold, if there is one, or the step in which it fails.
pub(super) fn interpret(ops: &[TestOp], input: &str) -> Result<Vec<String>, u32> {
    let mut values = vec![input.to_owned()];
    for (step, op) in ops.iter().enumerate() {
        let mut outputs = Vec::new();
        for value in values {
            let has = |c: &char| value.contains(*c);
            match op {
                TestOp::FailOn(c) | TestOp::PanicOn(c) if has(c) => {
                    return Err(step as u32);
                }
                TestOp::Without(c) if has(c) => {}
                TestOp::Append(c) | TestOp::AppendAsync(c) => outputs.push(format!("{value}{c}")),
                TestOp::Chars => outputs.extend(value.chars().map(String::from)),
                _ => outputs.push(value),
            }
        }
        // Serialized when they leave the stage, or when the next step has another type for them.
        if let TestOp::UnserializableOn(c) = op
            && !matches!(ops.get(step + 1), Some(TestOp::Rewrap))
            && outputs.iter().any(|value| value.contains(*c))
        {
            return Err(step as u32);
        }
        values = outputs;
    }
    Ok(values)
}

fn fails_to_combine(ops: &[TestOp], value: &str) -> bool {
    matches!(ops.last(), Some(TestOp::ConcatUnless(c)) if value.contains(*c))
}

/// Compares a result with the interpretation. If `cut` is set, elements may be `NotRun`.
fn check(ops: &[TestOp], inputs: &[String], measured: bool, cut: bool, result: &ResultMessage) {
    let folds = matches!(ops.last(), Some(TestOp::Concat | TestOp::ConcatUnless(_)));
    let mut payload = &result.payload[..];
    for (index, segment) in result.header.segments.iter().enumerate() {
        let elements = &inputs[segment.from as usize..segment.to as usize];
        match &segment.outcome {
            Outcome::Done { bytes, outputs, counts, lengths, .. } => {
                let (mut own, rest) = payload.split_at(*bytes as usize);
                payload = rest;
                let expected: Vec<Vec<String>> =
                    elements.iter().map(|input| interpret(ops, input).expect("done")).collect();
                let flat: Vec<String> = expected.iter().flatten().cloned().collect();
                let mut found = Vec::new();
                for output in 0..*outputs {
                    let before = own.len();
                    found.push(codec::decode_front::<String>(&mut own).unwrap());
                    if let Some(lengths) = lengths {
                        assert_eq!(lengths[output as usize] as usize, before - own.len());
                    }
                }
                assert!(own.is_empty());
                assert_eq!(lengths.is_some(), measured);
                if folds {
                    assert_eq!(*outputs, u32::from(!flat.is_empty()));
                    assert_eq!(found.concat(), flat.concat());
                    // The first value of a segment is not combined with any before it.
                    let mut combined = flat.iter().skip(1);
                    assert!(!combined.any(|value| fails_to_combine(ops, value)), "{flat:?}");
                    continue;
                }
                assert_eq!(found, flat);
                let one_to_one =
                    !ops.iter().any(|op| matches!(op, TestOp::Chars | TestOp::Without(_)));
                let expected: Vec<u32> = expected.iter().map(|some| some.len() as u32).collect();
                assert_eq!(counts.as_ref(), (!one_to_one).then_some(&expected));
                let next = result.header.segments.get(index + 1);
                assert!(
                    !next.is_some_and(|next| matches!(next.outcome, Outcome::Done { .. })),
                    "adjacent done elements are one segment"
                );
            }
            Outcome::Failed { step, .. } => match interpret(ops, &elements[0]) {
                Ok(values) => {
                    assert_eq!(*step as usize, ops.len() - 1);
                    assert!(values.iter().any(|value| fails_to_combine(ops, value)));
                }
                Err(expected) => assert_eq!(expected, *step, "{:?}", elements[0]),
            },
            Outcome::NotRun { reason: NotRunReason::FoldBroken } => {
                assert!(folds);
                // By a failure of the fold itself, which follows.
                let next = &result.header.segments[index + 1].outcome;
                let fold = ops.len() as u32 - 1;
                assert!(matches!(next, Outcome::Failed { step, .. } if *step == fold));
            }
            Outcome::NotRun { .. } => assert!(cut),
            other => panic!("{other:?}"),
        }
    }
    assert!(payload.is_empty());
}

pub(super) fn ops() -> impl Strategy<Value = Vec<TestOp>> {
    let letter = prop::sample::select(vec!['a', 'b', 'c', 'd']);
    let step = (letter, 0..8).prop_map(|(c, kind)| match kind {
        0 => TestOp::Append(c),
        1 => TestOp::FailOn(c),
        2 => TestOp::PanicOn(c),
        3 => TestOp::UnserializableOn(c),
        4 => TestOp::Without(c),
        5 => TestOp::Rewrap,
        6 => TestOp::Append('x'),
        _ => TestOp::Chars,
    });
    let fold = prop::option::of(prop::sample::select(vec![
        TestOp::Concat,
        TestOp::ConcatUnless('a'),
        TestOp::ConcatUnless('b'),
    ]));
    (prop::collection::vec(step, 1..4), fold).prop_map(|(mut steps, fold)| {
        steps.extend(fold);
        steps
    })
}

pub(super) fn inputs() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[abcdefgh]{0,3}", 1..60)
}

/// One slot thread for all cases of all properties.
pub(super) static SLOTS: LazyLock<Slots> = LazyLock::new(|| Slots::start(1, 2 << 20, 16).unwrap());

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_has_the_outputs_of_its_elements_run_one_by_one(
        ops in ops(), inputs in inputs(), measured: bool,
    ) {
        let mut execution = TestExecution::new(&ops, &inputs, |header| {
            header.outlet = if measured { TaskOutlet::Stage(Default::default()) } else { TaskOutlet::Reply };
        });
        run_blocking(&execution.running);
        check(&ops, &inputs, measured, false, &execution.result());
    }

    #[test]
    fn a_batch_that_ends_early_has_the_right_outputs_up_to_there(
        ops in ops(), inputs in inputs(), slice: bool, cap in 0u64..40,
    ) {
        let mut execution = TestExecution::new(&ops, &inputs, |header| {
            header.output_cap = cap;
            if slice {
                header.time_slice = Duration::ZERO;
            }
        });
        run_blocking(&execution.running);
        let result = execution.result();
        check(&ops, &inputs, false, true, &result);
        let first = &result.header.segments[0].outcome;
        prop_assert!(
            !matches!(first, Outcome::NotRun { reason } if *reason != NotRunReason::FoldBroken),
            "each copy makes progress"
        );
    }

    #[test]
    fn an_asynchronous_batch_has_the_same_outputs(
        ops in ops(), inputs in inputs(), at in 0usize..4,
    ) {
        let mut ops = ops;
        let at = at.min(ops.len() - 1);
        ops.insert(at, TestOp::AppendAsync('a'));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut execution = TestExecution::new(&ops, &inputs, |_| {});
        runtime.block_on(run_async(&execution.running, &SLOTS, 4));
        let result = execution.result();
        check(&ops, &inputs, false, false, &result);
        let done = |segment: &phalanx_core::wire::Segment| {
            matches!(segment.outcome, Outcome::Done { .. })
        };
        for pair in result.header.segments.windows(2) {
            prop_assert!(!pair.iter().all(done), "adjacent done elements are one segment");
        }
    }
}

pub(super) fn strings(inputs: &[&str]) -> Vec<String> {
    inputs.iter().map(|input| (*input).to_owned()).collect()
}

#[test]
fn a_batch_with_bytes_left_over_is_refused_with_the_offset() {
    let mut execution =
        TestExecution::new(&[TestOp::Append('x')], &strings(&["a", "b"]), |header| {
            header.ranges[0].to -= 1;
        });
    run_blocking(&execution.running);
    let returned = execution.returned();
    assert_eq!(returned.offset, Some(1));
    assert!(matches!(returned.reason, ReturnReason::Refused(_)));
}

#[test]
fn a_stage_without_steps_passes_its_elements_through() {
    let inputs = strings(&["a", "bc"]);
    let mut execution = TestExecution::new(&[], &inputs, |_| {});
    run_blocking(&execution.running);
    let result = execution.result();
    assert_eq!(result.payload, execution.running.task.payload);
    assert!(matches!(result.header.segments[..], [ref all] if all.to == 2));
}

#[test]
fn a_stopped_execution_runs_nothing_more() {
    for (stop, reason) in
        [(Stop::Cancelled, NotRunReason::Cancelled), (Stop::Draining, NotRunReason::Draining)]
    {
        let mut execution =
            TestExecution::new(&[TestOp::Append('x')], &strings(&["a", "b"]), |_| {});
        execution.running.stop(stop);
        run_blocking(&execution.running);
        let segments = execution.result().header.segments;
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].outcome, Outcome::NotRun { reason });
    }
}

#[test]
fn an_element_that_fails_because_it_was_cancelled_counts_as_not_run() {
    let mut execution =
        TestExecution::new(&[TestOp::WaitPolitelyOn('b')], &strings(&["a", "b", "c"]), |_| {});
    let running = Arc::clone(&execution.running);
    let thread = std::thread::spawn(move || run_blocking(&running));
    while execution.running.mark().is_none_or(|mark| mark.offset < 1) {
        std::thread::yield_now();
    }
    execution.running.stop(Stop::Draining);
    thread.join().unwrap();
    let segments = execution.result().header.segments;
    let outcomes: Vec<_> = segments.iter().map(|segment| (segment.to, &segment.outcome)).collect();
    assert!(matches!(
        outcomes[..],
        [(1, Outcome::Done { .. }), (3, Outcome::NotRun { reason: NotRunReason::Draining })]
    ));
}
