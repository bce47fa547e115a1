//! What programs print that have no `tracing` subscriber of their own.

use phalanx_test_proxy::Proxy;
use rustix::process::Signal;
use tokio::process::Command;

use crate::support::{Fleet, Process, Rendezvous, WORKER};

/// Waits for a line with this text, and returns it.
async fn told(process: &mut Process, text: &str) -> String {
    loop {
        let line = process.line().await.expect("the process is running");
        if line.contains(text) {
            return line;
        }
    }
}

/// A worker that logs what this filter selects.
fn logging(filter: &str, url: &str, fleet: &Fleet) -> Process {
    let mut command = Command::new(WORKER);
    command.arg("worker").env("PHALANX_LOG", filter).env("PHALANX_NAMESPACE", &fleet.namespace);
    Process::spawn(&mut command, url)
}

#[tokio::test]
async fn a_leader_prints_a_stall_and_a_lost_connection() {
    let fleet = Fleet::new();
    let proxy = Proxy::to(&fleet.url).await.unwrap();
    let rendezvous = Rendezvous::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leader"));
    command.arg(rendezvous.directory()).env("PHALANX_NAMESPACE", &fleet.namespace);
    let mut leader = Process::spawn(&mut command, &proxy.url());
    told(&mut leader, "makes no progress: no worker serves pool `default`").await;
    proxy.cut();
    told(&mut leader, "lost the connection to the broker").await;
    told(&mut leader, "connected to the broker again").await;
    drop(leader);
    fleet.end(Vec::new()).await;
}

#[tokio::test]
async fn a_worker_logs_a_lost_connection_unless_the_filter_is_off() {
    let fleet = Fleet::new();
    let proxy = Proxy::to(&fleet.url).await.unwrap();
    let mut by_default = logging("", &proxy.url(), &fleet);
    let mut off = logging("off", &proxy.url(), &fleet);
    by_default.started().await;
    off.started().await;
    proxy.cut();
    let line = told(&mut by_default, "lost the connection to the broker").await;
    assert!(line.contains("WARN"), "{line}");
    off.signal(Signal::TERM);
    let (_, stderr) = off.exit().await;
    assert!(!stderr.contains("lost the connection"), "{stderr}");
    fleet.end(vec![by_default]).await;
}

/// lapin logs its frames at this level, also the one with the password.
#[tokio::test]
async fn even_the_most_verbose_log_leaves_out_frames() {
    let fleet = Fleet::new();
    let mut worker = logging("trace", &fleet.url, &fleet);
    let mut log = String::new();
    while !log.contains(" operations ") {
        log += &worker.line().await.expect("the worker starts");
    }
    assert!(log.contains("DEBUG lapin"), "{log}");
    assert!(!log.contains("TRACE lapin"), "{log}");
    worker.signal(Signal::TERM);
    worker.exited_cleanly().await;
    fleet.end(Vec::new()).await;
}

#[tokio::test]
async fn a_filter_that_does_not_parse_ends_a_worker_with_its_reason() {
    let fleet = Fleet::new();
    let (code, stderr) = logging("phalanx=loud", &fleet.url, &fleet).exit().await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("PHALANX_LOG"), "{stderr}");
}
