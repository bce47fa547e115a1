//! Where a test meets the operations that it holds.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;

use crate::soon;

/// A directory in which operations say that they started or were cancelled, and wait until it is
/// open.
pub(crate) struct Meeting(TempDir);

impl Meeting {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// As the state of an operation.
    pub(crate) fn place(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }

    /// Lets all held operations go.
    pub(crate) fn open(&self) {
        std::fs::write(self.0.path().join("open"), "").unwrap();
    }

    /// Waits until as many elements have said `what`.
    pub(crate) async fn said(&self, what: &str, count: usize) {
        let found = async {
            while self.files(what).len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(what, found).await;
    }

    /// Waits until an element has said `what` in this process.
    pub(crate) async fn said_by(&self, what: &str, process: &str) {
        let found = async {
            let by = |file: &PathBuf| std::fs::read_to_string(file).unwrap() == process;
            while !self.files(what).iter().any(by) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(what, found).await;
    }

    /// Waits until an element was begun so often, by whomever.
    pub(crate) async fn ran(&self, n: u64, times: usize) {
        let ran = async {
            while self.runs(n) < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("another run", ran).await;
    }

    /// Waits until elements were begun so often, by whomever.
    pub(crate) async fn begun(&self, times: u64) {
        let size = |file: PathBuf| std::fs::metadata(file).unwrap().len();
        let begun = async {
            while self.files("runs").into_iter().map(size).sum::<u64>() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("more to begin", begun).await;
    }

    /// How often an element was begun.
    pub(crate) fn runs(&self, n: u64) -> usize {
        let runs = std::fs::read(self.0.path().join(format!("runs-{n}")));
        runs.map_or(0, |runs| runs.len())
    }

    /// What elements wrote when they said `what`.
    fn files(&self, what: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_str().unwrap().contains(&format!("/{what}-"))).collect()
    }
}
