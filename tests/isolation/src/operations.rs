//! Operations that fail on demand.

use std::{fs::File, hint::black_box, process, thread, time::Duration};

use phalanx::prelude::*;

/// Performs the action that the input names; most actions end the process. Returns the id of the
/// process.
#[operation]
fn act(action: String, cx: &TaskContext) -> u64 {
    match action.as_str() {
        "abort" => process::abort(),
        "overflow" => {
            let _ = overflow(u64::from(process::id()));
        }
        "exit" => process::exit(3),
        "panic" => panic!("on demand"),
        "kill" => {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            loop {
                thread::park();
            }
        }
        "wait" => {
            while !cx.is_cancelled() {
                thread::sleep(Duration::from_millis(2));
            }
        }
        "hang" => loop {
            thread::park();
        },
        _ => {}
    }
    u64::from(process::id())
}

/// Aborts, waits for its cancellation, or waits in the first of its runs, which creates a file, on
/// demand and asynchronously.
#[operation]
async fn act_async(action: String, cx: &TaskContext) -> u64 {
    tokio::task::yield_now().await;
    match action.as_str() {
        "abort" => process::abort(),
        "wait" => cx.cancelled().await,
        other => {
            if let Some(path) = other.strip_prefix("first ")
                && File::create_new(path).is_ok()
            {
                cx.cancelled().await;
            }
        }
    }
    u64::from(process::id())
}

/// Hangs on demand, with a timeout.
#[operation(timeout = "300ms", retries = 0)]
fn hurry(action: String) -> u64 {
    if action == "hang" {
        loop {
            thread::park();
        }
    }
    u64::from(process::id())
}

/// Panics when it is dropped, if `true`.
struct Fragile(bool);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0 || thread::panicking(), "dropped");
    }
}

/// Drops a value that panics on demand.
#[operation]
fn shatter(action: String) -> u64 {
    drop(Fragile(action == "drop"));
    u64::from(process::id())
}

fn overflow(n: u64) -> u64 {
    let deep = black_box([n; 512]);
    // The stack ends long before this bound.
    if n == u64::MAX { n } else { overflow(black_box(n + 1)) + deep[n as usize % 512] }
}
