//! Operations that end their process cost a child of the worker, and are named.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The program of this crate at work: a worker, and the leader of the tasks that are its arguments.
struct Trial {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    worker: String,
}

impl Trial {
    fn of(tasks: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trial"));
        command.args(tasks);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let worker = first.strip_prefix("worker ").unwrap().to_owned();
        Self { child, lines, worker }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("more to be said").unwrap()
    }

    /// What became of a task of one element that gives the process which ran it.
    fn process(&mut self) -> String {
        let line = self.line();
        let process = line.strip_prefix("result ").unwrap_or_else(|| panic!("{line}")).to_owned();
        assert!(process.parse::<u32>().is_ok(), "{line}");
        assert_ne!(process, self.worker, "not in a process of its own");
        process
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn ends_well(mut self) {
        assert_eq!(self.line(), "drained");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it runs: one that nobody has asked about after its end does not.
fn is_there(process: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    test_kill_process(id(process)).is_ok() && !state.is_ok_and(|state| state.contains(") Z "))
}

fn id(process: &str) -> Pid {
    Pid::from_raw(process.parse().unwrap()).unwrap()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "never came about: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_ends_a_process_is_named_and_the_worker_goes_on() {
    let fatal = ["abort", "overflow", "exit", "kill"];
    let tasks: Vec<String> = fatal.iter().map(|order| format!("Obey:a,b,{order},c")).collect();
    let mut tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    tasks.extend(["ObeySoon:a,abort,c", "Obey:a"]);
    let mut trial = Trial::of(&tasks);
    for (said, position) in [
        ("killed by SIGABRT", 2),
        ("killed by SIG", 2),
        ("exited with code 3", 2),
        ("killed by SIGKILL (out of memory?)", 2),
        ("killed by SIGABRT", 1),
    ] {
        let line = trial.line();
        assert!(line.starts_with(&format!("returned Crashed {{ status: \"{said}")), "{line}");
        assert!(line.ends_with(&format!("at Some({position})")), "{line}");
    }
    trial.process();
    trial.ends_well();
}

#[test]
fn tasks_that_do_no_harm_share_a_child() {
    let mut trial = Trial::of(&["Obey:a", "ObeySoon:a", "Obey:panic", "Shatter:drop", "Obey:a"]);
    let first = trial.process();
    assert_eq!(trial.process(), first);
    assert_eq!(trial.line(), "result failed:Panic");
    assert_eq!(trial.line(), "result failed:Panic");
    assert_eq!(trial.process(), first);
    trial.ends_well();
    eventually("the child is gone", || !is_there(&first));
}

#[test]
fn an_operation_that_does_not_end_costs_its_child_and_no_thread_of_the_worker() {
    // Three of them, where two threads would be all that the worker has.
    let mut trial =
        Trial::of(&["Hurry:a", "Hurry:b,hang,c", "Hurry:hang", "Hurry:hang", "Hurry:a"]);
    let first = trial.process();
    let line = trial.line();
    assert!(line.starts_with("result ") && line.ends_with(" failed:Timeout 1xTimeSlice"), "{line}");
    assert_eq!(trial.line(), "result failed:Timeout");
    assert_eq!(trial.line(), "result failed:Timeout");
    assert_ne!(trial.process(), first);
    trial.ends_well();
}

#[test]
fn a_isolated_run_is_leased_and_says_where_it_is() {
    let mut trial = Trial::of(&["Obey:a,b,wait&", "cancel", "Obey:a"]);
    // The chunk that it is in begins there, or one element earlier.
    let leased = trial.line();
    assert!(["leased at [1]", "leased at [2]"].contains(&leased.as_str()), "{leased}");
    let line = trial.line();
    assert_eq!(line.split(' ').count(), 4, "three that are done: {line}");
    trial.process();
    trial.ends_well();
}

#[test]
fn a_child_that_does_not_hear_of_a_cancel_is_ended() {
    let mut trial = Trial::of(&["Obey:hang&", "cancel", "Obey:a"]);
    assert_eq!(trial.line(), "leased at [0]");
    assert_eq!(trial.line(), "result 1xCancelled");
    trial.process();
    trial.ends_well();
}

#[test]
fn a_drain_ends_children_after_the_grace_period() {
    let mut trial = Trial::of(&["Obey:hang&", "drain"]);
    assert_eq!(trial.line(), "leased at [0]");
    assert_eq!(trial.line(), "result 1xDraining");
    trial.ends_well();
}

#[test]
fn a_child_that_was_killed_while_it_had_nothing_to_do_is_replaced() {
    let mut trial = Trial::of(&["Obey:a", "pause", "Obey:a"]);
    let first = trial.process();
    kill_process(id(&first), Signal::KILL).unwrap();
    trial.go_on();
    assert_ne!(trial.process(), first);
    trial.ends_well();
}

#[test]
fn children_do_not_outlive_a_worker_that_is_killed() {
    let mut trial = Trial::of(&["Obey:a", "Obey:hang&", "stay"]);
    let child = trial.process();
    assert_eq!(trial.line(), "leased at [0]");
    assert!(is_there(&child));
    kill_process(id(&trial.worker), Signal::KILL).unwrap();
    trial.child.wait().unwrap();
    eventually("the child is gone", || !is_there(&child));
}
