//! Two operations with the same name. A separate program, because it has no valid registry.

use phalanx_core::{
    Operation, RemoteExecute,
    operation::{Result, TaskContext},
    registry::{Registry, RegistryError},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core, name = "billing.price")]
struct Price;

impl Operation for Price {
    type Input = u64;
    type Output = u64;
    fn execute(&self, input: u64, _: &TaskContext) -> Result<u64> {
        Ok(input)
    }
}

#[phalanx_core::operation(crate = phalanx_core, name = "billing.price")]
fn other_price(n: u64) -> u64 {
    2 * n
}

#[test]
fn two_operations_with_the_same_name_are_rejected_with_both_places() {
    let error = Registry::global().expect_err("the names are ambiguous");
    let RegistryError::Duplicate { name, places } = &error else {
        panic!("{error}");
    };
    assert_eq!(name, "billing.price");
    assert!(places.iter().all(|place| place.starts_with("core/tests/duplicate_names.rs:")));
    assert_ne!(places[0], places[1]);
    let text = error.to_string();
    assert!(text.starts_with("two operations are named `billing.price`, at core/tests/"), "{text}");
}
