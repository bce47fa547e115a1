//! The partial results of one fold, in one of two kinds of tree.

use bytes::Bytes;

use super::{FoldState, Partial, fixed::FixedTree, free::FreeTree};

/// The partial results of one fold that are not being combined.
#[derive(Debug, Clone)]
pub(crate) enum FoldTree {
    /// Combines neighbours in the order of their arrival.
    Free(FreeTree),
    /// Combines the same neighbours for the same input, so that floats have the same bits.
    Fixed(FixedTree),
}

impl FoldTree {
    pub(crate) fn new(deterministic: bool) -> Self {
        if deterministic {
            Self::Fixed(FixedTree::default())
        } else {
            Self::Free(FreeTree::default())
        }
    }

    /// Inserts a partial result.
    pub(crate) fn insert(&mut self, partial: Partial) {
        match self {
            Self::Free(tree) => tree.insert(partial),
            Self::Fixed(tree) => tree.insert(partial),
        }
    }

    /// Takes out at least two neighbours, in order, that are to be combined now.
    pub(crate) fn ready(&mut self, state: FoldState) -> Option<Vec<Partial>> {
        match self {
            Self::Free(tree) => tree.ready(state),
            Self::Fixed(tree) => tree.ready(state),
        }
    }

    /// The value of the fold, once a single partial result covers all positions. The inner `None`
    /// is the fold of no elements.
    pub(crate) fn finished(&self, total: u64) -> Option<Option<Bytes>> {
        if total == 0 {
            return Some(None);
        }
        let whole = match self {
            Self::Free(tree) => tree.only(),
            Self::Fixed(tree) => tree.only(),
        }?;
        (whole.from == 0 && whole.to == total).then(|| whole.bytes.clone())
    }

    /// The ranges of positions whose partial results are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Free(tree) => tree.held(),
            Self::Fixed(tree) => tree.held(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LEAF, *};

    /// Concatenates, in brackets if the shape of the tree matters.
    fn combine(partials: &[Partial], brackets: bool) -> Partial {
        let texts: Vec<u8> =
            partials.iter().flat_map(|p| p.bytes.clone().unwrap_or_default()).collect();
        let bytes = if brackets { [b"(", &texts[..], b")"].concat() } else { texts };
        Partial::new(partials[0].from, partials[partials.len() - 1].to, Some(bytes.into()))
    }

    /// Explores all orders in which partial results and combinations can arrive.
    fn explore(
        tree: &FoldTree,
        arriving: &[Partial],
        combining: &[Vec<Partial>],
        total: u64,
        wanted: usize,
        outcomes: &mut std::collections::BTreeSet<Vec<u8>>,
    ) {
        let (mut tree, mut combining) = (tree.clone(), combining.to_vec());
        let brackets = matches!(tree, FoldTree::Fixed(_));
        let complete = arriving.is_empty();
        while let Some(run) = tree.ready(FoldState { wanted, total: Some(total), complete }) {
            assert!(run.len() >= 2 && run.windows(2).all(|pair| pair[0].to == pair[1].from));
            combining.push(run);
        }
        if complete && combining.is_empty() {
            let whole = tree.finished(total).expect("one partial result is left");
            outcomes.insert(whole.map(|bytes| bytes.to_vec()).unwrap_or_default());
            return;
        }
        for at in 0..arriving.len() {
            let (mut tree, mut arriving) = (tree.clone(), arriving.to_vec());
            tree.insert(arriving.remove(at));
            explore(&tree, &arriving, &combining, total, wanted, outcomes);
        }
        for at in 0..combining.len() {
            let (mut tree, mut combining) = (tree.clone(), combining.clone());
            tree.insert(combine(&combining.remove(at), brackets));
            explore(&tree, arriving, &combining, total, wanted, outcomes);
        }
    }

    fn outcomes(
        deterministic: bool,
        leaves: &[Option<&'static str>],
        wanted: usize,
    ) -> Vec<Vec<u8>> {
        let leaf = u64::from(LEAF);
        let partials: Vec<_> = (0..)
            .zip(leaves)
            .map(|(at, text)| {
                Partial::new(at * leaf, (at + 1) * leaf, text.map(|text| text.as_bytes().into()))
            })
            .collect();
        let mut found = std::collections::BTreeSet::new();
        let total = leaf * leaves.len() as u64;
        explore(&FoldTree::new(deterministic), &partials, &[], total, wanted, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn every_order_of_arrival_keeps_the_order_of_the_input() {
        let leaves = [Some("a"), Some("b"), Some("c"), Some("d"), Some("e"), Some("f")];
        for count in 0..=leaves.len() {
            for wanted in [2, 3, 8] {
                let expected = b"abcdef"[..count].to_vec();
                assert_eq!(outcomes(false, &leaves[..count], wanted), [expected]);
            }
        }
    }

    #[test]
    fn filtered_elements_leave_no_trace() {
        assert_eq!(outcomes(false, &[None, Some("b"), None, None, Some("e")], 2), [b"be"]);
        assert_eq!(outcomes(false, &[None, None], 2), [b""]);
    }

    /// Not all children of a node fit into one task.
    #[test]
    fn a_fixed_tree_of_large_partial_results_has_one_shape_and_keeps_their_order() {
        let texts: Vec<String> = "abc".chars().map(|c| String::from(c).repeat(140 << 10)).collect();
        let leaves: Vec<_> = texts.iter().map(|text| Some(&*text.clone().leak())).collect();
        let found = outcomes(true, &leaves, 8);
        let [only] = &found[..] else { panic!("{} shapes", found.len()) };
        let letters: Vec<u8> = only.iter().copied().filter(u8::is_ascii_alphabetic).collect();
        assert!(letters == texts.concat().into_bytes());
    }

    #[test]
    fn a_fixed_tree_has_one_shape_whatever_the_order_of_arrival() {
        let leaves = [Some("a"), Some("b"), Some("c"), None, Some("e")];
        for count in 2..=leaves.len() {
            assert_eq!(outcomes(true, &leaves[..count], 8).len(), 1);
        }
    }
}
