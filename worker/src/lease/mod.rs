//! Deliveries that are settled in time although their tasks run on (rule 8).

mod keeper;

pub(crate) use keeper::keep_leases;

#[cfg(test)]
mod tests;
