//! A worker in memory that contains, and the leader of its tasks, which says what comes back.
//!
//! Each argument is a task: the name of an operation, a colon, and the inputs with commas between
//! them. The next one is sent when the last was answered, or behind an `&` at once when anything is
//! heard of it. `cancel` and `drain` do that, `pause` waits for a line, `stay` for ever.

mod leader;
mod operations;

use std::{process::ExitCode, sync::Arc, time::Duration};

use leader::Leader;
use phalanx::{
    inmemory::InMemoryBroker,
    worker::{Worker, WorkerOptions},
};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the test reads it")]
async fn main() -> ExitCode {
    if let Some(code) = phalanx::worker::isolated().await {
        return code;
    }
    let broker = InMemoryBroker::new();
    let mut options = WorkerOptions::default();
    options.slots = 2;
    options.listen = Duration::ZERO;
    options.hold = Duration::from_millis(500);
    options.grace = Duration::from_millis(200);
    options.isolate = true;
    let mut leader = Leader::of(broker.connect()).await;
    let worker = Worker::start(Arc::new(broker.connect()), options);
    println!("worker {}", std::process::id());
    for task in std::env::args().skip(1) {
        match task.as_str() {
            "stay" => std::future::pending().await,
            "cancel" => leader.cancel().await,
            "drain" => worker.drain(),
            "pause" => {
                let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
                let _ = line.await;
                continue;
            }
            task => {
                let (task, waits) = task.strip_suffix('&').map_or((task, true), |t| (t, false));
                leader.send(task).await;
                if !waits {
                    println!("{}", leader.heard().await);
                    continue;
                }
            }
        }
        println!("{}", leader.answer().await);
    }
    worker.drain();
    println!("{}", worker.finished().await);
    ExitCode::SUCCESS
}
