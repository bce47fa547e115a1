//! Counts the words of files and shows the most frequent ones.
//!
//!     cargo run --release --example wordcount -- FILES… runs on PHALANX_URL (default: in memory)
//!     cargo run --release --example wordcount -- worker serves the broker of PHALANX_URL

use std::{
    cmp::Reverse,
    error::Error,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use phalanx::prelude::*;

/// Approximate size of one element: a passage of text that ends at the end of a line.
const PASSAGE_BYTES: u64 = 64 * 1024;

/// Number of rows in the table.
const SHOWN: usize = 20;

/// The words of a passage of text. Runs on the workers.
#[operation]
fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let words = words.map(|word| word.trim_matches('\'').to_lowercase());
    words.filter(|word| !word.is_empty())
}

/// Orders words by how often they occur, then alphabetically: the largest comes first.
#[operation]
fn frequency((word, count): (&str, u64)) -> (u64, Reverse<String>) {
    (count, Reverse(word.to_owned()))
}

async fn lead(files: Vec<PathBuf>, stats: bool) -> Result<(), Box<dyn Error>> {
    for file in &files {
        check(file)?;
    }
    let started = Instant::now();
    let runtime = Runtime::from_env().await?;
    let texts = files.into_iter().flat_map(passages);
    // Each worker counts the words of its passages; then the counts of each word meet.
    let counts = IndexedStream::try_from_iter(texts).flat_map(Words).count_by_value();
    let (job, most_frequent) = counts.top_by_key(SHOWN, Frequency).start(&runtime)?;
    let rows = most_frequent.await?;
    runtime.close().await;
    show(&rows);
    if stats {
        let moved = job.progress().borrow().exchanges[0];
        println!("{moved}");
    }
    println!("in {:.0?}", started.elapsed());
    Ok(())
}

/// Rejects a file that cannot be read, before any work begins.
fn check(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(format!("{} is a directory", path.display())),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// The text of a file in passages, read lazily. Bytes that are not UTF-8 become `�`.
fn passages(path: PathBuf) -> impl Iterator<Item = Result<String, String>> + Send {
    let mut file = None;
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let passage = next_passage(&path, &mut file);
        failed = passage.is_err();
        passage.map_err(|error| format!("cannot read {}: {error}", path.display())).transpose()
    })
}

fn next_passage(path: &Path, file: &mut Option<BufReader<File>>) -> io::Result<Option<String>> {
    let reader = match file {
        Some(reader) => reader,
        None => file.insert(BufReader::new(File::open(path)?)),
    };
    let mut passage = Vec::new();
    reader.by_ref().take(PASSAGE_BYTES).read_to_end(&mut passage)?;
    reader.read_until(b'\n', &mut passage)?;
    Ok((!passage.is_empty()).then(|| String::from_utf8_lossy(&passage).into_owned()))
}

fn show(rows: &[(String, u64)]) {
    let most = rows.first().map_or(1, |(_, count)| *count);
    let width = rows.iter().map(|(word, _)| word.chars().count()).max().unwrap_or(0);
    for (word, count) in rows {
        let bar = "█".repeat((1 + count * 39 / most) as usize);
        println!("{count:>10}  {word:<width$}  {bar}");
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        return phalanx::worker::main().await;
    }
    let (options, files): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| argument == "--stats");
    if files.is_empty() {
        eprintln!("usage: wordcount [--stats] FILES… | wordcount worker");
        return ExitCode::from(2);
    }
    let files = files.into_iter().map(PathBuf::from).collect();
    match lead(files, !options.is_empty()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}
