//! What a program pays for its operations when it is built.

use std::{fmt::Write as _, fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::{
    measure::{Effort, median},
    table::{Line, Target},
};

/// Enough that what a crate costs by itself does not count.
const OPERATIONS: u32 = 200;
/// The unit of the times in `/proc/self/stat`, which is the same on all Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Seconds of CPU for each operation of a library of 200, beside the same functions alone.
pub(crate) async fn row(effort: Effort, profile: Profile) -> Result<Line> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join("build-time");
    let (name, target) = match profile {
        Profile::Debug => ("debug", 0.02),
        Profile::Release => ("release", 0.1),
    };
    // Phalanx itself is built before the first measurement.
    build(&folder, profile, 1, "#[phalanx::operation]").await?;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        ours.push(build(&folder, profile, OPERATIONS, "#[phalanx::operation]").await?);
        plain.push(build(&folder, profile, OPERATIONS, "").await?);
    }
    let per_operation = |seconds| median(seconds) / f64::from(OPERATIONS);
    let (ours, plain) = (per_operation(ours), per_operation(plain));
    Ok(Line {
        what: format!("build of an operation, {name}, vs its function alone: CPU seconds"),
        ours: format!("{ours:.4} s"),
        peer: format!("{plain:.4} s"),
        ratio: ours - plain,
        target: Target::AtMost(target),
    })
}

/// Builds a library of functions, each with the attribute; returns the seconds of CPU.
async fn build(folder: &Path, profile: Profile, functions: u32, attribute: &str) -> Result<f64> {
    let phalanx = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    fs::create_dir_all(folder.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"many-operations\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nphalanx = {{ path = {phalanx:?} }}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    // The lock file of the benchmarks has all that it needs.
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let mut code = String::new();
    for number in 0..functions {
        writeln!(
            code,
            "{attribute}\npub fn step_{number}(n: u64) -> u64 {{\n    n ^ {number}\n}}"
        )?;
    }
    fs::write(folder.join("src").join("lib.rs"), code)?;

    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).current_dir(folder).env("CARGO_INCREMENTAL", "0");
    cargo.env("CARGO_TARGET_DIR", folder.join("target")).stdin(Stdio::null());
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let before = cpu_of_children()?;
    let status = cargo.status().await?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(cpu_of_children()? - before)
}

/// The seconds of CPU of all processes that this one has started and waited for.
fn cpu_of_children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("only Linux tells")?;
    // The name of the program, in parentheses, may contain spaces.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let (Some(user), Some(system)) = (fields.get(13), fields.get(14)) else {
        anyhow::bail!("no times of children in stat");
    };
    Ok((user.parse::<f64>()? + system.parse::<f64>()?) / TICKS_PER_SECOND)
}
