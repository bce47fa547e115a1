//! A container engine with Docker's API, over minimal HTTP: the engine is queried before the
//! helper, which has a full client, is built.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// How long an engine may take to respond to a query about itself.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a registry may take before it begins to deliver an image. If no registry can be
/// reached, the engine itself may try for minutes.
const REGISTRY: Duration = Duration::from_secs(20);
/// The longest pause between two messages about the progress of a pull.
const PROGRESS: Duration = Duration::from_secs(120);

/// The address of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Engine {
    Unix(PathBuf),
    Tcp(String),
}

trait Stream: Read + Write {
    fn limit(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn limit(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Stream for TcpStream {
    fn limit(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Engine {
    /// The first engine that responds.
    pub(super) fn find() -> Option<Self> {
        Self::candidates().into_iter().find(Self::responds)
    }

    fn candidates() -> Vec<Self> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(host) = set("DOCKER_HOST") {
            return Self::parse(&host).into_iter().collect();
        }
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        sockets.extend(set("XDG_RUNTIME_DIR").map(|it| PathBuf::from(it).join("docker.sock")));
        for path in [".docker/run/docker.sock", ".docker/desktop/docker.sock"] {
            sockets.extend(set("HOME").map(|home| PathBuf::from(home).join(path)));
        }
        sockets.into_iter().map(Self::Unix).collect()
    }

    fn parse(host: &str) -> Option<Self> {
        match host.split_once("://")? {
            ("unix", path) => Some(Self::Unix(path.into())),
            ("tcp" | "http", address) => Some(Self::Tcp(address.to_owned())),
            _ => None,
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path)?)),
            Self::Tcp(address) => {
                let mut addresses = address.to_socket_addrs()?;
                let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok(Box::new(TcpStream::connect_timeout(&address, QUERY_TIMEOUT)?))
            }
        }
    }

    /// Sends a request; returns the status and the unread body.
    fn request(
        &self,
        method: &str,
        path: &str,
        patience: Duration,
    ) -> io::Result<(u16, BufReader<Box<dyn Stream>>)> {
        let mut stream = self.connect()?;
        stream.limit(patience)?;
        // HTTP/1.0: the body is neither cut into chunks nor followed by another response.
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        while !line.trim().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
        }
        Ok((status, reader))
    }

    fn responds(&self) -> bool {
        self.request("GET", "/_ping", QUERY_TIMEOUT).is_ok_and(|(status, _)| status == 200)
    }

    /// Whether the engine has this image.
    pub(super) fn has(&self, image: &str) -> bool {
        let path = format!("/images/{image}/json");
        self.request("GET", &path, QUERY_TIMEOUT).is_ok_and(|(status, _)| status == 200)
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// The reason in one short line.
    pub(super) fn pull(&self, name: &str, tag: &str) -> Result<(), String> {
        let path = format!("/images/create?fromImage={name}&tag={tag}");
        let (status, mut body) = self.request("POST", &path, REGISTRY).map_err(in_short)?;
        body.get_ref().limit(REGISTRY).map_err(in_short)?;
        let mut line = String::new();
        while body.read_line(&mut line).map_err(in_short)? > 0 {
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            // An error before the pull begins is a `message`, a later one an `error`.
            let failed = if status == 200 { &message["error"] } else { &message["message"] };
            if let Some(error) = failed.as_str() {
                return Err(shorten(error));
            }
            body.get_ref().limit(PROGRESS).map_err(in_short)?;
            line.clear();
        }
        if status == 200 { Ok(()) } else { Err(format!("the engine responded with {status}")) }
    }
}

fn in_short(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no response in time".to_owned(),
        _ => shorten(&error.to_string()),
    }
}

/// The innermost cause of an error such as `Get "https://…": dial tcp …: no such host`.
pub(super) fn shorten(error: &str) -> String {
    const LONGEST: usize = 80;
    let line = error.lines().next().unwrap_or_default().trim();
    // A link to a manual is not a cause.
    let cause = line.rsplit(": ").find(|part| !part.starts_with("http")).unwrap_or(line);
    match cause.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &cause[..end]),
        None => cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Runs `ask` on an engine that sends this response to one request.
    fn responding<T>(response: &'static str, ask: impl FnOnce(Engine) -> T) -> T {
        let name = format!("phalanx-engine-{}-{:?}", std::process::id(), thread::current().id());
        let path = env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).expect("a new path");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = String::new();
            let mut reader = BufReader::new(&stream);
            while !request.ends_with("\r\n\r\n") {
                reader.read_line(&mut request).expect("a request");
            }
            stream
                .write_all(response.as_bytes())
                .expect("the response fits into the socket's buffer");
            request
        });
        let outcome = ask(Engine::Unix(path.clone()));
        server.join().expect("a server that has responded");
        std::fs::remove_file(path).expect("the socket that was bound above");
        outcome
    }

    #[test]
    fn an_engine_responds_to_the_ping_with_success() {
        assert!(responding("HTTP/1.1 200 OK\r\n\r\nOK", |engine| engine.responds()));
        let unavailable = "HTTP/1.1 503 Service Unavailable\r\n\r\n";
        assert!(!responding(unavailable, |engine| engine.responds()));
        assert!(!responding("", |engine| engine.responds()));
    }

    #[test]
    fn an_image_exists_if_the_engine_describes_it() {
        assert!(responding("HTTP/1.0 200 OK\r\n\r\n{}", |engine| engine.has("rabbitmq:4")));
        assert!(!responding("HTTP/1.0 404 Not Found\r\n\r\n{}", |engine| engine.has("rabbitmq:4")));
    }

    #[test]
    fn a_pull_ends_with_the_last_message_of_its_progress() {
        let response = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n\
                      {\"status\":\"Pulling from library/rabbitmq\"}\r\n{\"status\":\"Done\"}\r\n";
        assert_eq!(responding(response, |engine| engine.pull("rabbitmq", "4")), Ok(()));
    }

    #[test]
    fn a_pull_fails_with_the_innermost_cause_in_one_line() {
        let at_once = "HTTP/1.0 500 Internal Server Error\r\n\r\n\
                       {\"message\":\"Get \\\"https://registry/v2/\\\": dial tcp: no such host\"}";
        let pull = |engine: Engine| engine.pull("rabbitmq", "4");
        assert_eq!(responding(at_once, pull), Err("no such host".to_owned()));
        let midway = "HTTP/1.0 200 OK\r\n\r\n{\"status\":\"Downloading\"}\r\n\
                      {\"error\":\"write /var: no space left on device\",\"errorDetail\":{}}\r\n";
        assert_eq!(responding(midway, pull), Err("no space left on device".to_owned()));
        let silent = "HTTP/1.0 502 Bad Gateway\r\n\r\n";
        assert_eq!(responding(silent, pull), Err("the engine responded with 502".to_owned()));
    }

    #[test]
    fn a_cause_is_neither_long_nor_a_link() {
        let limited = "toomanyrequests: You have reached your limit: https://example.org/limit";
        assert_eq!(shorten(limited), "You have reached your limit");
        assert_eq!(shorten("first line\nsecond line"), "first line");
        assert_eq!(shorten(&"ä".repeat(200)).chars().count(), 81);
        assert_eq!(shorten(""), "");
    }

    #[test]
    fn an_address_of_an_unknown_kind_names_no_engine() {
        assert_eq!(Engine::parse("unix:///run/e"), Some(Engine::Unix("/run/e".into())));
        assert_eq!(Engine::parse("tcp://[::1]:2375"), Some(Engine::Tcp("[::1]:2375".into())));
        assert_eq!(Engine::parse("ssh://somewhere"), None);
        assert_eq!(Engine::parse("nonsense"), None);
    }
}
