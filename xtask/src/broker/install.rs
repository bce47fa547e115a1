//! Installs RabbitMQ with the system's package manager.

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::Command;

struct Manager {
    program: &'static str,
    /// Fetches the list of packages; a machine made from an image often has none.
    refresh: &'static [&'static str],
    install: &'static [&'static str],
    needs_root: bool,
}

const MANAGERS: [Manager; 6] = [
    Manager {
        program: "apt-get",
        refresh: &["update", "-qq"],
        install: &["install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"],
        needs_root: true,
    },
    Manager::plain("dnf", &["install", "-y", "rabbitmq-server"], true),
    Manager::plain("zypper", &["--non-interactive", "install", "rabbitmq-server"], true),
    Manager::plain("pacman", &["-Sy", "--noconfirm", "rabbitmq"], true),
    Manager::plain("apk", &["add", "rabbitmq-server"], true),
    Manager::plain("brew", &["install", "rabbitmq"], false),
];

impl Manager {
    const fn plain(
        program: &'static str,
        install: &'static [&'static str],
        needs_root: bool,
    ) -> Self {
        Self { program, refresh: &[], install, needs_root }
    }

    fn words(&self, arguments: &[&'static str]) -> Vec<&'static str> {
        let sudo = self.needs_root && !rustix::process::geteuid().is_root();
        let mut words = if sudo { vec!["sudo"] } else { vec![] };
        words.push(self.program);
        words.extend(arguments);
        words
    }

    fn run(&self, arguments: &[&'static str]) -> Result<(), Box<dyn Error>> {
        let words = self.words(arguments);
        let mut command = Command::new(words[0]);
        let status = command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").status()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("`{}` failed: {status}", words.join(" ")).into()),
        }
    }
}

/// The command that installs RabbitMQ on this machine.
pub(super) fn command() -> Option<String> {
    manager().map(|manager| manager.words(manager.install).join(" "))
}

/// Installs RabbitMQ: without a question in CI, after one on a terminal, else not at all.
pub(super) fn install() -> Result<(), Box<dyn Error>> {
    let absent = "rabbitmq-server is not installed";
    let (Some(manager), Some(command)) = (manager(), command()) else { return Err(absent.into()) };
    if env::var_os("CI").is_none_or(|value| value.is_empty() || value == "false") {
        if !io::stdin().is_terminal() {
            return Err(absent.into());
        }
        eprint!("{absent}. Run `{command}` now? [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(absent.into());
        }
    }
    if !manager.refresh.is_empty() {
        manager.run(manager.refresh)?;
    }
    manager.run(manager.install)
}

fn manager() -> Option<&'static Manager> {
    MANAGERS.iter().find(|manager| on_path(manager.program).is_some())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
