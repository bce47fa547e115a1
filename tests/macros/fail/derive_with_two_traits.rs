use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Add;

impl Operation for Add {
    type Input = (u64, u64);
    type Output = u64;
    fn execute(&self, (a, b): (u64, u64), _: &TaskContext) -> Result<u64> {
        Ok(a + b)
    }
}

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
