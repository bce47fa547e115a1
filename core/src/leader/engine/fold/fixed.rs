//! A fold whose tree depends only on the number of elements.

use std::collections::BTreeMap;

use super::{FoldState, LEAF, Partial, free::fitting};
use crate::leader::engine::flow::MAX_BATCH_BYTES;

/// The number of children of a node.
const FAN_IN: u64 = 8;

/// Level and number: node `n` of level `l` covers the leaves `n * 8^l .. (n + 1) * 8^l`, as far as
/// they exist.
type Node = (u32, u64);

/// The finished nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct FixedTree {
    /// A node may also cover further children of its parent, if those did not all fit into one
    /// task.
    nodes: BTreeMap<Node, Partial>,
    /// The positions of such combinations that are under way, with the level of the children.
    parts: BTreeMap<(u64, u64), u32>,
}

impl FixedTree {
    pub(super) fn insert(&mut self, partial: Partial) {
        let leaf = u64::from(LEAF);
        let first = partial.from / leaf;
        let leaves = (partial.to - partial.from).div_ceil(leaf);
        let level = self.parts.remove(&(partial.from, partial.to)).unwrap_or_else(|| {
            let mut level = 0;
            while FAN_IN.pow(level) < leaves {
                level += 1;
            }
            level
        });
        self.nodes.insert((level, first / FAN_IN.pow(level)), partial);
    }

    pub(super) fn ready(&mut self, state: FoldState) -> Option<Vec<Partial>> {
        let leaves = state.total.map(|total| total.div_ceil(u64::from(LEAF)));
        loop {
            let (children, level, parent) = self.full_family(leaves)?;
            let mut family: Vec<(Node, Partial)> = children
                .into_iter()
                .filter_map(|key| Some((key, self.nodes.remove(&key)?)))
                .collect();
            let whole = Partial {
                from: family.first()?.1.from,
                to: family.last()?.1.to,
                tries: 1,
                bytes: None,
            };
            family.retain(|(_, child)| child.bytes.is_some());
            // If only one child is not empty, there is nothing to combine: the child moves up.
            match &mut family[..] {
                [] => self.nodes.insert((level + 1, parent), whole),
                [(_, only)] => {
                    let bytes = only.bytes.take();
                    self.nodes.insert((level + 1, parent), Partial { bytes, ..whole })
                }
                _ => return Some(self.combined_first(family, level, &whole)),
            };
        }
    }

    /// The first children of a family, as many as fit into a task; the rest become nodes again, and
    /// are combined with the outcome. That depends only on the sizes of the children, so that the
    /// shape is fixed, too.
    fn combined_first(
        &mut self,
        mut family: Vec<(Node, Partial)>,
        level: u32,
        whole: &Partial,
    ) -> Vec<Partial> {
        // Gaps left by empty children close, so that the family stays gap-free.
        family[0].1.from = whole.from;
        for at in 1..family.len() {
            family[at - 1].1.to = family[at].1.from;
        }
        let last = family.len() - 1;
        family[last].1.to = whole.to;
        let count = fitting(family.iter().map(|(_, child)| child), usize::MAX, MAX_BATCH_BYTES);
        self.nodes.extend(family.drain(count..));
        let first: Vec<Partial> = family.into_iter().map(|(_, child)| child).collect();
        if count <= last {
            self.parts.insert((first[0].from, first[count - 1].to), level);
        }
        first
    }

    /// The keys of the children of a node that has all of them; with their level and the number of
    /// the node.
    fn full_family(&self, leaves: Option<u64>) -> Option<(Vec<Node>, u32, u64)> {
        for &(level, node) in self.nodes.keys() {
            let size = FAN_IN.pow(level);
            // The number of nodes of this level, once it is known.
            let nodes = leaves.map(|leaves| leaves.div_ceil(size));
            if nodes == Some(1) {
                continue;
            }
            let parent = node / FAN_IN;
            let first = parent * FAN_IN;
            if node != first {
                continue;
            }
            let end = nodes.map_or(first + FAN_IN, |nodes| nodes.min(first + FAN_IN));
            let (mut family, mut next) = (Vec::new(), first);
            while next < end
                && let Some(child) = self.nodes.get(&(level, next))
            {
                family.push((level, next));
                next = child.to.div_ceil(size * u64::from(LEAF));
            }
            if next >= end {
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
