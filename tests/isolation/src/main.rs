//! An in-memory worker that isolates tasks, and their leader, which prints the replies.
//!
//! Each argument is a task: the name of an operation, a colon, and the inputs with commas between
//! them; after the word `queued`, the task reads them from a queue; after the word `spilled`, it
//! gathers them on disk. The next task is sent after the reply or, if the argument ends with `&`,
//! after the first message about the task. `reply` waits for one more reply, `cancel` cancels the
//! job, `drain` drains the worker, `pause` waits for a line on the standard input, and `stay` waits
//! forever.

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
    options.leader_wait = Duration::ZERO;
    options.hold = Duration::from_millis(500);
    options.grace = Duration::from_millis(200);
    options.isolate = true;
    let mut leader = Leader::new(broker.connect()).await;
    let worker = Worker::start(Arc::new(broker.connect()), options);
    println!("worker {}", std::process::id());
    for task in std::env::args().skip(1) {
        match task.as_str() {
            "stay" => std::future::pending().await,
            "cancel" => leader.cancel().await,
            "reply" => {}
            "drain" => worker.drain(),
            "pause" => {
                let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
                let _ = line.await;
                continue;
            }
            task => {
                let (task, awaits_reply) =
                    task.strip_suffix('&').map_or((task, true), |task| (task, false));
                leader.send(task).await;
                if !awaits_reply {
                    println!("{}", leader.next_message().await);
                    continue;
                }
            }
        }
        println!("{}", leader.next_reply().await);
    }
    worker.drain();
    println!("{}", worker.finished().await);
    ExitCode::SUCCESS
}
