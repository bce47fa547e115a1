//! Every decoder of untrusted bytes in Phalanx, as a plain function: `tests/decoders.rs` runs them
//! on any compiler, and `cargo fuzz` on nightly (see `fuzz/README.md`).
//!
//! They must return for every input, whatever the outcome.

mod messages;
mod operations;

pub use messages::*;
pub use operations::{elements, state, steps};

/// A decoder to test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the decoder, and of the folder of its corpus.
    pub name: &'static str,
    /// Decodes the bytes; returns whether they are valid.
    pub decode: fn(&[u8]) -> bool,
}

/// All decoders of untrusted bytes.
pub const TARGETS: [Target; 16] = [
    Target { name: "task", decode: task },
    Target { name: "probe", decode: probe },
    Target { name: "result", decode: result },
    Target { name: "return", decode: returned },
    Target { name: "lease", decode: lease },
    Target { name: "probe_reply", decode: probe_reply },
    Target { name: "control", decode: control },
    Target { name: "event", decode: event },
    Target { name: "dead_letter", decode: dead_letter },
    Target { name: "elements", decode: elements },
    Target { name: "block", decode: block },
    Target { name: "block_message", decode: block_message },
    Target { name: "outputs", decode: outputs },
    Target { name: "list", decode: list },
    Target { name: "framed", decode: framed },
    Target { name: "state", decode: state },
];

/// The most memory, in bytes, that decoding an input of this length may hold at any one time.
///
/// The worst case is empty strings: one byte each on the wire, 24 in memory, and up to three times
/// that while their list grows.
pub const fn bound(bytes: usize) -> usize {
    96 * bytes + (64 << 10)
}
