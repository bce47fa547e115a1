//! Operations that misbehave at one element, and do what they should at all others: they give it
//! back.

use std::{
    fs::{self, OpenOptions},
    hint::black_box,
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use phalanx::prelude::*;

use crate::{broker, death, fleet};

/// Returns an error.
#[operation]
pub fn fail(#[state] at: u64, n: u64) -> Result<u64> {
    if n == at {
        return Err(OperationError::fatal("it will not do"));
    }
    Ok(n)
}

/// Returns an error that may pass, and never does.
#[operation(retries = 2)]
pub fn fail_for_now(#[state] at: u64, n: u64) -> Result<u64> {
    if n == at {
        return Err(OperationError::fatal("not now").with_retry_delay(Duration::from_millis(10)));
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
        panic!("dropped and broken");
    }
}

/// Panics when a value of its own is dropped.
#[operation]
pub fn drop_badly(#[state] at: u64, n: u64) -> u64 {
    let _fragile = (n == at).then(|| Fragile);
    n
}

/// Panics with a value that panics when it is dropped.
#[operation]
pub fn panic_badly(#[state] at: u64, n: u64) -> u64 {
    if n == at {
        std::panic::panic_any(Fragile);
    }
    n
}

/// Does not end, and hears nobody.
#[operation(timeout = "400ms", retries = 0)]
pub fn spin(#[state] at: u64, n: u64) -> u64 {
    if n == at {
        loop {
            std::thread::park();
        }
    }
    n
}

/// A number that does not serialize when it is odd one out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shy {
    /// What it is.
    pub number: u64,
    /// Whether it hides.
    pub hides: bool,
}

impl Serialize for Shy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        if self.hides {
            return Err(serde::ser::Error::custom("it hides"));
        }
        let mut shy = serializer.serialize_struct("Shy", 2)?;
        shy.serialize_field("number", &self.number)?;
        shy.serialize_field("hides", &self.hides)?;
        shy.end()
    }
}

/// Gives out what does not serialize.
#[operation]
pub fn hide(#[state] at: u64, number: u64) -> Shy {
    Shy { number, hides: number == at }
}

/// Which worker of a fleet this is.
pub(crate) const PLACE: &str = "PHALANX_CHAOS_PLACE";

/// A number that the first worker does not understand when it is a multiple of ten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreign(pub u64);

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(input)?;
        if number.is_multiple_of(10) && std::env::var(PLACE).is_ok_and(|place| place == "0") {
            return Err(serde::de::Error::custom("not understood here"));
        }
        Ok(Self(number))
    }
}

/// Takes in what not all workers understand.
#[operation]
pub fn understand(foreign: Foreign) -> u64 {
    foreign.0
}

/// A file in which processes record that they begin with an element that ends them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victims(PathBuf);

impl Victims {
    const WORKER: &str = "worker";
    const CHILD: &str = "child";

    /// In this file, which need not exist.
    #[must_use]
    pub fn in_file(path: PathBuf) -> Self {
        Self(path)
    }

    /// Records this process.
    fn record(&self) {
        let kind = if broker::is_connected() { Self::WORKER } else { Self::CHILD };
        let file = OpenOptions::new().create(true).append(true).open(&self.0);
        // A test that misses a record fails.
        let _ = file.and_then(|mut file| file.write_all(format!("{kind}\n").as_bytes()));
    }

    fn count(&self, kind: &str) -> usize {
        let records = fs::read_to_string(&self.0).unwrap_or_default();
        records.lines().filter(|line| *line == kind).count()
    }

    /// Runs in a worker itself.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.count(Self::WORKER)
    }

    /// Runs in a child process of a worker.
    #[must_use]
    pub fn children(&self) -> usize {
        self.count(Self::CHILD)
    }
}

/// Ends its process.
#[operation]
pub fn abort(#[state] at: u64, #[state] victims: &Victims, n: u64) -> u64 {
    if n == at {
        victims.record();
        std::process::abort();
    }
    n
}

/// Calls itself until the stack is full.
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
    // Never true, which nobody can know.
    if black_box(depth) == 0 { 0 } else { descend(depth + 1) + frame[7] }
}

/// Takes so much memory, of which the kernel kills it if there is not as much; else it is killed all
/// the same.
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
            // Memory is taken when it is written to.
            taken.push(black_box(vec![1u8; PIECE]));
        }
        death::die();
    }
    n
}
