//! Tests with a broker that confirms on demand.

use uuid::Uuid;

use super::*;
use crate::{
    error::ExecuteError,
    id::{CopyId, JobId, TaskNumber},
    operation::OperationError,
    testing::{Call, TestBroker},
};

fn writer(broker: &Arc<TestBroker>) -> DeadLetterWriter {
    DeadLetterWriter::new(Arc::new(Arc::clone(broker)), LeaderId(Uuid::nil()))
}

/// The dead letters that the broker has confirmed.
fn written(broker: &TestBroker) -> Vec<DeadLetter> {
    let messages = broker.published().into_iter();
    messages.map(|message| DeadLetter::decode(&message.body).unwrap()).collect()
}

fn indexes(broker: &TestBroker) -> Vec<u64> {
    written(broker).iter().map(|letter| letter.header.error.index).collect()
}

fn element(index: u64, size: usize) -> DeadElement {
    let error = ExecuteError {
        job: JobId(Uuid::nil()),
        operation: "ops::Fail".to_owned(),
        stage: 0,
        index,
        group: None,
        copy: CopyId::new(TaskNumber(1), 1),
        tries: 1,
        worker: None,
        error: OperationError::fatal("no luck"),
    };
    DeadElement {
        pool: Pool::default(),
        steps: Vec::new(),
        payload: vec![7; size].into(),
        lengths: vec![size as u32],
        left_out: None,
        error,
    }
}

#[tokio::test]
async fn writing_does_not_wait_for_the_broker_and_unconfirmed_dead_letters_are_bounded() {
    let broker = TestBroker::new();
    broker.hold_confirms();
    let mut writer = writer(&broker);
    for index in 0..300 {
        writer.write(element(index, 10));
    }
    assert_eq!(writer.dropped, 300 - PERMITS as u64);
    broker.confirm(1_000);
    writer.flush().await;
    assert_eq!(indexes(&broker).len(), PERMITS);
    writer.write(element(7_000, 10));
    writer.flush().await;
    assert_eq!(indexes(&broker).last(), Some(&7_000), "permits are released");
}

#[tokio::test]
async fn the_bytes_of_unconfirmed_dead_letters_are_bounded() {
    let broker = TestBroker::new();
    broker.hold_confirms();
    let mut writer = writer(&broker);
    for index in 0..100 {
        writer.write(element(index, MAX_PAYLOAD));
    }
    let on_their_way = writer.publishing.len();
    assert!(on_their_way * MAX_PAYLOAD <= PERMITS * BYTES_PER_PERMIT, "{on_their_way}");
    assert!(on_their_way > 10, "{on_their_way}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_published_again_until_the_broker_confirms_it() {
    let nacked = PublishError::Nacked { reason: "full".to_owned() };
    let broker = TestBroker::new();
    for error in [PublishError::Lost, nacked, PublishError::Lost] {
        broker.refuse_publish(error);
    }
    let mut writer = writer(&broker);
    writer.write(element(1, 10));
    writer.flush().await;
    assert_eq!(indexes(&broker), [1]);
    let address = Address::dead_letters(&Pool::default());
    let declared = Call::Declare(QueueSpec::Dead { pool: Pool::default() });
    let publish = || Call::Publish(address.clone());
    assert_eq!(broker.calls(), [declared, publish(), publish(), publish(), publish()]);
}

#[tokio::test]
async fn a_dead_letter_that_is_too_large_is_written_without_its_element() {
    let broker = TestBroker::new();
    broker.refuse_publish(PublishError::TooLarge { size: 2_000, limit: 1_000 });
    let mut writer = writer(&broker);
    writer.write(element(1, 2_000));
    writer.flush().await;
    writer.write(element(2, MAX_PAYLOAD + 1));
    writer.flush().await;
    let letters = written(&broker);
    let kept: Vec<_> = letters
        .iter()
        .map(|letter| {
            (letter.header.left_out.is_some(), letter.payload.len(), letter.header.size())
        })
        .collect();
    assert_eq!(kept, [(true, 0, 2_000), (true, 0, MAX_PAYLOAD as u64 + 1)]);
}

#[tokio::test]
async fn no_more_dead_letters_are_written_after_a_refusal_until_the_next_connection() {
    let broker = TestBroker::new();
    broker.refuse_publish(PublishError::Refused { reason: "no".to_owned() });
    let mut writer = writer(&broker);
    for (index, reconnects) in [(1, false), (2, true), (3, false)] {
        writer.write(element(index, 10));
        writer.flush().await;
        if reconnects {
            writer.reconnected();
        }
    }
    assert_eq!(indexes(&broker), [3]);
}
