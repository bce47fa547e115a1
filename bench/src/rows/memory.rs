//! Peak memory of leader and workers together, as the number of elements grows, and of a leader, as
//! the number of tasks grows that feed an exchange.

use anyhow::Result;

use crate::{
    alone::{BROKER_URL, Program},
    measure::{Effort, median},
    ours::{FED, Fleet},
    table::{Line, Target},
};

pub(crate) const PROGRAMS: [Program; 3] = [Program::Count, Program::Fold, Program::Stream];

const FEW: u64 = 100_000;
const MANY: u64 = 10_000_000;

/// The most bytes of encoded elements and results that a job holds. Few elements do not fill this
/// buffer, so its size is added to their side.
const CREDIT: f64 = 32.0 * 1.024 * 1.024;

pub(crate) async fn row(effort: Effort, program: Program) -> Result<Line> {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        few.push(program.run_alone(FEW).await?.peak);
        many.push(program.run_alone(effort.elements(MANY).max(FEW)).await?.peak);
    }
    let (few, many) = (median(few), median(many));
    let what = match program {
        Program::Count => "count of a mapped stream",
        Program::Fold => "fold of a mapped stream",
        _ => "mapped stream that is read",
    };
    Ok(Line {
        what: format!("peak memory, {what}: 10^7 elements, 10^5"),
        ours: format!("{many:.1} MB"),
        peer: format!("{few:.1} MB + {CREDIT:.1} MB"),
        ratio: many / (few + CREDIT),
        target: Target::AtMost(1.2),
    })
}

/// The tasks that feed an exchange.
const FEW_FEEDERS: u64 = 10;
const MANY_FEEDERS: u64 = 10_000;
/// What a leader keeps of the blocks of a task in one partition, in bytes.
const ENTRY: f64 = 16.0;

pub(crate) async fn leader(effort: Effort, url: String) -> Result<Line> {
    let fleet = Fleet::start(&url).await?;
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        let variables = [(BROKER_URL, url.as_str())];
        few.push(Program::Lead.run_alone_with(FEW_FEEDERS, &variables).await?.peak);
        let feeders = effort.elements(MANY_FEEDERS).max(FEW_FEEDERS);
        many.push(Program::Lead.run_alone_with(feeders, &variables).await?.peak);
    }
    fleet.end().await?;
    let (few, many) = (median(few), median(many));
    let entries = effort.elements(MANY_FEEDERS) as f64 * f64::from(FED) * ENTRY / 1e6;
    Ok(Line {
        what: "peak memory, leader of an exchange: 10,000 feeding tasks, 10".to_owned(),
        ours: format!("{many:.1} MB"),
        peer: format!("{few:.1} MB + {entries:.1} MB"),
        ratio: many / (few + entries),
        target: Target::AtMost(1.2),
    })
}
