//! Operations that end their process end a child of the worker, and the element is reported.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The program of this crate: a worker, and the leader of the tasks that are its arguments.
struct IsolatedWorker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    process: String,
}

impl IsolatedWorker {
    fn start(tasks: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isolated-worker"));
        command.args(tasks);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let process = first.strip_prefix("worker ").unwrap().to_owned();
        Self { child, lines, process }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("another line").unwrap()
    }

    /// The process that ran the next task, from the result of its only element.
    fn task_process(&mut self) -> String {
        let line = self.line();
        let process = line.strip_prefix("result ").unwrap_or_else(|| panic!("{line}")).to_owned();
        assert!(process.parse::<u32>().is_ok(), "{line}");
        assert_ne!(process, self.process, "not in a child process");
        process
    }

    /// Ends a `pause`.
    fn resume(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn assert_drained(mut self) {
        assert_eq!(self.line(), "drained");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for IsolatedWorker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the process runs; a zombie does not.
fn is_running(process: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    test_kill_process(id(process)).is_ok() && !state.is_ok_and(|state| state.contains(") Z "))
}

fn id(process: &str) -> Pid {
    Pid::from_raw(process.parse().unwrap()).unwrap()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "timed out waiting for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_operation_that_ends_its_process_is_reported_and_the_worker_continues() {
    let fatal = ["abort", "overflow", "exit", "kill"];
    let tasks: Vec<String> = fatal.iter().map(|action| format!("Act:a,b,{action},c")).collect();
    let mut tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    tasks.extend(["ActAsync:a,abort,c", "Act:a"]);
    let mut worker = IsolatedWorker::start(&tasks);
    for (status, offset) in [
        ("killed by SIGABRT", 2),
        ("killed by SIG", 2),
        ("exited with code 3", 2),
        ("killed by SIGKILL (out of memory?)", 2),
        ("killed by SIGABRT", 1),
    ] {
        let line = worker.line();
        assert!(line.starts_with(&format!("returned Crashed {{ status: \"{status}")), "{line}");
        assert!(line.ends_with(&format!("at Some({offset})")), "{line}");
    }
    worker.task_process();
    worker.assert_drained();
}

/// The worker gathers what its child runs, and describes the elements that fail.
#[test]
fn a_task_that_reads_a_queue_is_isolated_as_others_are() {
    let mut worker = IsolatedWorker::start(&[
        "queued Act:a",
        "queued Act:a,b,panic",
        "queued Act:a,b,abort,c",
        "queued ActAsync:a,abort",
        "queued ActAsync:a",
    ]);
    worker.task_process();
    let failed = worker.line();
    assert!(failed.starts_with("result "), "{failed}");
    assert!(failed.ends_with(" failed:Panic of 3 in a queue"), "{failed}");
    for end in ["at Some(2) of 4 in a queue", "at Some(1) of 2 in a queue"] {
        let line = worker.line();
        assert!(line.starts_with("returned Crashed { status: \"killed by SIGABRT"), "{line}");
        assert!(line.ends_with(end), "{line}");
    }
    worker.task_process();
    worker.assert_drained();
}

/// What does not fit into the memory of a worker reaches its child in pieces.
#[test]
fn a_task_that_gathers_on_disk_is_isolated_as_others_are() {
    let mut worker = IsolatedWorker::start(&[
        "spilled Act:a",
        "spilled Act:a,b,panic",
        "spilled Act:a,b,abort,c",
        "spilled ActAsync:a,abort",
        "spilled ActAsync:a",
    ]);
    worker.task_process();
    let failed = worker.line();
    assert!(failed.starts_with("result ") && failed.contains(" failed:Panic of 3 in"), "{failed}");
    // The parts decide the order.
    for end in [" of 4 in a queue", " of 2 in a queue"] {
        let line = worker.line();
        assert!(line.starts_with("returned Crashed { status: \"killed by SIGABRT"), "{line}");
        assert!(line.contains("\" } at Some(") && line.ends_with(end), "{line}");
    }
    worker.task_process();
    worker.assert_drained();
}

#[test]
fn harmless_tasks_share_a_child() {
    let mut worker =
        IsolatedWorker::start(&["Act:a", "Act:b", "Act:panic", "Shatter:drop", "Act:a"]);
    let first = worker.task_process();
    assert_eq!(worker.task_process(), first);
    assert_eq!(worker.line(), "result failed:Panic");
    assert_eq!(worker.line(), "result failed:Panic");
    assert_eq!(worker.task_process(), first);
    worker.assert_drained();
    eventually("the child is gone", || !is_running(&first));
}

/// The worker has two slots.
#[test]
fn asynchronous_tasks_run_side_by_side_in_one_child_and_take_no_slot() {
    let mut tasks = vec!["ActAsync:wait&"; 4];
    tasks.extend(["ActAsync:a", "ActAsync:a", "Act:a", "cancel"]);
    let mut worker = IsolatedWorker::start(&tasks);
    for _ in 0..4 {
        let leased = worker.line();
        assert!(leased.starts_with("leased at [0"), "{leased}");
    }
    let shared = worker.task_process();
    assert_eq!(worker.task_process(), shared);
    assert_ne!(worker.task_process(), shared, "a blocking task has a child to itself");
    let cancelled = worker.line();
    assert!(cancelled == format!("result {shared}") || cancelled == "result 1xCancelled");
}

#[test]
fn a_task_that_ends_a_shared_child_is_reported_and_its_neighbour_runs_once_more() {
    let directory = tempfile::tempdir().unwrap();
    let waits = format!("ActAsync:first {}&", directory.path().join("ran").display());
    let mut worker = IsolatedWorker::start(&[&waits, "ActAsync:a", "ActAsync:abort", "reply"]);
    assert_eq!(worker.line(), "leased at [0]");
    let shared = worker.task_process();
    // Both run once more, side by side.
    let mut lines = [worker.line(), worker.line()];
    lines.sort_unstable();
    let [neighbour, line] = lines;
    assert!(line.starts_with("returned Crashed { status: \"killed by SIGABRT"), "{line}");
    assert!(line.ends_with("at Some(0)"), "{line}");
    assert!(neighbour.starts_with("result ") && neighbour != format!("result {shared}"));
}

#[test]
fn an_operation_that_does_not_return_ends_its_child_and_occupies_no_thread_of_the_worker() {
    // Three of them, although the worker has only two threads.
    let mut worker = IsolatedWorker::start(&[
        "Hurry:a",
        "Hurry:b,hang,c",
        "Hurry:hang",
        "Hurry:hang",
        "Hurry:a",
    ]);
    let first = worker.task_process();
    let line = worker.line();
    assert!(line.starts_with("result ") && line.ends_with(" failed:Timeout 1xTimeSlice"), "{line}");
    assert_eq!(worker.line(), "result failed:Timeout");
    assert_eq!(worker.line(), "result failed:Timeout");
    assert_ne!(worker.task_process(), first);
    worker.assert_drained();
}

#[test]
fn an_isolated_run_is_leased_with_its_offset() {
    let mut worker = IsolatedWorker::start(&["Act:a,b,wait&", "cancel", "Act:a"]);
    // The chunk begins at the element that waits, or at the one before it.
    let leased = worker.line();
    assert!(["leased at [1]", "leased at [2]"].contains(&leased.as_str()), "{leased}");
    let line = worker.line();
    assert_eq!(line.split(' ').count(), 4, "three elements are done: {line}");
    worker.task_process();
    worker.assert_drained();
}

#[test]
fn a_child_that_ignores_a_cancel_is_killed() {
    let mut worker = IsolatedWorker::start(&["Act:hang&", "cancel", "Act:a"]);
    assert_eq!(worker.line(), "leased at [0]");
    assert_eq!(worker.line(), "result 1xCancelled");
    worker.task_process();
    worker.assert_drained();
}

#[test]
fn a_drain_kills_busy_children_after_the_grace_period() {
    let mut worker = IsolatedWorker::start(&["Act:hang&", "drain"]);
    assert_eq!(worker.line(), "leased at [0]");
    assert_eq!(worker.line(), "result 1xDraining");
    worker.assert_drained();
}

#[test]
fn an_idle_child_that_was_killed_is_replaced() {
    let mut worker = IsolatedWorker::start(&["Act:a", "pause", "Act:a"]);
    let first = worker.task_process();
    kill_process(id(&first), Signal::KILL).unwrap();
    worker.resume();
    assert_ne!(worker.task_process(), first);
    worker.assert_drained();
}

#[test]
fn children_do_not_outlive_a_killed_worker() {
    let mut worker = IsolatedWorker::start(&["Act:a", "Act:hang&", "stay"]);
    let child = worker.task_process();
    assert_eq!(worker.line(), "leased at [0]");
    assert!(is_running(&child));
    kill_process(id(&worker.process), Signal::KILL).unwrap();
    worker.child.wait().unwrap();
    eventually("the child is gone", || !is_running(&child));
}
