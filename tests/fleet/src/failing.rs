//! Operations that fail.

use phalanx::prelude::*;

/// A user's own error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("declined {number}")]
pub struct Declined {
    /// The declined number.
    pub number: u64,
}

/// Returns an error for one number.
#[operation]
pub fn decline(#[state] unwanted: u64, n: u64) -> Result<u64, Declined> {
    if n == unwanted { Err(Declined { number: n }) } else { Ok(n) }
}

/// Panics at one number.
#[operation]
pub fn blow_up(#[state] unwanted: u64, n: u64) -> u64 {
    assert!(n != unwanted, "cannot process {n}");
    n
}

/// Fails transiently on the first try.
#[operation]
pub fn stumble(n: u64, cx: &TaskContext) -> Result<u64> {
    if cx.tries() == 1 {
        return Err(OperationError::fatal("stumbled").transient());
    }
    Ok(n)
}

/// Runs until it is cancelled.
#[operation(timeout = "500ms", retries = 0)]
pub fn never_end(#[state] unwanted: u64, n: u64, cx: &TaskContext) -> u64 {
    while n == unwanted && !cx.is_cancelled() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    n
}

/// Waits forever.
#[operation(timeout = "500ms", retries = 0)]
pub async fn never_come(#[state] unwanted: u64, n: u64) -> u64 {
    if n == unwanted {
        std::future::pending::<()>().await;
    }
    n
}

/// Declines one number while a file exists.
#[operation]
pub fn decline_while(
    #[state] broken: &str,
    #[state] unwanted: u64,
    n: u64,
) -> Result<u64, Declined> {
    if n == unwanted && std::path::Path::new(broken).exists() {
        Err(Declined { number: n })
    } else {
        Ok(n)
    }
}

/// Declines every text.
#[operation]
pub fn decline_text(text: &str) -> Result<u64> {
    Err(OperationError::fatal(format!("declined {} bytes", text.len())))
}

/// Crashes its process at one number.
#[operation]
pub fn perish(#[state] how: &str, #[state] unwanted: u64, n: u64) -> u64 {
    match how {
        _ if n != unwanted => {}
        "overflow" => {
            let _ = recurse(n);
        }
        "exit 7" => std::process::exit(7),
        "exit 0" => std::process::exit(0),
        _ => std::process::abort(),
    }
    n
}

/// Crashes its process instead of combining two numbers.
#[operation]
pub fn perish_combining(_a: u64, _b: u64) -> u64 {
    std::process::abort()
}

fn recurse(n: u64) -> u64 {
    let deep = std::hint::black_box([n; 512]);
    // No stack is large enough to reach this bound.
    if n == u64::MAX { n } else { recurse(std::hint::black_box(n + 1)) + deep[n as usize % 512] }
}
