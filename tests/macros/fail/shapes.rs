use phalanx::prelude::*;

#[derive(RemoteExecute)]
struct Prefix<'a> {
    text: &'a str,
}

#[derive(RemoteExecute)]
#[remote(verzion = 2)]
union Bits {
    a: u32,
    b: f32,
}

fn main() {}
