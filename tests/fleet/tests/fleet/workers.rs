//! Workers that die, end, and come.

use std::time::Duration;

use phalanx::{Error, Job, Runtime, error::ErrorKind, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{fleet::Fleet, meeting::Meeting, node, places::assert_usable, soon};

/// Elements that are held, one to a task.
fn held(runtime: &Runtime, meeting: &Meeting, count: u64) -> (Job, phalanx::Results<u64>) {
    let held = IndexedStream::from(0..count).map(Hold { directory: meeting.place() });
    held.batch(1).ordered().start(runtime).unwrap()
}

/// Whether all of them came, each once and in order.
async fn assert_all(results: phalanx::Results<u64>, count: u64) {
    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..count).map(|n| 3 * n).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_killed_worker_held_is_done_by_others() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let (_job, results) = held(&runtime, &meeting, 20);
    meeting.said_by("started", &workers[0].id()).await;
    meeting.said_by("started", &workers[1].id()).await;
    workers[0].signal(Signal::KILL);
    workers[0].ended().await;
    meeting.open();
    assert_all(results, 20).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn when_all_workers_are_killed_others_go_on() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let (_job, results) = held(&runtime, &meeting, 20);
    meeting.said("started", 4).await;
    for worker in &mut workers {
        worker.signal(Signal::KILL);
        worker.ended().await;
    }
    let newcomers = [fleet.worker(&[]), fleet.worker(&[])];
    // In all their slots; what the dead had is run by children of theirs.
    meeting.begun(4 + 4).await;
    meeting.open();
    assert_all(results, 20).await;
    workers.extend(newcomers);
    runtime.close().await;
    fleet.end(workers).await;
}

/// In the midst of large batches and of combinations, again and again.
#[tokio::test]
async fn a_fold_is_exact_while_workers_die_and_come() {
    const COUNT: u64 = 6_000;
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let words = IndexedStream::from(0..COUNT).map(Dawdle { micros: 400 }).map(Word);
    let (job, folded) = words.fold(Concatenate).start(&runtime).unwrap();
    let mut progress = job.progress();
    for (victim, done) in [(0, 300), (1, 1_500), (0, 3_000)] {
        let moved = progress.wait_for(|progress| progress.done >= done);
        soon("progress", moved).await.unwrap();
        workers[victim].signal(Signal::KILL);
        workers[victim].ended().await;
        workers[victim] = fleet.worker(&[]);
    }
    let expected: String = (0..COUNT).map(|n| format!("{},", 3 * n)).collect();
    assert!(soon("the words", folded).await.unwrap() == expected, "words were lost or moved");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_finishes_what_runs_and_gives_back_the_rest() {
    let (fleet, mut workers) = Fleet::with_workers(1).await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let (_job, results) = held(&runtime, &meeting, 20);
    meeting.said("started", 2).await;
    workers[0].signal(Signal::TERM);
    assert!(workers[0].line().await.unwrap().contains("draining"));
    let newcomer = fleet.worker(&[]);
    // Those that the first one held back, and gave back.
    meeting.said_by("started", &newcomer.id()).await;
    meeting.open();
    let (code, said) = workers[0].code().await;
    assert_eq!(code, 0, "{said}");
    assert_all(results, 20).await;
    workers.push(newcomer);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_told_to_end_and_run_elsewhere() {
    let fleet = Fleet::new();
    let mut brief = fleet.worker(&["--grace", "300ms"]);
    brief.started().await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let (_job, results) = held(&runtime, &meeting, 6);
    meeting.said("started", 2).await;
    brief.signal(Signal::TERM);
    meeting.said("cancelled", 2).await;
    let (code, said) = brief.code().await;
    assert_eq!(code, 0, "{said}");
    let newcomer = fleet.worker(&[]);
    meeting.said_by("started", &newcomer.id()).await;
    meeting.open();
    assert_all(results, 6).await;
    runtime.close().await;
    fleet.end(vec![brief, newcomer]).await;
}

#[tokio::test]
async fn an_element_that_ends_its_process_costs_one_worker_and_is_named() {
    let (fleet, mut workers) = Fleet::with_workers(3).await;
    let runtime = fleet.lead().await;
    for (how, said) in [("abort", "SIGABRT"), ("overflow", "SIG"), ("exit", "code 7")] {
        let perish = Perish { how: how.to_owned(), unwanted: 613 };
        let numbers = IndexedStream::from(0..1_000u64).try_map(perish).batch(200);
        let numbers = soon("all", numbers.collect(&runtime)).await.unwrap();
        for (n, number) in (0..).zip(numbers) {
            match number {
                Ok(number) => assert_eq!(number, n),
                Err(error) => {
                    assert_eq!((n, error.kind()), (613, ErrorKind::Crash), "{error}");
                    assert!(error.to_string().contains(said), "{error}");
                }
            }
        }
        let mut ended = 0;
        for worker in &mut workers {
            if worker.is_over() {
                ended += 1;
                *worker = fleet.worker(&[]);
                worker.started().await;
            }
        }
        assert!(ended <= 1, "{ended} workers ended by {how}");
    }
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn workers_that_are_told_to_end_under_load_lose_nothing_and_run_nothing_twice() {
    const COUNT: u64 = 6_000;
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let words = IndexedStream::from(0..COUNT).map(Dawdle { micros: 400 }).map(Word);
    let (job, folded) = words.fold(Concatenate).start(&runtime).unwrap();
    let mut progress = job.progress();
    for (victim, done) in [(0, 300), (1, 1_500), (0, 3_000)] {
        let moved = progress.wait_for(|progress| progress.done >= done);
        soon("progress", moved).await.unwrap();
        let newcomer = fleet.worker(&[]);
        let mut ends = std::mem::replace(&mut workers[victim], newcomer);
        ends.signal(Signal::TERM);
        let told = Instant::now();
        let (code, said) = ends.code().await;
        assert_eq!(code, 0, "{said}");
        assert!(told.elapsed() < Duration::from_secs(10), "it waited for more than what ran");
    }
    let expected: String = (0..COUNT).map(|n| format!("{},", 3 * n)).collect();
    assert!(soon("the words", folded).await.unwrap() == expected, "words were lost or moved");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_ends_within_its_grace_period_while_its_broker_is_down() {
    const GRACE: Duration = Duration::from_secs(6);
    let node = node::start(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let mut worker = fleet.worker(&["--grace", "6s"]);
    worker.started().await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let (_job, results) = held(&runtime, &meeting, 10);
    meeting.said("started", 2).await;
    // Until the queue is safe: see the restarts of brokers.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (node, ()) = node::with(node, |node| node.kill().unwrap()).await;
    worker.signal(Signal::TERM);
    let told = Instant::now();
    let (code, said) = worker.code().await;
    assert_eq!(code, 0, "{said}");
    // The slack is for a busy machine.
    assert!(told.elapsed() < GRACE + Duration::from_secs(2), "it took {:?}", told.elapsed());
    let (_node, ()) = node::with(node, |node| node.restart().unwrap()).await;
    meeting.open();
    let newcomer = fleet.worker(&[]);
    assert_all(results, 10).await;
    runtime.close().await;
    fleet.end(vec![newcomer]).await;
}

#[tokio::test]
async fn a_second_signal_ends_a_worker_at_once() {
    let (fleet, mut workers) = Fleet::with_workers(1).await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let (_job, results) = held(&runtime, &meeting, 6);
    meeting.said("started", 2).await;
    workers[0].signal(Signal::TERM);
    assert!(workers[0].line().await.unwrap().contains("draining"));
    workers[0].signal(Signal::TERM);
    let (code, said) = workers[0].code().await;
    assert_eq!(code, 5, "{said}");
    meeting.open();
    workers.push(fleet.worker(&[]));
    assert_all(results, 6).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_whose_threads_all_hang_ends_and_its_elements_fail_by_name() {
    let (fleet, mut workers) = Fleet::with_workers(1).await;
    let runtime = fleet.lead().await;
    for _ in 0..2 {
        let hanging = IndexedStream::from(0..3u64).map(Hang { unwanted: 1 }).batch(1);
        let error = soon("a failure", hanging.collect(&runtime)).await.unwrap_err();
        let Error::Execute(failure) = &error else { panic!("{error:?}") };
        assert_eq!((failure.index, failure.error.kind()), (1, ErrorKind::Timeout), "{error}");
    }
    let (code, said) = workers[0].code().await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("gave up 2 of its threads"), "{said}");
    workers.push(fleet.worker(&[]));
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn what_a_worker_cannot_use_is_told_by_its_exit_code() {
    let fleet = Fleet::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flags, expected, words) in [
        (&["--slots", "0"][..], 2, "--slots"),
        (&["--pool", "No Pool"], 2, "invalid pool name"),
        (&["--health", &taken], 6, &taken[..]),
    ] {
        let (code, said) = fleet.worker(flags).code().await;
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(words), "{said}");
    }
    fleet.end(Vec::new()).await;
}

#[tokio::test]
async fn a_job_without_workers_says_so_and_is_done_when_they_come() {
    let fleet = Fleet::new();
    let impatient = fleet.builder().stall_after(Duration::from_secs(1));
    let runtime = soon("to connect", impatient.connect()).await.unwrap();
    let (job, sum) = IndexedStream::from(0..10u64).fold(Sum).start(&runtime).unwrap();
    let mut events = job.events();
    let stall = async {
        loop {
            if let phalanx::JobEvent::Stalled(stall) = events.next().await.expect("it is not over")
            {
                return stall.to_string();
            }
        }
    };
    let stall = soon("a stall", stall).await;
    assert!(stall.contains("no worker serves pool `default`"), "{stall}");
    let worker = fleet.worker(&[]);
    assert_eq!(soon("the sum", sum).await.unwrap(), 45);
    runtime.close().await;
    fleet.end(vec![worker]).await;
}
