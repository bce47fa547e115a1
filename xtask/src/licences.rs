//! `cargo xtask licences`: checks the licences of all dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::Outcome;
use crate::cargo::cargo;

/// Check the licence of every dependency against the list in deny.toml.
///
/// This part of `cargo deny check` needs neither a network nor an installed tool.
#[derive(Debug, Args)]
pub(crate) struct Licences {}

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml");

impl Licences {
    pub(crate) fn run(self) -> Outcome {
        let allowed = allowed(&fs::read_to_string(RULES)?);
        if allowed.is_empty() {
            return Err(format!("{RULES} allows no licence").into());
        }
        let output = cargo()
            .args(["metadata", "--all-features", "--locked", "--format-version", "1"])
            .output()?;
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().ok_or("cargo listed no packages")?;
        let mut refused = 0;
        for package in packages {
            let licence = package["license"].as_str().unwrap_or_default();
            if !satisfied(licence, &allowed) {
                println!("{} {}: {licence:?}", package["name"], package["version"]);
                refused += 1;
            }
        }
        println!(
            "{} packages, {refused} with a licence that deny.toml does not allow",
            packages.len()
        );
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The strings of the list `allow` in the section `[licenses]`, one on each line.
fn allowed(rules: &str) -> BTreeSet<String> {
    rules
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[licenses]")
        .skip_while(|line| *line != "allow = [")
        .skip(1)
        .take_while(|line| *line != "]")
        .map(|line| line.trim_matches([',', '"']).to_owned())
        .collect()
}

/// Whether an SPDX expression can be satisfied with these licences.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // `/` is an older spelling of OR; parentheses are separate words.
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = expression.split_whitespace().peekable();
    let holds = alternatives(&mut words, allowed);
    // Words that are left over did not parse.
    holds == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// Whether the expression holds; `None` if it does not parse.
fn alternatives(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut holds = conjunction(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        // Both sides are parsed, even if the first decides.
        holds |= conjunction(words, allowed)?;
    }
    Some(holds)
}

fn conjunction(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut holds = licence(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        holds &= licence(words, allowed)?;
    }
    Some(holds)
}

fn licence(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let name = words.next()?;
    if name == "(" {
        let holds = alternatives(words, allowed)?;
        return words.next_if_eq(&")").map(|_| holds);
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => Some(allowed.contains(&format!("{name} WITH {}", words.next()?))),
        None => Some(allowed.contains(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(allowed: &[&str], expression: &str) -> bool {
        satisfied(expression, &allowed.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn one_alternative_is_enough_and_all_parts_are_needed() {
        assert!(with(&["MIT"], "GPL-3.0 OR MIT"));
        assert!(with(&["MIT"], "MIT/Apache-2.0"));
        assert!(!with(&["MIT"], "MIT AND GPL-3.0"));
        assert!(with(&["MIT", "ISC"], "(MIT OR GPL-3.0) AND ISC"));
        assert!(with(&["ISC"], "MIT AND GPL-3.0 OR ISC"));
    }

    #[test]
    fn a_licence_with_an_exception_is_a_different_licence() {
        assert!(!with(&["Apache-2.0"], "Apache-2.0 WITH LLVM-exception"));
        assert!(with(&["Apache-2.0 WITH LLVM-exception"], "Apache-2.0 WITH LLVM-exception"));
    }

    #[test]
    fn an_expression_that_does_not_parse_is_refused() {
        for expression in ["", "(MIT", "MIT)", "MIT ISC", "AND MIT", "MIT OR ISC AND", "MIT OR"] {
            assert!(!with(&["MIT", "ISC"], expression), "{expression}");
        }
    }

    #[test]
    fn the_allowed_licences_come_from_their_section() {
        let rules = "[bans]\nallow = [\n\"X\",\n]\n[licenses]\nallow = [\n  \"MIT\",\n]\nother = 1";
        assert_eq!(allowed(rules), BTreeSet::from(["MIT".to_owned()]));
    }
}
