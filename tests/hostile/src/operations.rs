//! The elements and the state of operations.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use bytes::Bytes;
use phalanx_core::{
    operation,
    registry::{CompiledStep, Registry, StepReference, Verb},
};
use serde::{Deserialize, Serialize};

/// The elements and bytes of a worker's chunk.
const CHUNK: u32 = 1_024;
const CHUNK_BYTES: usize = 64 << 10;

/// A type with one of each shape: unit, newtype and struct variants, lists, maps, options.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Polygon { corners: Vec<(i32, i32)>, name: Option<String>, tags: BTreeMap<String, Vec<u8>> },
}

#[operation(crate = phalanx_core)]
fn number(#[state] plus: u64, n: u64) -> u64 {
    plus ^ n
}

#[operation(crate = phalanx_core)]
fn text(#[state] words: &[String], text: &str) -> usize {
    words.len() + text.len()
}

#[operation(crate = phalanx_core)]
fn lists(#[state] shape: &Shape, lists: Vec<Vec<String>>) -> bool {
    matches!(shape, Shape::Point) || lists.is_empty()
}

#[operation(crate = phalanx_core)]
fn outline(#[state] every: (Duration, char, [u16; 3]), shape: Shape) -> bool {
    every.0.is_zero() || matches!(shape, Shape::Circle(_))
}

#[operation(crate = phalanx_core)]
fn unit(#[state] table: &BTreeMap<u64, Option<bool>>, _nothing: ()) -> bool {
    table.is_empty()
}

/// The operations whose elements and states are decoded.
pub fn steps() -> &'static [StepReference] {
    static STEPS: LazyLock<Vec<StepReference>> = LazyLock::new(|| {
        let registry = Registry::global().expect("operation names are unique");
        let step = |operation: &phalanx_core::registry::Registered| StepReference {
            name: operation.name().to_owned(),
            fingerprint: operation.fingerprint(),
            verb: Verb::Map,
            timeout: None,
            state: Bytes::new(),
        };
        registry.iter().map(step).collect()
    });
    &STEPS
}

fn compile(step: &StepReference, state: &[u8]) -> Option<Box<dyn CompiledStep>> {
    let step = StepReference { state: Bytes::copy_from_slice(state), ..step.clone() };
    Registry::global().ok()?.compile(&step).ok()
}

/// A valid state for each of the [`steps`], in their order.
fn states() -> &'static [Option<Vec<u8>>] {
    static STATES: LazyLock<Vec<Option<Vec<u8>>>> = LazyLock::new(|| {
        let zeros = |step| (0..64).map(|len| vec![0; len]).find(|s| compile(step, s).is_some());
        steps().iter().map(zeros).collect()
    });
    &STATES
}

/// A batch of elements of one operation. The first byte chooses the operation; the second and third
/// are the number of elements. Returns whether there are as many.
pub fn elements(bytes: &[u8]) -> bool {
    let [which, low, high, elements @ ..] = bytes else { return false };
    let which = usize::from(*which) % steps().len();
    let Some(step) = states()[which].as_ref().and_then(|state| compile(&steps()[which], state))
    else {
        return false;
    };
    let (mut rest, mut left) = (elements, u32::from(u16::from_le_bytes([*low, *high])));
    let mut first = 0;
    while left > 0 {
        match step.decode(&mut rest, first, left.min(CHUNK), CHUNK_BYTES) {
            Ok(column) if !column.is_empty() => {
                first += column.len() as u32;
                left -= column.len() as u32;
            }
            _ => return false,
        }
    }
    rest.is_empty()
}

/// The state of one operation, which the first byte chooses. Returns whether it is valid.
pub fn state(bytes: &[u8]) -> bool {
    let [which, state @ ..] = bytes else { return false };
    compile(&steps()[usize::from(*which) % steps().len()], state).is_some()
}
