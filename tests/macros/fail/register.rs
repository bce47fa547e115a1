use phalanx::{prelude::*, register};

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Scale<T>(T);

impl Operation for Scale<f64> {
    type Input = f64;
    type Output = f64;
    fn execute(&self, input: f64, _: &TaskContext) -> Result<f64> {
        Ok(self.0 * input)
    }
}

register!(Scale<u32>);

struct Plain;
register!(Plain);

fn main() {}
