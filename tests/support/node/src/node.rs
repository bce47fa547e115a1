//! A node that is this test's own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::configuration::{self, Ports};
use crate::container::Container;
use crate::processes::Processes;
use crate::watchdog::Watchdog;
use crate::{Installation, NodeError, NodeOptions, port, ready};

/// A first boot takes 3 to 10 seconds; a machine that is busy compiling takes its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// A running RabbitMQ of its own, gone when it is dropped or when this process ends.
#[derive(Debug)]
pub struct PrivateNode {
    form: Form,
    /// Runs for as long as the broker does.
    server: Option<Child>,
    watchdog: Watchdog,
    data: TempDir,
    ports: Ports,
    tls: bool,
}

#[derive(Debug)]
enum Form {
    Processes(Processes),
    Container(Container),
}

impl PrivateNode {
    /// Starts a node of the RabbitMQ that [`Installation::find`] finds, and waits until it speaks
    /// AMQP: 3 to 10 seconds.
    ///
    /// # Errors
    /// When there is no RabbitMQ, or it does not start: then the error holds what it said.
    pub fn start(options: &NodeOptions) -> Result<Self, NodeError> {
        Self::start_of(&Installation::find()?, options)
    }

    /// Starts a node of that installation.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_of(installation: &Installation, options: &NodeOptions) -> Result<Self, NodeError> {
        const TRIES: u32 = 4;
        for _ in 1..TRIES {
            match Self::try_start(installation, options) {
                // Another process took a port between our look and the node's.
                Err(NodeError::Ended { console })
                    if options.port.is_none() && lost_a_port(&console) => {}
                outcome => return outcome,
            }
        }
        Self::try_start(installation, options)
    }

    fn try_start(installation: &Installation, options: &NodeOptions) -> Result<Self, NodeError> {
        let data = tempfile::Builder::new()
            .prefix("phalanx-node-")
            .tempdir()
            .map_err(NodeError::io("make a temporary directory"))?;
        let [free, tls, distribution, mapper] = port::free()?;
        let amqp = options.port.unwrap_or(free);
        let ports = Ports { amqp, tls, distribution, mapper };
        configuration::write(installation, data.path(), ports, options)
            .map_err(NodeError::io(format!("write to {}", data.path().display())))?;

        let form = match installation {
            Installation::Image { name } => {
                Form::Container(Container::create(installation, name, data.path(), ports)?)
            }
            Installation::Machine { .. } | Installation::Tree { .. } => {
                Form::Processes(Processes::start(installation, data.path(), ports)?)
            }
        };
        let watchdog = match &form {
            Form::Processes(processes) => Watchdog::of_group(processes.group(), data.path()),
            Form::Container(container) => Watchdog::of_container(container.name(), data.path()),
        };
        let watchdog = watchdog.map_err(NodeError::io("run sh"))?;
        let tls = options.tls.is_some();
        let mut node = Self { form, server: None, watchdog, data, ports, tls };
        node.boot()?;
        Ok(node)
    }

    /// Where it listens, for the user `guest`.
    pub fn url(&self) -> String {
        self.url_for("guest", "guest", "%2f")
    }

    /// Where it listens, for another user or virtual host; each part percent-encoded.
    pub fn url_for(&self, user: &str, password: &str, virtual_host: &str) -> String {
        format!("amqp://{user}:{password}@{}/{virtual_host}", self.address())
    }

    /// Where it speaks TLS, if [`NodeOptions::tls`] was set.
    pub fn tls_url(&self) -> Option<String> {
        self.tls.then(|| format!("amqps://guest:guest@localhost:{}/%2f", self.ports.tls))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.amqp).into()
    }

    /// The version of RabbitMQ, while it runs.
    pub fn version(&self) -> Option<String> {
        ready::version(self.ports.amqp)
    }

    /// Where its data is while it exists.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The end of what the node printed since its last start.
    pub fn console(&self) -> String {
        // The reason stands above Erlang's long report of the crash.
        const LINES: usize = 200;
        let console = fs::read(self.console_path()).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<_> = console.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Ends the node at once, as a crash does (`SIGKILL`). Its data stays.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn kill(&mut self) -> Result<(), NodeError> {
        self.signal(Signal::KILL)
    }

    /// Ends the node in an orderly way (`SIGTERM`). Its data stays.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn stop(&mut self) -> Result<(), NodeError> {
        self.signal(Signal::TERM)
    }

    /// Starts the node again, on the same data and ports; one that runs is stopped first.
    ///
    /// # Errors
    /// When it does not start: then the error holds what it said.
    pub fn restart(&mut self) -> Result<(), NodeError> {
        if self.server.is_some() {
            self.stop()?;
        }
        self.boot()
    }

    /// Stops the node where it stands (`SIGSTOP`): its connections stay, and nobody answers.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn suspend(&self) -> Result<(), NodeError> {
        match &self.form {
            Form::Processes(processes) => processes.signal(Signal::STOP),
            Form::Container(container) => container.pause(),
        }
    }

    /// Lets a suspended node go on.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn resume(&self) -> Result<(), NodeError> {
        match &self.form {
            Form::Processes(processes) => processes.signal(Signal::CONT),
            Form::Container(container) => container.unpause(),
        }
    }

    /// Tells the node something by `rabbitmqctl`, which takes seconds.
    ///
    /// # Errors
    /// When it refuses: then the error holds what it said.
    pub fn control(&self, arguments: &[&str]) -> Result<(), NodeError> {
        match &self.form {
            Form::Processes(processes) => processes.control(arguments),
            Form::Container(container) => container.control(arguments),
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<(), NodeError> {
        match &self.form {
            Form::Processes(processes) => processes.signal(signal)?,
            Form::Container(container) => container.signal(signal)?,
        }
        // The server waits for the broker, so its end is the end of both.
        let deadline = Instant::now() + PATIENCE;
        while self.server_runs()? {
            if Instant::now() > deadline {
                return Err(self.timeout());
            }
            thread::sleep(POLL);
        }
        self.server = None;
        Ok(())
    }

    fn boot(&mut self) -> Result<(), NodeError> {
        let console = File::create(self.console_path()).map_err(NodeError::io("write a log"))?;
        let both = console.try_clone().map_err(NodeError::io("write a log"))?;
        let mut server = match &self.form {
            Form::Processes(processes) => processes.server(),
            Form::Container(container) => {
                container.configure(self.data.path())?;
                container.server()
            }
        };
        let server = server
            .stdout(console)
            .stderr(both)
            .spawn()
            .map_err(NodeError::io("run rabbitmq-server"))?;
        self.server = Some(server);

        let deadline = Instant::now() + PATIENCE;
        // What answers may be another node that took our port: ours must have said that it is up.
        while !(self.console().contains("Server startup complete")
            && ready::speaks_amqp(self.ports.amqp))
        {
            if !self.server_runs()? {
                self.server = None;
                return Err(NodeError::Ended { console: self.console() });
            }
            if Instant::now() > deadline {
                return Err(self.timeout());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn server_runs(&mut self) -> Result<bool, NodeError> {
        match &mut self.server {
            None => Ok(false),
            Some(server) => {
                let ended = server.try_wait().map_err(NodeError::io("wait for the node"))?;
                Ok(ended.is_none())
            }
        }
    }

    fn timeout(&self) -> NodeError {
        NodeError::Timeout { waited: PATIENCE, console: self.console() }
    }

    fn console_path(&self) -> PathBuf {
        self.data.path().join("console")
    }
}

impl Drop for PrivateNode {
    fn drop(&mut self) {
        self.watchdog.end();
        if let Form::Processes(processes) = &mut self.form {
            processes.wait();
        }
        if let Some(server) = &mut self.server {
            let _ = server.wait();
        }
        // The broker is a grandchild: it was killed, but cannot be waited for.
        let deadline = Instant::now() + PATIENCE;
        while ready::listens(self.ports.amqp) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}

/// Whether a node ended because somebody else listens on one of its ports.
fn lost_a_port(console: &str) -> bool {
    ["eaddrinuse", "in use"].iter().any(|words| console.contains(words))
}
