//! Peak memory of leader and workers together, as the number of elements grows.

use anyhow::Result;

use crate::{
    alone::Program,
    measure::{Effort, median},
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
