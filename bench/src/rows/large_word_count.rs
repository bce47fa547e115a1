//! Counting the words of a large text, with a million different words.

use anyhow::Result;

use crate::{
    alone::{Program, Taken},
    measure::{Effort, median},
    table::{Line, Target},
};

/// The size of the text, in bytes.
const SIZE: u64 = 404_000_000;

const PROGRAMS: [Program; 4] =
    [Program::Words, Program::OwnedWords, Program::WordsByHand, Program::WordsRenoir];

pub(crate) async fn rows(effort: Effort) -> Result<Vec<Line>> {
    let size = effort.elements(SIZE);
    let mut all = PROGRAMS.map(|_| Vec::new());
    for _ in 0..effort.runs {
        for (program, taken) in PROGRAMS.into_iter().zip(&mut all) {
            taken.push(program.run_alone(size).await?);
        }
    }
    let [ours, owned, by_hand, renoir] = &all;
    let seconds = |taken: &Taken| taken.seconds;
    let row = |what: &str, ours, peer, unit: (&str, fn(&Taken) -> f64), most| {
        let of = |all: &[Taken]| median(all.iter().map(unit.1).collect());
        let (ours, peer) = (of(ours), of(peer));
        Line {
            what: format!("count of the words of 404 MB, {what}"),
            ours: format!("{ours:.1} {}", unit.0),
            peer: format!("{peer:.1} {}", unit.0),
            ratio: ours / peer,
            target: Target::AtMost(most),
        }
    };
    Ok(vec![
        row("vs hash maps by hand", ours, by_hand, ("s", seconds), 1.25),
        row("strings, vs hash maps by hand", owned, by_hand, ("s", seconds), 1.5),
        row("vs Renoir", ours, renoir, ("s", seconds), 1.0),
        row("processors, vs by hand", ours, by_hand, ("s", |taken| taken.cpu_seconds), 1.25),
        row("peak memory, vs by hand", ours, by_hand, ("MB", |taken| taken.peak), 2.0),
    ])
}
