use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Price;

fn main() {}
