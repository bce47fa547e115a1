//! Runs RabbitMQ in a container until standard input ends.
//!
//!     phalanx-test-container TAG [PORT]
//!
//! Prints the URL of the broker, or the error. The caller keeps standard input open: the kernel
//! closes it when the caller ends, for whatever reason, and then the container is removed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line program")]

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
            print(&url);
            container
        }
        Err(error) => {
            print(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    // An error means that the input has ended, too.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    match container.rm() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to remove the container of rabbitmq:{tag}: {error}");
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

fn print(line: &str) {
    println!("{line}");
    // An error means that the caller has ended.
    let _ = io::stdout().flush();
}
