//! What is wrong with an answer.

use std::{cmp::Ordering, fmt};

/// What is wrong with an answer; the default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Elements that did not come.
    pub(crate) lost: u64,
    /// Elements that came too often, or from nowhere.
    pub(crate) doubled: u64,
    /// Whether it is wrong in another way: other values, another order.
    pub(crate) other: bool,
}

impl Verdict {
    /// Of values in any order.
    pub(super) fn of_values(mut expected: Vec<u64>, mut found: Vec<u64>) -> Self {
        expected.sort_unstable();
        found.sort_unstable();
        let mut verdict = Self::default();
        let (mut left, mut right) = (&expected[..], &found[..]);
        while let (Some(wanted), Some(came)) = (left.first(), right.first()) {
            match wanted.cmp(came) {
                Ordering::Less => {
                    verdict.lost += 1;
                    left = &left[1..];
                }
                Ordering::Greater => {
                    verdict.doubled += 1;
                    right = &right[1..];
                }
                Ordering::Equal => (left, right) = (&left[1..], &right[1..]),
            }
        }
        verdict.lost += left.len() as u64;
        verdict.doubled += right.len() as u64;
        verdict
    }

    /// Of values in their order.
    pub(super) fn of_order(expected: &[u64], found: &[u64]) -> Self {
        let verdict = Self::of_values(expected.to_vec(), found.to_vec());
        Self { other: verdict.is_right() && expected != found, ..verdict }
    }

    /// Of one value.
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
            Self { lost: 0, doubled: 0, .. } => f.write_str("another value"),
            Self { lost, doubled, .. } => write!(f, "{lost} lost, {doubled} doubled"),
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
        assert_eq!(of(&[1, 2, 2, 2, 3, 4]), Verdict { doubled: 2, ..Verdict::default() });
        assert_eq!(of(&[1, 3, 2, 2]), Verdict { other: true, ..Verdict::default() });
        assert!(Verdict::of_values(vec![1, 2, 3], vec![3, 2, 1]).is_right());
        assert!(!Verdict::of_value(&1, &2).is_right());
    }
}
