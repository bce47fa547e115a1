//! Tests with a broker whose confirms and errors are scripted.

use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::{
    broker::BrokerError,
    id::{JobId, TaskNumber, WorkerId},
    testing::{Call, TestBroker},
    wire::{TaskHeader, TaskInlet, TaskKind, TaskOutlet},
};

const LEADER: LeaderId = LeaderId(Uuid::nil());

fn publisher(broker: &Arc<TestBroker>) -> Publisher {
    Publisher::new(Arc::new(Arc::clone(broker)), LEADER)
}

/// The first copy of a task with this number.
fn task(number: u64) -> TaskMessage {
    let header = TaskHeader {
        leader: LEADER,
        job: JobId(Uuid::nil()),
        stage: 0,
        copy: CopyId::new(TaskNumber(number), 1),
        kind: TaskKind::Run,
        isolated: false,
        ranges: Vec::new(),
        indexes: Vec::new(),
        steps: Vec::new(),
        time_slice: std::time::Duration::from_secs(1),
        output_cap: 0,
        inlet: TaskInlet::default(),
        outlet: TaskOutlet::Reply,
    };
    TaskMessage { header, payload: bytes::Bytes::new() }
}

/// The inputs for the engine that are available now.
fn inputs(publisher: &mut Publisher) -> Vec<Input> {
    std::iter::from_fn(|| publisher.next().now_or_never().flatten()).collect()
}

/// The numbers of the tasks that were published.
fn published(inputs: &[Input]) -> Vec<u64> {
    let number = |input: &Input| match input {
        Input::Published { copy } => copy.task.0,
        other => panic!("{other:?}"),
    };
    inputs.iter().map(number).collect()
}

fn declare() -> Call {
    Call::Declare(QueueSpec::Task { pool: Pool::default() })
}

fn publish() -> Call {
    Call::Publish(Address::tasks(&Pool::default()))
}

#[test]
fn tasks_are_published_after_one_declaration_of_their_queue() {
    let broker = TestBroker::new();
    broker.hold_confirms();
    let mut publisher = publisher(&broker);
    for number in 1..=3 {
        publisher.publish_task(&Pool::default(), &task(number));
    }
    assert!(inputs(&mut publisher).is_empty());
    assert_eq!(broker.calls(), [declare()], "no task is published before the confirm");
    broker.confirm(1);
    assert!(inputs(&mut publisher).is_empty());
    assert_eq!(broker.calls(), [declare(), publish(), publish(), publish()]);
    broker.confirm(3);
    assert_eq!(published(&inputs(&mut publisher)), [1, 2, 3]);
    assert!(publisher.is_empty());
}

#[test]
fn each_pool_has_a_declaration_of_its_own() {
    let broker = TestBroker::new();
    let mut publisher = publisher(&broker);
    let gpu = Pool::new("gpu").unwrap();
    publisher.publish_task(&Pool::default(), &task(1));
    assert_eq!(published(&inputs(&mut publisher)), [1]);
    publisher.publish_task(&gpu, &task(2));
    assert_eq!(published(&inputs(&mut publisher)), [2]);
    let declare_gpu = Call::Declare(QueueSpec::Task { pool: gpu.clone() });
    let publish_gpu = Call::Publish(Address::tasks(&gpu));
    assert_eq!(broker.calls(), [declare(), publish(), declare_gpu, publish_gpu]);
}

#[test]
fn after_a_reconnect_the_next_task_declares_its_queue_again() {
    let broker = TestBroker::new();
    let mut publisher = publisher(&broker);
    for number in 1..=2 {
        publisher.publish_task(&Pool::default(), &task(number));
        assert_eq!(published(&inputs(&mut publisher)), [number]);
    }
    broker.delete_queue();
    publisher.reconnected();
    publisher.publish_task(&Pool::default(), &task(3));
    assert_eq!(published(&inputs(&mut publisher)), [3]);
    assert_eq!(broker.calls(), [declare(), publish(), publish(), declare(), publish()]);
    assert_eq!(broker.published().len(), 3, "no task is dropped for lack of a queue");
}

#[test]
fn a_failed_declaration_fails_its_task_and_the_next_task_declares_again() {
    let broker = TestBroker::new();
    broker.refuse_declare(BrokerError::Lost { reason: "cut".to_owned() });
    let mut publisher = publisher(&broker);
    publisher.publish_task(&Pool::default(), &task(1));
    publisher.publish_task(&Pool::default(), &task(2));
    let inputs = inputs(&mut publisher);
    let [Input::NotPublished { copy, error: PublishError::Lost }, rest @ ..] = &inputs[..] else {
        panic!("{inputs:?}")
    };
    assert_eq!((copy.task, published(rest)), (TaskNumber(1), vec![2]));
    assert_eq!(broker.calls(), [declare(), declare(), publish()]);
}

#[test]
fn a_task_that_the_broker_does_not_accept_fails_with_its_error() {
    let broker = TestBroker::new();
    broker.refuse_publish(PublishError::TooLarge { size: 9, limit: 5 });
    let mut publisher = publisher(&broker);
    publisher.publish_task(&Pool::default(), &task(1));
    let inputs = inputs(&mut publisher);
    let [Input::NotPublished { copy, error }] = &inputs[..] else { panic!("{inputs:?}") };
    assert_eq!(copy.task, TaskNumber(1));
    assert!(matches!(error, PublishError::TooLarge { size: 9, limit: 5 }), "{error}");
}

#[test]
fn a_probe_reports_whether_its_queue_exists() {
    let broker = TestBroker::new();
    let mut publisher = publisher(&broker);
    let mut probe = || {
        publisher.publish_probe(Pool::default(), 7);
        match inputs(&mut publisher).pop() {
            Some(Input::Probed { pool, result }) if pool == Pool::default() => result,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(probe(), Ok(true)));
    let message = broker.published().pop().unwrap();
    assert_eq!(message.properties.kind, Some(MessageKind::Probe));
    assert_eq!(Probe::decode(&message.body).unwrap().nonce, 7);
    broker.delete_queue();
    assert!(matches!(probe(), Ok(false)), "a probe does not declare the queue");
    broker.refuse_publish(PublishError::Lost);
    assert!(matches!(probe(), Err(PublishError::Lost)));
}

#[test]
fn a_deleted_queue_that_is_declared_again_is_reported() {
    let broker = TestBroker::new();
    broker.delete_queue();
    let mut publisher = publisher(&broker);
    publisher.declare(Pool::default());
    let inputs = inputs(&mut publisher);
    assert!(matches!(&inputs[..], [Input::Declared { result: Ok(()), .. }]), "{inputs:?}");
    assert_eq!(broker.calls(), [declare()]);
}

#[test]
fn greetings_are_dropped_while_there_is_a_backlog() {
    let broker = TestBroker::new();
    broker.hold_confirms();
    let mut publisher = publisher(&broker);
    let control = Control::Cancel { leader: LEADER, job: JobId(Uuid::nil()) };
    for _ in 1..MAX_BACKLOG_FOR_GREETINGS {
        publisher.publish_control(Topic::AllWorkers, &control);
    }
    let topic = Topic::Worker(WorkerId(Uuid::nil()));
    publisher.greet(topic, &control);
    publisher.greet(topic, &control);
    publisher.publish_control(Topic::AllWorkers, &control);
    broker.confirm(2 * MAX_BACKLOG_FOR_GREETINGS);
    assert!(inputs(&mut publisher).is_empty(), "control messages lead to no inputs");
    let address = Address::control(topic);
    let greetings =
        broker.calls().into_iter().filter(|call| *call == Call::Publish(address.clone())).count();
    assert_eq!(greetings, 1, "the second greeting meets a backlog");
    assert_eq!(broker.calls().len(), MAX_BACKLOG_FOR_GREETINGS + 1, "nothing else is dropped");
}
