//! Tasks of one element: the cost of a message, compared with plain lapin.

use anyhow::Result;

use crate::{
    measure::Effort,
    ours::{self, Fleet},
    peers::lapin::Loop,
    table::{Line, Target, per_second},
};

const ELEMENTS: u64 = 20_000;

pub(crate) async fn row(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::start(&url).await?;
    let mut lapin = Loop::start(&url).await?;
    let (ours, peer) = effort
        .side_by_side(
            (ELEMENTS, async |elements| ours::map_one_by_one(&fleet.runtime, elements).await),
            (ELEMENTS, async |elements| lapin.map(elements).await),
        )
        .await?;
    fleet.end().await?;
    lapin.end().await?;
    Ok(Line {
        what: "one-element tasks, quorum queue, vs a loop of lapin alone".to_owned(),
        ours: per_second(ours),
        peer: per_second(peer),
        ratio: ours / peer,
        target: Target::AtLeast(0.7),
    })
}
