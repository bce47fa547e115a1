//! Executions that feed or read an exchange, beside the obvious programs.

use std::collections::BTreeMap;

use phalanx_core::{
    codec::{self, Layout},
    gather::{hash, partition_of},
    operation::{ElementRange, ErrorKind},
    wire::{
        Block, BlockRoute, BlockWriter, Combine, Gather, Grouping, ListEnd, NotRunReason, Outcome,
        PartitionBlocks, ResultMessage, RowTotal, Scatter, TaskInlet, TaskOutlet, list_position,
    },
};
use proptest::prelude::*;

use super::{
    Stop, run_async, run_blocking,
    tests::{SLOTS, TestExecution, inputs, interpret, strings},
};
use crate::testing::TestOp;

const PARTITIONS: u32 = 4;

fn scatter(layout: Layout, combine: Combine) -> TaskOutlet {
    TaskOutlet::Exchange(Scatter {
        partitions: PARTITIONS,
        layout,
        combine,
        route: BlockRoute::Inline { cap: u64::MAX },
    })
}

fn feed(ops: &[TestOp], inputs: &[String], outlet: TaskOutlet) -> ResultMessage {
    let mut execution = TestExecution::new(ops, inputs, |header| header.outlet = outlet);
    run_blocking(&execution.running);
    execution.result()
}

fn text(bytes: &[u8]) -> String {
    codec::decode(bytes).unwrap()
}

/// The rows of all blocks, each with the first offset of its segment; checks their partitions.
fn rows(result: &ResultMessage, keys_are_whole: bool) -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    let size: usize = result.header.blocks.iter().map(|block| block.bytes as usize).sum();
    let mut bytes = &result.payload[result.payload.len() - size..];
    let mut rows = Vec::new();
    for header in &result.header.blocks {
        let (block, rest) = bytes.split_at(header.bytes as usize);
        bytes = rest;
        let block = Block::read(block).unwrap();
        assert_eq!(block.rows(), header.rows as usize);
        for (key, value) in block.iter() {
            let identity = if keys_are_whole { [key, value].concat() } else { key.to_vec() };
            assert_eq!(partition_of(hash(&identity), PARTITIONS), header.partition);
            rows.push((header.first, key.to_vec(), value.to_vec()));
        }
    }
    rows
}

fn steps() -> impl Strategy<Value = Vec<TestOp>> {
    let letter = prop::sample::select(vec!['a', 'b', 'c', 'd']);
    let step = (letter, 0..6).prop_map(|(c, kind)| match kind {
        0 => TestOp::Append(c),
        1 => TestOp::FailOn(c),
        2 => TestOp::PanicOn(c),
        3 => TestOp::UnserializableOn(c),
        4 => TestOp::Without(c),
        _ => TestOp::Chars,
    });
    prop::collection::vec(step, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rows_of_a_task_are_the_outputs_of_its_elements_that_do_not_fail(
        ops in steps(), inputs in inputs(),
        combine in prop::sample::select(
            vec![Combine::Nothing, Combine::Count, Combine::First, Combine::Whole],
        ),
    ) {
        let result = feed(&ops, &inputs, scatter(Layout::Whole, combine));
        let mut outputs = Vec::new();
        for segment in &result.header.segments {
            for input in &inputs[segment.from as usize..segment.to as usize] {
                match (&segment.outcome, interpret(&ops, input)) {
                    (Outcome::Done { .. }, Ok(done)) => outputs.extend(done),
                    (Outcome::Failed { step, .. }, Err(expected)) => prop_assert_eq!(*step, expected),
                    (outcome, expected) => panic!("{input}: {outcome:?}, {expected:?}"),
                }
            }
        }
        let encoded = outputs.iter().map(|output| codec::encode(output).unwrap().len() as u64);
        let uncombined = RowTotal { rows: outputs.len() as u64, bytes: encoded.sum() };
        prop_assert_eq!(result.header.uncombined, uncombined);
        let rows = rows(&result, combine != Combine::Count);
        let mut found: Vec<String> = rows.iter().map(|(_, key, _)| text(key)).collect();
        found.sort();
        outputs.sort();
        if combine == Combine::Count {
            let mut counts = BTreeMap::<String, u64>::new();
            outputs.iter().for_each(|output| *counts.entry(output.clone()).or_default() += 1);
            for (_, key, count) in &rows {
                prop_assert_eq!(codec::decode::<u64>(count).unwrap(), counts[&text(key)]);
            }
        }
        if !matches!(combine, Combine::Nothing | Combine::Whole) {
            outputs.dedup();
        }
        prop_assert_eq!(found, outputs);
    }
}

#[test]
fn a_segment_of_blocks_ends_only_at_an_element_that_may_run_again() {
    let inputs = strings(&["aq", "bz", "ax", "as", "a"]);
    let ops =
        [TestOp::FailOn('z'), TestOp::StumbleOn('s'), TestOp::PairUp, TestOp::ConcatByKey(None)];
    let result = feed(&ops, &inputs, scatter(Layout::Pairs, Combine::Step));
    let rows = rows(&result, false).into_iter();
    let rows: Vec<_> = rows.map(|(first, key, value)| (first, text(&key), text(&value))).collect();
    let row = |first, value: &str| (first, "a".to_owned(), value.to_owned());
    assert_eq!(rows, [row(0, "aqax"), row(4, "a")], "what fails permanently undoes no combining");
    let ends: Vec<u32> = result.header.segments.iter().map(|segment| segment.to).collect();
    assert_eq!(ends, [1, 2, 3, 4, 5]);
}

#[test]
fn one_element_in_a_hundred_that_fails_permanently_makes_no_more_blocks() {
    let blocks = |bad: &str| {
        let value = |n: u32| if n % 100 == 50 { bad.to_owned() } else { (n % 7).to_string() };
        let inputs: Vec<String> = (0..1_000).map(value).collect();
        let ops = [TestOp::FailOn('x')];
        feed(&ops, &inputs, scatter(Layout::Whole, Combine::Count)).header.blocks.len()
    };
    assert_eq!(blocks("x"), blocks("1"));
}

#[test]
fn a_combination_that_fails_voids_all_that_its_execution_has_written() {
    let inputs = strings(&["a1", "a2", "ax", "b"]);
    let ops = [TestOp::PairUp, TestOp::ConcatByKey(Some('x'))];
    let result = feed(&ops, &inputs, scatter(Layout::Pairs, Combine::Step));
    assert!(result.header.blocks.is_empty() && result.payload.is_empty());
    assert_eq!(result.header.uncombined, RowTotal::default());
    let broken = Outcome::NotRun { reason: NotRunReason::FoldBroken };
    let [before, failed, ..] = &result.header.segments[..] else { panic!("{result:?}") };
    assert!(before.to == 2 && before.outcome == broken, "{before:?}");
    assert!(matches!(&failed.outcome, Outcome::Failed { step: 1, error, .. }
        if error.kind() == ErrorKind::Fatal));
}

#[test]
fn an_execution_that_somebody_else_ends_has_no_blocks() {
    let inputs = strings(&["a", "b", "c"]);
    let ops = [TestOp::WaitOn('c')];
    let outlet = scatter(Layout::Whole, Combine::Nothing);
    let mut execution = TestExecution::new(&ops, &inputs, |header| header.outlet = outlet);
    let running = execution.running.clone();
    let thread = std::thread::spawn(move || run_blocking(&running));
    while execution.running.mark().is_none_or(|mark| mark.offset < 2) {
        std::thread::yield_now();
    }
    while !execution.running.abandon() {
        std::thread::yield_now();
    }
    let result = execution.result();
    assert!(result.header.blocks.is_empty());
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
    assert!(result.header.segments.iter().all(|segment| !done(&segment.outcome)), "{result:?}");
    execution.operations.open_gate();
    thread.join().unwrap();
}

/// The rows of blocks: keys and values.
type Blocks<'a> = &'a [&'a [(&'a str, &'a str)]];

/// A task that reads one partition: the rows of each of its blocks.
fn read(
    ops: &[TestOp],
    grouping: Grouping,
    blocks: Blocks<'_>,
    second: Blocks<'_>,
    ranges: &[(u64, u64)],
) -> ResultMessage {
    let mut execution = reading(ops, grouping, (blocks, second), ranges, false, TaskOutlet::Reply);
    run_blocking(&execution.running);
    execution.result()
}

/// The execution of such a task.
fn reading(
    ops: &[TestOp],
    grouping: Grouping,
    (blocks, second): (Blocks<'_>, Blocks<'_>),
    ranges: &[(u64, u64)],
    isolated: bool,
    outlet: TaskOutlet,
) -> TestExecution {
    let mut payload = Vec::new();
    let mut lengths = |blocks: Blocks<'_>| -> Vec<u32> {
        let mut length = |rows: &[(&str, &str)]| {
            let (mut writer, before) = (BlockWriter::default(), payload.len());
            let encode = |text: &str| codec::encode(&text.to_owned()).unwrap();
            for (key, value) in rows {
                // Rows of which only different ones are kept are keys as a whole.
                let value = if grouping == Grouping::Distinct { Vec::new() } else { encode(value) };
                writer.push(&encode(key), &value);
            }
            writer.finish(&mut payload);
            (payload.len() - before) as u32
        };
        blocks.iter().map(|rows| length(rows)).collect()
    };
    let (blocks, second) = (lengths(blocks), lengths(second));
    let partitions = vec![PartitionBlocks { partition: 3, blocks, second }];
    let inlet = TaskInlet::Partitions(Gather { grouping, partitions });
    TestExecution::of(ops, 0, payload, |header| {
        header.isolated = isolated;
        header.outlet = outlet;
        let at = |number| list_position(3, number);
        let range =
            |(from, to): &(u64, u64)| ElementRange { from: at(*from), to: at(*to), tries: 1 };
        header.ranges = ranges.iter().map(range).collect();
        header.inlet = inlet;
    })
}

const ALL: &[(u64, u64)] = &[(0, u64::MAX)];

/// The outputs of a reading task, as pairs of strings.
fn pairs(result: &ResultMessage) -> Vec<(String, String)> {
    let mut bytes = &result.payload[..];
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        pairs.push(codec::decode_front(&mut bytes).unwrap());
    }
    pairs
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn groups_are_in_the_order_of_their_first_rows_and_values_in_that_of_the_blocks() {
    let blocks: &[&[_]] = &[&[("b", "1"), ("a", "2"), ("b", "3")], &[("c", "4"), ("b", "5")]];
    let ops = [TestOp::ConcatByKey(None)];
    let result = read(&ops, Grouping::Combine, blocks, &[], ALL);
    assert_eq!(pairs(&result), [pair("b", "135"), pair("a", "2"), pair("c", "4")]);
    assert_eq!(result.header.lists, [ListEnd { partition: 3, elements: 3 }]);
    // Two parts of the same list, as a retry has them.
    let result = read(&ops, Grouping::Combine, blocks, &[], &[(0, 1), (2, 3)]);
    assert_eq!(pairs(&result), [pair("b", "135"), pair("c", "4")]);
    assert_eq!(result.header.lists, [ListEnd { partition: 3, elements: 3 }]);
}

#[test]
fn a_group_that_fails_while_it_is_combined_fails_alone() {
    let blocks: &[&[_]] = &[&[("b", "1"), ("a", "2")], &[("b", "x"), ("a", "3"), ("b", "4")]];
    let result = read(&[TestOp::ConcatByKey(Some('x'))], Grouping::Combine, blocks, &[], ALL);
    assert_eq!(pairs(&result), [pair("a", "23")]);
    let [failed, done] = &result.header.segments[..] else { panic!("{result:?}") };
    assert!(matches!(failed.outcome, Outcome::Failed { step: 0, .. }) && failed.to == 1);
    assert!(matches!(done.outcome, Outcome::Done { outputs: 1, .. }) && done.to == 2);
}

#[test]
fn an_execution_that_is_stopped_while_it_combines_does_not_go_on_with_other_values() {
    let rows: Vec<_> = (0..5_000).map(|n| ("a", if n == 1_500 { "w" } else { "v" })).collect();
    let blocks: &[&[_]] = &[&rows];
    let ops = [TestOp::WaitByKey('w')];
    let mut execution =
        reading(&ops, Grouping::Combine, (blocks, &[]), ALL, false, TaskOutlet::Reply);
    let running = execution.running.clone();
    let thread = std::thread::spawn(move || run_blocking(&running));
    while execution.operations.ran().last().is_none_or(|value| value != "w") {
        std::thread::yield_now();
    }
    execution.running.stop(Stop::Cancelled);
    thread.join().unwrap();
    // To the end of the chunk of 1,024 values, the first of which is combined with nothing.
    assert_eq!(execution.operations.ran().len(), 2 * 1_024 - 1);
    let result = execution.result();
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
    assert!(result.header.segments.iter().all(|segment| !done(&segment.outcome)), "{result:?}");
}

#[test]
fn an_isolated_task_names_each_group_before_it_combines_its_values() {
    let blocks: &[&[_]] = &[&[("b", "1"), ("a", "2")], &[("b", "3"), ("c", "4"), ("a", "5")]];
    let ops = [TestOp::ConcatByKey(None)];
    for (ranges, groups) in [(ALL, &[0, 1, 2][..]), (&[(0, 1), (2, 3)], &[0, 1])] {
        let mut execution =
            reading(&ops, Grouping::Combine, (blocks, &[]), ranges, true, TaskOutlet::Reply);
        run_blocking(&execution.running);
        let reported = std::mem::take(&mut *execution.reported.lock().unwrap());
        // The first chunk, the groups, then the elements from the first on.
        assert_eq!(reported[..=groups.len()], [&[0], groups].concat());
        assert_eq!(reported[1 + groups.len()], 0, "{reported:?}");
        let outputs = pairs(&execution.result());
        assert_eq!(
            outputs[..],
            match groups.len() {
                3 => vec![pair("b", "13"), pair("a", "25"), pair("c", "4")],
                _ => vec![pair("b", "13"), pair("c", "4")],
            }
        );
    }
}

#[test]
fn the_rows_of_a_join_are_those_of_two_loops() {
    let first: &[&[_]] = &[&[("a", "1"), ("b", "2")], &[("a", "3")]];
    let second: &[&[_]] = &[&[("a", "x"), ("c", "z")], &[("a", "y")]];
    let inner = Grouping::Join(phalanx_core::wire::JoinKind::Inner);
    let result = read(&[], inner, first, second, ALL);
    let mut bytes = &result.payload[..];
    let mut rows: Vec<(String, (String, String))> = Vec::new();
    while !bytes.is_empty() {
        rows.push(codec::decode_front(&mut bytes).unwrap());
    }
    let row = |one: &str, other: &str| ("a".to_owned(), pair(one, other));
    assert_eq!(rows, [row("1", "x"), row("1", "y"), row("3", "x"), row("3", "y")]);
    let kept = read(&[], Grouping::Filter { present: false }, first, second, ALL);
    assert_eq!(pairs(&kept), [pair("b", "2")]);
}

#[test]
fn rows_are_compared_as_a_whole_on_both_sides() {
    let first: &[&[_]] = &[&[("a", "1"), ("b", "2"), ("a", "2")], &[("a", "1"), ("c", "4")]];
    let second: &[&[_]] = &[&[("a", "2"), ("c", "3")], &[("b", "2"), ("x", "1"), ("a", "2")]];
    let common = read(&[], Grouping::Intersection, first, second, ALL);
    assert_eq!(pairs(&common), [pair("b", "2"), pair("a", "2")]);
    let left = read(&[], Grouping::Subtract, first, second, ALL);
    assert_eq!(pairs(&left), [pair("a", "1"), pair("a", "1"), pair("c", "4")]);
    assert_eq!(left.header.lists, [ListEnd { partition: 3, elements: 3 }]);
    let nothing = read(&[], Grouping::Intersection, &[], second, ALL);
    assert_eq!(pairs(&nothing), []);
}

#[test]
fn a_segment_ends_where_other_tasks_have_the_next_elements() {
    let blocks: &[&[_]] = &[&["a", "b", "c", "d", "e", "f"].map(|name| (name, ""))];
    let ranges = &[(0, 1), (2, 4), (5, 6)];
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let run = |ops: &[TestOp], outlet: TaskOutlet| {
        let mut execution = reading(ops, Grouping::Distinct, (blocks, &[]), ranges, false, outlet);
        match ops.iter().any(|op| matches!(op, TestOp::AppendAsync(_))) {
            true => tokio.block_on(run_async(&execution.running, &SLOTS, 4)),
            false => run_blocking(&execution.running),
        }
        execution.result()
    };
    let ends = |result: &ResultMessage| -> Vec<u32> {
        result.header.segments.iter().map(|segment| segment.to).collect()
    };
    let outputs = |result: &ResultMessage| {
        let (mut bytes, mut outputs) = (&result.payload[..], Vec::<String>::new());
        while !bytes.is_empty() {
            outputs.push(codec::decode_front(&mut bytes).unwrap());
        }
        outputs
    };
    for append in [TestOp::Append('x'), TestOp::AppendAsync('x')] {
        let mapped = run(std::slice::from_ref(&append), TaskOutlet::Reply);
        assert_eq!(
            (ends(&mapped), outputs(&mapped)),
            (vec![1, 3, 4], strings(&["ax", "cx", "dx", "fx"]))
        );
        let stumbling = run(&[append.clone(), TestOp::StumbleOn('c')], TaskOutlet::Reply);
        assert_eq!(ends(&stumbling), [1, 2, 3, 4]);
        let folded = run(&[append.clone(), TestOp::Concat], TaskOutlet::Reply);
        assert_eq!(
            (ends(&folded), outputs(&folded)),
            (vec![1, 3, 4], strings(&["ax", "cxdx", "fx"]))
        );
        let written = run(&[append], scatter(Layout::Whole, Combine::Count));
        assert_eq!(ends(&written), [1, 3, 4]);
        let mut rows: Vec<(u32, String)> =
            rows(&written, false).into_iter().map(|(first, key, _)| (first, text(&key))).collect();
        rows.sort();
        let row = |first, name: &str| (first, name.to_owned());
        assert_eq!(rows, [row(0, "ax"), row(1, "cx"), row(1, "dx"), row(3, "fx")]);
    }
}
