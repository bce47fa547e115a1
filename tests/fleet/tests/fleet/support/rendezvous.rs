//! Lets tests hold operations in other processes, and release them.

use std::path::PathBuf;

use phalanx::{Job, Results, Runtime, prelude::*};
use phalanx_fleet_tests::Hold;
use phalanx_test_support::until;
use tempfile::TempDir;

/// A directory in which the operations [`Hold`] and [`HoldLater`](phalanx_fleet_tests::HoldLater)
/// report that they started or were cancelled, and wait to be released.
pub(crate) struct Rendezvous(TempDir);

impl Rendezvous {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// The state of an operation that a test holds.
    pub(crate) fn directory(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }

    /// Starts a job whose elements, one to a task, are held here. Element `n` yields `3 * n`.
    pub(crate) fn hold(&self, runtime: &Runtime, count: u64) -> (Job, Results<u64>) {
        let held = IndexedStream::from(0..count).map(Hold { directory: self.directory() });
        held.batch(1).ordered().start(runtime).unwrap()
    }

    /// Releases all operations that are held, and all that start from now on.
    pub(crate) fn release(&self) {
        std::fs::write(self.0.path().join("released"), "").unwrap();
    }

    /// Waits until `count` elements have started.
    pub(crate) async fn started(&self, count: usize) {
        self.reported("started", count).await;
    }

    /// Waits until `count` elements have detected that they are cancelled.
    pub(crate) async fn cancelled(&self, count: usize) {
        self.reported("cancelled", count).await;
    }

    /// Waits until an element has started in this process.
    pub(crate) async fn started_in(&self, process: &str) {
        let in_process = |file: &PathBuf| std::fs::read_to_string(file).unwrap() == process;
        let what = format!("an element to start in process {process}");
        until(&what, async || self.files("started").iter().any(in_process)).await;
    }

    /// Waits until every element that had started in this process has started in another one.
    pub(crate) async fn restarted_from(&self, process: &str) {
        // A file that is being written is empty for a moment.
        let elsewhere = |file: PathBuf| {
            let other = std::fs::read_to_string(file).unwrap();
            !other.is_empty() && other != process
        };
        let what = format!("all elements of process {process} to start elsewhere");
        until(&what, async || self.files("started").into_iter().all(elsewhere)).await;
    }

    /// Waits until element `n` has been started `times` times.
    pub(crate) async fn ran(&self, n: u64, times: usize) {
        until("another run of the element", async || self.runs(n) >= times).await;
    }

    /// Waits until all elements together have been started `times` times.
    pub(crate) async fn started_times(&self, times: u64) {
        let size = |file: PathBuf| std::fs::metadata(file).unwrap().len();
        let runs = || self.files("runs").into_iter().map(size).sum::<u64>();
        until("more runs of elements", async || runs() >= times).await;
    }

    /// How often element `n` was started.
    pub(crate) fn runs(&self, n: u64) -> usize {
        let runs = std::fs::read(self.0.path().join(format!("runs-{n}")));
        runs.map_or(0, |runs| runs.len())
    }

    async fn reported(&self, event: &str, count: usize) {
        let what = format!("{count} elements to be {event}");
        until(&what, async || self.files(event).len() >= count).await;
    }

    /// The files of an event, one for each element.
    fn files(&self, event: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_str().unwrap().contains(&format!("/{event}-"))).collect()
    }
}
