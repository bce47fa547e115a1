//! Operations of several crates in one program, and of leaders and workers of different builds.

use phalanx::prelude::*;
use phalanx_core::{
    codec::encode,
    registry::{Column, Refusal, Registry, StepReference, Verb},
};
use phalanx_fixture_ops_a as ops_a;
use phalanx_fixture_ops_b as ops_b;

fn registry() -> &'static Registry {
    Registry::global().expect("operation names are unique")
}

fn reference<O: RemoteExecute>(operation: &O) -> StepReference {
    registry().reference(operation, Verb::Map).expect("the operation is registered").0
}

/// Runs an operation as a worker does, on encoded inputs.
fn run(reference: &StepReference, inputs: &[u64]) -> Vec<u64> {
    let step = registry().compile(reference).expect("the operation is registered");
    let bytes: Vec<u8> = inputs.iter().flat_map(|input| encode(input).unwrap()).collect();
    let count = u32::try_from(inputs.len()).unwrap();
    let column = step.decode(&mut bytes.as_slice(), 0, count, usize::MAX).unwrap();
    let mut failures = Vec::new();
    let output: Column = step.run(column, &TaskContext::detached(), &mut failures);
    assert!(failures.is_empty());
    output.into_values::<u64>().expect("the outputs are of type u64").0
}

#[test]
fn operations_with_the_same_name_in_two_crates_are_distinguished() {
    let (a, b) = (reference(&ops_a::AddMillion), reference(&ops_b::AddMillion));
    assert_eq!(a.name, "phalanx_fixture_ops_a::AddMillion");
    assert_eq!(b.name, "phalanx_fixture_ops_b::AddMillion");
    assert_eq!(run(&a, &[1, 2, 3]), [1_000_001, 1_000_002, 1_000_003]);
    assert_eq!(run(&b, &[1, 2, 3]), [3, 6, 9]);
}

#[tokio::test]
async fn a_program_can_use_the_operations_of_both_crates() {
    let runtime = Runtime::from_env().await.expect("memory:// connects");
    let sums: Vec<u64> = IndexedStream::from(1..=3u64)
        .map(ops_a::AddMillion)
        .map(ops_b::AddMillion)
        .collect(&runtime)
        .await
        .expect("the job succeeds");
    assert_eq!(sums, [3_000_003, 3_000_006, 3_000_009]);
}

#[test]
fn an_operation_that_the_worker_lacks_is_refused_by_name() {
    let mut unknown = reference(&ops_a::AddMillion);
    unknown.name = "billing::Price".to_owned();
    let refusal = registry().compile(&unknown).err().expect("the registry refuses it");
    assert!(matches!(&refusal, Refusal::UnknownOperation { name, .. } if name == "billing::Price"));
    let text = refusal.to_string();
    for part in ["`billing::Price`", "phalanx_fixture_ops_a::AddMillion", "use my_operations as _;"]
    {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_operation_with_another_input_type_is_refused_before_anything_is_decoded() {
    // The leader has the price of `ops-a`, the worker that of `ops-b`, under one name.
    let mut price = reference(&ops_a::Price { unit: 7 });
    price.name = reference(&ops_b::Price { unit: 7 }).name;
    let refusal = registry().compile(&price).err().expect("the registry refuses it");
    assert_eq!(
        refusal,
        Refusal::Fingerprint {
            name: "fixture.price.later".to_owned(),
            structure: "version 1, state {unit: u64}, input (u32, u64), output u64".to_owned(),
        }
    );
}

#[operation(name = "fixture.rate", version = 1)]
fn rate(n: u64) -> u64 {
    2 * n
}

/// As `rate`, in another build.
#[operation(name = "fixture.rate.later", version = 2)]
fn later_rate(n: u64) -> u64 {
    3 * n
}

#[test]
fn a_version_distinguishes_operations_of_the_same_types() {
    let mut old = reference(&Rate);
    old.name = reference(&LaterRate).name;
    let refusal = registry().compile(&old).err().expect("the registry refuses it");
    let structure = "version 2, state (), input u64, output u64".to_owned();
    assert_eq!(refusal, Refusal::Fingerprint { name: old.name, structure });
}
