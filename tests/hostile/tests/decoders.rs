//! Decoders come back from whatever bytes, within a bound of memory and on a small stack.
//!
//! One test in a binary of its own: the memory that is counted is that of the whole process.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
};

use peak_alloc::PeakAlloc;
use phalanx_hostile_tests::{TARGETS, Target, bound, steps};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Far less than any thread of ours has.
const STACK: usize = 256 << 10;
/// Inputs made up for each decoder. `PHALANX_HOSTILE_INPUTS` asks for more.
const INPUTS: u64 = 5_000;
/// `PHALANX_HOSTILE_SEED` chooses another.
const SEED: u64 = 4;

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// What messages look like: each kind of them, and what was found to be of interest.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    // So that a seed means the same on each machine.
    files.sort();
    assert!(!files.is_empty(), "{} has no corpus", target.name);
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn no_bytes_cost_more_than_they_may() {
    let (seed, inputs) =
        (asked("PHALANX_HOSTILE_SEED", SEED), asked("PHALANX_HOSTILE_INPUTS", INPUTS));
    // What is made once is not the price of a message.
    assert_eq!(steps().len(), 5);
    let mut worst = Vec::new();
    for target in TARGETS {
        let corpus = corpus(&target);
        corpus.iter().for_each(|input| (target.decode)(input));
        let run = move || {
            let mut random = fastrand::Rng::with_seed(seed);
            let known = corpus.iter().cloned();
            let damaged = (0..inputs).map(|_| damage(&corpus, &mut random));
            known.chain(damaged).map(|input| check(&target, &input)).fold(0.0, f64::max)
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(run).unwrap();
        worst.push((target.name, thread.join().unwrap()));
    }
    // Bytes held for each byte of a message, beyond the constant part.
    #[expect(clippy::print_stdout, reason = "it is captured")]
    {
        println!("{worst:.1?}");
    }
}

/// Fails when the input costs too much; what it cost for each of its bytes.
fn check(target: &Target, input: &[u8]) -> f64 {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let decoded = catch_unwind(AssertUnwindSafe(|| (target.decode)(input)));
    let held = MEMORY.peak_usage().saturating_sub(before);
    let (name, hex) =
        (target.name, || input.iter().map(|b| format!("{b:02x}")).collect::<String>());
    assert!(decoded.is_ok(), "{name} panics at {}", hex());
    assert!(held <= bound(input.len()), "{name} takes {held} bytes for {}", hex());
    held.saturating_sub(bound(0)) as f64 / input.len().max(1) as f64
}

/// A message of the corpus with something wrong, or nothing but noise.
fn damage(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    if random.u8(..16) == 0 {
        bytes = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        // Past the version: what follows is read.
        bytes.splice(..0, [1, 0]);
    }
    for _ in 0..=random.u8(..4) {
        let at = random.usize(..=bytes.len());
        let until = (at + random.usize(..24)).min(bytes.len());
        match random.u8(..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..until)),
            // Varints from small to impossible.
            2 => drop(bytes.splice(at..until.min(at + 1), long(random))),
            3 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                bytes.splice(at..until, other[from..].iter().copied());
            }
            // Many of what is there once.
            4 => {
                let some = bytes[at..until].repeat(random.usize(..200));
                bytes.splice(at..until, some);
            }
            5 => drop(bytes.splice(at..at, vec![0; random.usize(..4_000)])),
            _ if at < bytes.len() => {
                let special = [0, 1, 2, 0x7f, 0x80, 0xff];
                bytes[at] = if random.bool() { special[random.usize(..6)] } else { random.u8(..) };
            }
            _ => {}
        }
    }
    bytes
}

/// A length that nobody has.
fn long(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = vec![0xff; random.usize(..10)];
    bytes.push(random.u8(..0x80));
    bytes
}
