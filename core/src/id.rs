//! Identities in messages, errors and logs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_identity {
    ($(#[$docs:meta])* $name:ident, $make:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new, unique identity.
            #[expect(clippy::new_without_default, reason = "two defaults would not be equal")]
            pub fn new() -> Self {
                Self(Uuid::$make())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_identity! {
    /// The identity of a job: one run of a program. Later jobs of a leader have larger ids (UUID
    /// version 7).
    JobId, now_v7
}
uuid_identity! {
    /// The identity of a leader, which is part of the name of its reply queue (UUID version 4).
    LeaderId, new_v4
}
uuid_identity! {
    /// The identity of a worker, from its start to its end (UUID version 4).
    WorkerId, new_v4
}
uuid_identity! {
    /// The identity of one run of a copy of a task on a worker (UUID version 4).
    ExecutionId, new_v4
}

uuid_identity! {
    /// The identity of a dead letter. Later ones are larger (UUID version 7).
    DeadLetterId, now_v7
}

impl FromStr for LeaderId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl FromStr for DeadLetterId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text.trim()).map(Self)
    }
}

/// The number of a task: from 1, unique within its leader, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskNumber(pub u64);

impl fmt::Display for TaskNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of one published copy of a task, within a leader. Written as `task/attempt`, in
/// logs and as the correlation id of messages.
///
/// ```
/// use phalanx::id::{CopyId, TaskNumber};
///
/// let copy: CopyId = "12/2".parse()?;
/// assert_eq!(copy, CopyId::new(TaskNumber(12), 2));
/// assert_eq!(copy.to_string(), "12/2");
/// # Ok::<(), phalanx::id::InvalidCopyId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopyId {
    /// The number of the task.
    pub task: TaskNumber,
    /// The number of the copy within the task, from 1.
    pub attempt: u32,
}

impl CopyId {
    /// The id of copy number `attempt` of a task.
    pub fn new(task: TaskNumber, attempt: u32) -> Self {
        Self { task, attempt }
    }
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.attempt)
    }
}

impl FromStr for CopyId {
    type Err = InvalidCopyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (task, attempt) = text.split_once('/').ok_or(InvalidCopyId)?;
        let task = task.parse().map_err(|_| InvalidCopyId)?;
        let attempt = attempt.parse().map_err(|_| InvalidCopyId)?;
        Ok(Self::new(TaskNumber(task), attempt))
    }
}

/// The error for a text that is not `task/attempt`.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid copy id: expected two numbers, `task/attempt`")]
pub struct InvalidCopyId;

crate::__debug_as_report!(InvalidCopyId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_id_is_parsed_from_what_it_displays() {
        let copy = CopyId::new(TaskNumber(u64::MAX), u32::MAX);
        assert_eq!(copy.to_string().parse(), Ok(copy));
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", "7", "7/", "/1", "7/1/1", "many/words", "-1/1", "1/4294967296"] {
            assert_eq!(text.parse::<CopyId>(), Err(InvalidCopyId), "{text}");
        }
    }
}
