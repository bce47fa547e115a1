//! What the exit codes of a worker mean.

use std::process::ExitCode;

use crate::Exit;

/// What the exit codes of a worker mean. 2 is what clap uses for usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Drained = 0,
    Broker = 1,
    Usage = 2,
    Registry = 3,
    Abandoned = 4,
    Stopped = 5,
    System = 6,
    MissingLetter = 7,
    LetterStays = 8,
}

/// The same for `--help`.
pub(super) const HELP: &str = "\
Exit codes:
  0  drained: what it held was finished or given back
  1  the broker is out of reach, or refuses what a worker needs
  2  the command line is wrong
  3  the operations of the program cannot be used (two of one name)
  4  as many threads as slots were given up to operations that do not end
  5  stopped by a second signal: what it held goes back to the broker
  6  the system gives no threads, or no socket for --health";

impl From<&Exit> for Code {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Drained => Self::Drained,
            Exit::Stopped => Self::Stopped,
            Exit::Abandoned { .. } => Self::Abandoned,
            Exit::Registry(_) => Self::Registry,
            Exit::Broker(_) => Self::Broker,
            Exit::Threads { .. } => Self::System,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}
