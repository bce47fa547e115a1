//! Operations that misbehave when they are told to.

use std::{hint::black_box, process, thread, time::Duration};

use phalanx::prelude::*;

/// Does what it is told, most of which ends its process.
#[operation]
fn obey(order: String, cx: &TaskContext) -> u64 {
    match order.as_str() {
        "abort" => process::abort(),
        "overflow" => {
            let _ = overflow(u64::from(process::id()));
        }
        "exit" => process::exit(3),
        "panic" => panic!("as told"),
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

/// Does the same, asynchronously.
#[operation]
async fn obey_soon(order: String) -> u64 {
    tokio::task::yield_now().await;
    if order == "abort" {
        process::abort();
    }
    u64::from(process::id())
}

/// Hangs when it is told to.
#[operation(timeout = "300ms", retries = 0)]
fn hurry(order: String) -> u64 {
    if order == "hang" {
        loop {
            thread::park();
        }
    }
    u64::from(process::id())
}

/// Panics when it is dropped, if it says so.
struct Fragile(bool);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0 || thread::panicking(), "dropped");
    }
}

/// Makes something that panics when it is dropped, and drops it.
#[operation]
fn shatter(order: String) -> u64 {
    drop(Fragile(order == "drop"));
    u64::from(process::id())
}

fn overflow(n: u64) -> u64 {
    let deep = black_box([n; 512]);
    // A bound that the stack does not reach.
    if n == u64::MAX { n } else { overflow(black_box(n + 1)) + deep[n as usize % 512] }
}
