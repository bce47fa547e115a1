use phalanx::prelude::*;

#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

#[operation]
fn price(n: u64) -> Result<u64, Refused> {
    if n == 0 { Err(Refused) } else { Ok(n) }
}

fn main() {}
