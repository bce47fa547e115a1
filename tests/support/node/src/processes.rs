//! A node that runs as processes of this machine.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal};

use crate::configuration::{self, Ports};
use crate::node::{PATIENCE, POLL};
use crate::{Installation, NodeError, ready};

/// The process group of a node: Erlang's port mapper, which leads it, the server script and the
/// broker.
#[derive(Debug)]
pub(crate) struct Processes {
    installation: Installation,
    data: PathBuf,
    ports: Ports,
    /// Leads the process group. Without it, Erlang would start a daemon that outlives the node.
    port_mapper: Child,
}

impl Processes {
    pub(crate) fn start(
        installation: &Installation,
        data: &Path,
        ports: Ports,
    ) -> Result<Self, NodeError> {
        let port_mapper = command(installation, data, OsStr::new("epmd"))
            .args(["-address", "127.0.0.1", "-port", &ports.mapper.to_string()])
            .process_group(0)
            .spawn()
            .map_err(NodeError::io("run epmd, Erlang's port mapper"))?;
        let installation = installation.clone();
        let mut processes = Self { installation, data: data.to_owned(), ports, port_mapper };
        match processes.await_port_mapper() {
            Ok(()) => Ok(processes),
            Err(error) => {
                // There is no watchdog yet.
                let _ = processes.port_mapper.kill();
                processes.wait();
                Err(error)
            }
        }
    }

    /// The id of the process group.
    pub(crate) fn group(&self) -> u32 {
        self.port_mapper.id()
    }

    /// The server script, which ends when the broker ends.
    pub(crate) fn server(&self) -> Command {
        let server = self.installation.server().as_os_str();
        let mut command = command(&self.installation, &self.data, server);
        command.envs(configuration::environment(&self.installation, &self.data, self.ports));
        command.process_group(Pid::from_child(&self.port_mapper).as_raw_nonzero().get());
        // The process id of the previous start must not be mistaken for the new one.
        let _ = fs::remove_file(self.id_file());
        command
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let file = self.id_file();
        let what = || format!("read {}", file.display());
        let content = fs::read_to_string(&file).map_err(NodeError::io(what()))?;
        let number = content.trim().parse().ok().and_then(Pid::from_raw);
        let broker =
            number.ok_or_else(|| NodeError::io(what())(io::ErrorKind::InvalidData.into()))?;
        rustix::process::kill_process(broker, signal)
            .map_err(|errno| NodeError::io("signal the node")(errno.into()))
    }

    pub(crate) fn control(&self, arguments: &[&str]) -> Result<(), NodeError> {
        let program = self.installation.server().with_file_name("rabbitmqctl");
        let mut command = command(&self.installation, &self.data, program.as_os_str());
        command.envs(configuration::environment(&self.installation, &self.data, self.ports));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.output().map_err(NodeError::io("run rabbitmqctl"))?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let output = [output.stdout, output.stderr].concat();
                Err(NodeError::Refused { output: String::from_utf8_lossy(&output).into_owned() })
            }
        }
    }

    /// Reaps the port mapper after it was killed; otherwise it would stay a zombie.
    pub(crate) fn wait(&mut self) {
        let _ = self.port_mapper.wait();
    }

    fn await_port_mapper(&mut self) -> Result<(), NodeError> {
        let deadline = Instant::now() + PATIENCE;
        while !ready::listens(self.ports.mapper) {
            let ended = self.port_mapper.try_wait().map_err(NodeError::io("wait for epmd"))?;
            if ended.is_some() || Instant::now() > deadline {
                let console = format!("epmd ended, its port {} is in use", self.ports.mapper);
                return Err(NodeError::Ended { console });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The file in which the broker writes its process id, which is not that of the script.
    fn id_file(&self) -> PathBuf {
        self.data.join("pid")
    }
}

/// A program of the installation, without the environment of this process.
fn command(installation: &Installation, data: &Path, program: &OsStr) -> Command {
    let mut command = match installation {
        Installation::Tree { root } => in_tree(root, data, program),
        Installation::Machine { .. } | Installation::Image { .. } => Command::new(program),
    };
    command.env_clear().env("PATH", search_path()).env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The `PATH` of this process, plus the directories of system programs, which some users' `PATH`
/// lacks.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// A program in a tree. Its mounts are in a separate namespace, so the tree is not changed and
/// nothing needs to be unmounted. Each part of the command replaces the previous one with `exec`,
/// so the spawned process becomes the program.
fn in_tree(root: &Path, data: &Path, program: &OsStr) -> Command {
    const SCRIPT: &str = r#"
        set -e
        root=$1 data=$2 program=$3; shift 3
        mount --bind "$data" "$root/mnt"
        mount --rbind /proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" "$program" "$@""#;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Only root may mount, and every user may be root in a user namespace.
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
    command.arg(root).arg(data).arg(program);
    command
}
