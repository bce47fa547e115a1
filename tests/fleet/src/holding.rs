//! Operations that a test holds and releases, through files in a shared directory.

use std::{fs, io::Write, path::Path, time::Duration};

use phalanx::prelude::*;

/// How often an operation checks whether it is released.
const POLL: Duration = Duration::from_millis(5);

/// Reports that it started, and waits until the directory has a file `released`, or until it is
/// cancelled.
#[operation]
pub fn hold(#[state] directory: &str, n: u64, cx: &TaskContext) -> Result<u64> {
    let directory = Path::new(directory);
    let runs = directory.join(format!("runs-{n}"));
    fs::OpenOptions::new().create(true).append(true).open(runs)?.write_all(b"x")?;
    note(directory, "started", n)?;
    while !directory.join("released").exists() {
        if cx.is_cancelled() {
            note(directory, "cancelled", n)?;
            return Err(OperationError::fatal("cancelled"));
        }
        std::thread::sleep(POLL);
    }
    Ok(3 * n)
}

/// As [`hold`], asynchronously.
#[operation]
pub async fn hold_later(#[state] directory: &str, n: u64, cx: &TaskContext) -> Result<u64> {
    let directory = Path::new(directory);
    note(directory, "started", n)?;
    while !directory.join("released").exists() {
        tokio::select! {
            () = cx.cancelled() => {
                note(directory, "cancelled", n)?;
                return Err(OperationError::fatal("cancelled"));
            }
            () = tokio::time::sleep(POLL) => {}
        }
    }
    Ok(3 * n)
}

/// As [`hold`], of one element alone; returns the others at once.
#[operation]
pub fn hold_at(
    #[state] directory: &str,
    #[state] at: u64,
    n: u64,
    cx: &TaskContext,
) -> Result<u64> {
    if n == at {
        note(Path::new(directory), "started", n)?;
        while !Path::new(directory).join("released").exists() {
            if cx.is_cancelled() {
                return Err(OperationError::fatal("cancelled"));
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(n)
}

/// Never returns, even when it is cancelled.
#[operation(timeout = "300ms", retries = 0)]
pub fn hang(#[state] unwanted: u64, n: u64) -> u64 {
    if n == unwanted {
        loop {
            std::thread::park();
        }
    }
    n
}

fn note(directory: &Path, what: &str, n: u64) -> Result<()> {
    fs::write(directory.join(format!("{what}-{n}")), std::process::id().to_string())?;
    Ok(())
}
