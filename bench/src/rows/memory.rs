//! Peak memory of leader and workers together, as the number of elements grows.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use phalanx::prelude::{IndexedStream, Runtime};
use tokio::process::Command;

use crate::{
    measure::{Effort, median},
    ours::{self, Double, Sum},
    table::{Line, Target},
};

const FEW: u64 = 100_000;
const MANY: u64 = 10_000_000;

/// The most bytes of encoded elements and results that a job holds. Few elements do not fill this
/// buffer, so its size is added to their side.
const CREDIT: f64 = 32.0 * 1.024 * 1.024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    Count,
    Fold,
    Stream,
}

/// Each figure comes from a separate process, because an allocator keeps memory between runs.
pub(crate) async fn row(effort: Effort, program: Program) -> Result<Line> {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        few.push(peak_of_process(program, FEW).await?);
        many.push(peak_of_process(program, effort.elements(MANY).max(FEW)).await?);
    }
    let (few, many) = (median(few), median(many));
    let what = match program {
        Program::Count => "count of a mapped stream",
        Program::Fold => "fold of a mapped stream",
        Program::Stream => "mapped stream that is read",
    };
    Ok(Line {
        what: format!("peak memory, {what}: 10^7 elements, 10^5"),
        ours: format!("{many:.1} MB"),
        peer: format!("{few:.1} MB + {CREDIT:.1} MB"),
        ratio: many / (few + CREDIT),
        target: Target::AtMost(1.2),
    })
}

/// Runs the program; returns the largest resident size of this process in MB.
pub(crate) async fn peak(program: Program, elements: u64) -> Result<f64> {
    let runtime = Runtime::connect("memory://").await?;
    let doubled = IndexedStream::from(0..elements).map(Double);
    match program {
        Program::Count => {
            ensure!(doubled.count().run(&runtime).await? == elements, "the count is wrong");
        }
        Program::Fold => {
            let sum = doubled.fold(Sum).run(&runtime).await?;
            ensure!(sum == elements * (elements - 1), "the sum is wrong");
        }
        Program::Stream => ours::map(&runtime, elements).await?,
    }
    runtime.close().await;
    let status = std::fs::read_to_string("/proc/self/status").context("only Linux tells")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.context("no VmHWM")?.trim().trim_end_matches(" kB");
    let kibibytes: f64 = peak.parse()?;
    Ok(kibibytes * 1.024 / 1000.0)
}

async fn peak_of_process(program: Program, elements: u64) -> Result<f64> {
    let value = program.to_possible_value().context("programs have names")?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--peak", value.get_name(), &elements.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "the process of the row ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
