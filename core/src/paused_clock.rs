//! Tests of users with a paused clock (`tokio::time::pause`).
//!
//! A paused clock jumps to the next timer as soon as Tokio has nothing to do, and Tokio knows nothing
//! of other threads: those of slots, and those of inputs. Timeouts would pass while they compute. So
//! their work keeps the clock from jumping, as work in `spawn_blocking` does.

use std::{
    sync::mpsc::{Sender, channel},
    time::Instant,
};

/// Keeps a paused clock from jumping until it is dropped.
pub struct Computing {
    _done: Sender<()>,
}

impl Computing {
    /// `None` unless the clock is paused: on a clock that runs, nothing is done. Called in a Tokio
    /// context.
    pub fn begin() -> Option<Self> {
        is_paused().then(|| {
            let (done, ended) = channel();
            // Only a blocking task of Tokio's own keeps its clock from jumping.
            drop(tokio::task::spawn_blocking(move || ended.recv()));
            Self { _done: done }
        })
    }
}

/// A clock that has ever been paused differs from the system's.
fn is_paused() -> bool {
    let before = Instant::now();
    let shown = tokio::time::Instant::now().into_std();
    !(before..=Instant::now()).contains(&shown)
}
