//! The package managers that can install RabbitMQ, and the commands that they take.

use std::env;

/// A package manager.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) program: &'static str,
    /// Arguments that fetch the package lists. Empty: `install` fetches them itself.
    pub(super) refresh: &'static [&'static str],
    pub(super) install: &'static [&'static str],
    /// The commands to run by hand, without options that silence questions.
    pub(super) by_hand: &'static [&'static str],
    /// Whether it must run as root. Homebrew refuses to; all others must.
    pub(super) needs_root: bool,
    /// Whether installing a package starts its services, as only Debian's packages do.
    pub(super) starts_services: bool,
}

const MANAGERS: [Manager; 6] = [
    Manager {
        program: "apt-get",
        // A freshly imaged machine has no package lists, or outdated ones.
        refresh: &["update", "-qq"],
        install: &[
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            // A freshly booted machine often upgrades itself in the background.
            "-o",
            "DPkg::Lock::Timeout=600",
            "rabbitmq-server",
        ],
        by_hand: &["apt-get update", "apt-get install rabbitmq-server"],
        needs_root: true,
        starts_services: true,
    },
    Manager::plain(
        "dnf",
        &["install", "-y", "rabbitmq-server"],
        &["dnf install rabbitmq-server"],
        true,
    ),
    Manager::plain(
        "zypper",
        &["--non-interactive", "install", "rabbitmq-server"],
        &["zypper install rabbitmq-server"],
        true,
    ),
    Manager::plain("pacman", &["-Sy", "--noconfirm", "rabbitmq"], &["pacman -Sy rabbitmq"], true),
    Manager::plain("apk", &["add", "rabbitmq-server"], &["apk add rabbitmq-server"], true),
    Manager::plain("brew", &["install", "rabbitmq"], &["brew install rabbitmq"], false),
];

impl Manager {
    const fn plain(
        program: &'static str,
        install: &'static [&'static str],
        by_hand: &'static [&'static str],
        needs_root: bool,
    ) -> Self {
        Self { program, refresh: &[], install, by_hand, needs_root, starts_services: false }
    }

    /// The package manager of this machine.
    pub(super) fn of_machine() -> Option<&'static Self> {
        MANAGERS.iter().find(|manager| is_on_path(manager.program))
    }

    #[cfg(test)]
    pub(super) fn named(program: &str) -> &'static Self {
        MANAGERS.iter().find(|manager| manager.program == program).expect("a known manager")
    }
}

pub(super) fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
