//! The promises of the `Broker` trait as tests, and an audit of how deliveries are settled.
//!
//! A runtime crate defines how its broker is made, and gets one test for each promise:
//!
//! ```text
//! async fn memory_broker(_test: &str) -> MemoryUnderTest { … }
//! phalanx_conformance::conformance!(memory_broker);
//! ```

mod audit;
pub mod suite;
mod tools;

pub use audit::{DeliveryAudit, Report, Violation};
#[doc(hidden)]
pub use phalanx_test_support::soon;
pub use tools::BrokerUnderTest;

/// Defines one `#[tokio::test]` for each promise of the broker trait.
///
/// `$make` names an `async fn(&str) -> impl BrokerUnderTest`. Each test calls it with its own name;
/// the brokers that it returns share no queues.
#[macro_export]
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance! { $make;
            declaring: a_queue_may_be_declared_twice,
            declaring: deleting_a_queue_deletes_its_messages,
            declaring: deleting_a_missing_queue_is_no_error,
            publishing: a_message_is_consumed_as_it_was_published,
            publishing: empty_and_large_bodies_arrive_complete,
            publishing: concurrent_publishes_arrive_in_order,
            publishing: an_unroutable_message_is_dropped_and_a_mandatory_one_is_reported,
            publishing: each_of_many_mandatory_messages_is_reported_for_itself,
            publishing: a_message_that_is_too_large_is_refused_and_no_other_is_lost,
            consuming: an_acked_message_is_never_redelivered,
            consuming: competing_consumers_share_a_queue,
            consuming: a_consumer_holds_no_more_than_its_prefetch,
            consuming: settling_a_delivery_makes_room_for_the_next,
            consuming: the_prefetch_can_be_raised,
            consuming: the_prefetch_can_be_lowered,
            consuming: changing_the_prefetch_redelivers_nothing,
            consuming: a_requeued_message_is_delivered_again_and_marked_as_redelivered,
            consuming: a_rejected_task_goes_to_the_dead_letter_queue,
            consuming: try_next_returns_buffered_deliveries_without_waiting,
            consuming: dropping_a_waiting_future_loses_no_delivery,
            consuming: a_cancelled_consumer_can_still_settle,
            consuming: deliveries_requeued_in_reverse_keep_their_order,
            losing: deliveries_of_a_lost_connection_are_redelivered,
            losing: deliveries_of_a_dropped_consumer_are_redelivered,
            losing: deliveries_of_a_cancelled_consumer_stay_with_their_holders,
            losing: settling_after_the_connection_is_lost_has_no_effect,
            losing: every_method_of_a_closed_broker_reports_closed,
            losing: closing_flushes_the_last_acks,
            addressing: control_messages_reach_workers_by_their_topics,
            addressing: a_control_queue_is_deleted_with_its_connection,
            addressing: every_leader_receives_every_event,
            addressing: an_event_queue_is_bounded_and_keeps_the_newest,
            addressing: a_reply_queue_outlives_its_consumer,
            addressing: replies_go_to_their_own_leader,
            shuffling: many_queues_are_declared_renewed_checked_and_deleted,
            shuffling: each_of_many_queues_has_its_own_outcome,
            shuffling: a_renewed_queue_receives_each_block_once,
            shuffling: an_exclusive_consumer_is_alone,
            shuffling: a_passive_consumer_never_declares_its_queue,
            shuffling: what_is_read_and_left_is_read_again_in_order,
            shuffling: a_reader_removes_only_what_it_acks,
            shuffling: the_prefetch_of_an_exclusive_consumer_is_fixed,
            shuffling: an_exclusive_consumer_can_hold_any_number,
            shuffling: a_passive_consumer_ends_when_its_queue_is_deleted,
            shuffling: blocks_outlive_the_connection_of_their_writer,
            shuffling: each_of_many_blocks_is_routed_or_returned,
        }
    };
    ($make:path; $($group:ident: $promise:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let broker = $make(stringify!($promise)).await;
            $crate::soon("the broker", $crate::suite::$group::$promise(&broker)).await;
            $crate::BrokerUnderTest::clean_up(broker).await;
        }
    )*};
}
