//! Grouping more than a leader holds: what goes through RabbitMQ, compared with plain lapin.

use anyhow::Result;

use crate::{
    measure::Effort,
    ours::{self, Fleet, ROW_BYTES},
    peers::blocks::Blocks,
    table::{Line, Target},
};

/// 2 GB.
const ROWS: u64 = 500_000;

pub(crate) async fn row(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::start(&url).await?;
    let lapin = Blocks::start(&url).await?;
    let (ours, peer) = effort
        .side_by_side(
            (ROWS, async |rows| ours::group(&fleet.runtime, rows).await),
            (ROWS, async |rows| lapin.write_and_read(rows * ROW_BYTES).await),
        )
        .await?;
    fleet.end().await?;
    lapin.end().await?;
    let megabytes = |rows: f64| format!("{:.0} MB/s", rows * ROW_BYTES as f64 / 1e6);
    Ok(Line {
        what: "`group_by_key` of 2 GB over RabbitMQ, vs blocks with lapin alone".to_owned(),
        ours: megabytes(ours),
        peer: megabytes(peer),
        ratio: ours / peer,
        target: Target::AtLeast(0.8),
    })
}
