//! Grouping more than a leader holds: what goes through RabbitMQ, compared with plain lapin.

use anyhow::Result;

use crate::{
    measure::Effort,
    ours::{self, Fleet, ROW_BYTES, SCATTERED},
    peers::blocks::{Blocks, Shape},
    table::{Line, Target},
};

/// 2 GB.
const ROWS: u64 = 500_000;
/// As many bytes as the blocks of a task that writes 16 MiB into 64 queues.
const LARGE: Shape = Shape { block: 256 << 10, queues: 64, window: 32 };
/// The tasks that write small blocks.
const TASKS: u64 = 200;
const SMALL: Shape = Shape { block: 50, queues: SCATTERED as usize, window: 512 };

pub(crate) async fn row(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::start(&url).await?;
    let lapin = Blocks::start(&url, LARGE).await?;
    let (ours, peer) = effort
        .side_by_side(
            (ROWS, async |rows| ours::group(&fleet.runtime, rows).await),
            (ROWS, async |rows| {
                lapin.write_and_read((rows * ROW_BYTES).div_ceil(LARGE.block as u64)).await
            }),
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

pub(crate) async fn small_blocks(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::without_block_memory(&url).await?;
    let lapin = Blocks::start(&url, SMALL).await?;
    let (ours, peer) = effort
        .side_by_side(
            (TASKS, async |tasks| ours::scatter(&fleet.runtime, tasks).await),
            (TASKS, async |tasks| lapin.write_and_read(tasks * u64::from(SCATTERED)).await),
        )
        .await?;
    fleet.end().await?;
    lapin.end().await?;
    let blocks = |tasks: f64| format!("{:.0}/s", tasks * f64::from(SCATTERED));
    Ok(Line {
        what: "small blocks: 200 tasks, 1,000 partitions, vs blocks with lapin alone".to_owned(),
        ours: blocks(ours),
        peer: blocks(peer),
        ratio: ours / peer,
        target: Target::AtLeast(0.5),
    })
}
