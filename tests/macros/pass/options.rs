use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(name = "billing.price", version = 1, pool = "gpu", timeout = "30s", retries = 0)]
#[remote(fingerprint = "version", crate = "::phalanx")]
struct Price;

impl Operation for Price {
    type Input = u64;
    type Output = u64;
    fn execute(&self, input: u64, _: &TaskContext) -> Result<u64> {
        Ok(input)
    }
}

#[operation(type = "Cost", timeout = "500ms", crate = phalanx, fingerprint = "structure",)]
fn price(n: u64) -> u64 {
    n
}

fn main() {
    let _ = (Price, Cost);
}
