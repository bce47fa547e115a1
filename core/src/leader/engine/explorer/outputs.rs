//! Outputs that go through the queues of tasks.

use super::{
    explore,
    faults::{Fault, Faults},
    rules::Rule,
    spread::{SPREADING, spread_once},
    stream,
    world::World,
};

pub(super) fn queued(rule: Option<Rule>, ordered: bool, elements: u8, faults: Faults) -> World {
    // What is behind the first element that a task has run goes through a queue.
    World::with_output_queues(rule, stream(ordered), elements, faults.and(Fault::Cut))
}

#[test]
fn every_fault_leaves_each_output_of_a_queue_delivered_once() {
    for fault in SPREADING {
        explore(queued(None, false, 2, Faults::of(&[fault])), &spread_once(2));
    }
}

#[test]
fn every_fault_keeps_the_outputs_of_a_queue_in_partition_order() {
    for fault in SPREADING {
        explore(queued(None, true, 2, Faults::of(&[fault])), &spread_once(2));
    }
}

#[test]
fn no_queue_of_outputs_is_left_after_a_cancel_whatever_else_goes_wrong() {
    for fault in SPREADING {
        let mut world = queued(None, false, 2, Faults::of(&[fault]));
        world.cancellable = true;
        explore(world, &spread_once(2));
    }
}
