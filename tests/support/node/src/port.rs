//! Free ports.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::NodeError;

/// Below the ephemeral ports: an outgoing connection could take such a port while the node is down
/// between a kill and a restart.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// Distinct free ports of 127.0.0.1. They are not reserved: a caller that loses a race for one
/// requests others.
pub(crate) fn free<const N: usize>() -> Result<[u16; N], NodeError> {
    let size = u64::from(RANGE.end - RANGE.start);
    let random = RandomState::new();
    let mut held: Vec<(u16, TcpListener)> = Vec::with_capacity(N);
    for attempt in 0..1_000_u32 {
        // The remainder is below the size of the range, which fits.
        let port = RANGE.start + u16::try_from(random.hash_one(attempt) % size).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == N {
            return Ok(std::array::from_fn(|i| held[i].0));
        }
    }
    Err(NodeError::NoPorts)
}
