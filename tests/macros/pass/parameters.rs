use std::{
    ffi::{CStr, OsStr},
    path::{Path, PathBuf},
};

use phalanx::prelude::*;

#[derive(Serialize, Deserialize)]
struct Row(u64);

#[operation(type = "ReadRow")]
fn row(r: Row) -> u64 {
    r.0
}

#[operation(type = "ToStrings")]
fn string(text: &str) -> Result<Vec<String>> {
    Ok(vec![text.to_owned()])
}

#[operation]
fn show(value: &u64) -> String {
    value.to_string()
}

#[operation]
fn extensions(paths: Vec<PathBuf>) -> usize {
    paths.len()
}

#[operation]
fn infer(#[state] model: &[u8], n: usize) -> u8 {
    model[n]
}

#[operation]
fn shrink(#[state] root: &Path, path: &Path, name: &OsStr, text: &CStr) -> usize {
    root.join(path).join(name).as_os_str().len() + text.count_bytes()
}

fn main() {
    let _ = (ReadRow, ToStrings, Show, Extensions, Infer { model: vec![1] });
    let _ = Shrink { root: PathBuf::from("/") };
}
