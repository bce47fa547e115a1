use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    operation::{Operation, Result, TaskContext},
    registry::{OperationEntry, entry::Declaration, private::TypeProbe},
};

static READ: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "u32")]
struct Watched(u32);

impl From<u32> for Watched {
    fn from(number: u32) -> Self {
        READ.fetch_add(1, Ordering::Relaxed);
        assert_eq!(number, 42, "made up");
        Self(number)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Phase {
    New,
    #[serde(skip)]
    Local,
    Running(Watched),
    Done,
}

#[derive(Serialize, Deserialize)]
struct Begin;

impl RemoteExecute for Begin {}

impl Operation for Begin {
    type Input = Watched;
    type Output = Phase;

    fn execute(&self, input: Watched, _: &TaskContext) -> Result<Phase> {
        Ok(Phase::Running(input))
    }
}

#[derive(Serialize, Deserialize)]
struct Plain;

impl RemoteExecute for Plain {}

impl Operation for Plain {
    type Input = u8;
    type Output = u8;

    fn execute(&self, input: u8, _: &TaskContext) -> Result<u8> {
        Ok(input)
    }
}

static ENTRY: OperationEntry = OperationEntry {
    name: EntryName::Declared,
    place: "here",
    declaration: Declaration::new("begin"),
    type_id: TypeId::of::<Begin>,
    description: TypeProbe::<Begin>::BLOCKING,
};

#[test]
fn an_invalid_name_is_an_error_where_it_is_used_and_harms_no_other_operation() {
    static LONG: OperationEntry = OperationEntry {
        name: EntryName::Instance(LONG_TYPE),
        place: "src/long.rs:7",
        declaration: Declaration::new("long"),
        type_id: TypeId::of::<u8>,
        description: TypeProbe::<Plain>::BLOCKING,
    };
    static PLAIN: OperationEntry = OperationEntry {
        name: EntryName::Declared,
        place: "here",
        declaration: Declaration::new("plain"),
        type_id: TypeId::of::<Plain>,
        description: TypeProbe::<Plain>::BLOCKING,
    };
    const LONG_TYPE: &str = concat!("Long<", include_str!("tests.rs"), ">");
    let registry = Registry::of([&PLAIN, &LONG].into_iter()).unwrap();
    assert!(registry.reference(&Plain, Verb::Map).is_ok());
    let long = registry.iter().find(|operation| operation.place() == "src/long.rs:7").unwrap();
    let error = long.check(Verb::Map).unwrap_err().to_string();
    assert!(error.starts_with("invalid operation name `long<") && error.len() < 500, "{error}");
    assert!(error.contains("at src/long.rs:7; "), "{error}");
    let Refusal::UnknownOperation { known, .. } = registry.unknown("other") else { panic!() };
    assert_eq!(known, ["plain"]);
}

#[test]
fn where_a_panic_aborts_no_value_is_made_up_and_each_value_is_checked_when_it_is_sent() {
    let begin = Registered::new(&ENTRY).unwrap();
    let described = begin.describe(true);
    assert_eq!(READ.load(Ordering::Relaxed), 0);
    assert!(described.unsupported.is_none());
    assert_eq!(described.structure, "version 0, types not compared because of `panic = \"abort\"`");
    assert_eq!(codec::encode_checked(&Phase::New).unwrap(), [0]);
    let error = codec::encode_checked(&Phase::Running(Watched(42))).unwrap_err().to_string();
    assert!(error.contains("`Phase::Running`"), "{error}");
    assert!(codec::encode_checked(&Phase::Local).is_err());

    let traced = begin.describe(false);
    assert!(READ.load(Ordering::Relaxed) > 1);
    assert_ne!(traced.fingerprint, described.fingerprint);
}
