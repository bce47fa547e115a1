use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Add;

impl Monoid for Add {
    type Elem = u64;
    fn empty(&self) -> u64 {
        0
    }
    fn combine(&self, a: u64, b: u64, _: &TaskContext) -> Result<u64> {
        Ok(a + b)
    }
}

fn main() {}
