use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Price;

impl Operation for Price {
    type Input = u64;
    type Output = u64;
    fn execute(&self, input: u64, _: &TaskContext) -> Result<u64> {
        Ok(input)
    }
}

fn main() {}
