//! Renoir: a data-flow engine for one machine or several.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use renoir::prelude::{RuntimeConfig, StreamContext};

use crate::{ours::words, text::Text};

/// Counts the words of a text; returns the number of different words and of all.
pub(crate) fn count_text(text: &Arc<Text>) -> Result<(u64, u64)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let context = StreamContext::new(RuntimeConfig::local(cores)?);
    let text = Arc::clone(text);
    let lines = move |part: u64, parts: u64| {
        let all = text.lines() as u64;
        let range = all * part / parts..all * (part + 1) / parts;
        range.map(move |number| text.line(number as usize).to_owned())
    };
    let counts = context
        .stream_par_iter(lines)
        .flat_map(|line| words(&line).map(str::to_owned).collect::<Vec<_>>())
        .group_by_count(|word: &String| word.clone())
        .collect_vec();
    context.execute_blocking();
    let counts = counts.get().context("no result")?;
    Ok((counts.len() as u64, counts.iter().map(|(_, count)| *count as u64).sum()))
}
