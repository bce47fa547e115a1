//! Decides whether to install RabbitMQ, with whose privileges, and whether to ask the user first.

use super::manager::Manager;

/// The inputs of the decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Environment {
    /// `None` if the machine has no supported package manager.
    pub(super) manager: Option<&'static Manager>,
    pub(super) root: bool,
    pub(super) sudo: Sudo,
    /// Whether a user can read a question and answer it.
    pub(super) terminal: bool,
    /// Whether the variable `CI` is set.
    pub(super) ci: bool,
    /// Whether `--yes` was passed.
    pub(super) yes: bool,
}

/// What `sudo` does for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sudo {
    Absent,
    AsksForPassword,
    Works,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Ask(Command),
    Install(Command),
    Refuse {
        reason: &'static str,
        /// The command that the user can run instead.
        command: Option<String>,
    },
}

/// A package manager and the privileges that it runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) manager: &'static Manager,
    pub(super) rights: Rights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// The user's own, root or not.
    Own,
    /// `sudo`, which asks for a password on the terminal.
    Sudo,
    /// `sudo -n`, which fails instead of asking.
    SudoWithoutPassword,
}

impl Rights {
    fn prefix(self) -> &'static [&'static str] {
        match self {
            Self::Own => &[],
            Self::Sudo => &["sudo"],
            Self::SudoWithoutPassword => &["sudo", "-n"],
        }
    }
}

impl Command {
    /// The words of a command line that runs `program`.
    pub(super) fn words<'a>(&self, program: &[&'a str]) -> Vec<&'a str> {
        [self.rights.prefix(), program].concat()
    }

    /// The command line as a user would type it.
    pub(super) fn shown(&self) -> String {
        let lines = self.manager.by_hand.iter().map(|line| self.words(&[line]).join(" "));
        lines.collect::<Vec<_>>().join(" && ")
    }
}

pub(super) fn decide(environment: &Environment) -> Decision {
    let Some(manager) = environment.manager else {
        return Decision::Refuse { reason: "no known package manager is installed", command: None };
    };
    let attended = environment.terminal && !environment.ci;
    let refuse = |reason, rights| Decision::Refuse {
        reason,
        command: Some(Command { manager, rights }.shown()),
    };
    let rights = match (manager.needs_root, environment.root, environment.sudo) {
        (true, true, _) | (false, false, _) => Rights::Own,
        (false, true, _) => return refuse("it cannot be installed as root", Rights::Own),
        (true, false, Sudo::Works) => Rights::SudoWithoutPassword,
        (true, false, Sudo::AsksForPassword) if attended => Rights::Sudo,
        (true, false, Sudo::AsksForPassword) => {
            return refuse("sudo asks for a password", Rights::Sudo);
        }
        (true, false, Sudo::Absent) => {
            return refuse("installing it needs root, and sudo is missing", Rights::Own);
        }
    };
    let command = Command { manager, rights };
    if attended && !environment.yes { Decision::Ask(command) } else { Decision::Install(command) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with `apt-get` and a user who is root, in a script.
    fn script_as_root() -> Environment {
        Environment {
            manager: Some(Manager::named("apt-get")),
            root: true,
            sudo: Sudo::Absent,
            terminal: false,
            ci: false,
            yes: false,
        }
    }

    fn brew() -> Environment {
        Environment { manager: Some(Manager::named("brew")), root: false, ..script_as_root() }
    }

    fn rights(decision: &Decision) -> Option<Rights> {
        match decision {
            Decision::Ask(command) | Decision::Install(command) => Some(command.rights),
            Decision::Refuse { .. } => None,
        }
    }

    #[test]
    fn only_a_person_at_a_terminal_is_asked() {
        for (terminal, ci, yes, asked) in [
            (true, false, false, true),
            (true, false, true, false),
            (true, true, false, false),
            (true, true, true, false),
            (false, false, false, false),
            (false, false, true, false),
            (false, true, false, false),
            (false, true, true, false),
        ] {
            for environment in [script_as_root(), brew()] {
                let decision = decide(&Environment { terminal, ci, yes, ..environment });
                let found = matches!(decision, Decision::Ask(_));
                assert_eq!(found, asked, "terminal {terminal}, CI {ci}, --yes {yes}: {decision:?}");
                assert_eq!(rights(&decision), Some(Rights::Own));
            }
        }
    }

    #[test]
    fn a_user_who_is_not_root_needs_sudo() {
        let user = Environment { root: false, ..script_as_root() };
        let with = |sudo, terminal, ci| decide(&Environment { sudo, terminal, ci, ..user });
        for (terminal, ci) in [(true, false), (true, true), (false, false), (false, true)] {
            let works = with(Sudo::Works, terminal, ci);
            assert_eq!(rights(&works), Some(Rights::SudoWithoutPassword));
            let absent = with(Sudo::Absent, terminal, ci);
            assert!(matches!(absent, Decision::Refuse { command: Some(_), .. }), "{absent:?}");
        }
        assert_eq!(rights(&with(Sudo::AsksForPassword, true, false)), Some(Rights::Sudo));
    }

    #[test]
    fn a_password_is_never_waited_for_when_no_person_can_type_it() {
        let user = Environment { root: false, sudo: Sudo::AsksForPassword, ..script_as_root() };
        for (terminal, ci) in [(false, false), (false, true), (true, true)] {
            for yes in [false, true] {
                let decision = decide(&Environment { terminal, ci, yes, ..user });
                let Decision::Refuse { reason, command: Some(command) } = decision else {
                    panic!("{decision:?}")
                };
                assert_eq!(reason, "sudo asks for a password");
                let by_hand = "sudo apt-get update && sudo apt-get install rabbitmq-server";
                assert_eq!(command, by_hand);
            }
        }
    }

    #[test]
    fn homebrew_runs_as_the_user_and_never_as_root() {
        assert_eq!(rights(&decide(&brew())), Some(Rights::Own));
        let decision = decide(&Environment { root: true, ..brew() });
        assert!(matches!(decision, Decision::Refuse { .. }), "{decision:?}");
    }

    #[test]
    fn without_a_package_manager_no_command_is_suggested() {
        let decision = decide(&Environment { manager: None, ..script_as_root() });
        assert!(matches!(decision, Decision::Refuse { command: None, .. }), "{decision:?}");
    }
}
