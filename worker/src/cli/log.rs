//! Prints the log events of a worker to standard error.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    filter::{FilterExt, ParseError, Targets, filter_fn},
    fmt,
    layer::{Layer, SubscriberExt},
    registry,
    util::SubscriberInitExt,
};

/// The environment variable with the filter of log events.
pub(super) const VARIABLE: &str = "PHALANX_LOG";

/// Without lapin, whose errors Phalanx reports itself, in one line each.
const DEFAULT_FILTER: &str = "warn,lapin=off";

/// Installs a `tracing` subscriber, unless the program has one.
///
/// # Errors
/// If the environment variable does not parse.
pub(super) fn install() -> Result<(), ParseError> {
    let filter = env::var(VARIABLE).ok().filter(|filter| !filter.trim().is_empty());
    let filter: Targets = filter.as_deref().unwrap_or(DEFAULT_FILTER).parse()?;
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_filter(filter.and(filter_fn(is_free_of_passwords)));
    // Fails if there is a subscriber already, which is then the one to use.
    let _ = registry().with(lines).try_init();
    Ok(())
}

/// lapin writes whole frames at this level, also the one with the password.
fn is_free_of_passwords(metadata: &Metadata<'_>) -> bool {
    let crates = ["lapin", "amq_protocol"];
    *metadata.level() < Level::TRACE
        || !crates.iter().any(|name| metadata.target().starts_with(name))
}
