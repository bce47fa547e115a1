use phalanx::prelude::*;

#[derive(Serialize, Deserialize)]
struct Opaque(u8);

#[operation]
fn open(opaque: Opaque) -> u8 {
    opaque.0
}

#[operation]
fn close(byte: u8) -> Opaque {
    Opaque(byte)
}

#[derive(Serialize, Deserialize)]
struct Once(u8);

#[operation]
fn consume(#[state] once: &Once, n: u8) -> u8 {
    once.0 + n
}

fn main() {}
