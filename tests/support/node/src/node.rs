//! A node that belongs to one test.

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

/// How long a node may take to start or stop. It usually takes 3 to 10 seconds; a machine that is
/// busy compiling needs much longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// A running RabbitMQ node, removed when this is dropped or when this process ends.
#[derive(Debug)]
pub struct PrivateNode {
    form: Form,
    /// Ends when the broker ends.
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
    /// Starts a node of the RabbitMQ that [`Installation::find`] finds, and waits until it accepts
    /// AMQP connections: 3 to 10 seconds.
    ///
    /// # Errors
    /// If there is no RabbitMQ, or the node does not start. The error contains its output.
    pub fn start(options: &NodeOptions) -> Result<Self, NodeError> {
        Self::start_of(&Installation::find()?, options)
    }

    /// Starts a node of an installation.
    ///
    /// # Errors
    /// If the node does not start. The error contains its output.
    pub fn start_of(installation: &Installation, options: &NodeOptions) -> Result<Self, NodeError> {
        const ATTEMPTS: u32 = 4;
        for _ in 1..ATTEMPTS {
            match Self::try_start(installation, options) {
                // Another process took a port before the node could listen on it.
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

    /// The URL for the user `guest`.
    pub fn url(&self) -> String {
        self.url_for("guest", "guest", "%2f")
    }

    /// The URL for another user or virtual host. Each part must be percent-encoded.
    pub fn url_for(&self, user: &str, password: &str, virtual_host: &str) -> String {
        format!("amqp://{user}:{password}@{}/{virtual_host}", self.address())
    }

    /// The URL of the TLS listener, if [`NodeOptions::tls`] was set.
    pub fn tls_url(&self) -> Option<String> {
        self.tls.then(|| format!("amqps://guest:guest@localhost:{}/%2f", self.ports.tls))
    }

    /// The address on which the node listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.amqp).into()
    }

    /// The version of RabbitMQ, while the node is running.
    pub fn version(&self) -> Option<String> {
        ready::version(self.ports.amqp)
    }

    /// The data directory, which is removed with the node.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The last 200 lines that the node has printed since its last start.
    pub fn console(&self) -> String {
        // The reason of a failure precedes Erlang's long crash report.
        const LINES: usize = 200;
        let console = fs::read(self.console_path()).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<_> = console.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Kills the node with `SIGKILL`. Its data stays.
    ///
    /// # Errors
    /// If the node is not running.
    pub fn kill(&mut self) -> Result<(), NodeError> {
        self.signal(Signal::KILL)
    }

    /// Stops the node with `SIGTERM`. Its data stays.
    ///
    /// # Errors
    /// If the node is not running.
    pub fn stop(&mut self) -> Result<(), NodeError> {
        self.signal(Signal::TERM)
    }

    /// Starts the node again with the same data and ports, and stops it first if it is running.
    ///
    /// # Errors
    /// If the node does not start. The error contains its output.
    pub fn restart(&mut self) -> Result<(), NodeError> {
        if self.server.is_some() {
            self.stop()?;
        }
        self.boot()
    }

    /// Suspends the node (`SIGSTOP`): its connections stay open, and it does not respond.
    ///
    /// # Errors
    /// If the node is not running.
    pub fn suspend(&self) -> Result<(), NodeError> {
        match &self.form {
            Form::Processes(processes) => processes.signal(Signal::STOP),
            Form::Container(container) => container.pause(),
        }
    }

    /// Resumes a suspended node.
    ///
    /// # Errors
    /// If the node is not running.
    pub fn resume(&self) -> Result<(), NodeError> {
        match &self.form {
            Form::Processes(processes) => processes.signal(Signal::CONT),
            Form::Container(container) => container.unpause(),
        }
    }

    /// Runs `rabbitmqctl` on the node, which takes seconds.
    ///
    /// # Errors
    /// If the command fails. The error contains its output.
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
        // The server script waits for the broker, so both have ended when it ends.
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
        // Another node may have taken the port, so this one must also have printed that it has
        // started.
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
        // The broker is a grandchild process: it was killed, but cannot be waited for.
        let deadline = Instant::now() + PATIENCE;
        while ready::listens(self.ports.amqp) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}

/// Whether a node ended because another process listens on one of its ports.
fn lost_a_port(console: &str) -> bool {
    ["eaddrinuse", "in use"].iter().any(|words| console.contains(words))
}
