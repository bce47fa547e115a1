//! Settles deliveries in time although their tasks keep running (rule 8).

mod keeper;
mod naming;

use std::time::Duration;

pub(crate) use keeper::keep_leases;
pub(crate) use naming::name_elements;

/// The pause before a lease that was lost is published again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
