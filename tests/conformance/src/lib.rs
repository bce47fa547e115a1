//! What every broker of Phalanx must do, and an audit of what is done with its deliveries.
//!
//! A runtime crate says how its broker is made and gets one test for each promise:
//!
//! ```text
//! async fn memory_broker(_test: &str) -> MemoryUnderTest { … }
//! phalanx_conformance::conformance!(memory_broker);
//! ```

mod audit;
pub mod suite;
mod tools;

pub use audit::{DeliveryAudit, Report, Violation};
pub use tools::{BrokerUnderTest, within_a_minute};

/// One `#[tokio::test]` for each promise of the broker trait.
///
/// `$make` names an `async fn(&str) -> impl BrokerUnderTest`, called for each test with its name:
/// what it makes shares no queue with what it made for others.
#[macro_export]
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance! { $make;
            declaring: a_queue_may_be_declared_twice,
            declaring: deleting_a_queue_deletes_what_is_in_it,
            declaring: deleting_what_does_not_exist_is_no_error,
            publishing: what_is_published_is_consumed_as_it_was,
            publishing: an_empty_and_a_large_body_arrive_whole,
            publishing: many_publishes_at_once_arrive_in_order,
            publishing: an_unroutable_message_vanishes_and_a_mandatory_one_says_so,
            publishing: a_message_that_is_too_large_is_refused_and_nothing_else_is_lost,
            consuming: an_acked_message_never_comes_again,
            consuming: competing_consumers_share_a_queue,
            consuming: a_consumer_holds_no_more_than_its_prefetch,
            consuming: settling_makes_room_for_the_next,
            consuming: the_prefetch_can_be_raised,
            consuming: a_requeued_message_comes_again_as_redelivered,
            consuming: a_rejected_task_is_found_among_the_dead_letters,
            consuming: try_next_gives_what_is_here_and_does_not_wait,
            consuming: dropping_a_waiting_future_loses_nothing,
            consuming: a_cancelled_consumer_may_still_settle,
            consuming: what_is_looked_at_and_given_back_keeps_its_order,
            losing: what_a_lost_connection_held_comes_again_as_redelivered,
            losing: what_a_dropped_consumer_held_comes_again_as_redelivered,
            losing: what_a_cancelled_consumer_handed_out_stays_with_its_holders,
            losing: settling_after_the_loss_changes_nothing,
            losing: a_closed_broker_says_so,
            losing: closing_hands_over_the_last_acks,
            addressing: control_reaches_every_worker_by_its_topics,
            addressing: a_control_queue_goes_with_its_connection,
            addressing: every_leader_hears_every_event,
            addressing: an_event_queue_is_bounded_and_keeps_the_newest,
            addressing: a_reply_queue_outlives_its_consumer,
            addressing: answers_go_to_their_own_leader,
        }
    };
    ($make:path; $($group:ident: $promise:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let broker = $make(stringify!($promise)).await;
            $crate::within_a_minute($crate::suite::$group::$promise(&broker)).await;
            $crate::BrokerUnderTest::clean_up(broker).await;
        }
    )*};
}
