//! `dead-letters`: lists, shows, replays and deletes elements that failed permanently.

mod details;
mod table;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use phalanx_core::{
    Error,
    broker::{ConnectError, Pool},
    dead_letters::{DeadLetterError, DeadLetters},
    id::DeadLetterId,
    leader::Runtime,
    report::with_causes,
};

use super::{duration, exit_code::Code};

const HELP: &str = "\
Exit codes:
  0  done
  1  cannot connect to the broker, or the broker denies access to the dead letters
  2  invalid command line
  3  the program's operations cannot be registered (for example, two have the same name)
  7  no such dead letter
  8  the element cannot be replayed, or failed again; its dead letter was kept";

/// What to do with dead letters.
#[derive(Clone, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Pool whose workers ran the elements
    #[arg(long, global = true, default_value = Pool::DEFAULT)]
    pool: Pool,

    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Subcommand)]
enum Action {
    /// List dead letters, oldest first
    List {
        /// List at most this many
        #[arg(long, default_value = "100", value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
    /// Show all details of a dead letter, and the first bytes of its element
    Show {
        /// ID, as listed
        id: DeadLetterId,
    },
    /// Run the rest of its stage on the element again, and delete the dead letter on success
    Replay {
        /// ID, as listed
        id: DeadLetterId,

        /// Give up after this long without progress
        #[arg(long, default_value = "5m", value_parser = duration::parse)]
        patience: Duration,
    },
    /// Delete one dead letter, or all
    Delete {
        /// ID, as listed
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<DeadLetterId>,

        /// Delete all dead letters of the pool
        #[arg(long)]
        all: bool,
    },
}

/// Runs the subcommand. Results go to `print`, errors to `log`.
pub(super) async fn run(
    arguments: Arguments,
    url: &str,
    namespace: &str,
    log: impl Fn(&str),
    print: impl Fn(&str),
) -> Code {
    if url.starts_with("memory:") {
        log("error: the dead letters of memory:// live in the leader's process; set \
             PHALANX_URL=amqp://… (or --url)");
        return Code::Usage;
    }
    let mut builder = Runtime::builder().url(url).namespace(namespace);
    if let Action::Replay { patience, .. } = arguments.action {
        builder = builder.patience(patience);
    }
    let runtime = match builder.connect().await {
        Ok(runtime) => runtime,
        Err(error) => {
            log(&format!("error: {}", with_causes(&error)));
            return match error {
                Error::Connect(ConnectError::Url { .. } | ConnectError::Scheme { .. }) => {
                    Code::Usage
                }
                Error::Plan(_) => Code::Registry,
                _ => Code::Broker,
            };
        }
    };
    let dead_letters = runtime.dead_letters(&arguments.pool);
    let done = perform(&dead_letters, arguments.action, print).await;
    drop(dead_letters);
    runtime.close().await;
    match done {
        Ok(()) => Code::Success,
        Err(error) => {
            log(&format!("error: {}", with_causes(&error)));
            match error {
                DeadLetterError::Missing { .. } => Code::NoSuchDeadLetter,
                DeadLetterError::Broker { .. } => Code::Broker,
                _ => Code::DeadLetterKept,
            }
        }
    }
}

async fn perform(
    dead_letters: &DeadLetters,
    action: Action,
    print: impl Fn(&str),
) -> Result<(), DeadLetterError> {
    match action {
        Action::List { limit } => {
            let entries = dead_letters.list(limit).await?;
            print(&table::table(&entries, now_ms()));
            if entries.is_empty() {
                print(&format!("pool `{}` has no dead letters\n", dead_letters.pool()));
            } else if entries.len() == usize::from(limit) {
                print(&format!("(the first {limit}; raise --limit to list more)\n"));
            }
        }
        Action::Show { id } => {
            print(&details::details(&dead_letters.show(id).await?, now_ms()));
        }
        Action::Replay { id, .. } => {
            let outputs = dead_letters.replay(id).await?;
            print(&format!("{id}: replayed, {outputs} outputs; deleted\n"));
        }
        Action::Delete { id: Some(id), .. } => {
            dead_letters.delete(id).await?;
            print(&format!("{id}: deleted\n"));
        }
        Action::Delete { id: None, .. } => {
            print(&format!("{} deleted\n", dead_letters.delete_all().await?));
        }
    }
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
