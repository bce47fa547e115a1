//! Each program in `fail` has a twin of the same name in `pass` that differs only by the mistake.

use std::{collections::BTreeSet, path::Path};

#[test]
fn diagnostics_describe_the_mistake_and_what_to_do() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*.rs");
}

#[test]
fn every_mistake_has_a_correct_twin() {
    assert_eq!(programs("fail"), programs("pass"));
}

fn programs(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let names = folder.read_dir().expect("the folder exists").map(|entry| {
        entry.expect("the entry is readable").file_name().to_string_lossy().into_owned()
    });
    let programs: BTreeSet<String> = names.filter(|name| name.ends_with(".rs")).collect();
    assert!(!programs.is_empty());
    programs
}
