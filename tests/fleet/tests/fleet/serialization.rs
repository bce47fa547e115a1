//! How often elements are serialized and deserialized.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use phalanx::{Runtime, prelude::*};
use serde::{Deserializer, Serializer};

/// Serializations and deserializations of one type.
struct Counts {
    serialized: AtomicUsize,
    deserialized: AtomicUsize,
}

impl Counts {
    const fn new() -> Self {
        Self { serialized: AtomicUsize::new(0), deserialized: AtomicUsize::new(0) }
    }

    fn take(&self) -> (usize, usize) {
        (self.serialized.swap(0, SeqCst), self.deserialized.swap(0, SeqCst))
    }
}

/// A number whose serializations and deserializations are counted.
macro_rules! counted {
    ($name:ident, $counts:ident) => {
        static $counts: Counts = Counts::new();

        #[derive(Debug, Clone, PartialEq, Eq)]
        struct $name(u64);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> std::result::Result<S::Ok, S::Error> {
                $counts.serialized.fetch_add(1, SeqCst);
                self.0.serialize(output)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
                $counts.deserialized.fetch_add(1, SeqCst);
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

/// One test, because the counts are global.
#[tokio::test]
async fn a_chain_and_the_first_level_of_its_fold_run_as_one_pass_over_each_batch() {
    // A batch that exceeds its time slice would be cut: with one slot, no other task delays it.
    let runtime = Runtime::builder().url("memory://").slots(1).connect().await.unwrap();
    // The structure of each type is traced once, by deserializing made-up values.
    chain().fold(Total).explain().unwrap();
    for counts in [&SOURCE, &BETWEEN, &OUTCOME] {
        counts.take();
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
    // One partial result for each batch, and the combinations of those.
    let (serialized, deserialized) = OUTCOME.take();
    let batches = COUNT / BATCH;
    assert!((batches..=3 * batches).contains(&serialized), "{serialized}");
    assert!((batches..=3 * batches).contains(&deserialized), "{deserialized}");
    runtime.close().await;
}
