//! Random programs, and their expected results.

use std::{cmp::Reverse, collections::BTreeMap};

use phalanx::{IndexedStream, OnFailure, Runtime};
use phalanx_core::registry::Sample;
use proptest::{collection::vec, prelude::*};

use crate::operations::{
    Add, AddLater, Affine, AffineMap, Compose, Concatenate, Digest, DigestAffine, DigestFull,
    DigestGroup, DigestLeft, DigestRow, DigestSides, Keep, Keyed, KeyedAffine, Leftmost, Narrow,
    Refuse, Settle, Spread, Stumble, Sum, Word, add, affine, digest, digest_affine, digest_full,
    digest_group, digest_left, digest_row, digest_sides, keep, mix, narrow, refused, settled,
    spread, sum, word,
};

/// The number of different keys of a [`End::TopByKey`], at most: few, so that many are equal.
const TOP_KEYS: u64 = 7;

/// The elements that are compared with those of a program are the numbers up to this one.
const OTHERS: u64 = 25;

/// A program: the union of some branches, a chain of directives and an end.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// At least one.
    branches: Vec<Branch>,
    chain: Vec<Link>,
    /// At most two, one behind the other.
    exchanges: Vec<Exchange>,
    batch: Option<u32>,
    end: End,
}

/// Directives that bring elements with equal keys together, and the chain behind them.
#[derive(Debug, Clone)]
struct Exchange {
    by: By,
    /// The number of keys, at most.
    keys: u64,
    partitions: Option<u32>,
    chain: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
enum By {
    Group,
    Compose,
    Leftmost,
    Count,
    CountByValue,
    Distinct,
    Intersection,
    Subtract,
    /// Of values that were changed before.
    Sum,
    Join,
    LeftJoin,
    FullJoin,
    SemiJoin,
    AntiJoin,
    Cogroup,
    /// With the same elements, each changed.
    Zip,
}

/// A source, and the chain of directives before the union.
#[derive(Debug, Clone)]
struct Branch {
    /// Determines the numbers of the source.
    seed: u64,
    length: u64,
    chain: Vec<Link>,
}

/// A directive, or several that belong together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Link {
    Add(u64),
    AddLater(u64),
    /// In another pool, so the stage ends before it.
    AddElsewhere(u64),
    Keep(u64),
    Spread(u64),
    Stumble(u64),
    /// `try_map`: failures become values.
    TryRefuse(u64),
    /// Failing elements are skipped.
    SkipRefused(u64),
    Sample(Sampling),
    /// `enumerate`, and a number for each pair.
    Enumerate,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    fraction: f64,
    seed: u64,
    /// The number of the branch, if it follows a union.
    branch: u32,
}

/// The end of a program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Collect,
    Run,
    Take(u64),
    TakeOrdered(u64),
    First,
    Top(usize),
    TopByKey(usize),
    Count,
    Compose { deterministic: bool },
    Concatenate,
    Leftmost,
}

/// The results of a program.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// In input order.
    Ordered(Vec<u64>),
    /// In any order.
    Indexed(Vec<(u64, u64)>),
    Perhaps(Option<u64>),
    Count(u64),
    Affine(Affine),
    Text(String),
}

fn links() -> impl Strategy<Value = Link> {
    prop_oneof![
        4 => any::<u64>().prop_map(Link::Add),
        2 => any::<u64>().prop_map(Link::AddLater),
        1 => any::<u64>().prop_map(Link::AddElsewhere),
        3 => (1..8u64).prop_map(Link::Keep),
        3 => (0..4u64).prop_map(Link::Spread),
        1 => (2..20u64).prop_map(Link::Stumble),
        2 => (1..10u64).prop_map(Link::TryRefuse),
        2 => (1..10u64).prop_map(Link::SkipRefused),
    ]
}

/// A directive that looks at where elements come from, too.
fn links_of_sources() -> impl Strategy<Value = Link> {
    let fraction = prop_oneof![1 => Just(0.0), 1 => Just(1.0), 5 => 0.0..1.0];
    let sample = (fraction, any::<u64>())
        .prop_map(|(fraction, seed)| Link::Sample(Sampling { fraction, seed, branch: 0 }));
    prop_oneof![12 => links(), 2 => sample, 1 => Just(Link::Enumerate)]
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Collect),
        3 => Just(End::Run),
        1 => (0..50u64).prop_map(End::Take),
        1 => (0..50u64).prop_map(End::TakeOrdered),
        1 => Just(End::First),
        1 => (0..50usize).prop_map(End::Top),
        1 => (0..50usize).prop_map(End::TopByKey),
        1 => Just(End::Count),
        3 => any::<bool>().prop_map(|deterministic| End::Compose { deterministic }),
        2 => Just(End::Concatenate),
        2 => Just(End::Leftmost),
    ]
}

fn branches(longest: u64, links_of_each: usize) -> impl Strategy<Value = Branch> {
    let length = prop_oneof![1 => Just(0), 6 => 1..200u64, 1 => 200..=longest];
    (any::<u64>(), length, vec(links_of_sources(), 0..=links_of_each))
        .prop_map(|(seed, length, chain)| Branch { seed, length, chain })
}

/// Programs over at most `longest` elements of each source.
pub(crate) fn programs(longest: u64) -> impl Strategy<Value = Program> {
    let branches = prop_oneof![
        3 => vec(branches(longest, 0), 1),
        1 => vec(branches(longest, 2), 2..4),
    ];
    let batch = prop_oneof![2 => Just(None), 3 => (1..60u32).prop_map(Some)];
    let exchanges = prop_oneof![
        2 => Just(Vec::new()),
        2 => vec(exchanges(), 1),
        1 => (exchanges(), exchanges_of_any_order()).prop_map(|(one, other)| vec![one, other]),
    ];
    (branches, vec(links_of_sources(), 0..5), exchanges, batch, ends()).prop_map(
        |(branches, mut chain, mut exchanges, batch, end)| {
            // The elements of several branches have no common order.
            chain.retain(|link| branches.len() == 1 || !matches!(link, Link::Enumerate));
            let is_ordered =
                |exchange: &Exchange| branches.len() == 1 || !matches!(exchange.by, By::Zip);
            exchanges.retain(is_ordered);
            Program { branches, chain, exchanges, batch, end }
        },
    )
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    let ordered =
        prop_oneof![Just(By::Group), Just(By::Compose), Just(By::Leftmost), Just(By::Zip)];
    exchanges_by(prop_oneof![1 => ordered, 3 => of_any_order()])
}

/// Exchanges whose outputs do not depend on the order of their input.
fn exchanges_of_any_order() -> impl Strategy<Value = Exchange> {
    exchanges_by(of_any_order())
}

fn of_any_order() -> impl Strategy<Value = By> {
    prop_oneof![
        Just(By::Count),
        Just(By::CountByValue),
        Just(By::Distinct),
        Just(By::Intersection),
        Just(By::Subtract),
        Just(By::Sum),
        Just(By::Join),
        Just(By::LeftJoin),
        Just(By::FullJoin),
        Just(By::SemiJoin),
        Just(By::AntiJoin),
        Just(By::Cogroup),
    ]
}

fn exchanges_by(by: impl Strategy<Value = By>) -> impl Strategy<Value = Exchange> {
    let keys = prop_oneof![1 => Just(1), 3 => 2..50u64, 2 => Just(u64::MAX)];
    let partitions = prop_oneof![2 => Just(None), 3 => (1..300u32).prop_map(Some)];
    (by, keys, partitions, vec(links(), 0..3)).prop_map(|(by, keys, partitions, chain)| Exchange {
        by,
        keys,
        partitions,
        chain,
    })
}

impl Exchange {
    /// `again` makes the same stream once more.
    fn stream(
        &self,
        stream: IndexedStream<u64>,
        again: impl Fn() -> IndexedStream<u64>,
    ) -> IndexedStream<u64> {
        let most = self.keys;
        let pairs = |stream: IndexedStream<u64>| stream.map(Keyed { most });
        let stream = match self.by {
            By::Group => self.sized(pairs(stream).group_by_key()).map(DigestGroup),
            By::Compose => {
                let composed = stream.map(KeyedAffine { most }).fold_by_key(Compose);
                self.sized(composed).map(DigestAffine)
            }
            By::Leftmost => self.sized(pairs(stream).reduce_by_key(Leftmost)).map(Digest),
            By::Count => self.sized(pairs(stream).count_by_key()).map(Digest),
            By::CountByValue => {
                self.sized(stream.map(Narrow { most }).count_by_value()).map(Digest)
            }
            By::Distinct => self.sized(stream.map(Narrow { most }).distinct()),
            By::Intersection => self.sized(stream.map(Narrow { most }).intersection(others())),
            By::Subtract => self.sized(stream.map(Narrow { most }).subtract(others())),
            By::Sum => {
                let pairs = pairs(stream).map_values(Add { amount: 1 });
                let pairs = pairs.filter_values(Keep { one_in: 5 });
                let sums = pairs.flat_map_values(Spread { most: 2 }).reduce_by_key(Sum);
                self.sized(sums).map(Digest)
            }
            By::Join => self.sized(pairs(stream).join(other_pairs())).map(DigestRow),
            By::LeftJoin => self.sized(pairs(stream).left_join(other_pairs())).map(DigestLeft),
            By::FullJoin => self.sized(pairs(stream).full_join(other_pairs())).map(DigestFull),
            By::SemiJoin => self.sized(pairs(stream).semi_join(others())).map(Digest),
            By::AntiJoin => self.sized(pairs(stream).anti_join(others())).map(Digest),
            By::Cogroup => self.sized(pairs(stream).cogroup(other_pairs())).map(DigestSides),
            By::Zip => self.sized(stream.zip(again().map(Add { amount: 1 }))).map(Digest),
        };
        extended(stream, &self.chain)
    }

    fn sized<T: phalanx::operation::Data>(&self, stream: IndexedStream<T>) -> IndexedStream<T> {
        match self.partitions {
            Some(count) => stream.partitions(count),
            None => stream,
        }
    }

    /// The expected outputs, in any order.
    fn plainly(&self, input: Vec<u64>) -> Vec<u64> {
        let mut groups = BTreeMap::<u64, Vec<u64>>::new();
        for n in input {
            groups.entry(narrow(self.keys, n)).or_default().push(n);
        }
        if matches!(self.by, By::FullJoin | By::Cogroup) {
            // The other side alone has some of these.
            for key in 0..OTHERS {
                groups.entry(key).or_default();
            }
        }
        let outputs = groups.into_iter().flat_map(|(key, values)| match self.by {
            By::Group => vec![digest_group((key, values))],
            By::Compose => {
                let composed = values.into_iter().map(affine).fold(Affine::IDENTITY, Affine::then);
                vec![digest_affine((key, composed))]
            }
            By::Leftmost => vec![digest((key, values[0]))],
            By::Count | By::CountByValue => vec![digest((key, values.len() as u64))],
            By::Distinct => vec![key],
            By::Intersection => vec![key; usize::from(key < OTHERS)],
            By::Subtract if key < OTHERS => vec![],
            By::Subtract => vec![key; values.len()],
            By::Sum => {
                let values = values.into_iter().map(|n| add(1, n)).filter(|n| keep(5, n));
                let sum = values.flat_map(|n| spread(2, n)).reduce(sum);
                sum.map(|sum| digest((key, sum))).into_iter().collect()
            }
            By::Join => {
                let row = |n| others_of(key).map(move |other| digest_row((key, (n, other))));
                values.into_iter().flat_map(row).collect()
            }
            By::LeftJoin => {
                let row =
                    |n| sides(others_of(key)).map(move |other| digest_left((key, (n, other))));
                values.into_iter().flat_map(row).collect()
            }
            By::FullJoin => {
                let row =
                    |n| sides(others_of(key)).map(move |other| digest_full((key, (n, other))));
                sides(values.into_iter()).flat_map(row).collect()
            }
            By::SemiJoin | By::AntiJoin => {
                let stays = (key < OTHERS) == matches!(self.by, By::SemiJoin);
                let values = values.into_iter().filter(|_| stays);
                values.map(|n| digest((key, n))).collect()
            }
            By::Cogroup => vec![digest_sides((key, (values, others_of(key).collect())))],
            By::Zip => values.into_iter().map(|n| digest((n, add(1, n)))).collect(),
        });
        let outputs: Vec<(u64, u64)> = (0..).zip(outputs).collect();
        let outputs = through(stages_of(self.chain.iter()), outputs);
        outputs.into_iter().map(|(_, n)| n).collect()
    }
}

/// Elements to compare with, in tasks of a few.
fn others() -> IndexedStream<u64> {
    IndexedStream::from((0..OTHERS).chain(0..5)).batch(4)
}

/// Pairs to join with: two for each of the smallest keys.
fn other_pairs() -> IndexedStream<(u64, u64)> {
    let keys = (0..OTHERS).chain(0..5);
    IndexedStream::from(keys.enumerate().map(|(at, key)| (key, mix(at as u64)))).batch(4)
}

/// The values of a key there.
fn others_of(key: u64) -> impl Iterator<Item = u64> {
    let keys = (0..OTHERS).chain(0..5).enumerate();
    keys.filter(move |(_, it)| *it == key).map(|(at, _)| mix(at as u64))
}

/// The values of a side, or `None` if it lacks the key.
fn sides(values: impl Iterator<Item = u64>) -> impl Iterator<Item = Option<u64>> {
    let mut values = values.peekable();
    let none = values.peek().is_none().then_some(None);
    values.map(Some).chain(none)
}

/// A chain, cut into stages. Elements pass through the leader between two stages, so each output of
/// one stage fails by itself in the next.
fn stages_of<'a>(chain: impl Iterator<Item = &'a Link>) -> Vec<Vec<Link>> {
    let mut stages: Vec<Vec<Link>> = Vec::new();
    for link in chain {
        match stages.last_mut() {
            Some(stage) if !link.begins_a_stage_after(stage) => stage.push(*link),
            _ => stages.push(vec![*link]),
        }
    }
    stages
}

/// The outputs of stages, each with the index of its element.
fn through(stages: Vec<Vec<Link>>, input: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    stages.into_iter().fold(input, |elements, stage| {
        let outputs = (0..).zip(elements).flat_map(|(position, (index, n))| {
            let place = Place { index, position };
            let values = stage.iter().fold(vec![n], |values, link| link.plainly(place, values));
            values.into_iter().map(move |n| (index, n))
        });
        outputs.collect()
    })
}

/// Where an element of a stage comes from.
#[derive(Clone, Copy)]
struct Place {
    /// Its index in the source.
    index: u64,
    /// Its number in the input of the stage.
    position: u64,
}

impl Link {
    fn extend(self, stream: IndexedStream<u64>) -> IndexedStream<u64> {
        match self {
            Self::Add(amount) => stream.map(Add { amount }),
            Self::AddLater(amount) => stream.map(AddLater { amount }),
            Self::AddElsewhere(amount) => stream.map(Add { amount }).pool("elsewhere"),
            Self::Keep(one_in) => stream.filter(Keep { one_in }),
            Self::Spread(most) => stream.flat_map(Spread { most }),
            Self::Stumble(one_in) => stream.map(Stumble { one_in }),
            Self::TryRefuse(one_in) => stream.try_map(Refuse { one_in }).map(Settle),
            Self::SkipRefused(one_in) => stream.map(Refuse { one_in }).on_failure(OnFailure::Skip),
            Self::Sample(Sampling { fraction, seed, .. }) => stream.sample(fraction, seed),
            Self::Enumerate => stream.enumerate().map(Digest),
        }
    }

    /// Applies the directive to the values that one element of a stage, from this place, has so
    /// far: a failure removes all of them.
    fn plainly(self, place: Place, values: Vec<u64>) -> Vec<u64> {
        let values = values.into_iter();
        match self {
            Self::Add(amount) | Self::AddLater(amount) | Self::AddElsewhere(amount) => {
                values.map(|n| add(amount, n)).collect()
            }
            Self::Keep(one_in) => values.filter(|n| keep(one_in, n)).collect(),
            Self::Spread(most) => values.flat_map(|n| spread(most, n)).collect(),
            Self::Stumble(_) => values.map(|n| add(1, n)).collect(),
            Self::TryRefuse(one_in) => {
                values.map(|n| settled(refused(one_in, n).is_none().then_some(n))).collect()
            }
            Self::SkipRefused(one_in) => {
                let all: Option<Vec<u64>> =
                    values.map(|n| refused(one_in, n).is_none().then_some(n)).collect();
                all.unwrap_or_default()
            }
            Self::Sample(Sampling { fraction, seed, branch }) => {
                let sample = Sample::new(fraction, seed, branch).expect("a fraction");
                let numbered = (0..).zip(values);
                let kept =
                    numbered.filter(|(number, n)| sample.keeps(place.index, *number, &encoded(*n)));
                kept.map(|(_, n)| n).collect()
            }
            // It begins a stage, so there is one value.
            Self::Enumerate => values.map(|n| digest((place.position, n))).collect(),
        }
    }

    /// The same directive, applied to the branch of this number.
    fn of_branch(self, branch: u32) -> Self {
        match self {
            Self::Sample(sampling) => Self::Sample(Sampling { branch, ..sampling }),
            _ => self,
        }
    }

    fn is_elsewhere(self) -> bool {
        matches!(self, Self::AddElsewhere(_))
    }

    fn begins_a_stage_after(self, stage: &[Self]) -> bool {
        let splits = stage.iter().any(|link| matches!(link, Self::Spread(_)));
        // Only an operation has a pool.
        let pool = |link: &Self| match link {
            Self::Sample(_) => None,
            _ => Some(link.is_elsewhere()),
        };
        let before = stage.iter().rev().find_map(pool);
        before.is_some_and(|before| pool(&self).is_some_and(|pool| pool != before))
            || (matches!(self, Self::Enumerate) && !stage.is_empty())
            || (splits && matches!(self, Self::TryRefuse(_)))
    }
}

impl Branch {
    fn input(&self) -> impl Iterator<Item = u64> + use<> {
        let seed = self.seed;
        (0..self.length).map(move |n| mix(seed.wrapping_add(n)))
    }

    /// Its chain and the one after the union, where it has this number, cut into stages.
    fn stages(&self, number: u32, after: &[Link]) -> Vec<Vec<Link>> {
        let after: Vec<Link> = after.iter().map(|link| link.of_branch(number)).collect();
        stages_of(self.chain.iter().chain(&after))
    }

    /// The expected results, each with its source index.
    fn expected(&self, number: u32, after: &[Link]) -> Vec<(u64, u64)> {
        through(self.stages(number, after), (0..).zip(self.input()).collect())
    }

    fn stream(&self) -> IndexedStream<u64> {
        extended(IndexedStream::from(self.input()), &self.chain)
    }
}

fn extended(stream: IndexedStream<u64>, chain: &[Link]) -> IndexedStream<u64> {
    chain.iter().fold(stream, |stream, link| link.extend(stream))
}

impl Program {
    fn is_union(&self) -> bool {
        self.branches.len() > 1
    }

    fn is_exchanged(&self) -> bool {
        !self.exchanges.is_empty()
    }

    /// The expected results, each with its source index, or its number if there are several
    /// sources.
    fn expected(&self) -> Vec<(u64, u64)> {
        let branches = (0..).zip(&self.branches);
        let branches = branches.flat_map(|(number, branch)| branch.expected(number, &self.chain));
        let numbered = |outputs: Vec<u64>| (0..).zip(outputs).collect();
        if !self.exchanges.is_empty() {
            let input = branches.map(|(_, n)| n).collect();
            return numbered(self.exchanges.iter().fold(input, |n, it| it.plainly(n)));
        }
        match self.is_union() {
            true => numbered(branches.map(|(_, n)| n).collect()),
            false => branches.collect(),
        }
    }

    fn stream(&self) -> IndexedStream<u64> {
        let mut stream = self.before_exchanges();
        for exchange in &self.exchanges {
            // Only the first has an input whose order is defined.
            stream = exchange.stream(stream, || self.before_exchanges());
        }
        stream
    }

    fn before_exchanges(&self) -> IndexedStream<u64> {
        let branches = self.branches.iter().map(Branch::stream);
        let union = branches.reduce(IndexedStream::union).expect("at least one branch");
        let stream = extended(union, &self.chain);
        match self.batch {
            // There is no step to set it for.
            Some(_) if self.is_union() && self.chain.is_empty() => stream,
            Some(_) if matches!(self.chain.last(), Some(Link::Sample(_))) => stream,
            Some(elements) => stream.batch(elements),
            None => stream,
        }
    }

    /// Whether results have the numbers in which they were handed out.
    fn numbers_results(&self) -> bool {
        self.is_union() || self.is_exchanged()
    }

    /// Runs the program.
    pub(crate) async fn run(&self, runtime: &Runtime) -> Result<Outcome, phalanx::Error> {
        let stream = self.stream();
        Ok(match self.end {
            End::Collect => Outcome::Ordered(stream.collect(runtime).await?),
            End::Run => Outcome::Indexed(indexed(stream, runtime).await?),
            End::Take(count) => Outcome::Indexed(indexed(stream.take(count), runtime).await?),
            End::TakeOrdered(count) => Outcome::Ordered(stream.take(count).collect(runtime).await?),
            End::First => Outcome::Perhaps(stream.first().run(runtime).await?),
            End::Top(n) => Outcome::Ordered(stream.top(n).run(runtime).await?),
            End::TopByKey(n) => Outcome::Ordered(
                stream.top_by_key(n, Narrow { most: TOP_KEYS }).run(runtime).await?,
            ),
            End::Count => Outcome::Count(stream.count().run(runtime).await?),
            // The order of the outputs is not defined.
            End::Compose { .. } | End::Concatenate if self.is_exchanged() => {
                Outcome::Perhaps(stream.reduce(Sum).run(runtime).await?)
            }
            End::Compose { deterministic } => {
                let fold = stream.map(AffineMap).fold(Compose);
                let fold = match deterministic && !self.is_union() {
                    true => fold.deterministic(),
                    false => fold,
                };
                Outcome::Affine(fold.run(runtime).await?)
            }
            End::Concatenate => {
                Outcome::Text(stream.map(Word).fold(Concatenate).run(runtime).await?)
            }
            End::Leftmost => Outcome::Perhaps(stream.reduce(Leftmost).run(runtime).await?),
        })
    }

    /// The outputs of one element are in order if a single stage yields them.
    fn check_order(&self, actual: &[(u64, u64)], expected: &[(u64, u64)]) -> Result<(), String> {
        match &self.branches[..] {
            [only] if only.stages(0, &self.chain).len() < 2 && !self.is_exchanged() => {
                in_order_of_each_element(actual, expected)
            }
            _ => Ok(()),
        }
    }

    /// Results in any order, to be compared: only the values, if the index of each is its number
    /// among those that were handed out.
    fn unordered(&self, results: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        match self.numbers_results() {
            false => sorted(results),
            true => sorted(results.into_iter().map(|(_, n)| (0, n)).collect()),
        }
    }

    /// Compares the results with the expected ones.
    pub(crate) fn check(&self, actual: Outcome) -> Result<(), String> {
        let expected = self.expected();
        let values = || expected.iter().map(|(_, n)| *n);
        let any = |actual: Option<u64>| match actual {
            Some(n) => included(vec![(0, n)], self.unordered(expected.clone())),
            None => same(expected.len(), 0),
        };
        match (self.end, actual) {
            (End::Collect, Outcome::Ordered(actual)) if self.is_exchanged() => {
                same(sorted_values(actual), sorted_values(values().collect()))
            }
            (End::TakeOrdered(count), Outcome::Ordered(actual)) if self.is_exchanged() => {
                same(actual.len() as u64, count.min(expected.len() as u64))?;
                let actual = sorted_values(actual).into_iter().map(|n| (0, n)).collect();
                included(actual, self.unordered(expected.clone()))
            }
            (End::First | End::Leftmost, Outcome::Perhaps(actual)) if self.is_exchanged() => {
                any(actual)
            }
            (End::Compose { .. } | End::Concatenate, Outcome::Perhaps(actual)) => {
                same(actual, values().reduce(sum))
            }
            (End::Collect, Outcome::Ordered(actual)) => same(actual, values().collect()),
            (End::Run, Outcome::Indexed(actual)) => {
                self.check_order(&actual, &expected)?;
                if self.numbers_results() {
                    let numbers: Vec<u64> = actual.iter().map(|(number, _)| *number).collect();
                    same(numbers, (0..actual.len() as u64).collect())?;
                }
                same(self.unordered(actual), self.unordered(expected.clone()))
            }
            (End::Take(count), Outcome::Indexed(actual)) => {
                same(actual.len() as u64, count.min(expected.len() as u64))?;
                self.check_order(&actual, &expected)?;
                included(self.unordered(actual), self.unordered(expected))
            }
            (End::TakeOrdered(count), Outcome::Ordered(actual)) => {
                same(actual, values().take(count as usize).collect())
            }
            (End::First | End::Leftmost, Outcome::Perhaps(actual)) => same(actual, values().next()),
            (End::Top(n), Outcome::Ordered(actual)) => {
                let mut values = sorted_values(values().collect());
                values.reverse();
                values.truncate(n);
                same(actual, values)
            }
            (End::TopByKey(n), Outcome::Ordered(actual)) => {
                let mut values: Vec<u64> = values().collect();
                values.sort_by_cached_key(|n| (Reverse(narrow(TOP_KEYS, *n)), encoded(*n)));
                values.truncate(n);
                same(actual, values)
            }
            (End::Count, Outcome::Count(actual)) => same(actual, expected.len() as u64),
            (End::Compose { .. }, Outcome::Affine(actual)) => {
                same(actual, values().map(affine).fold(Affine::IDENTITY, Affine::then))
            }
            (End::Concatenate, Outcome::Text(actual)) => same(actual, values().map(word).collect()),
            (end, actual) => Err(format!("{end:?} returned {actual:?}")),
        }
    }
}

/// The encoding of a number: seven bits in each byte, the lowest first.
fn encoded(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

async fn indexed(
    stream: IndexedStream<u64>,
    runtime: &Runtime,
) -> Result<Vec<(u64, u64)>, phalanx::Error> {
    stream.run(runtime).await?.collect().await
}

fn sorted_values(mut values: Vec<u64>) -> Vec<u64> {
    values.sort_unstable();
    values
}

fn sorted(mut elements: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    elements.sort_unstable();
    elements
}

/// Whether `actual` is a subset of `expected`; both are sorted.
fn included(actual: Vec<(u64, u64)>, expected: Vec<(u64, u64)>) -> Result<(), String> {
    let mut expected = expected.into_iter();
    match actual.into_iter().find(|wanted| !expected.any(|element| element == *wanted)) {
        None => Ok(()),
        Some(surplus) => Err(format!("{surplus:?} is not expected")),
    }
}

/// Whether the outputs of each element are a prefix of the expected ones.
fn in_order_of_each_element(actual: &[(u64, u64)], expected: &[(u64, u64)]) -> Result<(), String> {
    let mut outputs = BTreeMap::<u64, Vec<u64>>::new();
    for (index, n) in expected {
        outputs.entry(*index).or_default().push(*n);
    }
    let mut seen = BTreeMap::<u64, usize>::new();
    for (index, n) in actual {
        let nth = seen.entry(*index).or_default();
        if outputs.get(index).and_then(|outputs| outputs.get(*nth)) != Some(n) {
            return Err(format!("output {nth} of element {index} is not expected to be {n}"));
        }
        *nth += 1;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(actual: T, expected: T) -> Result<(), String> {
    match actual == expected {
        true => Ok(()),
        false => Err(format!("{actual:?}\nis not\n{expected:?}")),
    }
}
