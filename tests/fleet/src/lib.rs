//! The operations of the fleet tests, linked into leader and workers.

mod data;
mod failing;
mod holding;
mod plain;

pub use data::*;
pub use failing::*;
pub use holding::*;
pub use plain::*;

/// Ends this process when the test that started it ends, for whatever reason: the end of the test
/// closes the pipe to its standard input.
pub fn end_with_the_test() {
    std::thread::spawn(|| {
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
        std::process::exit(0);
    });
}
