//! Counting the words of a large text, with a million different words.

use anyhow::Result;

use crate::{
    alone::{BROKER_URL, Program, Taken},
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

pub(crate) async fn over_rabbitmq(effort: Effort, url: String) -> Result<Line> {
    let size = effort.elements(SIZE);
    let (mut ours, mut renoir) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        let variables = [(BROKER_URL, url.as_str())];
        let taken = Program::WordsOverRabbitmq.run_alone_with(size, &variables).await?;
        ours.push(taken.seconds);
        renoir.push(Program::WordsRenoir.run_alone(size).await?.seconds);
    }
    let (ours, peer) = (median(ours), median(renoir));
    Ok(Line {
        what: "count of the words of 404 MB over RabbitMQ, vs Renoir in memory".to_owned(),
        ours: format!("{ours:.1} s"),
        peer: format!("{peer:.1} s"),
        ratio: ours / peer,
        target: Target::AtMost(2.0),
    })
}
