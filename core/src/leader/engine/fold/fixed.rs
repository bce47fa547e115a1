//! A fold whose tree depends only on the number of elements.

use std::collections::BTreeMap;

use super::{FoldState, LEAF, Partial};

/// The number of children of a node.
const FAN_IN: u64 = 8;

/// Level and number: node `n` of level `l` covers the leaves `n * 8^l .. (n + 1) * 8^l`, as far as
/// they exist.
type Node = (u32, u64);

/// The finished nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct FixedTree {
    nodes: BTreeMap<Node, Partial>,
}

impl FixedTree {
    pub(super) fn insert(&mut self, partial: Partial) {
        let leaf = u64::from(LEAF);
        let first = partial.from / leaf;
        let leaves = (partial.to - partial.from).div_ceil(leaf);
        let mut level = 0;
        while FAN_IN.pow(level) < leaves {
            level += 1;
        }
        self.nodes.insert((level, first / FAN_IN.pow(level)), partial);
    }

    pub(super) fn ready(&mut self, state: FoldState) -> Option<Vec<Partial>> {
        let leaves = state.total.map(|total| total.div_ceil(u64::from(LEAF)));
        loop {
            let (children, level, parent) = self.full_family(leaves)?;
            let mut family: Vec<Partial> =
                children.iter().filter_map(|key| self.nodes.remove(key)).collect();
            let whole = Partial {
                from: family.first()?.from,
                to: family.last()?.to,
                tries: 1,
                bytes: None,
            };
            family.retain(|child| child.bytes.is_some());
            // If only one child is not empty, there is nothing to combine: the child moves up.
            match &mut family[..] {
                [] => self.nodes.insert((level + 1, parent), whole),
                [only] => {
                    let bytes = only.bytes.take();
                    self.nodes.insert((level + 1, parent), Partial { bytes, ..whole })
                }
                _ => {
                    // Gaps left by empty children close, so that the family stays gap-free.
                    family[0].from = whole.from;
                    for at in 1..family.len() {
                        family[at - 1].to = family[at].from;
                    }
                    let last = family.len() - 1;
                    family[last].to = whole.to;
                    return Some(family);
                }
            };
        }
    }

    /// The keys of the children of a node that has all of them; with their level and the number of
    /// the node.
    fn full_family(&self, leaves: Option<u64>) -> Option<(Vec<Node>, u32, u64)> {
        for &(level, node) in self.nodes.keys() {
            // The number of nodes of this level, once it is known.
            let nodes = leaves.map(|leaves| leaves.div_ceil(FAN_IN.pow(level)));
            if nodes == Some(1) {
                continue;
            }
            let parent = node / FAN_IN;
            let first = parent * FAN_IN;
            if node != first {
                continue;
            }
            let end = nodes.map_or(first + FAN_IN, |nodes| nodes.min(first + FAN_IN));
            let family: Vec<_> = (first..end).map(|child| (level, child)).collect();
            if family.iter().all(|key| self.nodes.contains_key(key)) {
                return Some((family, level, parent));
            }
        }
        None
    }

    pub(super) fn only(&self) -> Option<&Partial> {
        let (_, only) = self.nodes.first_key_value()?;
        (self.nodes.len() == 1).then_some(only)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<(u64, u64)> {
        self.nodes.values().map(|partial| (partial.from, partial.to)).collect()
    }
}
