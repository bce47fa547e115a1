//! Replies that are trimmed to the largest outputs.

use phalanx_core::{
    codec,
    wire::{Outcome, ResultMessage, TaskHeader, TaskOutlet},
};
use proptest::prelude::*;

use super::{
    run_async, run_blocking,
    tests::{SLOTS, TestExecution, inputs, interpret, ops, strings},
};
use crate::testing::TestOp;

fn top(most: u64, by_key: bool) -> impl FnOnce(&mut TaskHeader) {
    move |header| header.outlet = TaskOutlet::Top { most, by_key }
}

fn run(ops: &[TestOp], inputs: &[String], change: impl FnOnce(&mut TaskHeader)) -> ResultMessage {
    let mut execution = TestExecution::new(ops, inputs, change);
    run_blocking(&execution.running);
    execution.result()
}

/// The outputs of each element that is done, and the elements that are not.
fn outputs_of_each(result: &ResultMessage) -> Vec<Option<Vec<String>>> {
    let mut payload = &result.payload[..];
    let mut all = Vec::new();
    for segment in &result.header.segments {
        let Outcome::Done { counts, lengths, .. } = &segment.outcome else {
            all.extend((segment.from..segment.to).map(|_| None));
            continue;
        };
        assert_eq!(*lengths, None, "the leader has not asked for lengths");
        for count in counts.as_ref().expect("the number of outputs varies") {
            let outputs = (0..*count).map(|_| codec::decode_front(&mut payload).unwrap());
            all.push(Some(outputs.collect()));
        }
    }
    assert!(payload.is_empty());
    all
}

fn largest(outputs: impl Iterator<Item = String>, most: u64) -> Vec<String> {
    let mut outputs: Vec<String> = outputs.collect();
    outputs.sort_by(|a, b| b.cmp(a));
    outputs.truncate(most as usize);
    outputs
}

fn is_subsequence(some: &[String], all: &[String]) -> bool {
    let mut all = all.iter();
    some.iter().all(|wanted| all.any(|it| it == wanted))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_reply_has_the_largest_outputs_of_the_elements_that_it_says_are_done(
        ops in ops(), inputs in inputs(), most in 0u64..12, cap in 1u64..60,
    ) {
        let mut ops = ops;
        // In place of a fold, and of outputs that have no order.
        ops.retain(|op| !matches!(op, TestOp::Concat | TestOp::ConcatUnless(_)));
        ops.push(TestOp::Without('h'));
        let result = run(&ops, &inputs, |header| {
            top(most, false)(header);
            header.output_cap = cap;
        });
        let sent = outputs_of_each(&result);
        prop_assert_eq!(sent.len(), inputs.len());
        let mut all = Vec::new();
        for (input, sent) in inputs.iter().zip(&sent) {
            let Some(sent) = sent else { continue };
            let made = interpret(&ops, input).expect("done");
            prop_assert!(is_subsequence(sent, &made));
            all.extend(made);
        }
        let sent = largest(sent.into_iter().flatten().flatten(), u64::MAX);
        prop_assert_eq!(sent, largest(all.into_iter(), most));
    }
}

#[tokio::test]
async fn an_asynchronous_execution_trims_its_reply() {
    let inputs = strings(&["b", "d", "a", "c"]);
    let mut execution = TestExecution::new(&[TestOp::AppendAsync('!')], &inputs, top(2, false));
    run_async(&execution.running, &SLOTS, 4).await;
    let sent = outputs_of_each(&execution.result());
    let sent: Vec<_> = sent.into_iter().map(|outputs| outputs.unwrap().concat()).collect();
    assert_eq!(sent, ["", "d!", "", "c!"]);
}

#[test]
fn pairs_are_compared_by_their_keys_and_then_by_the_bytes_of_their_values() {
    let inputs = strings(&["dd", "a", "bb", "ccc", "aa"]);
    let ops = [TestOp::Without('x'), TestOp::KeyByLength];
    let result = run(&ops, &inputs, top(3, true));
    let sent: Vec<(usize, String)> =
        [3, 2, 2].into_iter().zip(strings(&["ccc", "bb", "aa"])).collect();
    let mut payload = &result.payload[..];
    let mut found: Vec<(usize, String)> =
        std::iter::from_fn(|| codec::decode_front(&mut payload).ok()).collect();
    found.sort_by(|a, b| b.cmp(a));
    assert_eq!((found, payload), (sent, &[][..]));
}

#[test]
fn outputs_whose_order_is_not_known_are_all_sent() {
    let inputs = strings(&["b", "c", "a"]);
    // Pairs that are to be compared as such: a worker knows the order of their keys alone.
    let pairs = run(&[TestOp::Append('!'), TestOp::KeyByLength], &inputs, top(1, false));
    let whole = run(&[TestOp::Append('!'), TestOp::KeyByLength], &inputs, |_| {});
    assert_eq!(pairs.payload, whole.payload);
    for op in [TestOp::Rewrap, TestOp::AppendIncomparable('!')] {
        let sent = outputs_of_each(&run(&[op], &inputs, top(1, false)));
        assert!(sent.into_iter().all(|outputs| outputs.is_some_and(|all| all.len() == 1)));
    }
}
