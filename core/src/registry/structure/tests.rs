use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{trace, visit};

fn text<T: Serialize + DeserializeOwned>() -> String {
    let trace = trace(visit::<T>);
    assert_eq!(trace.unsupported, None);
    trace.text
}

fn hash<T: Serialize + DeserializeOwned>() -> u64 {
    trace(visit::<T>).hash
}

#[derive(Serialize, Deserialize)]
struct Wrap<T> {
    value: T,
}

#[derive(Serialize, Deserialize)]
struct Newtype<T>(T);

#[derive(Serialize, Deserialize)]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Neg(Box<Expr>),
    Scaled { by: f64, what: Box<Expr> },
    Number(i64),
    Zero,
}

#[derive(Serialize, Deserialize)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
}

#[test]
fn scalars_and_containers_are_rendered() {
    assert_eq!(text::<u64>(), "u64");
    assert_eq!(text::<()>(), "()");
    assert_eq!(text::<(bool, char, String, f32, i128)>(), "(bool, char, str, f32, i128)");
    assert_eq!(text::<Vec<Option<u8>>>(), "[Option<u8>]");
    assert_eq!(text::<[u16; 32]>(), "[u16; 32]");
    assert_eq!(text::<BTreeMap<String, Vec<i8>>>(), "map<str, [i8]>");
    assert_eq!(text::<Result<u8, String>>(), "enum {Ok(u8) | Err(str)}");
    assert_eq!(text::<Duration>(), "{secs: u64, nanos: u32}");
    assert_eq!(text::<std::ops::Range<u8>>(), "{start: u8, end: u8}");
    assert_eq!(text::<std::ops::Bound<u8>>(), "enum {Unbounded | Included(u8) | Excluded(u8)}");
}

#[test]
fn names_of_types_and_newtypes_are_ignored() {
    for same in [
        hash::<Newtype<String>>(),
        hash::<Box<str>>(),
        hash::<Cow<'static, str>>(),
        hash::<RefCell<Newtype<Newtype<String>>>>(),
    ] {
        assert_eq!(same, hash::<String>());
    }
    assert_eq!(hash::<Vec<u8>>(), hash::<VecDeque<u8>>());
    assert_eq!(hash::<BTreeSet<u8>>(), hash::<Vec<u8>>());
    assert_eq!(hash::<HashMap<u8, u8>>(), hash::<BTreeMap<u8, u8>>());
}

#[test]
fn instances_of_a_generic_type_have_different_traces() {
    assert_ne!(hash::<Wrap<u32>>(), hash::<Wrap<u64>>());
    assert_eq!(
        text::<(Wrap<u32>, Wrap<u64>, Wrap<Wrap<u8>>)>(),
        "({value: u32}, {value: u64}, {value: {value: u8}})"
    );
}

#[test]
fn every_difference_that_changes_the_encoding_changes_the_trace() {
    mod other {
        use serde::{Deserialize, Serialize};
        #[derive(Serialize, Deserialize)]
        pub(super) struct Renamed {
            other: u8,
        }
        #[derive(Serialize, Deserialize)]
        pub(super) enum Longer {
            A(u8),
            B,
        }
        #[derive(Serialize, Deserialize)]
        pub(super) enum Swapped {
            B,
            A(u8),
        }
    }
    assert_ne!(hash::<Wrap<u8>>(), hash::<other::Renamed>());
    assert_ne!(hash::<other::Longer>(), hash::<other::Swapped>());
    assert_ne!(hash::<u32>(), hash::<i32>());
    assert_ne!(hash::<(u8, u8)>(), hash::<(u8, u8, u8)>());
    assert_ne!(hash::<[u8; 4]>(), hash::<Vec<u8>>());
    assert_ne!(hash::<Option<u8>>(), hash::<Vec<u8>>());
}

#[test]
fn recursive_types_are_traced_completely() {
    assert_eq!(
        text::<Expr>(),
        "enum {Add(^1, ^1) | Neg(^1) | Scaled{by: f64, what: ^1} | Number(i64) | Zero}"
    );
    assert_eq!(text::<Tree>(), "{name: str, children: [^2], parent: Option<^2>}");
    // A type has the same trace at every place.
    assert_eq!(text::<Vec<Tree>>(), format!("[{}]", text::<Tree>()),);
}

#[test]
fn the_fields_of_every_variant_are_reached() {
    #[derive(Serialize, Deserialize)]
    enum Outer {
        First(Inner),
        Second(Vec<Option<Inner>>),
    }
    #[derive(Serialize, Deserialize)]
    enum Inner {
        A,
        B(BTreeMap<u8, Deep>),
        C { d: Deep },
    }
    #[derive(Serialize, Deserialize)]
    enum Deep {
        X,
        Y(u16),
        Z(Option<char>),
    }
    let deep = "enum {X | Y(u16) | Z(Option<char>)}";
    let inner = format!("enum {{A | B(map<u8, {deep}>) | C{{d: {deep}}}}}");
    assert_eq!(text::<Outer>(), format!("enum {{First({inner}) | Second([Option<{inner}>])}}"));
}

#[test]
fn values_that_a_type_checks_are_found() {
    #[derive(Serialize, Deserialize)]
    #[serde(try_from = "u8")]
    struct Even(u8);
    impl TryFrom<u8> for Even {
        type Error = &'static str;
        fn try_from(n: u8) -> Result<Self, Self::Error> {
            if n.is_multiple_of(2) { Ok(Self(n)) } else { Err("odd") }
        }
    }
    #[derive(Serialize, Deserialize)]
    #[serde(try_from = "(u32, u32)")]
    struct Ordered(u32, u32);
    impl TryFrom<(u32, u32)> for Ordered {
        type Error = &'static str;
        fn try_from((a, b): (u32, u32)) -> Result<Self, Self::Error> {
            if a < b { Ok(Self(a, b)) } else { Err("not in order") }
        }
    }
    assert_eq!(text::<(Even, u16)>(), "(u8, u16)");
    assert_eq!(text::<Vec<(Ordered, bool)>>(), "[((u32, u32), bool)]");
    assert_eq!(text::<(NonZeroU32, uuid::Uuid, u8)>(), "(u32, bytes, u8)");
    assert_eq!(text::<(std::path::PathBuf, std::ffi::CString)>(), "(str, bytes)");
    let ip = "enum {V4([u8; 4]) | V6([u8; 16])}";
    assert_eq!(text::<IpAddr>(), ip);
    assert_eq!(text::<SocketAddr>(), "enum {V4(([u8; 4], u16)) | V6(([u8; 16], u16))}");
    assert_eq!(text::<SystemTime>(), "{secs_since_epoch: u64, nanos_since_epoch: u32}");
}

#[test]
fn parts_that_cannot_be_made_are_unknown_and_the_rest_is_traced() {
    #[derive(Serialize)]
    struct Never;
    impl<'de> Deserialize<'de> for Never {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u8::deserialize(deserializer)?;
            Err(serde::de::Error::custom("never"))
        }
    }
    #[derive(Serialize)]
    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u8::deserialize(deserializer)?;
            panic!("rejects every value")
        }
    }
    assert_eq!(text::<(u16, Never, u32)>(), "(u16, u8, _)");
    assert_eq!(text::<(Option<Never>, u32)>(), "(Option<u8>, u32)");
    assert_eq!(text::<(Option<Panics>, u32)>(), "(Option<u8>, u32)");
    #[derive(Serialize, Deserialize)]
    enum Some {
        Bad(Never, u8),
        Good(u8),
    }
    assert_eq!(text::<Vec<Some>>(), "[enum {Bad(u8) | Good(u8)}]");
}

#[test]
fn a_partial_trace_is_the_same_each_time() {
    // `OsString` has only the variant of the system that it is compiled for.
    assert_eq!(hash::<std::ffi::OsString>(), hash::<std::ffi::OsString>());
    assert_eq!(trace(visit::<std::ffi::OsString>).unsupported, None);
}

#[test]
fn parts_that_postcard_cannot_encode_are_named_with_their_path() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A(u8),
        B(String),
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Internal {
        A { n: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        A(u8),
        B(String),
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: Wrap<u8>,
    }
    #[derive(Serialize, Deserialize)]
    struct Holder<T> {
        ok: u8,
        shapes: Vec<Option<(u8, T)>>,
    }
    fn place<T: Serialize + DeserializeOwned>() -> String {
        let trace = trace(visit::<Holder<T>>);
        trace.unsupported.expect("postcard cannot carry it").path
    }
    assert_eq!(place::<Untagged>(), ".shapes[].1");
    assert_eq!(place::<Internal>(), ".shapes[].1");
    assert!(place::<Adjacent>().starts_with(".shapes[].1"));
    assert!(place::<Flat>().starts_with(".shapes[].1"));
    let error = trace(visit::<Untagged>).unsupported.unwrap();
    assert_eq!(error.path, "");
    assert!(error.reason.contains("serde(untagged)"), "{}", error.reason);
}

#[test]
fn tracing_of_infinite_and_huge_types_ends() {
    #[derive(Serialize, Deserialize)]
    #[allow(dead_code, reason = "only its structure counts")]
    struct Endless {
        next: Box<Endless>,
    }
    assert_eq!(text::<Endless>(), "{next: ^1}");
    #[derive(Serialize, Deserialize)]
    struct Doubled<T>(T, T);
    type D4<T> = Doubled<Doubled<Doubled<Doubled<T>>>>;
    let trace = trace(visit::<D4<D4<D4<Wrap<u8>>>>>);
    assert!(trace.text.len() < 1100, "{}", trace.text.len());
    assert_ne!(trace.hash, hash::<D4<D4<D4<Wrap<u16>>>>>());
}
