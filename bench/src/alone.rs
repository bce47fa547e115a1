//! Programs that run in a process of their own, because an allocator keeps memory between runs.

use std::{process::Stdio, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use phalanx::prelude::{IndexedStream, Runtime};
use tokio::process::Command;

use crate::{
    ours::{self, Double, Fleet, Sum},
    peers::{by_hand, renoir},
    text::Text,
};

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// Counts doubled integers
    Count,
    /// Adds doubled integers up
    Fold,
    /// Reads doubled integers
    Stream,
    /// Counts the words of a text of so many bytes, which are borrowed
    Words,
    /// The same with words that are strings
    OwnedWords,
    /// The same with threads and hash maps
    WordsByHand,
    /// The same with Renoir
    WordsRenoir,
    /// The same over the RabbitMQ that the environment names, with two workers
    WordsOverRabbitmq,
    /// Leads an exchange that so many tasks feed, on the RabbitMQ that the environment names
    Lead,
}

/// The environment variable with the URL of the broker of programs over RabbitMQ.
pub(crate) const BROKER_URL: &str = "PHALANX_BENCH_PROGRAM_URL";

/// What a program has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    /// The time of all processors.
    pub(crate) cpu_seconds: f64,
    /// The largest resident size of the process, without its input, in MB.
    pub(crate) peak: f64,
}

impl Program {
    /// Runs the program in this process, for so many elements or bytes.
    pub(crate) async fn run(self, amount: u64) -> Result<Taken> {
        if let Self::Count | Self::Fold | Self::Stream = self {
            let begin = Begin::now(0)?;
            self.double(amount).await?;
            return begin.taken();
        }
        if self == Self::Lead {
            let url = std::env::var(BROKER_URL).context(BROKER_URL)?;
            let begin = Begin::now(0)?;
            let runtime = ours::lead(&url, ours::without_block_memory()).await?;
            ours::feed(&runtime, amount).await?;
            runtime.close().await;
            return begin.taken();
        }
        let text = Arc::new(Text::of(amount));
        let begin = Begin::now(text.size())?;
        let (different, words) = match self {
            Self::WordsByHand => by_hand::count_text(&text)?,
            Self::WordsRenoir => {
                let text = Arc::clone(&text);
                tokio::task::spawn_blocking(move || renoir::count_text(&text)).await??
            }
            Self::WordsOverRabbitmq => {
                let url = std::env::var(BROKER_URL).context(BROKER_URL)?;
                let fleet = Fleet::with_two_workers(&url).await?;
                let counted = ours::count_text(&fleet.runtime, &text, true).await?;
                fleet.end().await?;
                counted
            }
            _ => {
                let runtime = Runtime::connect("memory://").await?;
                let counted = ours::count_text(&runtime, &text, self == Self::Words).await?;
                runtime.close().await;
                counted
            }
        };
        ensure!(words == text.words() && different > 0, "{words} words, {different} different");
        begin.taken()
    }

    /// Runs the program in a new process.
    pub(crate) async fn run_alone(self, amount: u64) -> Result<Taken> {
        self.run_alone_with(amount, &[]).await
    }

    /// The same, with these environment variables.
    pub(crate) async fn run_alone_with(
        self,
        amount: u64,
        variables: &[(&str, &str)],
    ) -> Result<Taken> {
        let value = self.to_possible_value().context("programs have names")?;
        let output = Command::new(std::env::current_exe()?)
            .args(["--alone", value.get_name(), &amount.to_string()])
            .envs(variables.iter().copied())
            .stderr(Stdio::inherit())
            .output()
            .await?;
        ensure!(output.status.success(), "the process of the row ended with {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> =
            text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [seconds, cpu_seconds, peak] = numbers[..] else { anyhow::bail!("not three: {text}") };
        Ok(Taken { seconds, cpu_seconds, peak })
    }

    async fn double(self, elements: u64) -> Result<()> {
        let runtime = Runtime::connect("memory://").await?;
        let doubled = IndexedStream::from(0..elements).map(Double);
        match self {
            Self::Count => {
                ensure!(doubled.count().run(&runtime).await? == elements, "the count is wrong");
            }
            Self::Fold => {
                let sum = doubled.fold(Sum).run(&runtime).await?;
                ensure!(sum == elements * (elements - 1), "the sum is wrong");
            }
            _ => ours::map(&runtime, elements).await?,
        }
        runtime.close().await;
        Ok(())
    }
}

/// When a program began.
struct Begin {
    at: Instant,
    cpu_seconds: f64,
    /// The size of the input, in bytes.
    input: usize,
}

impl Begin {
    fn now(input: usize) -> Result<Self> {
        Ok(Self { at: Instant::now(), cpu_seconds: cpu_seconds()?, input })
    }

    fn taken(self) -> Result<Taken> {
        Ok(Taken {
            seconds: self.at.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds()? - self.cpu_seconds,
            peak: peak()? - self.input as f64 / 1e6,
        })
    }
}

/// The time of all processors that this process has used.
fn cpu_seconds() -> Result<f64> {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").context("only Linux tells")?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let field = |at: usize| fields.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = field(11).zip(field(12)).context("no times")?;
    Ok((user + system) / TICKS)
}

/// The largest resident size of this process, in MB.
fn peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("only Linux tells")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.context("no VmHWM")?.trim().trim_end_matches(" kB");
    let kibibytes: f64 = peak.parse()?;
    Ok(kibibytes * 1.024 / 1000.0)
}
