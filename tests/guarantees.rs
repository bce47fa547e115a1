//! What `docs/guarantees.md` names must be there: each file, and each test by its name.

use std::{fs, path::Path};

/// All sources of the repository in one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_guarantee_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let mut text = String::new();
    sources(root, &mut text);
    let (mut files, mut tests) = (0, 0);
    // What stands between backticks is every other part.
    for quoted in page.split('`').skip(1).step_by(2) {
        if quoted.contains('/') {
            assert!(root.join(quoted).exists(), "there is no `{quoted}`");
            files += 1;
        } else if quoted.matches('_').count() > 2 {
            let name = quoted.trim_end_matches('…');
            assert!(text.contains(&format!("fn {name}")), "there is no test `{quoted}`");
            tests += 1;
        }
    }
    assert!(files > 10 && tests > 10, "{files} files, {tests} tests: is the page still read?");
}

#[test]
fn each_guarantee_has_a_proof() {
    let page = include_str!("../docs/guarantees.md");
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    for line in lines.filter(|line| !line.starts_with("| promise")) {
        assert!(line.contains('`'), "this promise names no proof: {line}");
    }
}
