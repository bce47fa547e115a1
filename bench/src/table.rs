//! The printed table: one line for each comparison, as soon as it is measured.

/// One comparison.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) peer: String,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
}

/// The target of a ratio.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// Prints the table as Markdown.
pub(crate) struct Table;

impl Table {
    pub(crate) fn begin() -> Self {
        println!();
        print_cells(["what", "Phalanx", "peer", "ratio", "target"].map(str::to_owned));
        println!("| :{0:-<68} | {0:->16}: | {0:->22}: | {0:->7}: | {0:->8}: |", "");
        Self
    }

    pub(crate) fn add(&mut self, line: Line) {
        let Line { what, ours, peer, ratio, target } = line;
        let target = match target {
            Target::AtLeast(target) => format!("≥ {target}"),
            Target::AtMost(target) => format!("≤ {target}"),
        };
        let ratio = if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") };
        print_cells([what, ours, peer, ratio, target]);
    }
}

fn print_cells([what, ours, peer, ratio, target]: [String; 5]) {
    println!("| {what:<69} | {ours:>17} | {peer:>23} | {ratio:>8} | {target:>9} |");
}

/// A rate as text.
pub(crate) fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.1} million/s", rate / 1e6),
        rate => format!("{:.0}/s", (rate / 10.0).round() * 10.0),
    }
}
