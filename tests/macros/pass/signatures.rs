use std::{borrow::Cow, collections::HashSet};

use phalanx::prelude::*;

#[derive(Serialize, Deserialize)]
struct NotClone(u64);

#[operation]
fn lengths(names: Option<String>, all: &[String], fixed: &str, #[state] a: (u8, u8)) -> usize {
    names.map_or(0, |name| name.len()) + all.len() + fixed.len() + usize::from(a.0)
}

#[operation]
fn with_context(_: u64, cx: &TaskContext) -> u64 {
    cx.index()
}

#[operation]
fn parts(names: HashSet<String>, pair: (&str, Option<&u64>)) -> usize {
    names.len() + pair.0.len() + pair.1.map_or(0, |n| *n as usize)
}

#[operation]
fn items(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.split(' ').map(|word| (word, Cow::Borrowed(word).into_owned()))
}

#[operation]
fn words<'a>(line: &'a str, #[state] separator: char) -> Result<impl Iterator<Item = &'a str> + 'a> {
    Ok(line.split(separator))
}

#[operation]
fn boxed(all: &[u8]) -> Box<dyn Iterator<Item = &u8> + '_> {
    Box::new(all.iter())
}

#[operation]
fn joined((key, (value, other)): (&str, (&NotClone, u64))) -> u64 {
    key.len() as u64 + value.0 + other
}

#[operation]
fn outer((key, (values, other)): (&str, (&[NotClone], Option<&NotClone>))) -> usize {
    key.len() + values.len() + usize::from(other.is_some())
}

#[operation]
async fn later((key, value): (&str, &NotClone)) -> u64 {
    key.len() as u64 + value.0
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
    let _ = (Lengths { a: (1, 2) }, WithContext, Parts, Items, Owned, NoClash);
    let _ = (Words { separator: ' ' }, Boxed, Joined, Outer, Later);
}
