//! The pages of the repository agree with the repository: links, paths, tests, rules and messages
//! that a page names exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of the repository with this extension, without build artefacts.
fn files(extension: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|known| known == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), extension, &mut found);
    found.sort();
    found
}

/// All Rust sources in one text.
fn sources() -> String {
    files("rs").into_iter().map(read).collect()
}

/// A page without its fenced code.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    page.lines().filter(is_prose).fold(String::new(), |text, line| text + line + "\n")
}

/// The text between backticks.
fn code_spans(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

// Guarantees.

#[test]
fn each_guarantee_names_tests_and_items_that_exist() {
    let page = read(root().join("docs/guarantees.md"));
    let text = sources();
    let (mut paths, mut tests) = (0, 0);
    for span in code_spans(&page) {
        if span.contains('/') {
            assert!(root().join(span).exists(), "there is no `{span}`");
            paths += 1;
        } else if span.matches('_').count() > 2 {
            let name = span.trim_end_matches('…');
            assert!(text.contains(&format!("fn {name}")), "there is no test `{span}`");
            tests += 1;
        } else if let Some((owner, item)) =
            span.split_once("::").filter(|(owner, _)| *owner != "std")
        {
            assert!(text.contains(&format!("pub struct {owner}")), "there is no type `{owner}`");
            assert!(text.contains(&format!("pub fn {item}(")), "there is no method `{span}`");
        }
    }
    assert!(paths > 10 && tests > 10, "{paths} paths and {tests} tests: has the format changed?");
}

#[test]
fn each_guarantee_names_a_proof() {
    let page = read(root().join("docs/guarantees.md"));
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    for row in rows.filter(|row| !row.starts_with("| promise")) {
        let proof = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        let is_proof = |span: &str| span.contains('/') || span.contains('_');
        assert!(code_spans(proof).any(is_proof), "this promise names no proof: {row}");
    }
}

// Rules.

/// The numbers that follow "rule" or "rules": "rule 6", "(rules 8, 12 and 13)".
fn cited_rules(text: &str) -> BTreeSet<u32> {
    let mut cited = BTreeSet::new();
    // A citation may continue on the next line of a comment.
    let mut words = text.split_whitespace().filter(|word| !["///", "//", "//!"].contains(word));
    while let Some(word) = words.next() {
        if !matches!(word.trim_start_matches('(').to_lowercase().as_str(), "rule" | "rules") {
            continue;
        }
        let mut rest = words.clone();
        while let Some(next) = rest.next() {
            let digits = next.find(|c: char| !c.is_ascii_digit()).unwrap_or(next.len());
            if let Ok(number) = next[..digits].parse() {
                cited.insert(number);
            } else if next != "and" {
                break;
            }
            let follows = rest.clone().next() == Some("and");
            if next != "and" && !next.ends_with(',') && !follows {
                break;
            }
        }
    }
    cited
}

#[test]
fn citations_of_rules_are_found() {
    let text = "rule 6; (rules 8, 12 and\n/// 13) Rule 2: 7 copies, rules are 9, rule 24.";
    assert_eq!(cited_rules(text), BTreeSet::from([2, 6, 8, 12, 13, 24]));
}

#[test]
fn the_rules_of_the_protocol_are_numbered_upwards_and_include_each_that_is_cited() {
    let page = read(root().join("docs/protocol.md"));
    let number = |line: &str| line.strip_prefix("### ")?.split_once(". ")?.0.parse::<u32>().ok();
    let rules: Vec<u32> = page.lines().filter_map(number).collect();
    assert_eq!(rules[..27], (1..=27).collect::<Vec<_>>());
    // Those of exchanges whose blocks travel through queues have numbers, and are not built.
    assert!(rules.is_sorted_by(|rule, next| rule < next), "{rules:?}");

    let mut cited = BTreeSet::new();
    for file in files("rs").into_iter().chain(files("md")) {
        let here = cited_rules(&read(&file));
        let unknown: Vec<_> = here.iter().filter(|rule| !rules.contains(rule)).collect();
        assert!(unknown.is_empty(), "{} cites unknown rules: {unknown:?}", file.display());
        cited.extend(here);
    }
    assert!(cited.len() > 15, "only {cited:?} are cited: has the notation changed?");
}

// Messages.

/// The fields of a struct, or the variants of an enum, in the order of the source.
fn members<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let struct_or_enum = [format!("\npub struct {name} {{\n"), format!("\npub enum {name} {{\n")];
    let body = struct_or_enum.iter().find_map(|head| Some(text.split_once(head.as_str())?.1));
    let body = body.unwrap_or_else(|| panic!("there is no type `{name}`"));
    let member = |line: &'t str| {
        let line = line.strip_prefix("    ")?;
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
        (end > 0).then(|| &line[..end])
    };
    body.lines().take_while(|line| *line != "}").filter_map(member).collect()
}

#[test]
fn each_message_is_described_field_by_field() {
    let text = sources();
    let page = read(root().join("docs/protocol.md"));
    let mut types = 0;
    for section in page.split("\n### `").skip(1) {
        let Some((name, section)) = section.split_once('`') else { continue };
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let described: Vec<&str> =
            rows.flat_map(|row| code_spans(row.split('|').nth(1).unwrap_or_default())).collect();
        assert_eq!(described, members(&text, name), "the table of `{name}` in docs/protocol.md");
        types += 1;
    }
    assert!(types > 10, "{types} types: has the format changed?");
}

// Links and paths.

/// The anchors of a page, as GitHub makes them from headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let anchor = |line: &str| {
        let heading = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
    };
    prose(page).lines().filter_map(anchor).collect()
}

#[test]
fn each_relative_link_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    for file in files("md") {
        let page = read(&file);
        let text = prose(&page);
        for link in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.parent().unwrap().join(path),
            };
            assert!(target.exists(), "{} links to {link}, which is missing", file.display());
            let is_there = anchor.is_empty() || anchors(&read(&target)).contains(anchor);
            assert!(is_there, "{} links to {link}, which has no such heading", file.display());
        }
    }
    assert!(links > 10, "{links} links: has the format changed?");
}

#[test]
fn each_path_in_the_documentation_exists() {
    let mut paths = 0;
    let mut missing = Vec::new();
    let pages = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)).into_iter();
    for file in
        pages.chain(files("md").into_iter().filter(|file| file.starts_with(root().join("docs"))))
    {
        let page = read(&file);
        let text = prose(&page);
        for span in code_spans(&text) {
            let is_path = span.contains('/') && (span.ends_with(".rs") || span.ends_with('/'));
            if !is_path || span.contains("://") || span.contains(' ') {
                continue;
            }
            paths += 1;
            if !root().join(span).exists() {
                missing.push(format!("{}: `{span}`", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "these paths are missing:\n{}", missing.join("\n"));
    assert!(paths > 20, "{paths} paths: has the format changed?");
}
