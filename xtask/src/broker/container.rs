//! RabbitMQ in a container.

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::engine::{Engine, shorten};
use crate::cargo::cargo;

const NAME: &str = "rabbitmq";
const TAG_VARIABLE: &str = "PHALANX_TEST_RABBITMQ_TAG";
const DEFAULT_TAG: &str = "4.3-management";
/// The program that starts and removes the container. It is outside the workspace.
const HELPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/container/Cargo.toml");

/// A container that is removed when this is dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) url: String,
    pub(crate) image: String,
    /// Removes the container when its standard input ends.
    helper: Child,
}

impl Container {
    /// Starts a container, and pulls its image first if the engine does not have it.
    ///
    /// # Errors
    /// The reason in one short line.
    pub(super) fn start(port: Option<u16>) -> Result<Self, String> {
        let engine = Engine::find().ok_or("Docker does not respond")?;
        let tag = env::var(TAG_VARIABLE).unwrap_or_else(|_| DEFAULT_TAG.to_owned());
        let image = format!("{NAME}:{tag}");
        // Before the helper is built, which is useless without the image.
        if !engine.has(&image) {
            eprintln!("pulling {image}");
            engine.pull(NAME, &tag).map_err(|why| format!("cannot pull {image} ({why})"))?;
        }
        // Built first and in this process's group, so that Ctrl-C ends a build.
        let built = helper("build").status().map_err(|error| error.to_string())?;
        if !built.success() {
            return Err("cannot build the helper that starts containers".to_owned());
        }
        let mut command = helper("run");
        command.arg("--").arg(tag);
        command.args(port.map(|port| port.to_string()));
        let mut helper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C must end the tests, but not the helper, which removes the container.
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        if let Some(output) = helper.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let url = line.trim().to_owned();
        let container = Self { url, image, helper };
        match container.url.starts_with("amqp://") {
            true => Ok(container),
            false => Err(format!("cannot start {} ({})", container.image, shorten(&container.url))),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.helper.stdin.take());
        // The helper has printed the error.
        let _ = self.helper.wait();
    }
}

fn helper(command: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([command, "--quiet", "--locked", "--manifest-path", HELPER]);
    // Build into the directory that this program is in: `target/debug/xtask`.
    if let Some(target) = env::current_exe().ok().as_deref().and_then(|exe| exe.ancestors().nth(2))
    {
        cargo.arg("--target-dir").arg(target);
    }
    cargo
}
