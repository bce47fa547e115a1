//! Workers that are killed, crash, drain and start.

use std::time::Duration;

use futures::TryStreamExt;
use phalanx::{Error, Results, error::ErrorKind, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_support::soon;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Fleet, Process, Rendezvous, WORKER, assert_usable, start_node, with_node};

/// Fails unless the job of [`Rendezvous::hold`] yields every result once and in order.
async fn assert_all(results: Results<u64>, count: u64) {
    let values: Vec<u64> =
        soon("all results", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..count).map(|n| 3 * n).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_death_of_a_worker_is_an_event_with_its_name() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    // The leader hears of the death of workers that have run something for it.
    assert_usable(&runtime).await;
    let (job, results) = rendezvous.hold(&runtime, 1);
    rendezvous.started(1).await;
    let (mut events, killed) = (job.events(), workers[0].id());
    workers[0].signal(Signal::KILL);
    let lost = async {
        loop {
            let event = events.next().await.expect("the job is running");
            if let JobEvent::WorkerLost { name, .. } = event {
                return name;
            }
        }
    };
    let name = soon("the death of the worker", lost).await;
    assert!(name.contains(&killed), "{name} is not the name of process {killed}");
    job.cancel();
    drop(results);
    runtime.close().await;
    fleet.end(Vec::new()).await;
}

#[tokio::test]
async fn tasks_of_a_killed_worker_run_on_other_workers() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let (_job, results) = rendezvous.hold(&runtime, 20);
    rendezvous.started_in(&workers[0].id()).await;
    rendezvous.started_in(&workers[1].id()).await;
    workers[0].signal(Signal::KILL);
    workers[0].ended().await;
    rendezvous.release();
    assert_all(results, 20).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_job_continues_on_new_workers_after_all_were_killed() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let (_job, results) = rendezvous.hold(&runtime, 20);
    rendezvous.started(4).await;
    for worker in &mut workers {
        worker.signal(Signal::KILL);
        worker.ended().await;
    }
    let newcomers = [fleet.worker(&[]), fleet.worker(&[])];
    // In all four slots; tasks of the killed workers run isolated, in child processes.
    rendezvous.started_times(4 + 4).await;
    rendezvous.release();
    assert_all(results, 20).await;
    workers.extend(newcomers);
    runtime.close().await;
    fleet.end(workers).await;
}

/// How a test ends a worker that runs tasks.
#[derive(Clone, Copy)]
enum End {
    Kill,
    Drain,
}

/// Ends workers in the middle of large batches and of combinations. The order of the words shows in
/// the value of the fold.
async fn assert_fold_survives(end: End) {
    const COUNT: u64 = 6_000;
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let words = IndexedStream::from(0..COUNT).map(Dawdle { micros: 400 }).map(Word);
    let (job, folded) = words.fold(Concatenate).start(&runtime).unwrap();
    let mut progress = job.progress();
    for (victim, done) in [(0, 300), (1, 1_500), (0, 3_000)] {
        let moved = progress.wait_for(|progress| progress.done >= done);
        soon("progress", moved).await.unwrap();
        let mut ending = std::mem::replace(&mut workers[victim], fleet.worker(&[]));
        match end {
            End::Kill => {
                ending.signal(Signal::KILL);
                ending.ended().await;
            }
            End::Drain => {
                ending.signal(Signal::TERM);
                let signalled = Instant::now();
                ending.exited_cleanly().await;
                // Far below the grace period of 30 seconds, far above the length of a task.
                let took = signalled.elapsed();
                assert!(took < Duration::from_secs(10), "the worker drained for {took:?}");
            }
        }
    }
    let expected: String = (0..COUNT).map(|n| format!("{},", 3 * n)).collect();
    let folded = soon("the words", folded).await.unwrap();
    assert!(folded == expected, "words are missing or out of order");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_fold_is_exact_while_workers_are_killed_and_replaced() {
    assert_fold_survives(End::Kill).await;
}

#[tokio::test]
async fn a_fold_is_exact_while_workers_drain_and_are_replaced() {
    assert_fold_survives(End::Drain).await;
}

#[tokio::test]
async fn a_draining_worker_finishes_running_tasks_and_returns_the_rest() {
    let (fleet, mut workers) = Fleet::with_workers(1).await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let (_job, results) = rendezvous.hold(&runtime, 20);
    rendezvous.started(2).await;
    workers[0].signal(Signal::TERM);
    assert!(workers[0].line().await.unwrap().contains("draining"));
    let newcomer = fleet.worker(&[]);
    // Tasks that the draining worker had prefetched and has returned.
    rendezvous.started_in(&newcomer.id()).await;
    rendezvous.release();
    workers[0].exited_cleanly().await;
    assert_all(results, 20).await;
    workers.push(newcomer);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn tasks_that_outlast_the_grace_period_are_cancelled_and_run_elsewhere() {
    let fleet = Fleet::new();
    let mut brief = fleet.worker(&["--grace", "300ms"]);
    brief.started().await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let (_job, results) = rendezvous.hold(&runtime, 6);
    rendezvous.started(2).await;
    brief.signal(Signal::TERM);
    rendezvous.cancelled(2).await;
    brief.exited_cleanly().await;
    let newcomer = fleet.worker(&[]);
    rendezvous.started_in(&newcomer.id()).await;
    rendezvous.release();
    assert_all(results, 6).await;
    runtime.close().await;
    fleet.end(vec![brief, newcomer]).await;
}

#[tokio::test]
async fn an_element_that_crashes_its_process_costs_one_worker_and_is_reported() {
    let (fleet, mut workers) = Fleet::with_workers(3).await;
    let runtime = fleet.lead().await;
    let ways =
        [("abort", "SIGABRT"), ("overflow", "SIG"), ("exit 7", "code 7"), ("exit 0", "code 0")];
    for (how, reason) in ways {
        let perish = Perish { how: how.to_owned(), unwanted: 613 };
        let numbers = IndexedStream::from(0..1_000u64).try_map(perish).batch(200);
        let numbers = soon("all results", numbers.collect(&runtime)).await.unwrap();
        for (n, number) in (0..).zip(numbers) {
            match number {
                Ok(number) => assert_eq!(number, n),
                Err(failure) => {
                    let kind = failure.error.kind();
                    assert_eq!((n, kind), (613, ErrorKind::Crash), "{failure}");
                    assert!(failure.to_string().contains(reason), "{failure}");
                }
            }
        }
        let mut ended = 0;
        for worker in &mut workers {
            if worker.has_ended() {
                ended += 1;
                let status = worker.ended().await;
                assert!(!status.success(), "a supervisor would take `{how}` for a good end");
                *worker = fleet.worker(&[]);
                worker.started().await;
            }
        }
        assert!(ended <= 1, "{how} ended {ended} workers");
    }
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

/// Each batch has one element, so nothing is combined before the partial results are.
#[tokio::test]
async fn a_combination_that_crashes_its_process_harms_no_leader_and_one_worker_at_most() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let perishing = IndexedStream::from(0..4u64).map(Triple).batch(1).reduce(PerishCombining);
    let error = soon("the failure", perishing.run(&runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert_eq!(failure.error.kind(), ErrorKind::Crash, "{failure}");
    assert!(failure.operation.ends_with("PerishCombining"), "{failure}");
    let ended = fleet.replace_ended(&mut workers).await;
    assert!(ended <= 1, "{ended} workers have ended");
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

/// Its `main` does something before the worker that fails in a child process.
#[tokio::test]
async fn workers_without_child_processes_run_isolated_elements_and_name_the_one_that_ends_them() {
    let fleet = Fleet::new();
    let (mut workers, rendezvous) = (Vec::new(), Rendezvous::new());
    // One for the first run, one for each of its two tries, and one for the rest.
    for number in 0..4 {
        let mut command = tokio::process::Command::new(WORKER);
        command.args(["worker", "--slots", "2", "--hold", "2s"]);
        command.env("FLEET_ONCE", format!("{}/{number}", rendezvous.directory()));
        command.env("PHALANX_NAMESPACE", &fleet.namespace);
        let mut worker = Process::spawn(&mut command, &fleet.url);
        worker.started().await;
        workers.push(worker);
    }
    let leader = fleet.builder().hold(Duration::from_secs(2)).connect();
    let runtime = soon("the connection", leader).await.unwrap();
    let perish = Perish { how: "abort".to_owned(), unwanted: 61 };
    let numbers = IndexedStream::from(0..100u64).try_map(perish).batch(20);
    let numbers = soon("all results", numbers.collect(&runtime)).await.unwrap();
    for (n, number) in (0..).zip(numbers) {
        match number {
            Ok(number) => assert_eq!(number, n),
            Err(failure) => {
                assert_eq!((n, failure.error.kind()), (61, ErrorKind::Crash), "{failure}");
            }
        }
    }
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_exits_within_its_grace_period_while_the_broker_is_down() {
    const GRACE: Duration = Duration::from_secs(6);
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let mut worker = fleet.worker(&["--grace", "6s"]);
    worker.started().await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let (_job, results) = rendezvous.hold(&runtime, 10);
    rendezvous.started(2).await;
    // The broker may lose a queue that was declared less than five seconds ago: see `brokers`.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (node, ()) = with_node(node, |node| node.kill().unwrap()).await;
    worker.signal(Signal::TERM);
    let signalled = Instant::now();
    worker.exited_cleanly().await;
    // The slack is for a busy machine.
    let took = signalled.elapsed();
    assert!(took < GRACE + Duration::from_secs(2), "the worker drained for {took:?}");
    let (_node, ()) = with_node(node, |node| node.restart().unwrap()).await;
    rendezvous.release();
    let newcomer = fleet.worker(&[]);
    assert_all(results, 10).await;
    runtime.close().await;
    fleet.end(vec![newcomer]).await;
}

#[tokio::test]
async fn a_second_signal_ends_a_draining_worker_immediately() {
    let (fleet, mut workers) = Fleet::with_workers(1).await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let (_job, results) = rendezvous.hold(&runtime, 6);
    rendezvous.started(2).await;
    workers[0].signal(Signal::TERM);
    assert!(workers[0].line().await.unwrap().contains("draining"));
    workers[0].signal(Signal::TERM);
    let (code, stderr) = workers[0].exit().await;
    assert_eq!(code, 5, "{stderr}");
    rendezvous.release();
    workers.push(fleet.worker(&[]));
    assert_all(results, 6).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_whose_threads_all_hang_exits_and_its_elements_fail() {
    let (fleet, mut workers) = Fleet::with_workers(1).await;
    let runtime = fleet.lead().await;
    for _ in 0..2 {
        let hanging = IndexedStream::from(0..3u64).map(Hang { unwanted: 1 }).batch(1);
        let error = soon("a failure", hanging.collect(&runtime)).await.unwrap_err();
        let Error::Execute(failure) = &error else { panic!("{error:?}") };
        assert_eq!((failure.index, failure.error.kind()), (1, ErrorKind::Timeout), "{error}");
    }
    let (code, stderr) = workers[0].exit().await;
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("abandoned 2 threads"), "{stderr}");
    workers.push(fleet.worker(&[]));
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn unusable_worker_arguments_have_distinct_exit_codes() {
    let fleet = Fleet::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flags, expected, words) in [
        (&["--slots", "0"][..], 2, "0 is not in 1..=65535"),
        (&["--pool", "No Pool"], 2, "invalid pool name"),
        (&["--health", &taken], 6, &taken[..]),
    ] {
        let (code, stderr) = fleet.worker(flags).exit().await;
        assert_eq!(code, expected, "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
    fleet.end(Vec::new()).await;
}

#[tokio::test]
async fn a_job_without_workers_reports_a_stall_and_runs_once_one_starts() {
    let fleet = Fleet::new();
    let impatient = fleet.builder().stall_after(Duration::from_secs(1));
    let runtime = soon("the connection", impatient.connect()).await.unwrap();
    let (job, sum) = IndexedStream::from(0..10u64).fold(Sum).start(&runtime).unwrap();
    let mut events = job.events();
    let stall = async {
        loop {
            if let phalanx::JobEvent::Stalled(stall) =
                events.next().await.expect("the job is running")
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
