//! The RabbitMQ that nodes run.

use std::env;
use std::path::{Path, PathBuf};

use crate::NodeError;

/// Environment variable: a directory tree with a RabbitMQ other than this machine's own, as
/// `debootstrap` creates it. Its nodes run in a `chroot`.
pub const ROOT_VARIABLE: &str = "PHALANX_TEST_RABBITMQ_ROOT";

/// Environment variable: an image such as `rabbitmq:4.3-management`. Its nodes run in containers.
pub const IMAGE_VARIABLE: &str = "PHALANX_TEST_RABBITMQ_IMAGE";

/// The paths of the script that starts a server *as the calling user*. Debian's
/// `/usr/sbin/rabbitmq-server` switches to the user `rabbitmq`, which may not read the data of the
/// node.
const SERVERS: [&str; 4] = [
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
    "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin/rabbitmq-server",
];

/// An installed RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Installation {
    /// The RabbitMQ of this machine.
    Machine {
        /// The script that starts the server.
        server: PathBuf,
    },
    /// A RabbitMQ in a directory tree.
    Tree {
        /// The root of the tree.
        root: PathBuf,
    },
    /// A container image.
    Image {
        /// Name and tag of the image.
        name: String,
    },
}

impl Installation {
    /// The tree that [`ROOT_VARIABLE`] names, or the image that [`IMAGE_VARIABLE`] names, or the
    /// RabbitMQ of this machine, in this order.
    ///
    /// # Errors
    /// If none of them exists.
    pub fn find() -> Result<Self, NodeError> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        match (set(ROOT_VARIABLE), set(IMAGE_VARIABLE)) {
            (Some(root), _) => Self::in_tree(Path::new(&root)),
            (None, Some(name)) => Ok(Self::Image { name }),
            (None, None) => Self::of_machine(),
        }
    }

    fn in_tree(root: &Path) -> Result<Self, NodeError> {
        let root =
            root.canonicalize().map_err(NodeError::io(format!("open {}", root.display())))?;
        match root.join(SERVERS[0].trim_start_matches('/')).exists() {
            true => Ok(Self::Tree { root }),
            false => Err(NodeError::NotInstalled),
        }
    }

    fn of_machine() -> Result<Self, NodeError> {
        let packaged = SERVERS.iter().map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path: Vec<_> =
            env::split_paths(&path).map(|directory| directory.join("rabbitmq-server")).collect();
        match packaged.chain(on_path).find(|server| server.is_file()) {
            Some(server) => Ok(Self::Machine { server }),
            None => Err(NodeError::NotInstalled),
        }
    }

    /// The script that starts the server.
    pub(crate) fn server(&self) -> &Path {
        match self {
            Self::Machine { server } => server,
            Self::Tree { .. } | Self::Image { .. } => Path::new(SERVERS[0]),
        }
    }

    /// The path of the data directory as the node sees it.
    pub(crate) fn data_path(&self, data: &Path) -> PathBuf {
        match self {
            Self::Machine { .. } => data.to_owned(),
            // Every tree has this directory, so none needs to be created.
            Self::Tree { .. } => PathBuf::from("/mnt"),
            Self::Image { .. } => PathBuf::from("/phalanx"),
        }
    }
}
