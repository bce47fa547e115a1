use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(name = "two words", version = "1", pool = "GPU", timeout = "30", retries = -1)]
#[remote(fingerprint = "none", crate = 7, color = "red", pool)]
struct Price;

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote]
#[remote(version = 1, version = 2, type = "Cost")]
struct Cost;

#[operation(type = "not a name", timeout = "0s", backoff = "5m..1s", colour = 1)]
fn price(n: u64) -> u64 {
    n
}

fn main() {}
