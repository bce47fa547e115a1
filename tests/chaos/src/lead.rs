//! The leader of a run: rounds of jobs, whose results are compared with those of sequential
//! programs.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use futures::future::join_all;
use phalanx::{Error, Job, JobEvent, Runtime};

use crate::{
    broker::REPLY_COUNTS,
    world::{self, JobSpec, Verdict},
};

/// Run rounds of jobs and print their outcomes, until the standard input ends
#[derive(Debug, Clone, Args)]
pub(crate) struct Lead {
    /// Seed of the jobs
    #[arg(long)]
    seed: u64,
    /// Number of jobs in a round
    #[arg(long, default_value = "4")]
    jobs: usize,
    /// Approximate number of slots of all workers
    #[arg(long, default_value = "6")]
    slots: u64,
    /// End after this number of tasks, and run jobs of many tasks
    #[arg(long)]
    tasks: Option<u64>,
    /// Run jobs that move more than a leader holds, one after the other
    #[arg(long)]
    heavy: bool,
    /// Time limit of a job, in seconds
    #[arg(long, default_value = "180")]
    bound: u64,
}

/// Counters by name.
type Counters = Arc<Mutex<BTreeMap<String, u64>>>;

fn add(counters: &Counters, name: &str, count: u64) {
    *counters.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() +=
        count;
}

impl Lead {
    pub(crate) async fn run(self) -> ExitCode {
        let ending = end_with_input();
        let runtime = match Runtime::from_env().await {
            Ok(runtime) => runtime,
            Err(error) => {
                println!("wrong: the leader failed to connect: {error}");
                return ExitCode::FAILURE;
            }
        };
        println!("connected");
        let (counters, stalls) = (Counters::default(), Arc::new(Stalls::default()));
        let mut wrong = false;
        for round in 0.. {
            let specs = match self.tasks {
                Some(tasks) if REPLY_COUNTS.results() >= tasks => break,
                Some(_) => world::busy_round(round),
                None if ending.load(Ordering::Relaxed) => break,
                None if self.heavy => world::heavy_round(self.slots),
                None => world::round(self.seed, round, self.jobs, self.slots),
            };
            let jobs = specs.iter().map(|spec| self.job(*spec, &runtime, &counters, &stalls));
            for (spec, outcome) in specs.iter().zip(join_all(jobs).await) {
                match outcome {
                    Ok(took) => println!("right: round {round}: {spec}; {took:.1?}"),
                    Err(what) => {
                        println!("wrong: round {round}: {spec}: {what}");
                        wrong = true;
                    }
                }
            }
            if wrong {
                break;
            }
        }
        if !wrong {
            runtime.close().await;
        }
        add(&counters, "results", REPLY_COUNTS.results());
        add(&counters, "duplicate results dropped", REPLY_COUNTS.duplicates());
        add(&counters, "tasks returned unrun", REPLY_COUNTS.returns());
        add(&counters, "longest stall ms", stalls.longest().as_millis() as u64);
        for (name, count) in &*counters.lock().unwrap_or_else(PoisonError::into_inner) {
            println!("count: {count} {name}");
        }
        if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Runs one job: returns how long it took, or a description of the wrong result.
    async fn job(
        &self,
        spec: JobSpec,
        runtime: &Runtime,
        counters: &Counters,
        stalls: &Arc<Stalls>,
    ) -> Result<Duration, String> {
        let started = Instant::now();
        let (job, outcome) = spec.start(runtime).map_err(|error| error.to_string())?;
        let last_stall = Arc::new(Mutex::new(String::from("no stall was reported")));
        tokio::spawn(watch(job.clone(), counters.clone(), Arc::clone(&last_stall)));
        let follower = tokio::spawn(Arc::clone(stalls).follow(job.clone()));
        let bound = Duration::from_secs(self.bound);
        let outcome = tokio::time::timeout(bound, outcome).await;
        follower.abort();
        let verdict = match outcome {
            Ok(outcome) => outcome.map_err(|error: Error| error.to_string())?,
            Err(_) => {
                let progress = job.progress().borrow().clone();
                let stall = last_stall.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(format!("still running after {bound:?}: {progress:?}; {stall}"));
            }
        };
        add(counters, "jobs ended", 1);
        let queued = |job: &Job| {
            let progress = job.progress().borrow().clone();
            progress.exchanges.iter().map(|exchange| exchange.queued_outputs).sum()
        };
        add(counters, "bytes of outputs in queues", queued(&job));
        self.judge(verdict, counters)?;
        Ok(started.elapsed())
    }

    fn judge(&self, verdict: Verdict, counters: &Counters) -> Result<(), String> {
        add(counters, "elements lost", verdict.lost);
        add(counters, "elements duplicated", verdict.duplicated);
        add(counters, "other wrong results", verdict.other.into());
        if verdict.is_right() { Ok(()) } else { Err(verdict.to_string()) }
    }
}

/// A flag that is set when the standard input ends.
fn end_with_input() -> Arc<AtomicBool> {
    let ending = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ending);
    std::thread::spawn(move || {
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
        set.store(true, Ordering::Relaxed);
    });
    ending
}

/// Counts the events of a job, and keeps its last stall.
async fn watch(job: Job, counters: Counters, last_stall: Arc<Mutex<String>>) {
    let mut events = job.events();
    while let Some(event) = events.next().await {
        match event {
            JobEvent::TaskReturned { reason, .. } => {
                let reason = format!("{reason:?}");
                let end = reason.find(|c: char| !c.is_alphanumeric()).unwrap_or(reason.len());
                add(&counters, &format!("tasks returned: {}", &reason[..end]), 1);
            }
            JobEvent::TaskReissued { reason, .. } => {
                add(&counters, &format!("tasks reissued: {}", kind_of(&reason)), 1);
            }
            JobEvent::Stalled(stall) => {
                add(&counters, "stalls", 1);
                println!("stall: {stall}");
                let mut last = last_stall.lock().unwrap_or_else(PoisonError::into_inner);
                *last = stall.to_string();
            }
            _ => {}
        }
    }
}

/// The kind of a reason for a reissue, without the task and worker that it names.
fn kind_of(reason: &str) -> &str {
    match reason {
        "the broker lost the copy" => "lost",
        reason if reason.ends_with("expired") => "lease expired",
        reason if reason.contains("before the broker confirmed") => "not confirmed",
        _ => "not taken",
    }
}

/// The longest time without progress of any job.
#[derive(Debug, Default)]
struct Stalls {
    /// The last progress, and the longest time without any.
    progress: Mutex<(Option<Instant>, Duration)>,
}

impl Stalls {
    fn note_progress(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(last) = progress.0 {
            progress.1 = progress.1.max(now - last);
        }
        progress.0 = Some(now);
    }

    async fn follow(self: Arc<Self>, job: Job) {
        self.note_progress();
        let mut progress = job.progress();
        while progress.changed().await.is_ok() {
            self.note_progress();
        }
    }

    fn longest(&self) -> Duration {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
