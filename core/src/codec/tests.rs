use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{decode, decode_front, encode, encode_checked, encode_into, guard::MOST_DEPTH};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Leaving {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    n: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Named {
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        side: u8,
    },
    Many(Vec<Leaving>),
    Pair(i16, f64),
    Text(String),
}

type Everything = (
    (bool, char, u128, i64, f32),
    (String, Vec<u8>, Option<Box<i8>>),
    BTreeMap<String, (u16, ())>,
    Result<u64, String>,
);

#[test]
fn a_missing_field_is_an_error_that_names_type_and_field() {
    let error = encode(&Leaving { a: None, n: 7 }).unwrap_err().to_string();
    assert!(error.starts_with("`Leaving` leaves out its field `a`"), "{error}");
    assert_eq!(encode(&Leaving { a: Some(1), n: 7 }).unwrap(), [1, 1, 7]);
}

#[test]
fn a_missing_field_is_found_at_any_depth() {
    let inner = Leaving { a: None, n: 7 };
    let nested = BTreeMap::from([(1u8, vec![Some((Shape::Many(vec![inner]), 3))])]);
    assert!(encode(&nested).unwrap_err().to_string().contains("field `a`"));
    let error = encode(&[Shape::Named { label: None, side: 1 }]).unwrap_err().to_string();
    assert!(error.contains("`Shape` leaves out its field `label`"), "{error}");
}

#[test]
fn an_error_leaves_the_buffer_unchanged() {
    let mut bytes = vec![1, 2];
    encode_into(&(1u8, "long", Leaving { a: None, n: 7 }), &mut bytes).unwrap_err();
    assert_eq!(bytes, [1, 2]);
    encode_into(&300u16, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 0xac, 0x02]);
}

#[test]
fn the_message_of_a_failing_type_is_kept() {
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    assert_eq!(encode(&[Stubborn]).unwrap_err().to_string(), "not today");
}

#[test]
fn bytes_after_a_value_are_rejected_unless_asked_for() {
    assert_eq!(decode::<u8>(&[1, 2]).unwrap_err().to_string(), "1 bytes are left over");
    let mut bytes: &[u8] = &[0xac, 0x02, 9];
    assert_eq!(decode_front::<u16>(&mut bytes).unwrap(), 300);
    assert_eq!(bytes, [9]);
    let mut short: &[u8] = &[0xac];
    assert_eq!(decode_front::<u16>(&mut short).unwrap_err().to_string(), "the bytes end early");
    assert_eq!(short, [0xac]);
}

#[test]
fn the_encoding_is_that_of_postcard() {
    let value = (
        true,
        -2i64,
        1.5f32,
        "hé",
        Some('x'),
        [Shape::Empty, Shape::Pair(-1, 0.5), Shape::Text("t".to_owned())],
        Ok::<u8, ()>(7),
    );
    let golden = [
        1, 3, 0, 0, 192, 63, 3, b'h', 0xc3, 0xa9, 1, 1, b'x', 0, 3, 1, 0, 0, 0, 0, 0, 0, 224, 63,
        4, 1, b't', 0, 7,
    ];
    assert_eq!(encode(&value).unwrap(), golden);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link { next: Option<Box<Chain>>, more: Vec<Chain> },
}

impl Chain {
    fn of(links: usize) -> Self {
        (0..links)
            .fold(Self::End, |next, _| Self::Link { next: Some(Box::new(next)), more: Vec::new() })
    }
}

#[test]
fn the_deepest_values_fit_into_the_stack_of_a_tokio_thread_and_deeper_ones_are_an_error() {
    let run = |stack: usize, test: fn()| {
        std::thread::Builder::new().stack_size(stack).spawn(test).unwrap().join().unwrap();
    };
    // Each link is a variant and an option.
    run(2 << 20, || {
        let deepest = Chain::of(MOST_DEPTH / 2 - 1);
        let bytes = encode_checked(&deepest).unwrap();
        assert_eq!(decode::<Chain>(&bytes).unwrap(), deepest);
    });
    run(8 << 20, || {
        for links in [MOST_DEPTH / 2 + 1, 10_000] {
            let error = encode_checked(&Chain::of(links)).unwrap_err().to_string();
            assert!(error.contains("nested more than 1000 deep"), "{error}");
        }
    });
}

proptest! {
    #[test]
    fn values_survive_a_round_trip_in_the_encoding_of_postcard(
        scalars: (bool, char, u128, i64, f32),
        owned: (String, Vec<u8>, Option<Box<i8>>),
        map: BTreeMap<String, (u16, ())>,
        result: Result<u64, String>,
    ) {
        let value: Everything = (scalars, owned, map, result);
        let bytes = encode(&value).unwrap();
        prop_assert_eq!(&bytes, &postcard::to_stdvec(&value).unwrap());
        prop_assert_eq!(decode::<Everything>(&bytes).unwrap(), value);
    }

    #[test]
    fn garbage_never_panics_and_decoded_values_are_no_longer_than_their_bytes(bytes: Vec<u8>) {
        let mut rest = bytes.as_slice();
        if decode_front::<Everything>(&mut rest).is_ok() {
            prop_assert!(rest.len() <= bytes.len());
        } else {
            prop_assert_eq!(rest, bytes.as_slice());
        }
        let _ = decode::<Vec<Shape>>(&bytes);
    }
}
