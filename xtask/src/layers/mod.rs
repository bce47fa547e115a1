//! Checks the direction of imports: files form no cycles, and the modules of the core import only
//! from modules before them in `core/src/lib.rs`.
//!
//! [`tree`] reads the modules of a crate, [`resolve`] finds the file that defines the item of a
//! path, also through re-exports, and [`graph`] finds cycles. Only `use` declarations and written
//! paths count: the targets of method calls and of other crates' macros are not followed.

mod graph;
mod resolve;
mod tree;

use std::fs;
use std::path::Path;

use graph::Graph;
use tree::Tree;

/// Reads the crate in a folder of this repository.
fn tree(folder: &str) -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    Tree::read(&|file: &str| fs::read_to_string(root.join(file)).ok()).expect("sources that parse")
}

/// Reads a crate that is written in a test.
fn made_up(files: &[(&str, &str)]) -> Graph {
    let read = |wanted: &str| {
        let file = files.iter().find(|(name, _)| *name == wanted)?;
        Some(file.1.to_owned())
    };
    Graph::of(&Tree::read(&read).expect("sources that parse"))
}

fn assert_free_of_cycles(folder: &str) {
    let tree = tree(folder);
    assert!(tree.modules().count() > 5, "{folder} has hardly any modules: is it still read?");
    let cycles = Graph::of(&tree).cycles();
    assert!(cycles.is_empty(), "{folder} has cycles:\n{}", cycles.join("\n"));
}

#[test]
fn the_core_has_no_cycles() {
    assert_free_of_cycles("core/src");
}

#[test]
fn the_worker_has_no_cycles() {
    assert_free_of_cycles("worker/src");
}

#[test]
fn the_runtime_for_rabbitmq_has_no_cycles() {
    assert_free_of_cycles("runtime-amqp/src");
}

#[test]
fn the_runtime_in_memory_has_no_cycles() {
    assert_free_of_cycles("runtime-inmemory/src");
}

#[test]
fn the_modules_of_the_core_import_only_from_earlier_ones() {
    let tree = tree("core/src");
    let order = tree.top_level();
    assert!(order.len() > 5, "{order:?}");
    let wrong = Graph::of(&tree).against(&order);
    assert!(wrong.is_empty(), "the order is {}:\n{}", order.join(", "), wrong.join("\n"));
}

#[test]
fn two_files_that_import_from_each_other_form_a_cycle() {
    let graph = made_up(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; impl B { fn a() -> crate::a::A { loop {} } }"),
    ]);
    assert_eq!(graph.cycles(), ["a.rs -> b.rs (crate::b::B)\nb.rs -> a.rs (crate::a::A)\n"]);
}

#[test]
fn a_cycle_through_re_exports_is_found() {
    let graph = made_up(&[
        ("lib.rs", "mod one; mod two; pub use one::Inner as Outer;"),
        ("one/mod.rs", "mod inner; pub use inner::*;"),
        ("one/inner.rs", "use crate::two::{self, Kept}; pub struct Inner(two::Kept);"),
        ("two/mod.rs", "mod kept; pub use self::kept::Kept;"),
        ("two/kept.rs", "use crate::Outer; pub struct Kept(Box<Outer>);"),
    ]);
    let cycles = graph.cycles();
    assert_eq!(cycles.len(), 1, "{cycles:?}");
    assert!(cycles[0].contains("one/inner.rs -> two/kept.rs"), "{cycles:?}");
    assert!(cycles[0].contains("two/kept.rs -> one/inner.rs (crate::Outer)"), "{cycles:?}");
}

#[test]
fn three_files_in_a_ring_form_one_cycle() {
    let graph = made_up(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use crate::c::C; pub struct B(C);"),
        ("c.rs", "use crate::a::A; pub struct C(Box<A>);"),
        ("d.rs", "use crate::{a::A, b::B}; pub struct D(A, B);"),
    ]);
    let cycles = graph.cycles();
    assert_eq!(cycles.len(), 1, "{cycles:?}");
    assert_eq!(cycles[0].lines().count(), 3, "{cycles:?}");
    assert!(!cycles[0].contains("d.rs"), "{cycles:?}");
}

#[test]
fn a_parent_module_and_its_child_may_use_each_other() {
    let graph = made_up(&[
        ("lib.rs", "mod parent; pub struct Root;"),
        ("parent/mod.rs", "mod child; use child::Child; pub struct Parent(Child);"),
        ("parent/child.rs", "use super::Parent; use crate::Root; pub struct Child(Parent, Root);"),
    ]);
    assert_eq!(graph.cycles(), [""; 0]);
}

#[test]
fn imports_of_tests_alone_form_no_cycle() {
    let graph = made_up(&[
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod testing; #[cfg(all(test, unix))] mod more;"),
        (
            "a.rs",
            "pub struct A;
             #[cfg(test)] use crate::b::B;
             #[cfg(test)] mod tests { use crate::b::B; }
             impl A { #[cfg(test)] fn b(&self, b: crate::b::B) {} }",
        ),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ]);
    assert_eq!(graph.cycles(), [""; 0]);
}

#[test]
fn a_condition_that_holds_without_tests_does_not_hide_an_import() {
    let graph = made_up(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct A; #[cfg(any(test, unix))] use crate::b::B;"),
        ("b.rs", "#[cfg(not(test))] use crate::a::A; pub struct B;"),
    ]);
    assert_eq!(graph.cycles().len(), 1);
}

#[test]
fn paths_in_the_input_of_a_macro_count() {
    let graph = made_up(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub const A: u8 = 1; fn f() { println!(\"{}\", [crate::b::B; 2].len()); }"),
        ("b.rs", "pub const B: u8 = crate::a::A;"),
    ]);
    assert_eq!(graph.cycles().len(), 1);
}

#[test]
fn an_import_from_a_later_module_violates_the_order() {
    let files = [
        ("lib.rs", "pub mod low; pub mod high; pub use high::High;"),
        ("low.rs", "use crate::High; use std::fmt; pub struct Low(fmt::Error, Box<High>);"),
        ("high.rs", "pub struct High;"),
    ];
    let order = ["low".to_owned(), "high".to_owned()];
    let wrong = "low.rs -> high.rs (crate::High)";
    assert_eq!(made_up(&files).against(&order), [wrong]);
    let turned = ["high".to_owned(), "low".to_owned()];
    assert_eq!(made_up(&files).against(&turned), [""; 0]);
}

#[test]
fn the_order_is_that_of_the_declarations() {
    let read = |file: &str| match file {
        "lib.rs" => Some("pub mod b; use a::A; mod a; #[cfg(test)] mod tests;".to_owned()),
        "a.rs" => Some("pub struct A;".to_owned()),
        "b/mod.rs" => Some("pub mod c { pub struct C; }".to_owned()),
        _ => None,
    };
    assert_eq!(Tree::read(&read).expect("sources that parse").top_level(), ["b", "a"]);
}

#[test]
fn a_module_without_a_file_is_an_error() {
    let read = |file: &str| (file == "lib.rs").then(|| "mod gone;".to_owned());
    let error = Tree::read(&read).expect_err("a missing file");
    assert!(error.contains("gone"), "{error}");
}
