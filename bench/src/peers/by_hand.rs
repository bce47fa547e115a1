//! Programs written by hand for one machine: threads, and fast hash maps.

use std::{ops::Range, thread};

use anyhow::{Result, ensure};
use hashbrown::HashMap;

use crate::{
    ours::{Lines, key_of, words},
    text::Text,
};

/// Splits `0..count` into one range for each core, runs them at the same time, and returns what
/// they return.
fn on_all_cores<R: Send>(count: u64, run: impl Fn(Range<u64>) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    let part = |core: u64| count * core / cores..count * (core + 1) / cores;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                scope.spawn({
                    let run = &run;
                    move || run(part(core))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect()
    })
}

/// Counts the words of `count` lines; returns the number of different words and of all.
pub(crate) fn count_words(lines: &Lines, count: u64) -> Result<(u64, u64)> {
    count_each(count, |line| lines.get(line))
}

/// Counts the words of a text; returns the number of different words and of all.
pub(crate) fn count_text(text: &Text) -> Result<(u64, u64)> {
    count_each(text.lines() as u64, |line| text.line(line as usize))
}

fn count_each<'l>(count: u64, line: impl Fn(u64) -> &'l str + Sync) -> Result<(u64, u64)> {
    let maps = on_all_cores(count, |range| {
        let mut counts = HashMap::<String, u64>::new();
        for number in range {
            for word in words(line(number)) {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(word.to_owned(), 1);
                    }
                }
            }
        }
        counts
    });
    let mut all = HashMap::<String, u64>::new();
    for counts in maps {
        counts.into_iter().for_each(|(word, count)| *all.entry(word).or_default() += count);
    }
    Ok((all.len() as u64, all.values().sum()))
}

/// Joins pairs of `count` numbers on both sides; returns the number of rows.
pub(crate) fn join(count: u64, keys: u64) -> Result<u64> {
    let mut left = HashMap::<u64, Vec<u64>>::new();
    (0..count).for_each(|n| left.entry(key_of(n, keys)).or_default().push(n));
    let rows = on_all_cores(count, |range| {
        let mut rows = Vec::new();
        for n in range {
            let key = key_of(n.wrapping_add(count), keys);
            if let Some(values) = left.get(&key) {
                rows.extend(values.iter().map(|value| (key, (*value, n))));
            }
        }
        rows
    });
    let rows: u64 = rows.iter().map(|rows| rows.len() as u64).sum();
    ensure!(rows > 0, "no rows");
    Ok(rows)
}
