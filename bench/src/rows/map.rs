//! `map` of a trivial operation, compared with Paladin. Phalanx chooses its own batches.

use anyhow::Result;
use phalanx::prelude::Runtime;

use crate::{
    measure::Effort,
    ours::{self, Fleet},
    peers::paladin::Paladin,
    table::{Line, Target, per_second},
};

const ELEMENTS: u64 = 10_000_000;

pub(crate) async fn in_memory(effort: Effort) -> Result<Line> {
    let runtime = Runtime::connect("memory://").await?;
    let paladin = Paladin::in_memory().await?;
    let (ours, peer) = effort
        .side_by_side(
            (ELEMENTS, async |elements| ours::map(&runtime, elements).await),
            (100_000, async |elements| paladin.map(elements).await),
        )
        .await?;
    runtime.close().await;
    paladin.end().await?;
    Ok(line("map of a trivial operation in memory, vs Paladin", (ours, peer), 200.0))
}

pub(crate) async fn over_rabbitmq(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::start(&url).await?;
    let paladin = Paladin::over_rabbitmq(&url).await?;
    let (ours, peer) = effort
        .side_by_side(
            (ELEMENTS, async |elements| ours::map(&fleet.runtime, elements).await),
            (4_000, async |elements| paladin.map(elements).await),
        )
        .await?;
    fleet.end().await?;
    paladin.end().await?;
    Ok(line("the same over RabbitMQ, vs Paladin", (ours, peer), 1_000.0))
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
