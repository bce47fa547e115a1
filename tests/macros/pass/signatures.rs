use phalanx::prelude::*;

#[operation]
fn lengths(names: Option<String>, all: &[String], fixed: &str, #[state] a: (u8, u8)) -> usize {
    names.map_or(0, |name| name.len()) + all.len() + fixed.len() + usize::from(a.0)
}

#[operation]
fn with_context(_: u64, cx: &TaskContext) -> u64 {
    cx.index()
}

#[operation]
fn items(text: &str) -> impl Iterator<Item = String> {
    text.split(' ').map(str::to_owned)
}

#[operation]
fn owned(text: &str) -> Result<Vec<String>, OperationError> {
    Ok(vec![text.to_owned()])
}

#[operation(type = "NoClash")]
#[allow(non_snake_case)]
fn Clash(n: u64) -> u64 {
    n
}

fn main() {
    let _ = (Lengths { a: (1, 2) }, WithContext, Items, Owned, NoClash);
}
