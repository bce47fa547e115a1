//! Settles deliveries in time although their tasks keep running (rule 8).

mod keeper;

pub(crate) use keeper::keep_leases;

#[cfg(test)]
mod tests;
