//! Directives by key, compared with programs by hand for one machine, and with a plain `map`.

use anyhow::{Result, ensure};
use phalanx::prelude::Runtime;

use crate::{
    measure::Effort,
    ours::{self, Fleet, Lines},
    peers::by_hand,
    table::{Line, Target, per_second},
};

/// Lines of ten words each.
const LINES: u64 = 300_000;
/// The elements of each side of a join, and their keys.
const JOINED: u64 = 1_000_000;
const KEYS: u64 = 200_000;
/// Rounds of ten elements.
const ROUNDS: u64 = 50;

pub(crate) async fn word_count(effort: Effort) -> Result<Line> {
    let runtime = Runtime::connect("memory://").await?;
    let lines = Lines::new();
    let (ours, peer) = effort
        .side_by_side(
            (LINES, async |count| {
                let (different, words) = ours::count_words(&runtime, &lines, count).await?;
                ensure!(words == 10 * count && different <= 5_000, "{words} words, {different}");
                Ok(())
            }),
            (LINES, async |count| {
                let (_, words) = by_hand::count_words(&lines, count)?;
                ensure!(words == 10 * count, "{words} words");
                Ok(())
            }),
        )
        .await?;
    runtime.close().await;
    Ok(line("count of words in memory (lines/s), vs hash maps by hand", (ours, peer), 0.3))
}

pub(crate) async fn join(effort: Effort) -> Result<Line> {
    let runtime = Runtime::connect("memory://").await?;
    let (ours, peer) = effort
        .side_by_side(
            (JOINED, async |count| {
                ensure!(ours::join(&runtime, count, KEYS).await? > 0, "no rows");
                Ok(())
            }),
            (JOINED, async |count| {
                ensure!(by_hand::join(count, KEYS)? > 0, "no rows");
                Ok(())
            }),
        )
        .await?;
    runtime.close().await;
    Ok(line("join of 10^6 pairs with 10^6 in memory, vs a hash map by hand", (ours, peer), 0.5))
}

pub(crate) async fn round_trip(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::start(&url).await?;
    let (ours, peer) = effort
        .side_by_side(
            (ROUNDS, async |rounds| {
                for _ in 0..rounds {
                    ours::reduce_ten(&fleet.runtime).await?;
                }
                Ok(())
            }),
            (ROUNDS, async |rounds| {
                for _ in 0..rounds {
                    ours::map_ten(&fleet.runtime).await?;
                }
                Ok(())
            }),
        )
        .await?;
    fleet.end().await?;
    let what = "reduce_by_key of ten elements over RabbitMQ, vs a map of them";
    Ok(line(what, (ours, peer), 0.33))
}

fn line(what: &str, (ours, peer): (f64, f64), target: f64) -> Line {
    Line {
        what: what.to_owned(),
        ours: per_second(ours),
        peer: per_second(peer),
        ratio: ours / peer,
        target: Target::AtLeast(target),
    }
}
