//! Everything of Phalanx that reads bytes which somebody else wrote, as plain functions: driven by
//! `tests/decoders.rs` on any compiler, and by `cargo fuzz` (see `fuzz/README.md`).
//!
//! They must come back whatever they are given. What they say of it is of no interest.

mod messages;
mod operations;

pub use messages::*;
pub use operations::{elements, state, steps};

/// One decoder.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Decodes, and drops what comes of it.
    pub decode: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "task", decode: task },
    Target { name: "result", decode: result },
    Target { name: "return", decode: returned },
    Target { name: "lease", decode: lease },
    Target { name: "probe_reply", decode: probe_reply },
    Target { name: "control", decode: control },
    Target { name: "event", decode: event },
    Target { name: "dead_letter", decode: dead_letter },
    Target { name: "elements", decode: elements },
    Target { name: "state", decode: state },
];

/// What decoding so many bytes may hold of the memory at any one time.
///
/// The shortest things that a message can hold several of are empty strings: one byte on the wire,
/// 24 in memory, up to three times that while their list grows.
pub const fn bound(bytes: usize) -> usize {
    96 * bytes + (64 << 10)
}
