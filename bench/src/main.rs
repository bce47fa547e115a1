//! Benchmarks of Phalanx compared with its peers, on one machine in one run. The README explains
//! the figures.

mod alone;
mod broker;
mod measure;
mod ours;
mod peers;
mod rows;
mod table;
mod text;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use alone::{Program, Taken};
use broker::RabbitMq;
use measure::Effort;
use rows::build_time::Profile;
use table::Table;

/// Phalanx compared with its peers, on one machine in one run.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure [default: all]
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// Number of runs of each side; the median is printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Divide the usual amount of work by this number, for a first impression
    #[arg(long, default_value_t = 1, value_name = "PARTS")]
    quick: u64,
    /// Run one program in this process, and print its seconds, those of all processors, and its
    /// peak memory in MB; started by some of the rows
    #[arg(long, num_args = 2, value_names = ["PROGRAM", "AMOUNT"], hide = true)]
    alone: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// `map` in memory, vs Paladin
    MapInMemory,
    /// `map` over RabbitMQ, vs Paladin
    MapOverRabbitmq,
    /// Tasks of one element over RabbitMQ, vs plain lapin
    OneElementTasks,
    /// Counting words in memory, vs threads and hash maps by hand
    WordCount,
    /// Counting the words of 404 MB in memory, vs threads and hash maps by hand, and Renoir
    LargeWordCount,
    /// Counting the words of 404 MB over RabbitMQ with two workers, vs Renoir in memory
    LargeWordCountOverRabbitmq,
    /// A join in memory, vs a hash map by hand
    Join,
    /// `reduce_by_key` of ten elements over RabbitMQ, vs a `map` of them
    ReduceByKey,
    /// Grouping 2 GB over RabbitMQ, vs blocks with plain lapin
    Shuffle,
    /// Many small blocks over RabbitMQ, vs the same with plain lapin
    SmallBlocks,
    /// Peak memory with 10^7 elements, vs 10^5
    Memory,
    /// Peak memory of a leader over RabbitMQ, with 10,000 tasks that feed an exchange, vs 10
    LeaderMemory,
    /// Building 200 operations, vs the same plain functions
    BuildTime,
}

impl Row {
    fn needs_rabbitmq(self) -> bool {
        matches!(
            self,
            Self::MapOverRabbitmq
                | Self::OneElementTasks
                | Self::ReduceByKey
                | Self::Shuffle
                | Self::SmallBlocks
                | Self::LeaderMemory
                | Self::LargeWordCountOverRabbitmq
        )
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(alone) = &arguments.alone {
        let [program, amount] = &alone[..] else { bail!("--alone takes two values") };
        let Ok(program) = Program::from_str(program, true) else {
            bail!("unknown program {program}")
        };
        let Taken { seconds, cpu_seconds, peak } = program.run(amount.parse()?).await?;
        println!("{seconds} {cpu_seconds} {peak}");
        return Ok(ExitCode::SUCCESS);
    }
    measure(&arguments).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let asked = &arguments.rows[..];
    let rows = if asked.is_empty() { Row::value_variants() } else { asked };
    let effort = Effort { runs: arguments.runs.max(1), parts: arguments.quick.max(1) };
    let rabbitmq = match rows.iter().any(|row| row.needs_rabbitmq()) {
        true => Some(RabbitMq::find().await?),
        false => None,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores; median of {} runs; both sides take turns", effort.runs);
    if let Some(rabbitmq) = &rabbitmq {
        println!("{}", rabbitmq.description());
    }
    let mut table = Table::begin();
    for row in rows {
        match (row, &rabbitmq) {
            (Row::MapInMemory, _) => table.add(rows::map::in_memory(effort).await?),
            (Row::MapOverRabbitmq, Some(rabbitmq)) => {
                table.add(rows::map::over_rabbitmq(effort, rabbitmq.url()).await?);
            }
            (Row::OneElementTasks, Some(rabbitmq)) => {
                table.add(rows::one_element::row(effort, rabbitmq.url()).await?);
            }
            (Row::ReduceByKey, Some(rabbitmq)) => {
                table.add(rows::keyed::round_trip(effort, rabbitmq.url()).await?);
            }
            (Row::Shuffle, Some(rabbitmq)) => {
                table.add(rows::shuffle::row(effort, rabbitmq.url()).await?);
            }
            (Row::SmallBlocks, Some(rabbitmq)) => {
                table.add(rows::shuffle::small_blocks(effort, rabbitmq.url()).await?);
            }
            (Row::LeaderMemory, Some(rabbitmq)) => {
                table.add(rows::memory::leader(effort, rabbitmq.url()).await?);
            }
            (Row::WordCount, _) => table.add(rows::keyed::word_count(effort).await?),
            (Row::LargeWordCount, _) => {
                for line in rows::large_word_count::rows(effort).await? {
                    table.add(line);
                }
            }
            (Row::LargeWordCountOverRabbitmq, Some(rabbitmq)) => {
                table.add(rows::large_word_count::over_rabbitmq(effort, rabbitmq.url()).await?);
            }
            (Row::Join, _) => table.add(rows::keyed::join(effort).await?),
            (Row::BuildTime, _) => {
                for profile in [Profile::Debug, Profile::Release] {
                    table.add(rows::build_time::row(effort, profile).await?);
                }
            }
            (Row::Memory, _) => {
                for program in rows::memory::PROGRAMS {
                    table.add(rows::memory::row(effort, program).await?);
                }
            }
            (_, None) => bail!("no RabbitMQ"),
        }
    }
    Ok(())
}
