//! Shows that each rule is needed: without it, some world fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    always_failing, but_one, cancellable, counted_once, ended, exchange, exchanged_once, explore,
    faults::{Fault, Faults},
    map,
    outputs::queued,
    poisoned,
    rules::Rule,
    sharing_a_child,
    spread::{AT_ONCE, spread, spread_once},
    without_children,
    world::World,
};
use crate::operation::ErrorKind;

type Check = Box<dyn Fn(&World)>;

/// A world that fails its check without the rule.
fn without(rule: Rule) -> (World, Check) {
    let world = |kinds: &[Fault]| World::without(Some(rule), map(2), 2, Faults::of(kinds));
    let once = || Box::new(counted_once(2)) as Check;
    match rule {
        Rule::OneOwner => (world(&[Fault::Return]), once()),
        Rule::LiveTable => {
            let faults = Faults::of(&[Fault::LostPublish]);
            (World::without(Some(rule), map(1), 2, faults), once())
        }
        Rule::Attempts => (world(&[Fault::Crash, Fault::LostConfirm]), once()),
        Rule::Tiling => (world(&[Fault::Cut]), once()),
        Rule::Budgets => {
            let check = Box::new(but_one(2, 0, ErrorKind::Transient));
            (always_failing(Some(rule), Faults::default()), check)
        }
        Rule::Redelivered | Rule::Isolated => {
            let check = Box::new(but_one(2, 1, ErrorKind::Crash));
            (poisoned(Some(rule), Faults::default()), check)
        }
        Rule::Naming => {
            let check = Box::new(but_one(2, 1, ErrorKind::Crash));
            (without_children(Some(rule), Faults::default()), check)
        }
        Rule::Alone => {
            let check = Box::new(but_one(2, 1, ErrorKind::Crash));
            (sharing_a_child(Some(rule), Faults::default()), check)
        }
        Rule::Hold => (world(&[]), once()),
        Rule::Replies => (world(&[Fault::FalseTimeout]), once()),
        Rule::Probes => (world(&[Fault::LostCopy]), once()),
        Rule::QuietClock => (world(&[Fault::Lease, Fault::LeaderCutOff]), once()),
        Rule::LostConfirms => (world(&[Fault::LostPublish]), once()),
        Rule::CancelIsState => (cancellable(Some(rule), Faults::default()), Box::new(ended)),
        Rule::Winners => {
            (exchange(Some(rule), Faults::of(&[Fault::LostPublish])), Box::new(exchanged_once(2)))
        }
        Rule::Seal => (exchange(Some(rule), Faults::default()), Box::new(exchanged_once(2))),
        Rule::FixedList => {
            (exchange(Some(rule), Faults::of(&[Fault::Cut])), Box::new(exchanged_once(2)))
        }
        Rule::DeclareFirst | Rule::BlocksFirst => {
            (spread(Some(rule), AT_ONCE, Faults::default()), Box::new(spread_once(2)))
        }
        Rule::ReadOnly => {
            let faults = Faults::of(&[Fault::LostReply]);
            (spread(Some(rule), AT_ONCE, faults), Box::new(spread_once(2)))
        }
        Rule::OneReader => {
            let faults = Faults::of(&[Fault::LostPublish]);
            let world = World { moments: 4, ..spread(Some(rule), AT_ONCE, faults) };
            (world, Box::new(spread_once(2)))
        }
        Rule::Announced => {
            let faults = Faults::of(&[Fault::BlockLost]);
            (spread(Some(rule), AT_ONCE, faults), Box::new(spread_once(2)))
        }
        Rule::OutputWinners => {
            let faults = Faults::of(&[Fault::Crash]);
            (queued(Some(rule), false, 3, faults), Box::new(spread_once(3)))
        }
        Rule::Blocks => {
            (exchange(Some(rule), Faults::of(&[Fault::Crash])), Box::new(exchanged_once(2)))
        }
    }
}

macro_rules! needed {
    ($($test:ident: $rule:ident,)*) => {$(
        #[test]
        fn $test() {
            let (mut world, check) = without(Rule::$rule);
            // Unwind-safe: the worlds that a panic leaves half done are not used again.
            let exploring = AssertUnwindSafe(|| explore(world.clone(), &*check));
            let explored = catch_unwind(exploring);
            assert!(explored.is_err(), "no world needs the rule");
            // With the rule, the same world passes: the rule alone was missing.
            world.rule_off = None;
            explore(world, &*check);
        }
    )*};
}

needed! {
    without_rule_1_an_element_has_two_owners: OneOwner,
    without_rule_2_a_result_counts_twice: LiveTable,
    without_rule_3_the_return_of_an_old_copy_reissues_the_new_one: Attempts,
    without_rule_4_elements_that_were_not_run_are_lost: Tiling,
    without_rule_5_an_element_is_retried_endlessly: Budgets,
    without_rule_6_a_poison_element_kills_one_worker_after_another: Redelivered,
    without_rule_7_a_poison_element_kills_two_workers: Isolated,
    without_rule_7_an_element_that_was_not_named_kills_one_worker_after_another: Naming,
    without_rule_7_the_death_of_a_shared_child_is_charged_to_a_neighbour: Alone,
    without_rule_8_a_running_task_is_taken_for_lost: Hold,
    without_rule_9_a_dropped_task_is_lost: Replies,
    without_rule_12_a_lost_copy_is_never_reissued: Probes,
    without_rule_13_a_leader_that_was_cut_off_takes_its_workers_for_dead: QuietClock,
    without_rule_14_a_copy_whose_confirm_was_lost_is_never_reissued: LostConfirms,
    without_rule_21_tasks_of_a_dead_job_run: CancelIsState,
    without_rule_29_blocks_are_written_before_their_queue_exists: DeclareFirst,
    without_rule_30_a_reader_misses_blocks_that_are_on_their_way: BlocksFirst,
    without_rule_34_a_lost_reply_costs_the_blocks_that_were_read: ReadOnly,
    without_rule_35_a_second_reader_finds_an_empty_queue: OneReader,
    without_rule_36_rows_that_the_broker_has_lost_are_not_missed: Announced,
    without_rule_31_the_blocks_of_two_executions_count: Winners,
    without_rule_32_rows_that_come_late_are_lost: Seal,
    without_rule_33_two_readers_of_a_list_count_the_same_row: FixedList,
    without_rule_39_the_outputs_of_a_dead_worker_are_delivered: OutputWinners,
    without_rule_37_what_runs_again_for_its_blocks_counts_twice_or_never: Blocks,
}
