//! Which elements a `sample` keeps.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Refusal, StepReference, Verb};
use crate::codec;

/// Which elements a `sample` keeps: the state of its step.
///
/// It is decided by what the element is and where it comes from, so each run of a program keeps the
/// same elements, whatever is retried, split or delivered twice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    fraction: f64,
    seed: u64,
    /// The number of the branch of a union: the sources of two branches have equal indexes.
    branch: u32,
    /// The index of the only element that there is, if it is not the one that its task says.
    index: Option<u64>,
}

impl Sample {
    /// Keeps this fraction of the elements of a branch; `None` if it is not between 0 and 1.
    pub fn new(fraction: f64, seed: u64, branch: u32) -> Option<Self> {
        let valid = (0.0..=1.0).contains(&fraction);
        valid.then_some(Self { fraction, seed, branch, index: None })
    }

    /// The sample that a step with this verb takes; `None` for other verbs.
    ///
    /// # Errors
    /// If its state does not decode.
    pub fn of(step: &StepReference) -> Result<Option<Self>, Refusal> {
        if step.verb != Verb::Sample {
            return Ok(None);
        }
        let decoded = codec::decode(&step.state).map(Some);
        decoded
            .map_err(|error| Refusal::State { name: step.name.clone(), reason: error.to_string() })
    }

    /// The same for a single element that runs elsewhere, and has this index.
    pub(crate) fn pinned_to(self, index: u64) -> Self {
        Self { index: self.index.or(Some(index)), ..self }
    }

    /// The state of a step.
    pub(crate) fn state(&self) -> Bytes {
        // Numbers are always encoded.
        codec::encode(self).unwrap_or_default().into()
    }

    /// Whether an element is kept: the one with this encoding and this number among those that were
    /// made from the element with this index.
    pub fn keeps(&self, index: u64, number: u32, encoding: &[u8]) -> bool {
        let index = self.index.unwrap_or(index);
        let mut place = [0; 24];
        place[..8].copy_from_slice(&self.seed.to_le_bytes());
        place[8..16].copy_from_slice(&index.to_le_bytes());
        place[16..20].copy_from_slice(&self.branch.to_le_bytes());
        place[20..].copy_from_slice(&number.to_le_bytes());
        let hash = xxh3_64_with_seed(encoding, xxh3_64(&place));
        // As many bits as a float holds: it is less than 1.
        let drawn = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < self.fraction
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fraction {}, seed {}", self.fraction, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sample: Sample, encoding: &[u8]) -> Vec<u64> {
        (0..40).filter(|index| sample.keeps(*index, 0, encoding)).collect()
    }

    /// Programs that split their data by a seed rely on it.
    #[test]
    fn a_seed_keeps_the_same_elements_in_every_build() {
        let sample = Sample::new(0.25, 7, 0).unwrap();
        assert_eq!(kept(sample, b"x"), [4, 9, 10, 12, 14, 17, 21, 25, 29, 30, 33, 37]);
        assert!(kept(Sample::new(0.0, 7, 0).unwrap(), b"x").is_empty());
        assert_eq!(kept(Sample::new(1.0, 7, 0).unwrap(), b"x").len(), 40);
    }

    #[test]
    fn elements_share_no_fate_because_they_are_equal_or_have_the_same_index() {
        let sample = Sample::new(0.5, 1, 0).unwrap();
        let other_branch = Sample::new(0.5, 1, 1).unwrap();
        let count = |keeps: &dyn Fn(u64) -> bool| (0..10_000).filter(|n| keeps(*n)).count();
        for kept in [
            count(&|n| sample.keeps(n, 0, b"")),
            count(&|n| sample.keeps(3, n as u32, b"")),
            count(&|n| sample.keeps(3, 0, &n.to_le_bytes())),
            count(&|n| sample.keeps(n, 0, b"") == other_branch.keeps(n, 0, b"")),
        ] {
            // Four standard deviations around the mean.
            assert!((4_800..=5_200).contains(&kept), "{kept} of 10000");
        }
    }

    #[test]
    fn a_fraction_is_a_number_between_0_and_1() {
        for fraction in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Sample::new(fraction, 0, 0), None);
        }
    }

    #[test]
    fn a_pinned_sample_treats_each_element_as_the_one_with_that_index() {
        let sample = Sample::new(0.5, 1, 0).unwrap();
        let (in_job, alone) = ((0..99).map(|n| sample.keeps(4, n, b"")), sample.pinned_to(4));
        assert!(in_job.eq((0..99).map(|n| alone.pinned_to(0).keeps(0, n, b""))));
    }
}
