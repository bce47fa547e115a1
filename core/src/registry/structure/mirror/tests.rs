use std::{any::TypeId, fmt::Debug};

use proptest::prelude::*;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use super::super::{trace, verify, visit};
use crate::{
    codec::{Known, append, decode, encode_checked},
    operation::Data,
};

/// Why a type is refused before any value is sent.
fn refusal<T: Data>() -> String {
    trace(visit::<T>).unsupported.expect("it must be refused").reason
}

fn accepts<T: Data>() {
    assert_eq!(trace(visit::<T>).unsupported, None);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    New,
    #[serde(skip)]
    Local,
    Running,
    Done,
    Failed,
}

#[test]
fn a_variant_that_is_skipped_before_others_is_refused_with_the_name_of_the_one_that_it_shifts() {
    let reason = refusal::<Vec<Option<State>>>();
    assert!(
        reason
            .contains("writes variant `Running` of `State` as number 2, which it reads as `Done`"),
        "{reason}"
    );
    // Without a trace, too: each value is equal, or refused by name.
    assert_eq!(encode_checked(&State::New).unwrap(), [0]);
    for shifted in [State::Running, State::Done, State::Failed, State::Local] {
        let error = encode_checked(&(1u8, shifted.clone())).unwrap_err().to_string();
        assert!(error.contains(&format!("{shifted:?}")), "{error}");
    }
}

#[test]
fn a_variant_that_is_skipped_at_the_end_costs_nothing() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Late {
        Sent(u8),
        #[serde(skip)]
        Kept,
    }
    accepts::<Late>();
    let error = encode_checked(&Late::Kept).unwrap_err().to_string();
    assert!(error.contains("Late::Kept"), "{error}");
}

#[test]
fn a_variant_that_is_only_written_is_refused_by_name_when_a_value_has_it() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Half {
        Sent(u8),
        #[serde(skip_deserializing)]
        OnlyWritten,
    }
    accepts::<Half>();
    let error = encode_checked(&vec![Half::Sent(1), Half::OnlyWritten]).unwrap_err().to_string();
    assert!(error.contains("`Half::OnlyWritten`"), "{error}");
}

#[test]
fn a_field_that_is_only_written_or_only_read_is_refused_by_name() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct OnlyRead {
        a: u8,
        #[serde(skip_serializing, default)]
        secret: String,
        c: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum OnlyWritten {
        Fields {
            a: u8,
            #[serde(skip_deserializing)]
            cached: u8,
        },
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unnamed(u8, #[serde(skip_serializing, default)] u8);
    let reason = refusal::<(OnlyRead, Vec<u8>)>();
    assert!(reason.contains("reads field `secret` of `OnlyRead` that it never writes"), "{reason}");
    let reason = refusal::<OnlyWritten>();
    assert!(
        reason.contains("writes field `cached` of `OnlyWritten::Fields` that it never reads"),
        "{reason}"
    );
    assert!(refusal::<Unnamed>().contains("`Unnamed`"), "{}", refusal::<Unnamed>());
}

#[test]
fn a_field_that_is_left_out_at_times_is_refused_by_name_wherever_it_is() {
    fn is_zero(n: &u32) -> bool {
        *n == 0
    }
    #[derive(Serialize, Deserialize)]
    struct Leaf<T: Serialize> {
        /// As the next, so that one trace must try both.
        first: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        maybe: Option<u8>,
        rest: Vec<T>,
    }
    #[derive(Serialize, Deserialize)]
    enum Deep {
        One(u8),
        Two {
            all: Vec<u8>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            some: Vec<u8>,
        },
        Three {
            #[serde(skip_serializing_if = "is_zero")]
            count: u32,
        },
    }
    #[derive(Serialize, Deserialize)]
    enum Shallow {
        Three {
            #[serde(skip_serializing_if = "is_zero")]
            count: u32,
        },
    }
    #[derive(Serialize, Deserialize)]
    struct Unnamed(u8, #[serde(skip_serializing_if = "String::is_empty")] String);
    assert!(refusal::<Vec<(u8, Option<Leaf<u8>>)>>().contains("field `maybe` of `Leaf`"));
    assert!(refusal::<Option<Deep>>().contains("field `some` of `Deep`"));
    assert!(refusal::<Shallow>().contains("field `count` of `Shallow`"));
    assert!(refusal::<[Unnamed; 2]>().contains("`Unnamed`"), "{}", refusal::<Unnamed>());
}

#[test]
fn a_type_that_writes_another_kind_of_value_than_it_reads_is_refused() {
    fn as_text<S: Serializer>(n: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(n)
    }
    fn signed<S: Serializer>(n: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(*n as i32)
    }
    fn byte<S: Serializer>(n: &u16, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*n as u8)
    }
    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(serialize_with = "as_text")] u64);
    #[derive(Serialize, Deserialize)]
    struct Signed(#[serde(serialize_with = "signed")] u32);
    #[derive(Serialize, Deserialize)]
    struct Byte(#[serde(serialize_with = "byte")] u16);
    assert!(refusal::<Text>().contains("reads `u64` where it writes something else"));
    assert!(refusal::<Signed>().contains("reads `u32`"));
    assert!(refusal::<Byte>().contains("reads `u16`"));
}

#[test]
fn fields_that_are_written_in_another_order_are_refused_by_name() {
    #[derive(Deserialize)]
    struct Range {
        from: u32,
        to: u32,
    }
    impl Serialize for Range {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct("Range", 2)?;
            fields.serialize_field("to", &self.to)?;
            fields.serialize_field("from", &self.from)?;
            fields.end()
        }
    }
    let reason = refusal::<Option<Range>>();
    assert!(reason.contains("writes field `to` of `Range` where it reads `from`"), "{reason}");
}

#[test]
fn names_that_differ_between_writing_and_reading_are_no_fault_because_positions_count() {
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all(serialize = "camelCase", deserialize = "snake_case"))]
    struct Renamed {
        first_name: String,
        #[serde(rename(serialize = "x"), alias = "y", alias = "a")]
        last_name: Option<String>,
    }
    #[derive(Serialize, Deserialize)]
    enum Aliased {
        #[serde(alias = "Z", alias = "0")]
        A,
        #[serde(rename(serialize = "A"))]
        B(Renamed),
    }
    accepts::<Vec<Renamed>>();
    accepts::<Aliased>();
    accepts::<std::collections::BTreeMap<String, Aliased>>();
    assert_eq!(encode_checked(&Aliased::A).unwrap(), [0]);
}

#[test]
fn the_types_of_the_standard_library_read_what_they_write() {
    use std::{
        collections::{BTreeMap, HashSet, VecDeque},
        ffi::{CString, OsString},
        net::{IpAddr, SocketAddr},
        num::NonZeroU8,
        ops::{Bound, Range},
        path::PathBuf,
        time::{Duration, SystemTime},
    };
    accepts::<(Bound<u8>, Range<i64>, Result<u8, String>, Duration, SystemTime)>();
    accepts::<(IpAddr, SocketAddr, PathBuf, CString, OsString, uuid::Uuid, bytes::Bytes)>();
    accepts::<(HashSet<char>, VecDeque<f32>, BTreeMap<u8, Option<()>>, [u8; 32], NonZeroU8)>();
    accepts::<(crate::operation::OperationError, std::marker::PhantomData<u8>, [u8; 0], Box<str>)>(
    );
}

/// A type with attributes of serde, and one of its values.
trait Sample: Data + Debug + PartialEq {
    /// What `serde(skip)` leaves out has its default.
    fn value(which: usize, number: u8, text: &str) -> Self;
}

/// What survives of a field.
macro_rules! carried {
    ((skip) $value:expr) => {
        Default::default()
    };
    (($($other:tt)*) $value:expr) => {
        $value
    };
}

macro_rules! types {
    ($runs:ident; [$($first:tt)*] $second:tt) => {
        const $runs: &[fn(usize, u8, &str)] = &[$(types!(@row $first $second)),*];
    };
    (@row $first:tt [$($second:tt)*]) => {
        |choice, number, text| {
            let all: &[fn(usize, u8, &str)] = &[$({ types!(@one $first $second); run::<T> }),*];
            all[choice % all.len()](choice / all.len(), number, text)
        }
    };
    (@one (enum $($a:tt)*) ($($b:tt)*)) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum T {
            A,
            #[serde($($a)*)]
            B(u8),
            C(String),
            #[serde($($b)*)]
            D { x: u16 },
            E,
        }
        impl Sample for T {
            fn value(which: usize, number: u8, text: &str) -> Self {
                match which % 5 {
                    0 => Self::A,
                    1 => Self::B(number),
                    2 => Self::C(text.to_owned()),
                    3 => Self::D { x: number.into() },
                    _ => Self::E,
                }
            }
        }
    };
    (@one (struct $($a:tt)*) ($($b:tt)*)) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct T {
            a: u8,
            #[serde($($a)*)]
            b: Option<u8>,
            c: Vec<u8>,
            #[serde($($b)*)]
            d: Option<u8>,
            e: (u8, u8),
        }
        impl Sample for T {
            fn value(which: usize, number: u8, text: &str) -> Self {
                Self {
                    a: number,
                    b: carried!(($($a)*) (which & 1 == 1).then_some(number)),
                    c: text.as_bytes().to_vec(),
                    d: carried!(($($b)*) (which & 2 == 2).then_some(number)),
                    e: (number, which as u8),
                }
            }
        }
    };
    (@one (tuple $($a:tt)*) ($($b:tt)*)) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct T(u8, #[serde($($a)*)] Option<u8>, u8, #[serde($($b)*)] Option<u8>, Vec<u8>);
        impl Sample for T {
            fn value(which: usize, number: u8, text: &str) -> Self {
                Self(
                    number,
                    carried!(($($a)*) (which & 1 == 1).then_some(number)),
                    which as u8,
                    carried!(($($b)*) (which & 2 == 2).then_some(number)),
                    text.as_bytes().to_vec(),
                )
            }
        }
    };
}

types! { ENUMS;
    [(enum) (enum skip) (enum skip_serializing) (enum skip_deserializing) (enum rename(serialize = "D"))]
    [() (skip) (skip_serializing) (skip_deserializing) (alias = "Q") (rename(deserialize = "Q"))]
}
types! { STRUCTS;
    [(struct) (struct skip) (struct skip_serializing) (struct skip_deserializing)
        (struct skip_serializing_if = "Option::is_none") (struct rename(serialize = "d"))]
    [() (skip) (skip_serializing) (skip_deserializing) (alias = "q")
        (default, skip_serializing_if = "Option::is_some")]
}
types! { TUPLES;
    [(tuple) (tuple skip) (tuple skip_serializing) (tuple skip_deserializing)
        (tuple skip_serializing_if = "Option::is_none")]
    [() (skip) (skip_serializing) (skip_deserializing)
        (skip_serializing_if = "Option::is_some")]
}

/// Sends a value of the type, in surroundings that take up what is missing: it must arrive equal,
/// or be refused. Once with what a trace finds, and once with the check of values alone.
fn run<T: Sample>(which: usize, number: u8, text: &str) {
    type Sent<T> = (u8, Vec<T>, Option<T>, Vec<u8>);
    let values: Vec<T> = (0..2).map(|more| T::value(which + more, number, text)).collect();
    let last = Some(T::value(which, number, text));
    let value: Sent<T> = (number, values, last, text.as_bytes().to_vec());
    let send = || {
        let mut bytes = Vec::new();
        if append(&value, &mut bytes, &mut Known::of::<Sent<T>>()).is_ok() {
            assert_eq!(decode::<Sent<T>>(&bytes).unwrap(), value);
        }
    };
    let id = TypeId::of::<Sent<T>>();
    Known::verify_with(id, verify::<Sent<T>>);
    send();
    let trace = trace(visit::<Sent<T>>);
    if trace.unsupported.is_none() {
        Known::learn(id, trace.whole, trace.shapes);
        send();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_value_of_any_type_with_any_attributes_arrives_equal_or_is_refused(
        kind in 0..3usize,
        choice: usize,
        which in 0..60_000usize,
        number: u8,
        text in ".{0,3}",
    ) {
        let kinds = [ENUMS, STRUCTS, TUPLES][kind];
        kinds[choice % kinds.len()](which, number, &text);
    }
}
