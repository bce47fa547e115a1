//! RabbitMQ in a container.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TAG_VARIABLE: &str = "PHALANX_TEST_RABBITMQ_TAG";
const DEFAULT_TAG: &str = "4.3-management";
/// Starts and removes the container. Outside the workspace, so it is named by its file.
const HELPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/container/Cargo.toml");

/// A container that is removed when this is dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) url: String,
    pub(crate) image: String,
    /// Holds the container for as long as its standard input is open.
    helper: Child,
}

impl Container {
    /// Starts one, or says why it cannot.
    pub(super) fn start(port: Option<u16>) -> Result<Self, String> {
        if !engine_answers() {
            return Err("Docker does not answer".to_owned());
        }
        let tag = env::var(TAG_VARIABLE).unwrap_or_else(|_| DEFAULT_TAG.to_owned());
        let image = format!("rabbitmq:{tag}");
        // Built first and in this process's group, so that Ctrl-C ends a build.
        let built = cargo("build").status().map_err(|error| error.to_string())?;
        if !built.success() {
            return Err("cannot build the helper that starts containers".to_owned());
        }
        let mut command = cargo("run");
        command.arg("--").arg(tag);
        command.args(port.map(|port| port.to_string()));
        let mut helper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C must end the tests, and not the one who removes the container.
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = String::new();
        if let Some(output) = helper.stdout.take() {
            BufReader::new(output).read_line(&mut said).map_err(|error| error.to_string())?;
        }
        let url = said.trim().to_owned();
        let container = Self { url, image, helper };
        match container.url.starts_with("amqp://") {
            true => Ok(container),
            false => Err(format!("no container of {}: {}", container.image, container.url)),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.helper.stdin.take());
        // It says itself what went wrong.
        let _ = self.helper.wait();
    }
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--quiet", "--locked", "--manifest-path", HELPER]);
    // It shares the directory that this program was built to: `target/debug/xtask`.
    if let Some(target) = env::current_exe().ok().as_deref().and_then(|exe| exe.ancestors().nth(2))
    {
        cargo.arg("--target-dir").arg(target);
    }
    cargo
}

/// Whether an engine answers a ping: asked by hand, because it decides whether a client is built.
fn engine_answers() -> bool {
    match env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => match host.split_once("://") {
            Some(("unix", path)) => answers_at(&PathBuf::from(path)),
            Some(("tcp" | "http", address)) => TcpStream::connect(address)
                .and_then(|stream| stream.set_read_timeout(PATIENCE).map(|()| stream))
                .is_ok_and(answers),
            _ => false,
        },
        _ => {
            let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default();
            [
                PathBuf::from("/var/run/docker.sock"),
                runtime.join("docker.sock"),
                home.join(".docker/run/docker.sock"),
                home.join(".docker/desktop/docker.sock"),
            ]
            .iter()
            .any(answers_at)
        }
    }
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

fn answers_at(socket: &PathBuf) -> bool {
    UnixStream::connect(socket)
        .and_then(|stream| stream.set_read_timeout(PATIENCE).map(|()| stream))
        .is_ok_and(answers)
}

fn answers(mut stream: impl Read + Write) -> bool {
    let request = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    // A read that times out leaves what came before.
    stream.write_all(request).is_ok() && {
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 200")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::answers;

    fn answered_with(answer: &[u8]) -> bool {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.write_all(answer).expect("what fits a socket's buffer");
        theirs.shutdown(std::net::Shutdown::Write).expect("an open socket");
        answers(ours)
    }

    #[test]
    fn an_engine_is_one_that_answers_the_ping_with_success() {
        assert!(answered_with(b"HTTP/1.1 200 OK\r\n\r\nOK"));
        assert!(!answered_with(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"));
        assert!(!answered_with(b""));
    }
}
