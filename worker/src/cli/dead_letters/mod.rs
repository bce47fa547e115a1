//! Looks at the elements that failed for good, runs them again and drops them.

mod show;
mod table;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use phalanx_core::{
    Error,
    broker::{ConnectError, Pool},
    dead_letters::{DeadLetterError, DeadLetters},
    id::DeadLetterId,
    leader::Runtime,
};

use super::{causes::with_causes, code::Code, duration};

const HELP: &str = "\
Exit codes:
  0  done
  1  the broker is out of reach, or does not let this user read the letters
  2  the command line is wrong
  3  the operations of the program cannot be used (two of one name)
  7  there is no such letter
  8  the element could not be run again, or failed again: its letter stays";

/// What to do with dead letters.
#[derive(Clone, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The pool whose workers ran the elements
    #[arg(long, global = true, default_value = Pool::DEFAULT)]
    pool: Pool,

    #[command(subcommand)]
    order: Order,
}

#[derive(Clone, Subcommand)]
enum Order {
    /// List them, the oldest first
    List {
        /// How many at most
        #[arg(long, default_value = "100", value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
    /// Show all that is known of one, and the head of its element
    Show {
        /// Its identity, as listed
        id: DeadLetterId,
    },
    /// Run what is left of its stage on the element again, and drop it if that succeeds
    Replay {
        /// Its identity, as listed
        id: DeadLetterId,

        /// Give up when nothing moves for so long
        #[arg(long, default_value = "5m", value_parser = duration::parse)]
        patience: Duration,
    },
    /// Remove one, or all
    Drop {
        /// Its identity, as listed
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<DeadLetterId>,

        /// All that are there
        #[arg(long)]
        all: bool,
    },
}

/// Does what is ordered: what was asked for goes to `print`, what is wrong to `say`.
pub(super) async fn run(
    arguments: Arguments,
    url: &str,
    namespace: &str,
    say: impl Fn(&str),
    print: impl Fn(&str),
) -> Code {
    if url.starts_with("memory:") {
        say("error: the dead letters of memory:// live in the leader's process: set \
             PHALANX_URL=amqp://… (or --url)");
        return Code::Usage;
    }
    let mut builder = Runtime::builder().url(url).namespace(namespace);
    if let Order::Replay { patience, .. } = arguments.order {
        builder = builder.patience(patience);
    }
    let runtime = match builder.connect().await {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            return match error {
                Error::Connect(ConnectError::Url { .. } | ConnectError::Scheme { .. }) => {
                    Code::Usage
                }
                Error::Plan(_) => Code::Registry,
                _ => Code::Broker,
            };
        }
    };
    let letters = runtime.dead_letters(&arguments.pool);
    let done = obey(&letters, arguments.order, print).await;
    drop(letters);
    runtime.close().await;
    match done {
        Ok(()) => Code::Drained,
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            match error {
                DeadLetterError::Missing { .. } => Code::MissingLetter,
                DeadLetterError::Broker { .. } => Code::Broker,
                _ => Code::LetterStays,
            }
        }
    }
}

async fn obey(
    letters: &DeadLetters,
    order: Order,
    print: impl Fn(&str),
) -> Result<(), DeadLetterError> {
    match order {
        Order::List { limit } => {
            let entries = letters.list(limit).await?;
            print(&table::table(&entries, now_ms()));
            if entries.is_empty() {
                print(&format!("pool `{}` has no dead letters\n", letters.pool()));
            } else if entries.len() == usize::from(limit) {
                print(&format!("(the first {limit}; --limit shows more)\n"));
            }
        }
        Order::Show { id } => print(&show::show(&letters.show(id).await?, now_ms())),
        Order::Replay { id, .. } => {
            let outputs = letters.replay(id).await?;
            print(&format!("{id}: run to its end, {outputs} outputs; dropped\n"));
        }
        Order::Drop { id: Some(id), .. } => {
            letters.delete(id).await?;
            print(&format!("{id}: dropped\n"));
        }
        Order::Drop { id: None, .. } => {
            print(&format!("{} dropped\n", letters.delete_all().await?));
        }
    }
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
