//! RabbitMQ in a container for as long as a test run needs it.
//!
//!     phalanx-test-container TAG [PORT]
//!
//! Prints the broker's URL, or why there is none. The container is removed when standard input
//! ends, and the kernel ends it whichever way the run does.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it says is what it is for")]

use std::env;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt, TestcontainersError};

/// Enough to pull the image over a slow line.
const PATIENCE: Duration = Duration::from_secs(300);
const AMQP: u16 = 5672;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let tag = arguments.next().unwrap_or_else(|| "latest".to_owned());
    let port = arguments.next().and_then(|port| port.parse().ok());
    let container = match start(&tag, port) {
        Ok((url, container)) => {
            say(&url);
            container
        }
        Err(error) => {
            say(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    // An error ends the wait as the end of the input does.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    match container.rm() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the container of rabbitmq:{tag} stays: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(
    tag: &str,
    port: Option<u16>,
) -> Result<(String, Container<GenericImage>), TestcontainersError> {
    let image = GenericImage::new("rabbitmq", tag)
        .with_exposed_port(AMQP.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Server startup complete"))
        .with_startup_timeout(PATIENCE)
        .with_label("phalanx.test", "broker");
    let image = match port {
        Some(port) => image.with_mapped_port(port, AMQP.tcp()),
        None => image,
    };
    let container = image.start()?;
    let url = format!(
        "amqp://guest:guest@{}:{}/%2f",
        container.get_host()?,
        container.get_host_port_ipv4(AMQP)?
    );
    Ok((url, container))
}

fn say(line: &str) {
    println!("{line}");
    // Whoever started us is gone if this fails, and then nobody listens.
    let _ = io::stdout().flush();
}
