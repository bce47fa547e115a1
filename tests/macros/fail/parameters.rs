use phalanx::prelude::*;

#[derive(Serialize, Deserialize)]
struct Row(u64);

#[operation]
fn row(r: Row) -> u64 {
    r.0
}

#[operation]
fn string(text: &str) -> Result<Vec<String>> {
    Ok(vec![text.to_owned()])
}

#[operation]
fn show(value: &dyn std::fmt::Display) -> String {
    value.to_string()
}

#[operation]
fn extensions(paths: Vec<&std::path::Path>) -> usize {
    paths.len()
}

#[operation]
fn infer(#[state] model: Vec<u8>, n: usize) -> u8 {
    model[n]
}

fn main() {}
