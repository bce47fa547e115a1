//! The command line and its environment variables.

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand, builder::Resettable};
use phalanx_core::broker::{BrokerUrl, Pool};

use super::{dead_letters, duration, exit_code, size};
use crate::WorkerOptions;

/// Consumes tasks from a broker and runs the operations of this program.
#[derive(Clone, Parser)]
#[command(after_help = exit_code::HELP)]
pub(super) struct Arguments {
    /// URL of the broker: amqp://user:password@host/vhost
    // Hidden in the help, because the URL contains a password.
    #[arg(
        long,
        global = true,
        env = "PHALANX_URL",
        default_value = BrokerUrl::MEMORY,
        hide_env_values = true
    )]
    pub(super) url: String,

    /// Prefix of all queues and exchanges; leaders and workers must use the same
    #[arg(long, global = true, env = "PHALANX_NAMESPACE", default_value = "phalanx")]
    pub(super) namespace: String,

    /// Pool to serve; repeat the flag or separate with commas
    #[arg(
        long = "pool",
        env = "PHALANX_POOL",
        value_name = "POOL",
        value_delimiter = ',',
        default_value = Pool::DEFAULT
    )]
    pools: Vec<Pool>,

    /// Tasks of blocking operations that run at the same time [default: number of cores]
    #[arg(long, env = "PHALANX_SLOTS", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,

    /// Elements of asynchronous operations that run at the same time
    #[arg(
        long,
        env = "PHALANX_ASYNC_SLOTS",
        default_value = "256",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    async_slots: u16,

    /// Stack of each thread that runs blocking operations, 64KiB to 1GiB
    #[arg(
        long,
        env = "PHALANX_STACK",
        value_name = "SIZE",
        default_value = "8MiB",
        value_parser = size::parse_stack
    )]
    stack: usize,

    /// Memory for what tasks gather from queues; 64KiB or more
    #[arg(
        long,
        env = "PHALANX_GATHER_MEMORY",
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = size::parse_memory
    )]
    gather_memory: u64,

    /// Where tasks gather that need more memory than that [default: that of the system for
    /// temporary files]
    #[arg(
        long,
        env = "PHALANX_SPILL_DIR",
        value_name = "DIRECTORY",
        value_parser = parse_directory
    )]
    spill_dir: Option<PathBuf>,

    /// Longest time that a delivery stays unacknowledged, 100ms to 30s; longer tasks continue under
    /// a lease
    #[arg(long, env = "PHALANX_HOLD", default_value = "30s", value_parser = duration::parse_hold)]
    hold: Duration,

    /// Longest time to drain after SIGTERM or Ctrl-C; a second signal stops the worker at once
    #[arg(long, env = "PHALANX_GRACE", default_value = "30s", value_parser = duration::parse)]
    grace: Duration,

    /// Longest time to wait for the broker, and for its virtual host, at startup
    #[arg(
        long,
        env = "PHALANX_CONNECT_TIMEOUT",
        default_value = "30s",
        value_parser = duration::parse
    )]
    pub(super) connect_timeout: Duration,

    /// Serve GET /livez and GET /readyz at this address, for example 0.0.0.0:8080
    #[arg(long, env = "PHALANX_HEALTH", value_name = "ADDRESS")]
    pub(super) health: Option<SocketAddr>,

    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// A subcommand, which replaces serving.
#[derive(Clone, Subcommand)]
pub(super) enum Command {
    /// List, show, replay or delete elements that failed permanently
    DeadLetters(dead_letters::Arguments),
}

impl Arguments {
    /// Parses a command line: the program, optionally the word `worker`, and flags.
    pub(super) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut line = line.into_iter();
        let mut program = line.next().unwrap_or_else(|| "worker".into());
        let mut flags = line.peekable();
        if let Some(word) = flags.next_if(|first| first == "worker") {
            // The usage shows the program name as it was called, ready to be copied.
            program = std::path::Path::new(&program).file_name().unwrap_or(&program).to_owned();
            program.push(" ");
            program.push(word);
        }
        let matches = Self::command()
            .mut_args(ignore_empty_variable)
            .no_binary_name(true)
            .bin_name(program.to_string_lossy())
            .try_get_matches_from(flags)?;
        Self::from_arg_matches(&matches)
    }

    pub(super) fn options(&self) -> WorkerOptions {
        let mut options = WorkerOptions::default();
        options.pools.clone_from(&self.pools);
        // Serving a pool twice would only halve its prefetch.
        options.pools.sort();
        options.pools.dedup();
        if let Some(slots) = self.slots {
            options.slots = slots.into();
        }
        options.async_slots = self.async_slots.into();
        options.stack = self.stack;
        options.gather_memory = self.gather_memory;
        if let Some(directory) = &self.spill_dir {
            options.spill_dir.clone_from(directory);
        }
        options.hold = self.hold;
        options.grace = self.grace;
        options.isolate = true;
        options
    }
}

/// A directory that exists: a mistake is found now rather than when the first task needs it.
fn parse_directory(path: &str) -> Result<PathBuf, String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(PathBuf::from(path)),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// An environment variable that is empty counts as not set: a composed `${VARIABLE:-}` is meant so.
fn ignore_empty_variable(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(std::env::var_os);
    match value.is_some_and(|value| value.to_string_lossy().trim().is_empty()) {
        true => argument.env(Resettable::Reset),
        false => argument,
    }
}

/// Shows no fields, because the URL contains a password.
impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::parse(line.iter().map(OsString::from))
    }

    #[test]
    fn the_word_worker_is_skipped_only_as_the_first_argument() {
        for line in [&["wordcount", "worker", "--slots", "4"][..], &["worker", "--slots", "4"]] {
            assert_eq!(parse(line).unwrap().options().slots, 4);
        }
        assert!(parse(&["program", "worker", "worker"]).is_err());
        assert!(parse(&["program", "--slots", "4", "worker"]).is_err());
    }

    #[test]
    fn pools_are_repeated_or_separated_by_commas() {
        let given = parse(&["w", "--pool", "gpu,io", "--pool", "gpu"]).unwrap().options().pools;
        let given: Vec<&str> = given.iter().map(Pool::as_str).collect();
        assert_eq!(given, ["gpu", "io"]);
        let error = parse(&["w", "--pool", "Big Ones"]).unwrap_err().to_string();
        assert!(error.contains("invalid pool name"), "{error}");
    }

    #[test]
    fn the_stack_of_a_slot_is_that_of_a_main_thread_unless_it_is_given() {
        assert_eq!(parse(&["w"]).unwrap().options().stack, 8 << 20);
        assert_eq!(parse(&["w", "--stack", "64MiB"]).unwrap().options().stack, 64 << 20);
    }

    #[test]
    fn the_gather_memory_has_a_unit() {
        assert_eq!(parse(&["w"]).unwrap().options().gather_memory, 256 << 20);
        let given = parse(&["w", "--gather-memory", "2GiB"]).unwrap();
        assert_eq!(given.options().gather_memory, 2 << 30);
    }

    #[test]
    fn the_spill_directory_is_that_for_temporary_files_unless_it_is_given() {
        assert_eq!(parse(&["w"]).unwrap().options().spill_dir, std::env::temp_dir());
        let given = parse(&["w", "--spill-dir", "/"]).unwrap();
        assert_eq!(given.options().spill_dir, PathBuf::from("/"));
    }

    #[test]
    fn invalid_values_are_refused_with_a_reason() {
        for line in [
            &["w", "--slots", "0"][..],
            &["w", "--grace", "soon"],
            &["w", "--spill-dir", "/nowhere"],
            &["w", "--spill-dir", "/dev/null"],
            &["w", "--hold", "31s"],
            &["w", "--health", "x"],
            &["w", "--stack", "1KiB"],
            &["w", "--gather-memory", "1KiB"],
        ] {
            assert!(parse(line).unwrap_err().use_stderr(), "{line:?}");
        }
    }

    #[test]
    fn the_help_lists_the_exit_codes_and_shows_the_call() {
        let help = parse(&["target/wordcount", "worker", "--help"]).unwrap_err();
        assert!(!help.use_stderr());
        let help = help.to_string();
        assert!(help.contains("Exit codes:"));
        assert!(help.contains("Usage: wordcount worker [OPTIONS]"), "{help}");
    }
}
