//! Exchanges that go through queues.

use super::{
    exchanged_once, explore,
    faults::{Fault, Faults},
    rules::Rule,
    world::World,
};

/// A leader that may hold no block: its exchange is spread before the first task.
pub(super) const AT_ONCE: usize = 0;
/// A leader with room for the cap of one task: its exchange is spread after that, and the leader
/// publishes its block.
const IN_BETWEEN: usize = 4 << 10;

pub(super) fn spread(rule: Option<Rule>, most: usize, faults: Faults) -> World {
    World::with_blocks(rule, most, 2, faults)
}

/// Each row counts once, unless the broker has lost blocks; and no queue is left.
pub(super) fn spread_once(elements: u8) -> impl Fn(&World) {
    move |world| {
        match &world.ended {
            Some(Err(error)) if error.contains("run the program again") => {
                assert!(world.queues.lost, "a false alarm: {error} {world:#?}");
            }
            Some(Err(error)) if error.contains("cancelled") => {}
            _ => exchanged_once(elements)(world),
        }
        assert!(!world.leaves_queues(), "a queue is left: {world:#?}");
    }
}

/// The faults of a spread exchange; a cancel is one more.
pub(super) const SPREADING: [Fault; 9] = [
    Fault::Crash,
    Fault::FalseTimeout,
    Fault::LostReply,
    Fault::LostCopy,
    Fault::BlockTwice,
    Fault::Requeue,
    Fault::Cut,
    Fault::BlockLost,
    Fault::QueueDeleted,
];

#[test]
fn every_fault_leaves_each_row_counted_once_at_whichever_block_an_exchange_is_spread() {
    for fault in SPREADING {
        for most in [AT_ONCE, IN_BETWEEN] {
            explore(spread(None, most, Faults::of(&[fault])), &spread_once(2));
        }
    }
}

/// The pairs that have a hundred thousand worlds each: every order of two deaths and second
/// deliveries.
fn is_large(pair: [Fault; 2]) -> bool {
    pair.iter().all(|fault| matches!(fault, Fault::Crash | Fault::Requeue))
}

fn explore_pairs(is_explored: impl Fn([Fault; 2]) -> bool) {
    for (at, one) in SPREADING.into_iter().enumerate() {
        for other in &SPREADING[at..] {
            if is_explored([one, *other]) {
                explore(spread(None, AT_ONCE, Faults::of(&[one, *other])), &spread_once(2));
            }
        }
    }
}

#[test]
fn every_pair_of_faults_leaves_each_row_of_a_spread_exchange_counted_once() {
    explore_pairs(|pair| !is_large(pair));
}

/// With `cargo test -p phalanx-core --lib two_deaths -- --ignored`.
#[test]
#[ignore = "takes more than a minute"]
fn two_deaths_and_second_deliveries_leave_each_row_of_a_spread_exchange_counted_once() {
    explore_pairs(is_large);
}

#[test]
fn no_queue_is_left_after_a_cancel_whatever_else_goes_wrong() {
    for fault in SPREADING {
        for most in [AT_ONCE, IN_BETWEEN] {
            let mut world = spread(None, most, Faults::of(&[fault]));
            world.cancellable = true;
            explore(world, &spread_once(2));
        }
    }
}
