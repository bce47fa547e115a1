//! How often elements are encoded and decoded.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use phalanx::{Runtime, prelude::*};
use serde::{Deserializer, Serializer};

/// Encodings and decodings of one type.
struct Tally {
    encoded: AtomicUsize,
    decoded: AtomicUsize,
}

impl Tally {
    const fn new() -> Self {
        Self { encoded: AtomicUsize::new(0), decoded: AtomicUsize::new(0) }
    }

    fn take(&self) -> (usize, usize) {
        (self.encoded.swap(0, SeqCst), self.decoded.swap(0, SeqCst))
    }
}

/// A number that counts how often it is encoded and decoded.
macro_rules! counted {
    ($name:ident, $tally:ident) => {
        static $tally: Tally = Tally::new();

        #[derive(Debug, Clone, PartialEq, Eq)]
        struct $name(u64);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> std::result::Result<S::Ok, S::Error> {
                $tally.encoded.fetch_add(1, SeqCst);
                self.0.serialize(output)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
                $tally.decoded.fetch_add(1, SeqCst);
                u64::deserialize(input).map($name)
            }
        }
    };
}

counted!(Source, SOURCE);
counted!(Between, BETWEEN);
counted!(Outcome, OUTCOME);

#[operation]
fn step_in(n: Source) -> Between {
    Between(n.0 + 1)
}

#[operation]
fn is_kept(n: &Between) -> bool {
    !n.0.is_multiple_of(10)
}

#[operation]
fn step_out(n: Between) -> Vec<Outcome> {
    vec![Outcome(n.0), Outcome(1)]
}

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Total;

impl Monoid for Total {
    type Elem = Outcome;

    fn empty(&self) -> Outcome {
        Outcome(0)
    }

    fn combine(&self, a: Outcome, b: Outcome, _cx: &TaskContext) -> Result<Outcome> {
        Ok(Outcome(a.0 + b.0))
    }
}

const COUNT: usize = 10_000;
const BATCH: usize = 100;

fn chain() -> IndexedStream<Outcome> {
    let source = IndexedStream::from((0..COUNT as u64).map(Source));
    source.map(StepIn).filter(IsKept).flat_map(StepOut).batch(BATCH as u32)
}

/// One test, because the tallies are the program's.
#[tokio::test]
async fn a_chain_and_the_first_level_of_its_fold_run_as_one_pass_over_each_batch() {
    // A batch that takes longer than its slice would be cut: not on so few cores at once.
    let runtime = Runtime::builder().url("memory://").slots(1).connect().await.unwrap();
    // The structures of the types are traced once, by decoding what was made up for it.
    chain().fold(Total).explain().unwrap();
    for tally in [&SOURCE, &BETWEEN, &OUTCOME] {
        tally.take();
    }

    let kept = (1..=COUNT as u64).filter(|n| n % 10 != 0);
    let outcomes: Vec<Outcome> = kept.flat_map(|n| [Outcome(n), Outcome(1)]).collect();
    let collected = chain().collect(&runtime).await.unwrap();
    assert_eq!(collected, outcomes);
    assert_eq!(SOURCE.take(), (COUNT, COUNT));
    assert_eq!(BETWEEN.take(), (0, 0));
    assert_eq!(OUTCOME.take(), (outcomes.len(), outcomes.len()));

    let total = chain().fold(Total).run(&runtime).await.unwrap();
    assert_eq!(total.0, outcomes.iter().map(|outcome| outcome.0).sum::<u64>());
    assert_eq!(SOURCE.take(), (COUNT, COUNT));
    assert_eq!(BETWEEN.take(), (0, 0));
    // A partial result for each batch, and combinations of those.
    let (encoded, decoded) = OUTCOME.take();
    let batches = COUNT / BATCH;
    assert!((batches..=3 * batches).contains(&encoded), "{encoded}");
    assert!((batches..=3 * batches).contains(&decoded), "{decoded}");
    runtime.close().await;
}
