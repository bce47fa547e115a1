//! Installs RabbitMQ with the package manager of this machine.

mod decision;
mod manager;

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::Duration;

use decision::{Command, Decision, Environment, Sudo};
use manager::{Manager, is_on_path};

/// Installs RabbitMQ. Asks first if a user can answer and has not passed `--yes`.
///
/// # Errors
/// If the user declines, if privileges are missing, or if the package manager fails. The error
/// includes the command to run.
pub(super) fn install(yes: bool) -> Result<(), Box<dyn Error>> {
    match decision::decide(&environment(yes)) {
        Decision::Ask(command) => {
            let line = command.shown();
            eprint!("rabbitmq-server is not installed. Run `{line}` now? [Y/n] ");
            let mut answer = String::new();
            // No bytes at all, not even a line end: the input has ended.
            let answered = io::stdin().read_line(&mut answer)? > 0;
            if !answered || !is_yes(&answer) {
                return Err(format!("rabbitmq-server is not installed: run `{line}`").into());
            }
            run(&command)
        }
        Decision::Install(command) => {
            eprintln!("rabbitmq-server is not installed; running `{}`", command.shown());
            run(&command)
        }
        Decision::Refuse { reason, command: Some(command) } => {
            Err(format!("rabbitmq-server is not installed, and {reason}: run `{command}`").into())
        }
        Decision::Refuse { reason, command: None } => {
            Err(format!("rabbitmq-server is not installed, and {reason}").into())
        }
    }
}

fn environment(yes: bool) -> Environment {
    let ci = env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    let root = rustix::process::geteuid().is_root();
    Environment {
        manager: Manager::of_machine(),
        root,
        sudo: if root { Sudo::Absent } else { sudo() },
        // The question is on standard error, the answer on standard input.
        terminal: io::stdin().is_terminal() && io::stderr().is_terminal(),
        ci,
        yes,
    }
}

fn sudo() -> Sudo {
    if !is_on_path("sudo") {
        return Sudo::Absent;
    }
    let mut probe = Process::new("sudo");
    probe.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match probe.status() {
        Ok(status) if status.success() => Sudo::Works,
        _ => Sudo::AsksForPassword,
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

/// Runs a command while Debian's packages start no services, and keeps RabbitMQ's service disabled
/// after the next boot, too: the tests run private nodes.
const WITHOUT_SERVICES: &str = "\
policy=/usr/sbin/policy-rc.d
trap 'exit 1' HUP INT TERM
if [ ! -e \"$policy\" ]; then
  trap 'rm -f \"$policy\"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >\"$policy\"
  chmod 755 \"$policy\"
fi
\"$@\" || exit
[ ! -d /run/systemd/system ] || systemctl --quiet disable rabbitmq-server || true";

fn run(command: &Command) -> Result<(), Box<dyn Error>> {
    let manager = command.manager;
    // `sudo` passes no variables on, so `env` sets them.
    let settings = ["env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"];
    let program = [&settings[..], &[manager.program]].concat();
    if !manager.refresh.is_empty() {
        refresh(&command.words(&[&program[..], manager.refresh].concat()))?;
    }
    let install = [&program[..], manager.install].concat();
    let install = match manager.starts_services {
        true => [&["sh", "-c", WITHOUT_SERVICES, "sh"], &install[..]].concat(),
        false => install,
    };
    // Packages that ask questions anyway read an empty input and use their defaults.
    let mut process = process(&command.words(&install));
    if command.rights != decision::Rights::Sudo {
        process.stdin(Stdio::null());
    }
    // The package manager's output matters only if the installation fails.
    let output = process.stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            eprint!("{}", String::from_utf8_lossy(&output.stdout));
            Err(format!("`{}` failed: {}", command.shown(), output.status).into())
        }
    }
}

fn process(words: &[&str]) -> Process {
    let mut process = Process::new(words[0]);
    process.args(&words[1..]);
    process
}

/// How long to wait for another process to update the package lists.
const LOCK_TRIES: u32 = 60;
const LOCK_PAUSE: Duration = Duration::from_secs(5);

/// Fetches the package lists. Older lists may suffice, so a failure is not an error.
fn refresh(words: &[&str]) -> io::Result<()> {
    for attempt in 1.. {
        let output = process(words).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        if output.status.success() {
            break;
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        if !is_locked(&errors) || attempt == LOCK_TRIES {
            eprintln!("cannot update the package lists; using the existing ones:\n{errors}");
            break;
        }
        if attempt == 1 {
            eprintln!("waiting for another process that is updating the package lists");
        }
        thread::sleep(LOCK_PAUSE);
    }
    Ok(())
}

/// Whether `apt-get` failed because another process holds its lock.
fn is_locked(errors: &str) -> bool {
    errors.contains("Could not get lock") || errors.contains("Unable to lock directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_alone_means_yes() {
        for answer in ["\n", "y\n", "Y\n", "yes\n", " Yes \r\n"] {
            assert!(is_yes(answer), "{answer:?}");
        }
        for answer in ["n\n", "no\n", "N\n", "what?\n"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }

    #[test]
    fn a_lock_that_another_process_holds_is_recognized() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n\
             E: Unable to lock directory /var/lib/apt/lists/"
        ));
        assert!(!is_locked("E: The repository does not have a Release file."));
    }

    #[test]
    fn services_stay_off_only_while_the_command_runs_and_its_outcome_counts() {
        let status = |program: &str| {
            let script = WITHOUT_SERVICES.replace("/usr/sbin/policy-rc.d", "$POLICY");
            let script = script.replace("/run/systemd/system", "/nonexistent");
            let policy = env::temp_dir().join(format!("phalanx-policy-{}", std::process::id()));
            let mut shell = process(&["sh", "-c", &script, "sh", "sh", "-c", program]);
            let status = shell.env("POLICY", &policy).status().expect("a shell");
            assert!(!policy.exists(), "the policy is left behind");
            status.code()
        };
        assert_eq!(status("test -x \"$POLICY\" && ! \"$POLICY\""), Some(0));
        assert_eq!(status("exit 3"), Some(3));
    }
}
