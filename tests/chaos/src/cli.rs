//! The command line: `run` starts a fleet and injects faults; this program is also the fleet's
//! leader and workers.

use std::{env, process::ExitCode, time::Duration};

use clap::{Args, Parser, ValueEnum as _};

use crate::{
    Bounds, FaultKind, Report, Run, Schedule, TestBroker, fleet::ENDS_WITH_STDIN, lead::Lead,
};

#[derive(Debug, Parser)]
#[command(name = "chaos")]
enum ChaosCommand {
    Run(RunArguments),
    #[command(hide = true)]
    Lead(Lead),
}

/// Run jobs on a fleet under faults that a seed determines, and check their results
#[derive(Debug, Args)]
struct RunArguments {
    /// Seed of jobs, faults and their times [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults are injected, in minutes
    #[arg(long, default_value = "1")]
    minutes: f64,
    /// Kinds of faults, separated by commas [default: all that apply to the broker; a soak leaves
    /// out delete-queue, which costs two minutes each time]
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    faults: Vec<FaultKind>,
    /// Number of times that a process is killed, suspended or cut off at a point of the protocol
    #[arg(long, default_value = "40")]
    incidents: usize,
    /// Number of workers at a time
    #[arg(long, default_value = "3")]
    workers: usize,
    /// Number of jobs at a time
    #[arg(long, default_value = "4")]
    jobs: usize,
    /// Run jobs whose blocks and outputs go through queues of the broker, one after the other
    #[arg(long, conflicts_with_all = ["soak", "jobs"])]
    heavy: bool,
    /// Heartbeat of all connections, in seconds
    #[arg(long, default_value = "2")]
    heartbeat: u64,
    /// Use a cluster of three nodes in containers, and kill, freeze or partition one node at a time
    #[arg(long)]
    cluster: bool,
    /// Run tasks of one element each until --tasks are done, with faults all the time
    #[arg(long)]
    soak: bool,
    /// Number of tasks of a soak
    #[arg(long, default_value = "1000000", requires = "soak")]
    tasks: u64,
}

/// Runs the program in the role that its command line selects: a chaos run, its leader or one of
/// its workers.
pub async fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("run" | "lead" | "help" | "--help") | None => match ChaosCommand::parse() {
            ChaosCommand::Run(run) => run.run().await,
            ChaosCommand::Lead(lead) => lead.run().await,
        },
        command => {
            if command == Some("worker") && env::var_os(ENDS_WITH_STDIN).is_some() {
                end_with_input();
            }
            phalanx::worker::main().await
        }
    }
}

/// Ends this process when its parent ends, which closes the pipe.
fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
        std::process::exit(0);
    });
}

impl RunArguments {
    async fn run(self) -> ExitCode {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        let mut kinds = self.faults;
        if kinds.is_empty() {
            kinds = FaultKind::value_variants().to_vec();
            kinds.retain(|kind| !self.soak || *kind != FaultKind::DeleteQueue);
            kinds.retain(|kind| match self.cluster {
                true => !kind.needs_own_node(),
                false => !kind.needs_cluster(),
            });
        }
        let bounds = Bounds {
            length: Duration::from_secs_f64(60.0 * self.minutes),
            kinds,
            pause: Duration::from_secs(4),
            incidents: self.incidents,
            heavy: self.heavy,
            workers: self.workers,
            heartbeat: Duration::from_secs(self.heartbeat),
        };
        let schedule = Schedule::new(seed, &bounds);
        let program = match env::current_exe() {
            Ok(program) => program,
            Err(error) => {
                println!("error: cannot find the path of this program: {error}");
                return ExitCode::FAILURE;
            }
        };
        let run = Run {
            schedule: schedule.clone(),
            broker: if self.cluster { TestBroker::Cluster } else { TestBroker::Node },
            workers: self.workers,
            jobs: self.jobs,
            heavy: self.heavy,
            heartbeat: self.heartbeat,
            tasks: self.soak.then_some(self.tasks),
            program,
        };
        let report = run.execute(Report::verbose()).await;
        println!("{report}");
        if report.problems().is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("to repeat: cargo xtask chaos --seed {seed}, with the same arguments\n{schedule}");
        ExitCode::FAILURE
    }
}
