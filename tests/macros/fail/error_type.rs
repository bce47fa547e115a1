use phalanx::prelude::*;

struct Refused;

#[operation]
fn price(n: u64) -> Result<u64, Refused> {
    if n == 0 { Err(Refused) } else { Ok(n) }
}

fn main() {}
