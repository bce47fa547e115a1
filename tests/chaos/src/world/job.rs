//! A job, and its expected result.

use std::{collections::BTreeMap, fmt, time::Duration};

use futures::{FutureExt as _, TryFutureExt as _, TryStreamExt as _, future::BoxFuture};
use phalanx::{Error, Runtime, prelude::*};

use super::{
    operations::{
        AddElsewhere, AddUp, Concatenate, Digest, FickleKey, Invert, IsOdd, KeyedNumber, KeyedText,
        KeyedWord, Multiply, Plus, PlusSquare, Spread, Texts, Triple, TripleLater, Turn, Word,
        digest_of as digest, key, matrix, number_of, product, spread_out,
    },
    verdict::Verdict,
};

/// The computation of a job on its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    Map,
    /// Elements that take longer than a worker may hold their delivery.
    Long,
    MapLater,
    Chain,
    Pools,
    Count,
    Words,
    FixedWords,
    Matrices,
    Fractions,
    /// An exchange whose values must keep their order.
    Groups,
    /// An exchange behind an operation that chooses other keys whenever it runs.
    Fickle,
    Joined,
    /// Tasks send only the largest of their outputs.
    Top,
    /// An exchange whose blocks, and the outputs behind it, go through queues of the broker.
    Heavy,
}

impl JobKind {
    /// All but `Heavy`: what a broker loses ends such a job.
    pub(crate) const ALL: [Self; 14] = [
        Self::Map,
        Self::Long,
        Self::MapLater,
        Self::Chain,
        Self::Pools,
        Self::Count,
        Self::Words,
        Self::FixedWords,
        Self::Matrices,
        Self::Fractions,
        Self::Groups,
        Self::Fickle,
        Self::Joined,
        Self::Top,
    ];
}

/// A job on the numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobSpec {
    pub(crate) kind: JobKind,
    pub(crate) count: u64,
    /// The number of elements in a task; `None` lets the leader choose.
    pub(crate) batch: Option<u32>,
    /// How long each element takes.
    pub(crate) nap: Duration,
}

impl fmt::Display for JobSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, count, batch, nap } = self;
        write!(f, "{kind:?} of {count}, {nap:?} each, ")?;
        match batch {
            Some(batch) => write!(f, "batches of {batch}"),
            None => write!(f, "batches of any size"),
        }
    }
}

/// A running job, and the verdict on its result.
pub(crate) type Started = (Job, BoxFuture<'static, Result<Verdict, Error>>);

impl JobSpec {
    /// A random job that keeps `slots` busy for about `length`.
    pub(crate) fn random(random: &mut fastrand::Rng, slots: u64, length: Duration) -> Self {
        let kind = JobKind::ALL[random.usize(..JobKind::ALL.len())];
        if kind == JobKind::Long {
            return Self { kind, count: slots, batch: Some(1), nap: LONG };
        }
        let batch = [None, None, Some(1), Some(1), Some(7), Some(100)][random.usize(..6)];
        // Small batches make many tasks, so these jobs have fewer elements that take longer.
        let most = if batch.is_some_and(|batch| batch < 10) { 2_000 } else { 20_000 };
        let count = random.u64(most / 4..=most);
        let nap = length * slots as u32 / count as u32;
        Self { kind, count, batch, nap }
    }

    /// A job that moves far more than a leader holds, and keeps `slots` busy for about `length`.
    pub(crate) fn heavy(slots: u64, length: Duration) -> Self {
        let count = 600;
        let nap = length * slots as u32 / count as u32;
        Self { kind: JobKind::Heavy, count, batch: Some(7), nap }
    }

    fn numbers(&self) -> IndexedStream<u64> {
        let numbers = IndexedStream::from(0..self.count);
        match self.batch {
            Some(batch) => numbers.batch(batch),
            None => numbers,
        }
    }

    /// Starts the job. Its result is compared with that of the sequential program.
    pub(crate) fn start(self, runtime: &Runtime) -> Result<Started, Error> {
        let (numbers, nap, count) = (self.numbers(), self.nap, self.count);
        let triples = move || (0..count).map(|n| 3 * n);
        match self.kind {
            // In order of completion: a duplicate element would appear here.
            JobKind::Map | JobKind::Long => values(numbers.map(Triple { nap }), runtime, triples()),
            JobKind::MapLater => values(numbers.map(TripleLater { nap }), runtime, triples()),
            JobKind::Pools => values(
                numbers.map(Triple { nap }).map(AddElsewhere).flat_map(Spread { nap: NONE }),
                runtime,
                triples().map(|n| n + 1).flat_map(spread_out),
            ),
            JobKind::Chain => {
                let chain =
                    numbers.flat_map(Spread { nap }).filter(IsOdd).map(Triple { nap: NONE });
                let expected: Vec<u64> = self.odd().map(|n| 3 * n).collect();
                let (job, results) = chain.ordered().start(runtime)?;
                let outcome = results.map_ok(|(_, value)| value).try_collect::<Vec<_>>();
                Ok((job, outcome.map_ok(move |found| Verdict::of_order(&expected, &found)).boxed()))
            }
            JobKind::Count => {
                let count = numbers.flat_map(Spread { nap }).filter(IsOdd).count();
                value(count.start(runtime)?, self.odd().count() as u64)
            }
            JobKind::Words => {
                value(numbers.map(Word { nap }).fold(Concatenate).start(runtime)?, self.words())
            }
            JobKind::FixedWords => {
                let words = numbers.map(Word { nap }).fold(Concatenate).deterministic();
                value(words.start(runtime)?, self.words())
            }
            JobKind::Matrices => value(
                numbers.map(Turn { nap }).fold(Multiply).start(runtime)?,
                (0..count).map(matrix).fold([1, 0, 0, 1], product),
            ),
            JobKind::Groups => {
                let groups = numbers.map(KeyedWord { nap }).fold_by_key(Concatenate);
                let mut expected = BTreeMap::<u64, String>::new();
                for n in 0..count {
                    expected.entry(key(n)).or_default().push_str(&format!("{n},"));
                }
                let expected = expected.into_iter().map(digest).collect::<Vec<_>>().into_iter();
                values(groups.map(Digest { nap: GROUP }), runtime, expected)
            }
            JobKind::Fickle => {
                let counts = numbers.map(FickleKey { nap }).reduce_by_key(Plus).values();
                let expected = (count > 0).then_some(count);
                value(counts.reduce(Plus).start(runtime)?, expected)
            }
            JobKind::Joined => {
                let squares = IndexedStream::from((0..key(u64::MAX)).map(|n| (n, n * n)));
                let rows = numbers.map(KeyedNumber { nap }).join(squares).values();
                let expected = (0..count).filter(|n| key(*n) < key(u64::MAX));
                values(rows.map(PlusSquare), runtime, expected.map(|n| n + key(n) * key(n)))
            }
            JobKind::Top => {
                let top = numbers.map(KeyedNumber { nap }).top(LARGEST);
                let mut expected: Vec<(u64, u64)> = (0..count).map(|n| (key(n), n)).collect();
                expected.sort_unstable_by(|a, b| b.cmp(a));
                expected.truncate(LARGEST);
                value(top.start(runtime)?, expected)
            }
            JobKind::Heavy => {
                let groups = numbers.map(KeyedText { nap }).group_by_key().partitions(2);
                let (job, texts) = groups.flat_map(Texts).start(runtime)?;
                let found = texts.map_ok(|(_, text)| number_of(&text)).try_collect::<Vec<_>>();
                let expected = (0..count).collect();
                Ok((job, found.map_ok(move |all| Verdict::of_values(expected, all)).boxed()))
            }
            JobKind::Fractions => {
                let fractions = |spec: Self| {
                    spec.numbers().map(Invert { nap: spec.nap }).fold(AddUp).deterministic()
                };
                let (job, sum) = fractions(self).start(runtime)?;
                let alone = fractions(Self { nap: NONE, batch: None, ..self });
                let outcome = async move {
                    // `deterministic` promises the same bits for the same program.
                    let memory = Runtime::builder().url("memory://").slots(1).connect().await?;
                    let expected: f64 = alone.run(&memory).await?;
                    memory.close().await;
                    Ok(Verdict::of_value(&expected.to_bits(), &sum.await?.to_bits()))
                };
                Ok((job, outcome.boxed()))
            }
        }
    }

    fn odd(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.count).flat_map(spread_out).filter(|n| n % 2 == 1)
    }

    fn words(&self) -> String {
        (0..self.count).map(|n| format!("{n},")).collect()
    }
}

const NONE: Duration = Duration::ZERO;

/// How long each group of an exchange takes: there are few.
const GROUP: Duration = Duration::from_millis(5);

/// How many of the largest outputs are asked for: fewer than large batches have.
const LARGEST: usize = 20;

/// Longer than the workers hold a delivery, so that they lease its task.
const LONG: Duration = Duration::from_secs(3);

fn values(
    stream: IndexedStream<u64>,
    runtime: &Runtime,
    expected: impl Iterator<Item = u64>,
) -> Result<Started, Error> {
    let expected: Vec<u64> = expected.collect();
    let (job, results) = stream.start(runtime)?;
    let found = results.map_ok(|(_, value)| value).try_collect::<Vec<_>>();
    Ok((job, found.map_ok(move |found| Verdict::of_values(expected, found)).boxed()))
}

fn value<V: PartialEq + Send + 'static>(
    (job, value): (Job, phalanx::ValueFuture<V>),
    expected: V,
) -> Result<Started, Error> {
    Ok((job, value.map_ok(move |found| Verdict::of_value(&expected, &found)).boxed()))
}
