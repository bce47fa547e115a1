//! The cargo that runs this program.

use std::env;
use std::process::Command;

/// A command that runs cargo as from a shell.
///
/// For this program, `cargo run` sets variables such as `CARGO_PKG_NAME`. Build scripts depend on
/// them: with them, cargo would build `ring` and all that depends on it again, and once more when
/// it is next started from a shell.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_about_this_package) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether a variable describes the package that cargo runs.
fn is_about_this_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::cargo;

    #[test]
    fn cargo_is_not_told_about_this_package() {
        // Cargo has set them for this test.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let removed = |variable| cargo().get_envs().any(|change| change == (variable, None));
        assert!(removed("CARGO_PKG_NAME".as_ref()) && removed("CARGO_MANIFEST_DIR".as_ref()));
        assert!(!removed("CARGO_HOME".as_ref()) && !removed("PATH".as_ref()));
    }
}
