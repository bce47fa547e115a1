//! Pools: task queues, and the workers that serve them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a pool: a task queue, and the workers that serve it.
///
/// 1 to 64 characters: lower-case letters `a-z`, digits, `-`, `_` and `.`.
///
/// ```
/// use phalanx::broker::Pool;
///
/// let pool: Pool = "gpu.large".parse()?;
/// assert_eq!(pool.as_str(), "gpu.large");
/// assert_eq!(Pool::default().to_string(), "default");
/// assert!(Pool::new("GPU").is_err());
/// # Ok::<(), phalanx::broker::PoolNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool(String);

impl Pool {
    /// The name of the pool of operations that set no pool.
    pub const DEFAULT: &'static str = "default";

    /// The pool with this name.
    ///
    /// # Errors
    /// If the name is empty, has more than 64 characters, or has other characters than those
    /// allowed.
    pub fn new(name: &str) -> Result<Self, PoolNameError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
            return Err(PoolNameError { name: name.chars().take(80).collect() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name of the pool.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl TryFrom<String> for Pool {
    type Error = PoolNameError;

    fn try_from(name: String) -> Result<Self, PoolNameError> {
        Self::new(&name)
    }
}

impl std::str::FromStr for Pool {
    type Err = PoolNameError;

    fn from_str(name: &str) -> Result<Self, PoolNameError> {
        Self::new(name)
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        pool.0
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid name of a pool.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pool name `{name}`: use 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`")]
pub struct PoolNameError {
    name: String,
}

crate::__debug_as_report!(PoolNameError);
