//! The exit codes of a worker.

use std::process::ExitCode;

use crate::Exit;

/// The exit codes of a worker; [`HELP`] explains them. 2 is clap's code for usage errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Success = 0,
    Broker = 1,
    Usage = 2,
    Registry = 3,
    Abandoned = 4,
    Stopped = 5,
    System = 6,
    NoSuchDeadLetter = 7,
    DeadLetterKept = 8,
}

/// The sections of `--help` about logs and exit codes.
pub(super) const HELP: &str = "\
PHALANX_LOG selects what is logged: a level, or levels by target, as in info,phalanx_amqp=debug
[default: warn,lapin=off]

Exit codes:
  0  drained: every task was finished or returned
  1  cannot connect to the broker, or the broker denies a permission that a worker needs
  2  invalid command line
  3  the program's operations cannot be registered (for example, two have the same name)
  4  every slot's thread is stuck in an operation that does not return
  5  stopped by a second signal; the broker requeues unfinished tasks
  6  the operating system refused threads, signals, or the socket of --health";

impl From<&Exit> for Code {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Drained => Self::Success,
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
