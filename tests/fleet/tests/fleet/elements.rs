//! Elements and operations that fail, in memory and on a fleet: each yields one clear error, or a
//! value.

use std::io;

use phalanx::{
    Error, PlanError, Runtime,
    error::{ErrorKind, RegistryError},
    prelude::*,
};
use phalanx_fleet_tests::*;

use crate::support::on_every_runtime;

/// The failed element of a job: operation, source index and error.
fn failure(error: &Error) -> (&str, u64, &OperationError) {
    match error {
        Error::Execute(failure) => (&failure.operation, failure.index, &failure.error),
        other => panic!("expected the failure of an element, got {other:?}"),
    }
}

#[tokio::test]
async fn an_empty_input_yields_empty_results() {
    on_every_runtime(async |runtime: &Runtime| {
        let nothing = || IndexedStream::from(Vec::<u64>::new()).map(Triple);
        assert!(nothing().collect(runtime).await.unwrap().is_empty());
        assert_eq!(nothing().fold(Sum).run(runtime).await.unwrap(), 0);
        assert_eq!(nothing().reduce(Add).run(runtime).await.unwrap(), None);
        assert_eq!(nothing().count().run(runtime).await.unwrap(), 0);
        assert_eq!(nothing().first().run(runtime).await.unwrap(), None);
        assert!(nothing().run(runtime).await.unwrap().next().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn an_input_error_is_reported_with_its_source_index() {
    on_every_runtime(async |runtime: &Runtime| {
        let input = || {
            (0..1_000u64)
                .map(|n| if n == 700 { Err(io::Error::other("disk on fire")) } else { Ok(n) })
        };
        let collected =
            IndexedStream::try_from_iter(input()).map(Triple).collect(runtime).await.unwrap_err();
        let stream = futures::stream::iter(input());
        let counted = IndexedStream::try_from_stream(stream).map(Triple).count().run(runtime).await;
        for error in [collected, counted.unwrap_err()] {
            let Error::Input { index: 700, source, .. } = &error else { panic!("{error:?}") };
            assert_eq!(source.to_string(), "disk on fire");
        }
    })
    .await;
}

#[tokio::test]
async fn an_element_that_fails_to_serialize_is_reported_with_its_source_index() {
    on_every_runtime(async |runtime: &Runtime| {
        // An input, on the leader.
        let input = IndexedStream::from((0..20).map(NotThirteen)).map(TakeIn);
        let error = input.collect(runtime).await.unwrap_err();
        let Error::Input { index: 13, source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains("13 does not serialize"), "{source}");

        // An output, on a worker; all other outputs arrive.
        let outputs = IndexedStream::from(0..20u64).map(GiveOut);
        let error = outputs.collect(runtime).await.unwrap_err();
        let (operation, index, reason) = failure(&error);
        assert_eq!((operation, index), ("phalanx_fleet_tests::data::GiveOut", 13));
        assert!(reason.to_string().contains("13 does not serialize"), "{reason}");
        let outputs = IndexedStream::from(0..20u64).map(GiveOut).on_failure(OnFailure::Skip);
        let expected: Vec<_> = (0..20).filter(|n| *n != 13).map(NotThirteen).collect();
        assert_eq!(outputs.collect(runtime).await.unwrap(), expected);
        let values = IndexedStream::from(0..20u64).try_map(GiveOut).collect(runtime).await.unwrap();
        for (n, value) in (0..).zip(values) {
            assert_eq!(value.ok(), (n != 13).then_some(NotThirteen(n)));
        }
    })
    .await;
}

/// The worker that has the element refuses it, and does not back off.
#[tokio::test]
async fn an_element_that_fails_to_deserialize_fails_alone_and_without_delay() {
    on_every_runtime(async |runtime: &Runtime| {
        let choices = || IndexedStream::from((0..200).map(NotEndingInThree)).map(Choose);
        let error = choices().collect(runtime).await.unwrap_err();
        let (operation, index, reason) = failure(&error);
        assert_eq!((operation, index % 10), ("phalanx_fleet_tests::data::Choose", 3));
        assert_eq!(reason.kind(), ErrorKind::Codec);
        assert!(reason.to_string().contains("the type rejects the value"), "{reason}");
        let rest = choices().on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        assert_eq!(rest, (0..200).filter(|n| n % 10 != 3).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn an_element_with_a_skipped_field_is_refused_and_never_corrupted() {
    on_every_runtime(async |runtime: &Runtime| {
        let input = IndexedStream::from((0..20).map(Skipping::new)).map(TakeSkipping);
        let error = input.collect(runtime).await.unwrap_err();
        let Error::Input { index: 13, source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains("skip_serializing_if"), "{source}");

        let outputs = IndexedStream::from(0..20u64).map(GiveSkipping).collect(runtime).await;
        let error = outputs.unwrap_err();
        let (_, index, reason) = failure(&error);
        assert_eq!(index, 13);
        assert!(reason.to_string().contains("skip_serializing_if"), "{reason}");
        let outputs = IndexedStream::from(0..20u64).map(GiveSkipping).on_failure(OnFailure::Skip);
        let expected: Vec<_> = (0..20).filter(|n| *n != 13).map(Skipping::new).collect();
        assert_eq!(outputs.collect(runtime).await.unwrap(), expected);

        let state = IndexedStream::from(0..20u64).map(KeepSkipping { skipping: Skipping::new(13) });
        let error = state.collect(runtime).await.unwrap_err();
        let Error::Plan(PlanError::Registry(RegistryError::State { name, reason })) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(name, "phalanx_fleet_tests::data::KeepSkipping");
        assert!(reason.contains("skip_serializing_if"), "{reason}");
        let whole = IndexedStream::from(0..3u64).map(KeepSkipping { skipping: Skipping::new(10) });
        assert_eq!(whole.collect(runtime).await.unwrap(), [10, 11, 12]);
    })
    .await;
}

#[tokio::test]
async fn an_error_of_an_operation_reaches_the_leader_with_its_type() {
    on_every_runtime(async |runtime: &Runtime| {
        let error =
            IndexedStream::from(0..200u64).map(Decline { unwanted: 150 }).collect(runtime).await;
        let error = error.unwrap_err();
        let (operation, index, reason) = failure(&error);
        assert_eq!((operation, index), ("phalanx_fleet_tests::failing::Decline", 150));
        assert_eq!(reason.downcast(), Some(Declined { number: 150 }));
        assert_eq!(reason.message(), "declined 150");
        let text = error.to_string();
        for part in
            ["phalanx_fleet_tests::failing::Decline", "element 150", "try 1", "declined 150"]
        {
            assert!(text.contains(part), "{text}");
        }

        let values = IndexedStream::from(0..200u64).try_map(Decline { unwanted: 150 });
        for (n, value) in (0..).zip(values.collect(runtime).await.unwrap()) {
            match value {
                Ok(value) => assert_eq!(value, n),
                Err(failure) => {
                    assert_eq!(failure.error.downcast(), Some(Declined { number: 150 }));
                    assert!(failure.worker.is_some(), "{failure}");
                }
            }
        }
        let rest = IndexedStream::from(0..200u64)
            .map(Decline { unwanted: 150 })
            .on_failure(OnFailure::Skip);
        let rest = rest.collect(runtime).await.unwrap();
        assert_eq!(rest, (0..200).filter(|n| *n != 150).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_an_operation_fails_only_its_element() {
    on_every_runtime(async |runtime: &Runtime| {
        let error = IndexedStream::from(0..200u64).map(BlowUp { unwanted: 150 }).collect(runtime);
        let error = error.await.unwrap_err();
        let (operation, index, reason) = failure(&error);
        assert_eq!((operation, index), ("phalanx_fleet_tests::failing::BlowUp", 150));
        let text = reason.to_string();
        assert!(text.contains("cannot process 150") && text.contains("failing.rs"), "{text}");

        let values = IndexedStream::from(0..200u64).try_map(BlowUp { unwanted: 150 });
        for (n, value) in (0..).zip(values.collect(runtime).await.unwrap()) {
            assert_eq!(value.is_err(), n == 150);
        }
        let rest = IndexedStream::from(0..200u64)
            .map(BlowUp { unwanted: 150 })
            .on_failure(OnFailure::Skip);
        assert_eq!(rest.count().run(runtime).await.unwrap(), 199);
    })
    .await;
}

#[tokio::test]
async fn a_transient_failure_is_retried_and_succeeds() {
    on_every_runtime(async |runtime: &Runtime| {
        let all = IndexedStream::from(0..50u64).map(Stumble).collect(runtime).await.unwrap();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn an_operation_that_exceeds_its_timeout_fails_its_element() {
    on_every_runtime(async |runtime: &Runtime| {
        let blocking =
            IndexedStream::from(0..20u64).map(NeverEnd { unwanted: 9 }).collect(runtime).await;
        let asynchronous =
            IndexedStream::from(0..20u64).map(NeverCome { unwanted: 9 }).collect(runtime).await;
        for error in [blocking.unwrap_err(), asynchronous.unwrap_err()] {
            let (_, index, reason) = failure(&error);
            assert_eq!(index, 9);
            assert_eq!(reason.kind(), ErrorKind::Timeout, "{reason}");
        }
        let values = IndexedStream::from(0..20u64).try_map(NeverCome { unwanted: 9 });
        let values = values.collect(runtime).await.unwrap();
        assert_eq!(values.iter().filter(|value| value.is_err()).count(), 1);
    })
    .await;
}
