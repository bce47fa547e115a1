//! Finds the module that defines the item of a path.

use super::tree::{Module, Names, Tree};

/// The longest chain of re-exports to follow; a longer one is a cycle.
const MOST_STEPS: usize = 32;

/// The target of a path.
#[derive(Debug)]
enum Found {
    Module(Names),
    /// An item of this module.
    Item(Names),
}

/// The module whose item `path` names if it is written in `from`; `None` for a whole module, and
/// for items of other crates and macros.
pub(super) fn definition(tree: &Tree, from: &Names, path: &[String]) -> Option<Names> {
    match resolve(tree, from, path, MOST_STEPS)? {
        Found::Item(module) => Some(module),
        Found::Module(_) => None,
    }
}

fn resolve(tree: &Tree, from: &Names, path: &[String], steps: usize) -> Option<Found> {
    let steps = steps.checked_sub(1)?;
    let (first, mut rest) = path.split_first()?;
    let mut here = match first.as_str() {
        "crate" => Found::Module(Names::new()),
        "self" => Found::Module(from.clone()),
        "super" => {
            let mut module = parent(from)?;
            while let Some(("super", after)) = rest.split_first().map(|(a, b)| (a.as_str(), b)) {
                module = parent(&module)?;
                rest = after;
            }
            Found::Module(module)
        }
        _ => step(tree, from, first, steps)?,
    };
    for name in rest {
        here = match here {
            Found::Module(module) => step(tree, &module, name, steps)?,
            // An associated item or a variant.
            Found::Item(_) => return Some(here),
        };
    }
    Some(here)
}

/// The meaning of a name inside a module.
fn step(tree: &Tree, within: &Names, name: &str, steps: usize) -> Option<Found> {
    let module = tree.module(within)?;
    let child = [within.as_slice(), &[name.to_owned()]].concat();
    if tree.module(&child).is_some() {
        return Some(Found::Module(child));
    }
    if module.items.contains(name) {
        return Some(Found::Item(within.clone()));
    }
    imported(tree, within, module, name, steps)
}

fn imported(
    tree: &Tree,
    within: &Names,
    module: &Module,
    name: &str,
    steps: usize,
) -> Option<Found> {
    let named = module.imports.iter().filter(|import| import.name.as_deref() == Some(name));
    // `use name;` names another crate, not itself.
    let mut named = named.filter(|import| import.path != [name]);
    if let Some(import) = named.next() {
        return resolve(tree, within, &import.path, steps);
    }
    let mut globs = module.imports.iter().filter(|import| import.name.is_none());
    globs.find_map(|import| match resolve(tree, within, &import.path, steps)? {
        Found::Module(module) => step(tree, &module, name, steps.checked_sub(1)?),
        // All variants of an enum: which names these are is not known here.
        Found::Item(_) => None,
    })
}

fn parent(module: &Names) -> Option<Names> {
    module.split_last().map(|(_, parent)| parent.to_vec())
}
