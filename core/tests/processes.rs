//! What depends on the environment of a process, or ends it: tests that run a test of this file in
//! a process of its own.

use std::process::{Command, Output};

use phalanx_core::{
    operation,
    operation::{ErrorKind, TaskContext},
    registry::{self, Column, FailedElement, Registry, Verb},
};

#[operation(crate = phalanx_core)]
fn misbehave(action: String) -> u32 {
    match action.as_str() {
        "exit" => std::process::exit(0),
        _ => panic!("{action}"),
    }
}

fn run(action: &str) -> Vec<FailedElement> {
    let registry = Registry::global().unwrap();
    let (reference, _) = registry.reference(&Misbehave, Verb::Map).unwrap();
    let step = registry.compile(&reference).unwrap();
    let mut failures = Vec::new();
    let column = Column::new(vec![String::from(action)], vec![0]);
    step.run(column, &TaskContext::detached(), &mut failures);
    failures
}

/// Runs an ignored test of this file in a process of its own.
fn in_a_process(test: &str, backtrace: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .env("RUST_BACKTRACE", backtrace)
        .env_remove("RUST_LIB_BACKTRACE")
        .output()
        .unwrap()
}

#[test]
#[ignore = "run by the test below"]
#[expect(clippy::print_stdout, reason = "the test below reads it")]
fn panicking() {
    let failures = run("boom");
    assert_eq!(failures[0].error.kind(), ErrorKind::Panic);
    println!("{}", failures[0].error);
}

#[test]
fn a_panic_of_an_operation_has_a_backtrace_if_the_environment_asks_for_it() {
    let with = in_a_process("panicking", "1");
    let text = String::from_utf8_lossy(&with.stdout);
    assert!(text.contains(": boom") && text.contains("stack backtrace:"), "{text}");
    assert!(text.contains("misbehave"), "the frames of the operation are there: {text}");
    assert!(!text.contains("test::run_test"), "the frames around it are not: {text}");
    let without = in_a_process("panicking", "0");
    let text = String::from_utf8_lossy(&without.stdout);
    assert!(text.contains(": boom") && !text.contains("stack backtrace"), "{text}");
}

#[test]
#[ignore = "run by the test below"]
fn exiting() {
    registry::treat_exit_as_crash();
    run("exit");
}

#[cfg(any(target_env = "gnu", target_os = "macos"))]
#[test]
fn an_exit_inside_of_an_operation_is_a_crash_and_no_good_end() {
    use std::os::unix::process::ExitStatusExt;

    let output = in_a_process("exiting", "0");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert_eq!(output.status.signal(), Some(6), "SIGABRT: {text}");
    assert!(text.contains("an operation ended this process with `exit`"), "{text}");
}
