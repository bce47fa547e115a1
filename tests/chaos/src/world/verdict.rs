//! The comparison of a result with the expected one.

use std::{cmp::Ordering, fmt};

/// The differences between a result and the expected one. The default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Elements that are missing.
    pub(crate) lost: u64,
    /// Elements that are not expected, or not as often.
    pub(crate) duplicated: u64,
    /// Whether the values or their order differ in another way.
    pub(crate) other: bool,
}

impl Verdict {
    /// Compares values in any order.
    pub(super) fn of_values(mut expected: Vec<u64>, mut found: Vec<u64>) -> Self {
        expected.sort_unstable();
        found.sort_unstable();
        let mut verdict = Self::default();
        let (mut left, mut right) = (&expected[..], &found[..]);
        while let (Some(expected), Some(found)) = (left.first(), right.first()) {
            match expected.cmp(found) {
                Ordering::Less => {
                    verdict.lost += 1;
                    left = &left[1..];
                }
                Ordering::Greater => {
                    verdict.duplicated += 1;
                    right = &right[1..];
                }
                Ordering::Equal => (left, right) = (&left[1..], &right[1..]),
            }
        }
        verdict.lost += left.len() as u64;
        verdict.duplicated += right.len() as u64;
        verdict
    }

    /// Compares values in order.
    pub(super) fn of_order(expected: &[u64], found: &[u64]) -> Self {
        let verdict = Self::of_values(expected.to_vec(), found.to_vec());
        Self { other: verdict.is_right() && expected != found, ..verdict }
    }

    /// Compares a single value.
    pub(super) fn of_value<V: PartialEq>(expected: &V, found: &V) -> Self {
        Self { other: expected != found, ..Self::default() }
    }

    pub(crate) fn is_right(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            _ if self.is_right() => f.write_str("right"),
            Self { lost: 0, duplicated: 0, .. } => f.write_str("wrong value or order"),
            Self { lost, duplicated, .. } => write!(f, "{lost} lost, {duplicated} duplicated"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_duplicated_and_reordered_values_are_detected() {
        let of = |found: &[u64]| Verdict::of_order(&[1, 2, 2, 3], found);
        assert!(of(&[1, 2, 2, 3]).is_right());
        assert_eq!(of(&[1, 2, 3]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(of(&[1, 2, 2, 2, 3, 4]), Verdict { duplicated: 2, ..Verdict::default() });
        assert_eq!(of(&[1, 3, 2, 2]), Verdict { other: true, ..Verdict::default() });
        assert!(Verdict::of_values(vec![1, 2, 3], vec![3, 2, 1]).is_right());
        assert!(!Verdict::of_value(&1, &2).is_right());
    }
}
