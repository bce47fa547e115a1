//! The graph of imports between files.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::definition;
use super::tree::{Names, Tree};

#[derive(Debug)]
pub(super) struct Graph {
    /// Maps each file to the files that it imports from, with one of the paths that it uses.
    arrows: BTreeMap<Node, BTreeMap<Node, String>>,
}

/// A file and the module that it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    file: String,
    module: Names,
}

impl Node {
    /// Modules inside a file belong to the file's own module.
    fn of(tree: &Tree, module: &Names) -> Option<Self> {
        let file = &tree.module(module)?.file;
        let mut outermost = module.as_slice();
        while let Some((_, parent)) = outermost.split_last() {
            if tree.module(parent).is_none_or(|parent| parent.file != *file) {
                break;
            }
            outermost = parent;
        }
        Some(Self { file: file.clone(), module: outermost.to_vec() })
    }

    /// Whether one module is inside the other.
    fn is_kin_of(&self, other: &Self) -> bool {
        self.module.starts_with(&other.module) || other.module.starts_with(&self.module)
    }
}

impl Graph {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut arrows: BTreeMap<Node, BTreeMap<Node, String>> = BTreeMap::new();
        for (path, module) in tree.modules() {
            let Some(from) = Node::of(tree, path) else { continue };
            let imports = module.imports.iter().map(|import| &import.path);
            for names in imports.chain(&module.paths) {
                let defined = definition(tree, path, names);
                let Some(to) = defined.and_then(|module| Node::of(tree, &module)) else { continue };
                if !from.is_kin_of(&to) {
                    let targets = arrows.entry(from.clone()).or_default();
                    targets.entry(to).or_insert_with(|| names.join("::"));
                }
            }
        }
        Self { arrows }
    }

    /// Each set of files that import from each other, with the imports that make the cycle.
    pub(super) fn cycles(&self) -> Vec<String> {
        let reach: BTreeMap<&Node, BTreeSet<&Node>> =
            self.arrows.keys().map(|node| (node, self.reachable(node))).collect();
        let mut cycles = Vec::new();
        let mut known: BTreeSet<&Node> = BTreeSet::new();
        for (node, reached) in &reach {
            if known.contains(node) || !reached.contains(node) {
                continue;
            }
            let meets = |other: &&&Node| reach.get(*other).is_some_and(|back| back.contains(node));
            let members: BTreeSet<&Node> = reached.iter().filter(meets).copied().collect();
            known.extend(&members);
            let lines = self.lines(|from, to| members.contains(from) && members.contains(to));
            cycles.push(lines.into_iter().map(|line| line + "\n").collect());
        }
        cycles
    }

    /// The imports from a top-level module that comes later in `order`.
    pub(super) fn against(&self, order: &[String]) -> Vec<String> {
        let place = |node: &Node| {
            let top = node.module.first()?;
            order.iter().position(|name| name == top)
        };
        self.lines(|from, to| matches!((place(from), place(to)), (Some(a), Some(b)) if a < b))
    }

    fn reachable(&self, from: &Node) -> BTreeSet<&Node> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&Node> = self.targets(from).collect();
        while let Some(node) = open.pop() {
            if reached.insert(node) {
                open.extend(self.targets(node));
            }
        }
        reached
    }

    fn targets(&self, from: &Node) -> impl Iterator<Item = &Node> {
        self.arrows.get(from).into_iter().flat_map(BTreeMap::keys)
    }

    fn lines(&self, shown: impl Fn(&Node, &Node) -> bool) -> Vec<String> {
        let arrows = self.arrows.iter();
        let arrows =
            arrows.flat_map(|(from, to)| to.iter().map(move |(to, path)| (from, to, path)));
        let shown = arrows.filter(|(from, to, _)| shown(from, to));
        shown.map(|(from, to, path)| format!("{} -> {} ({path})", from.file, to.file)).collect()
    }
}
