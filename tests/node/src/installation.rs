//! Where RabbitMQ is installed, and how its programs are called there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::NodeError;

/// Names a directory tree that holds another RabbitMQ than this machine's own, as `debootstrap`
/// makes it. Nodes of it run with `chroot`.
pub const ROOT_VARIABLE: &str = "PHALANX_TEST_RABBITMQ_ROOT";

/// Where packages put the script that starts a server *as the calling user*. Debian's
/// `/usr/sbin/rabbitmq-server` would switch to the user `rabbitmq`, who may not read the node's data.
const SERVERS: [&str; 4] = [
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
    "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin/rabbitmq-server",
];

/// Where the data directory appears to a node that runs in a tree.
const DATA_IN_TREE: &str = "/mnt";

/// A RabbitMQ that can be run.
#[derive(Debug, Clone)]
pub struct Installation {
    root: Option<PathBuf>,
    server: PathBuf,
}

impl Installation {
    /// The tree that [`ROOT_VARIABLE`] names, else this machine's own.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self, NodeError> {
        match env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()) {
            Some(root) => Self::in_tree(Path::new(&root)),
            None => Self::of_machine(),
        }
    }

    /// The one in a directory tree.
    ///
    /// # Errors
    /// When there is none.
    pub fn in_tree(root: &Path) -> Result<Self, NodeError> {
        let root =
            root.canonicalize().map_err(NodeError::io(format!("open {}", root.display())))?;
        let server = PathBuf::from(SERVERS[0]);
        match root.join(SERVERS[0].trim_start_matches('/')).exists() {
            true => Ok(Self { root: Some(root), server }),
            false => Err(NodeError::NotInstalled),
        }
    }

    fn of_machine() -> Result<Self, NodeError> {
        let packaged = SERVERS.iter().map(PathBuf::from);
        let directories = env::var_os("PATH").unwrap_or_default();
        let on_path: Vec<_> = env::split_paths(&directories)
            .map(|directory| directory.join("rabbitmq-server"))
            .collect();
        match packaged.chain(on_path).find(|server| server.is_file()) {
            Some(server) => Ok(Self { root: None, server }),
            None => Err(NodeError::NotInstalled),
        }
    }

    /// What the node calls its data directory.
    pub(crate) fn data_path(&self, data: &Path) -> PathBuf {
        if self.root.is_some() { PathBuf::from(DATA_IN_TREE) } else { data.to_owned() }
    }

    /// The server, with nothing of this process's environment.
    pub(crate) fn server(&self, data: &Path) -> Command {
        self.command(data, self.server.as_os_str().to_owned())
    }

    /// Erlang's port mapper, in the foreground.
    pub(crate) fn port_mapper(&self, data: &Path) -> Command {
        self.command(data, "epmd".into())
    }

    fn command(&self, data: &Path, program: OsString) -> Command {
        let mut command = match &self.root {
            None => Command::new(program),
            Some(root) => in_tree(root, data, program),
        };
        command.env_clear().env("PATH", self.search_path()).env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn search_path(&self) -> OsString {
        let standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        match (&self.root, env::var_os("PATH")) {
            (None, Some(mut path)) => {
                path.push(":");
                path.push(standard);
                path
            }
            _ => standard.into(),
        }
    }
}

/// A program in a tree. Its mounts are in a namespace of their own, so the tree stays as it is and
/// nothing needs to be unmounted. Each part of the command replaces the one before: the process
/// that is spawned becomes the program.
fn in_tree(root: &Path, data: &Path, program: OsString) -> Command {
    const SCRIPT: &str = r#"
        set -e
        root=$1 data=$2 program=$3; shift 3
        mount --bind "$data" "$root/mnt"
        mount --rbind /proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" "$program" "$@""#;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Only root may mount; anybody may be root in a user namespace.
        command.args(["--map-root-user"]);
    }
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
    command.arg(root).arg(data).arg(program);
    command
}
