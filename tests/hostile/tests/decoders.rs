//! Decoders return for every input, within a bound of memory and on a small stack.
//!
//! One test in a separate binary, because it counts the memory of the whole process.

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

/// Far smaller than the stack of any thread that decodes messages.
const STACK: usize = 256 << 10;
/// Random inputs for each decoder. `PHALANX_HOSTILE_INPUTS` sets another number.
const INPUTS: u64 = 5_000;
/// `PHALANX_HOSTILE_SEED` sets another seed.
const SEED: u64 = 4;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Valid messages of each kind, and inputs that once caused failures.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    // Sorted, so that a seed yields the same inputs on every machine.
    files.sort();
    assert!(!files.is_empty(), "{} has no corpus", target.name);
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn no_input_makes_a_decoder_panic_or_exceed_its_memory_bound() {
    let (seed, inputs) =
        (variable("PHALANX_HOSTILE_SEED", SEED), variable("PHALANX_HOSTILE_INPUTS", INPUTS));
    // Built before the first measurement: the registry is not part of the cost of a message.
    assert_eq!(steps().len(), 5);
    let mut worst = Vec::new();
    for target in TARGETS {
        let corpus = corpus(&target);
        // Damage to invalid messages would not reach the inner parts of a decoder.
        let valid = corpus.iter().filter(|input| (target.decode)(input)).count();
        assert!(valid > 0, "no input in the corpus of {} is valid", target.name);
        let run = move || {
            let mut random = fastrand::Rng::with_seed(seed);
            let known = corpus.iter().cloned();
            let damaged = (0..inputs).map(|_| damage(&corpus, &mut random));
            known.chain(damaged).map(|input| check(&target, &input)).fold(0.0, f64::max)
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(run).unwrap();
        worst.push((target.name, thread.join().unwrap()));
    }
    // Bytes of memory for each byte of a message, beyond the constant part.
    #[expect(clippy::print_stdout, reason = "it is captured")]
    {
        println!("{worst:.1?}");
    }
}

/// Decodes an input within its bound, and returns the bytes of memory for each of its bytes.
fn check(target: &Target, input: &[u8]) -> f64 {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let decoded = catch_unwind(AssertUnwindSafe(|| (target.decode)(input)));
    let held = MEMORY.peak_usage().saturating_sub(before);
    let (name, hex) =
        (target.name, || input.iter().map(|b| format!("{b:02x}")).collect::<String>());
    assert!(decoded.is_ok(), "{name} panics for {}", hex());
    assert!(held <= bound(input.len()), "{name} holds {held} bytes for {}", hex());
    held.saturating_sub(bound(0)) as f64 / input.len().max(1) as f64
}

/// A damaged message of the corpus, or random bytes.
fn damage(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    if random.u8(..16) == 0 {
        bytes = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        // A valid version, so that the rest is decoded.
        bytes.splice(..0, [1, 0]);
    }
    for _ in 0..=random.u8(..4) {
        let at = random.usize(..=bytes.len());
        let until = (at + random.usize(..24)).min(bytes.len());
        match random.u8(..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..until)),
            // A varint of any length, also of an invalid one.
            2 => drop(bytes.splice(at..until.min(at + 1), long(random))),
            3 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                bytes.splice(at..until, other[from..].iter().copied());
            }
            // A part repeated many times.
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

/// A varint that is far too large.
fn long(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = vec![0xff; random.usize(..10)];
    bytes.push(random.u8(..0x80));
    bytes
}
