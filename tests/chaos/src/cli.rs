//! The roles of this program: who breaks fleets, who leads them, who works.

use std::{env, process::ExitCode, time::Duration};

use clap::{Args, Parser, ValueEnum as _};

use crate::{Bounds, FaultKind, Place, Report, Run, Schedule, fleet::HELD, lead::Lead};

#[derive(Debug, Parser)]
#[command(name = "chaos")]
enum Role {
    Run(Break),
    #[command(hide = true)]
    Lead(Lead),
}

/// Runs jobs on a fleet that a seed breaks, and compares their answers.
#[derive(Debug, Args)]
struct Break {
    /// Decides jobs, faults and their times. Default: any.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults are injected.
    #[arg(long, default_value = "1")]
    minutes: f64,
    /// Only these faults. Default: all that the broker can suffer, but of a soak: each deleted queue
    /// would cost it two minutes.
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    faults: Vec<FaultKind>,
    /// How many workers die at a point of the protocol.
    #[arg(long, default_value = "40")]
    deaths: usize,
    /// How many workers there are.
    #[arg(long, default_value = "3")]
    workers: usize,
    /// How many jobs run at once.
    #[arg(long, default_value = "4")]
    jobs: usize,
    /// The heartbeat of all connections, in seconds.
    #[arg(long, default_value = "2")]
    heartbeat: u64,
    /// On a cluster of three nodes in containers, of which one at a time is lost, frozen or cut off.
    #[arg(long)]
    cluster: bool,
    /// Ends after a million tasks of one element each, with faults all the time.
    #[arg(long)]
    soak: bool,
    /// How many tasks a soak has.
    #[arg(long, default_value = "1000000", requires = "soak")]
    tasks: u64,
}

/// Does what the command line says.
pub async fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("run" | "lead" | "help" | "--help") | None => match Role::parse() {
            Role::Run(run) => run.run().await,
            Role::Lead(lead) => lead.run().await,
        },
        role => {
            if role == Some("worker") && env::var_os(HELD).is_some() {
                end_with_input();
            }
            phalanx::worker::main().await
        }
    }
}

/// Ends this process when the one that started it is gone: the kernel then closes the pipe.
fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
        std::process::exit(0);
    });
}

impl Break {
    async fn run(self) -> ExitCode {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        let mut kinds = self.faults;
        if kinds.is_empty() {
            kinds = FaultKind::value_variants().to_vec();
            kinds.retain(|kind| !self.soak || *kind != FaultKind::DeleteQueue);
            kinds.retain(|kind| match self.cluster {
                true => !kind.is_of_the_broker(),
                false => !kind.is_of_a_cluster(),
            });
        }
        let bounds = Bounds {
            length: Duration::from_secs_f64(60.0 * self.minutes),
            kinds,
            pause: Duration::from_secs(4),
            deaths: self.deaths,
            workers: self.workers,
            beat: Duration::from_secs(self.heartbeat),
        };
        let schedule = Schedule::new(seed, &bounds);
        let program = match env::current_exe() {
            Ok(program) => program,
            Err(error) => {
                println!("this program cannot be found: {error}");
                return ExitCode::FAILURE;
            }
        };
        let run = Run {
            schedule: schedule.clone(),
            place: if self.cluster { Place::Cluster } else { Place::Own },
            workers: self.workers,
            jobs: self.jobs,
            heartbeat: self.heartbeat,
            tasks: self.soak.then_some(self.tasks),
            program,
        };
        let report = run.go(Report::aloud()).await;
        println!("{report}");
        if report.problems().is_empty() {
            return ExitCode::SUCCESS;
        }
        println!(
            "to repeat it: cargo xtask chaos --seed {seed}, with the same arguments\n{schedule}"
        );
        ExitCode::FAILURE
    }
}
