use phalanx::prelude::*;

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Prefix {
    text: String,
}

impl Operation for Prefix {
    type Input = String;
    type Output = String;
    fn execute(&self, input: String, _: &TaskContext) -> Result<String> {
        Ok(format!("{}{input}", self.text))
    }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(version = 2)]
enum Rounding {
    Up,
    Down,
}

impl Operation for Rounding {
    type Input = f64;
    type Output = f64;
    fn execute(&self, input: f64, _: &TaskContext) -> Result<f64> {
        Ok(match self {
            Self::Up => input.ceil(),
            Self::Down => input.floor(),
        })
    }
}

fn main() {}
