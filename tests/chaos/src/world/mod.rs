//! The jobs of a run, and their expected results.

mod job;
pub(crate) mod operations;
mod verdict;

use std::time::Duration;

pub(crate) use job::{JobKind, JobSpec};
pub(crate) use verdict::Verdict;

/// About how long a job takes alone and without faults.
const LENGTH: Duration = Duration::from_millis(1_500);

/// The jobs of one round, which run at the same time.
pub(crate) fn round(seed: u64, round: u64, jobs: usize, slots: u64) -> Vec<JobSpec> {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(round.wrapping_mul(1 << 32)));
    (0..jobs).map(|_| JobSpec::random(&mut random, slots, LENGTH)).collect()
}

/// The jobs of a round that moves more than a leader holds.
pub(crate) fn heavy_round(slots: u64) -> Vec<JobSpec> {
    vec![JobSpec::heavy(slots, LENGTH)]
}

/// The jobs of a round with many tasks, each of one element that takes no time.
pub(crate) fn busy_round(round: u64) -> Vec<JobSpec> {
    let kinds = [JobKind::Map, JobKind::Words, JobKind::MapLater, JobKind::Matrices];
    let kind = |n: u64| kinds[(n % kinds.len() as u64) as usize];
    let nap = Duration::ZERO;
    let spec = |kind| JobSpec { kind, count: 20_000, batch: Some(1), nap };
    vec![spec(kind(2 * round)), spec(kind(2 * round + 1))]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;
    use phalanx::{
        Runtime,
        inmemory::{Faults, InMemoryBroker},
    };

    use super::*;

    #[test]
    fn a_seed_determines_the_jobs_of_a_round() {
        assert_eq!(round(1, 2, 4, 6), round(1, 2, 4, 6));
        assert_ne!(round(1, 2, 4, 6), round(2, 2, 4, 6));
        assert_ne!(round(1, 2, 4, 6), round(1, 3, 4, 6));
    }

    #[tokio::test]
    async fn jobs_of_every_kind_are_correct_without_faults() {
        let runtime = Runtime::builder().url("memory://").slots(2).connect().await.unwrap();
        for kind in JobKind::ALL.into_iter().chain([JobKind::Heavy]) {
            for batch in [None, Some(1), Some(100)] {
                let spec = JobSpec { kind, count: 300, batch, nap: Duration::ZERO };
                let (_job, outcome) = spec.start(&runtime).unwrap();
                let verdict = outcome.await.unwrap();
                assert!(verdict.is_right(), "{spec}: {verdict}");
            }
        }
        runtime.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_jobs_are_correct_over_a_faulty_broker() {
        for seed in 0..4 {
            let broker = InMemoryBroker::with_faults(Faults::seeded(seed));
            broker.start_workers(4);
            let runtime = Runtime::builder().lead(Arc::new(broker)).await.unwrap();
            let jobs = round(seed, 0, 4, 4).into_iter().map(async |spec| {
                let spec = JobSpec { nap: Duration::ZERO, ..spec };
                let (_job, outcome) = spec.start(&runtime).unwrap();
                let verdict =
                    outcome.await.unwrap_or_else(|error| panic!("seed {seed}: {spec}: {error}"));
                assert!(verdict.is_right(), "seed {seed}: {spec}: {verdict}");
            });
            let all = tokio::time::timeout(Duration::from_secs(300), join_all(jobs));
            all.await.unwrap_or_else(|_| panic!("seed {seed}: the jobs hang"));
            runtime.close().await;
        }
    }
}
