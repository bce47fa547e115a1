//! The leader of a run: jobs, round after round, each compared with the sequential program.

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
    broker::CENSUS,
    world::{self, Spec, Verdict},
};

/// Runs jobs and says what came of them, until its standard input ends.
#[derive(Debug, Clone, Args)]
pub(crate) struct Lead {
    /// Decides the jobs.
    #[arg(long)]
    seed: u64,
    /// How many jobs run at once.
    #[arg(long, default_value = "4")]
    jobs: usize,
    /// How many slots the workers have, about.
    #[arg(long, default_value = "6")]
    slots: u64,
    /// Ends after so many tasks, and makes many.
    #[arg(long)]
    tasks: Option<u64>,
    /// How long a job may take.
    #[arg(long, default_value = "180")]
    bound: u64,
}

/// What is counted, by name.
type Tally = Arc<Mutex<BTreeMap<String, u64>>>;

fn add(tally: &Tally, name: &str, count: u64) {
    *tally.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() +=
        count;
}

impl Lead {
    pub(crate) async fn run(self) -> ExitCode {
        let ending = end_with_input();
        let runtime = match Runtime::from_env().await {
            Ok(runtime) => runtime,
            Err(error) => {
                println!("wrong: the leader did not connect: {error}");
                return ExitCode::FAILURE;
            }
        };
        println!("connected");
        let (tally, stalls) = (Tally::default(), Arc::new(Stalls::default()));
        let mut wrong = false;
        for round in 0.. {
            let specs = match self.tasks {
                Some(tasks) if CENSUS.results() >= tasks => break,
                Some(_) => world::busy_round(round),
                None if ending.load(Ordering::Relaxed) => break,
                None => world::round(self.seed, round, self.jobs, self.slots),
            };
            let jobs = specs.iter().map(|spec| self.job(*spec, &runtime, &tally, &stalls));
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
        add(&tally, "results", CENSUS.results());
        add(&tally, "duplicate results dropped", CENSUS.duplicates());
        add(&tally, "tasks returned unread", CENSUS.returns());
        add(&tally, "longest stall ms", stalls.longest().as_millis() as u64);
        for (name, count) in &*tally.lock().unwrap_or_else(PoisonError::into_inner) {
            println!("tally: {count} {name}");
        }
        if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Runs one job; says how long it took, or what was wrong.
    async fn job(
        &self,
        spec: Spec,
        runtime: &Runtime,
        tally: &Tally,
        stalls: &Arc<Stalls>,
    ) -> Result<Duration, String> {
        let started = Instant::now();
        let (job, outcome) = spec.start(runtime).map_err(|error| error.to_string())?;
        let last_stall = Arc::new(Mutex::new(String::from("no stall was told")));
        tokio::spawn(watch(job.clone(), tally.clone(), Arc::clone(&last_stall)));
        let moving = tokio::spawn(Arc::clone(stalls).follow(job.clone()));
        let bound = Duration::from_secs(self.bound);
        let outcome = tokio::time::timeout(bound, outcome).await;
        moving.abort();
        let verdict = match outcome {
            Ok(outcome) => outcome.map_err(|error: Error| error.to_string())?,
            Err(_) => {
                let progress = *job.progress().borrow();
                let stall = last_stall.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(format!("not over after {bound:?}: {progress:?}; {stall}"));
            }
        };
        add(tally, "jobs ended", 1);
        self.judge(verdict, tally)?;
        Ok(started.elapsed())
    }

    fn judge(&self, verdict: Verdict, tally: &Tally) -> Result<(), String> {
        add(tally, "elements lost", verdict.lost);
        add(tally, "elements doubled", verdict.doubled);
        add(tally, "other wrong answers", verdict.other.into());
        if verdict.is_right() { Ok(()) } else { Err(verdict.to_string()) }
    }
}

/// Set when the standard input ends.
fn end_with_input() -> Arc<AtomicBool> {
    let ending = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ending);
    std::thread::spawn(move || {
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
        set.store(true, Ordering::Relaxed);
    });
    ending
}

/// Counts what happens to a job.
async fn watch(job: Job, tally: Tally, last_stall: Arc<Mutex<String>>) {
    let mut events = job.events();
    while let Some(event) = events.next().await {
        match event {
            JobEvent::TaskReturned { reason: why, .. } => {
                let why = format!("{why:?}");
                let end = why.find(|c: char| !c.is_alphanumeric()).unwrap_or(why.len());
                add(&tally, &format!("tasks returned: {}", &why[..end]), 1);
            }
            JobEvent::TaskReissued { reason, .. } => {
                add(&tally, &format!("tasks republished: {}", kind_of(&reason)), 1);
            }
            JobEvent::Stalled(stall) => {
                add(&tally, "stalls told", 1);
                println!("stall: {stall}");
                let mut last = last_stall.lock().unwrap_or_else(PoisonError::into_inner);
                *last = stall.to_string();
            }
            _ => {}
        }
    }
}

/// The same for all tasks and workers.
fn kind_of(reason: &str) -> &str {
    match reason {
        "the broker lost it" => "lost",
        reason if reason.ends_with("fell silent") => "lease over",
        reason if reason.contains("before the broker confirmed") => "not confirmed",
        _ => "not taken",
    }
}

/// How long nothing moved.
#[derive(Debug, Default)]
struct Stalls {
    /// When anything moved last, and how long it had not.
    moved: Mutex<(Option<Instant>, Duration)>,
}

impl Stalls {
    fn moved(&self) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(last) = moved.0 {
            moved.1 = moved.1.max(now - last);
        }
        moved.0 = Some(now);
    }

    async fn follow(self: Arc<Self>, job: Job) {
        self.moved();
        let mut progress = job.progress();
        while progress.changed().await.is_ok() {
            self.moved();
        }
    }

    fn longest(&self) -> Duration {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
