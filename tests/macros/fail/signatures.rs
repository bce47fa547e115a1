use std::{borrow::Cow, collections::HashSet};

use phalanx::prelude::*;

#[operation]
fn generic<T, const N: usize>(values: [T; N]) -> usize {
    N
}

#[operation]
unsafe fn dangerous(
    cx: TaskContext,
    other: &TaskContext,
    counter: &mut u64,
    names: HashSet<&str>,
    pair: (&str, Option<&mut u64>),
    all: &[&str],
    fixed: &'static str,
    #[state] (a, b): (u8, u8),
    #[state(x)] c: u8,
    late: impl Into<u64>,
) -> &str {
    ""
}

#[operation]
fn opaque(n: u64) -> impl Fn() -> u64 {
    move || n
}

#[operation]
fn items(text: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    text.split(' ').map(|word| (word, Cow::Borrowed(word)))
}

#[operation]
fn borrowed(text: &str) -> Result<Vec<&str>, OperationError> {
    Ok(vec![text])
}

struct Counter;

impl Counter {
    #[operation]
    fn method(&self, n: u64) -> u64 {
        n
    }
}

#[operation]
#[allow(non_snake_case)]
fn Clash(n: u64) -> u64 {
    n
}

#[operation]
struct NoFunction;

fn main() {}
