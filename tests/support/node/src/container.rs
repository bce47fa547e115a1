//! A node in a container.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::configuration::{self, Ports};
use crate::docker::{self, LABEL, docker, run};
use crate::{Installation, NodeError};

/// A container that outlives its broker, so that the data survives a restart.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    /// The path of the data directory in the container.
    place: String,
}

impl Container {
    /// Creates the container without starting it.
    pub(crate) fn create(
        installation: &Installation,
        image: &str,
        data: &Path,
        ports: Ports,
    ) -> Result<Self, NodeError> {
        let directory = data.file_name().unwrap_or_default().to_string_lossy();
        let place = installation.data_path(data).display().to_string();
        let container = Self { name: directory.into_owned(), place };
        let mut create = docker(&["create", "--name", &container.name, "--label", LABEL]);
        for port in [ports.amqp, ports.tls] {
            create.args(["--publish", &format!("127.0.0.1:{port}:{port}")]);
        }
        for (name, value) in configuration::container_environment(installation, data) {
            create.args(["--env", &format!("{name}={value}")]);
        }
        run(create.arg(image))?;
        // The data is copied, because the engine may run on another file system. In the container,
        // the broker runs as another user.
        fs::set_permissions(data, Permissions::from_mode(0o755))
            .map_err(NodeError::io(format!("change the permissions of {}", data.display())))?;
        if let Err(error) = container.copy(data, ".") {
            // There is no watchdog yet.
            let _ = run(&mut docker(&["rm", "--force", "--volumes", &container.name]));
            return Err(error);
        }
        Ok(container)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Copies the configuration file again, which a test may have changed.
    pub(crate) fn configure(&self, data: &Path) -> Result<(), NodeError> {
        self.copy(data, configuration::FILE)
    }

    /// The Docker client that starts the broker and ends when the broker does.
    pub(crate) fn server(&self) -> Command {
        let mut command = docker(&["start", "--attach", &self.name]);
        // Ctrl-C must end the test; the client would forward it to the broker.
        command.process_group(0);
        command
    }

    fn copy(&self, data: &Path, name: &str) -> Result<(), NodeError> {
        run(docker(&["cp"]).arg(data.join(name)).arg(format!("{}:{}", self.name, self.place)))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let number = signal.as_raw().to_string();
        run(&mut docker(&["kill", "--signal", &number, &self.name]))
    }

    pub(crate) fn pause(&self) -> Result<(), NodeError> {
        docker::pause(&self.name)
    }

    pub(crate) fn unpause(&self) -> Result<(), NodeError> {
        run(&mut docker(&["unpause", &self.name]))
    }

    pub(crate) fn control(&self, arguments: &[&str]) -> Result<(), NodeError> {
        run(docker(&["exec", &self.name, "rabbitmqctl"]).args(arguments))
    }
}
