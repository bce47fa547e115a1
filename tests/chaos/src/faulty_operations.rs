//! Operations that fail at one element, and return every other element unchanged.

use std::{
    fs::{self, OpenOptions},
    hint::black_box,
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use phalanx::prelude::*;

use crate::{broker, fleet, incident};

/// Returns a permanent error.
#[operation]
pub fn fail(#[state] at: u64, n: u64) -> Result<u64> {
    if n == at {
        return Err(OperationError::fatal("permanent failure"));
    }
    Ok(n)
}

/// Returns a transient error on every try.
#[operation(retries = 2)]
pub fn fail_transiently(#[state] at: u64, n: u64) -> Result<u64> {
    if n == at {
        return Err(
            OperationError::fatal("transient failure").with_retry_delay(Duration::from_millis(10))
        );
    }
    Ok(n)
}

/// Panics with a value that is not a string.
#[operation]
pub fn panic_with_a_number(#[state] at: u64, n: u64) -> u64 {
    if n == at {
        std::panic::panic_any(n);
    }
    n
}

/// A value that panics when it is dropped.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("panic in drop");
    }
}

/// Panics when it drops a local value.
#[operation]
pub fn panic_in_drop(#[state] at: u64, n: u64) -> u64 {
    let _fragile = (n == at).then(|| Fragile);
    n
}

/// Panics with a value that panics when it is dropped.
#[operation]
pub fn panic_with_a_panicking_value(#[state] at: u64, n: u64) -> u64 {
    if n == at {
        std::panic::panic_any(Fragile);
    }
    n
}

/// Never returns, even when it is cancelled.
#[operation(timeout = "400ms", retries = 0)]
pub fn never_return(#[state] at: u64, #[state] victims: &Victims, n: u64) -> u64 {
    if n == at {
        victims.record();
        loop {
            std::thread::park();
        }
    }
    n
}

/// A number that fails to serialize if it is marked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unserializable {
    /// The number.
    pub number: u64,
    /// Whether serializing fails.
    pub fails: bool,
}

impl Serialize for Unserializable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        if self.fails {
            return Err(serde::ser::Error::custom("does not serialize"));
        }
        let mut fields = serializer.serialize_struct("Unserializable", 2)?;
        fields.serialize_field("number", &self.number)?;
        fields.serialize_field("fails", &self.fails)?;
        fields.end()
    }
}

/// Returns an output that fails to serialize.
#[operation]
pub fn return_unserializable(#[state] at: u64, number: u64) -> Unserializable {
    Unserializable { number, fails: number == at }
}

/// The environment variable with the number of a worker, from 0.
pub(crate) const NUMBER: &str = "PHALANX_CHAOS_WORKER";

/// A number that worker 0 cannot deserialize if it is a multiple of ten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecodableOnSome(pub u64);

impl<'de> Deserialize<'de> for DecodableOnSome {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(input)?;
        if number.is_multiple_of(10) && std::env::var(NUMBER).is_ok_and(|number| number == "0") {
            return Err(serde::de::Error::custom("not decodable on this worker"));
        }
        Ok(Self(number))
    }
}

/// Takes an input that not all workers can deserialize.
#[operation]
pub fn take_in(input: DecodableOnSome) -> u64 {
    input.0
}

/// A file in which processes record that they are about to run an element that kills them, or never
/// returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victims(PathBuf);

impl Victims {
    const WORKER: &str = "worker";
    const CHILD: &str = "child";

    /// Records in this file, which is created if it does not exist.
    #[must_use]
    pub fn in_file(path: PathBuf) -> Self {
        Self(path)
    }

    /// Records this process.
    fn record(&self) {
        let kind = if broker::is_connected() { Self::WORKER } else { Self::CHILD };
        let file = OpenOptions::new().create(true).append(true).open(&self.0);
        // A missing record fails the test.
        let _ = file.and_then(|mut file| file.write_all(format!("{kind}\n").as_bytes()));
    }

    fn count(&self, kind: &str) -> usize {
        let records = fs::read_to_string(&self.0).unwrap_or_default();
        records.lines().filter(|line| *line == kind).count()
    }

    /// Runs of the element in a worker itself.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.count(Self::WORKER)
    }

    /// Runs of the element in a child process of a worker.
    #[must_use]
    pub fn children(&self) -> usize {
        self.count(Self::CHILD)
    }
}

/// Aborts its process.
#[operation]
pub fn abort(#[state] at: u64, #[state] victims: &Victims, n: u64) -> u64 {
    if n == at {
        victims.record();
        std::process::abort();
    }
    n
}

/// Recurses until the stack overflows.
#[operation]
pub fn overflow(#[state] at: u64, #[state] victims: &Victims, n: u64) -> u64 {
    if n == at {
        victims.record();
        return n.wrapping_add(descend(1));
    }
    n
}

fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    // Never true, but the compiler must not be able to prove it.
    if black_box(depth) == 0 { 0 } else { descend(depth + 1) + frame[7] }
}

/// Allocates up to `most` bytes, so that the kernel kills the process; if it does not, the process
/// kills itself.
#[operation]
pub fn take_all_memory(
    #[state] at: u64,
    #[state] most: u64,
    #[state] victims: &Victims,
    n: u64,
) -> u64 {
    const PIECE: usize = 16 << 20;
    if n == at {
        victims.record();
        fleet::offer();
        let mut taken = Vec::new();
        while ((taken.len() * PIECE) as u64) < most {
            // Memory is only counted once it has been written to.
            taken.push(black_box(vec![1u8; PIECE]));
        }
        incident::die();
    }
    n
}
