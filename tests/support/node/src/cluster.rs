//! Three nodes in containers that form a cluster.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::configuration::ERLANG_ARGUMENTS;
use crate::docker::{self, LABEL, docker, run};
use crate::node::{PATIENCE, POLL};
use crate::watchdog::Watchdog;
use crate::{IMAGE_VARIABLE, NodeError, port, ready};

/// The image, unless [`IMAGE_VARIABLE`] names another.
const IMAGE: &str = "rabbitmq:4.3-management";
/// The number of seconds without a sign of life after which a node considers another one down.
const NET_TICK_TIME: u32 = 4;

/// A cluster of three RabbitMQ nodes in containers, removed when this is dropped or when this
/// process ends.
///
/// Each node has a separate network for clients, and the nodes share another one: a node that is
/// partitioned from the others still accepts connections of clients.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    ports: [u16; Self::NODES],
    watchdog: Watchdog,
    data: TempDir,
}

impl Cluster {
    /// The number of nodes.
    pub const NODES: usize = 3;

    /// Starts the nodes, and waits until each accepts AMQP connections and has joined the cluster:
    /// about
    /// 15 seconds.
    ///
    /// # Errors
    /// If Docker or the image is missing, or a node does not start.
    pub fn start() -> Result<Self, NodeError> {
        let data = tempfile::Builder::new()
            .prefix("phalanx-node-")
            .tempdir()
            .map_err(NodeError::io("make a temporary directory"))?;
        let name = data.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let watchdog = Watchdog::of_cluster(&name, data.path()).map_err(NodeError::io("run sh"))?;
        // From here on, dropping the cluster removes everything that was created.
        let cluster = Self { name, ports: port::free()?, watchdog, data };
        cluster.write()?;
        run(&mut docker(&["network", "create", "--internal", "--label", LABEL, &cluster.inner()]))?;
        for node in 0..Self::NODES {
            cluster.create(node)?;
        }
        for node in 0..Self::NODES {
            run(&mut docker(&["start", &cluster.node(node)]))?;
        }
        cluster.await_all()?;
        Ok(cluster)
    }

    /// The URL that lists all nodes, for the user `guest`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = (0..Self::NODES).map(|n| self.address(n).to_string()).collect();
        format!("amqp://guest:guest@{}/%2f", hosts.join(","))
    }

    /// The address at which clients reach a node.
    pub fn address(&self, node: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[node]).into()
    }

    /// Kills a node with `SIGKILL`. Its data stays.
    ///
    /// # Errors
    /// If the node is not running.
    pub fn kill(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["kill", &self.node(node)]))
    }

    /// Starts a killed node again, and waits until it accepts AMQP connections.
    ///
    /// # Errors
    /// If the node does not start.
    pub fn revive(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["start", &self.node(node)]))?;
        self.await_node(node)
    }

    /// Suspends a node: its connections stay open, and it does not respond.
    ///
    /// # Errors
    /// If the node is not running.
    pub fn freeze(&self, node: usize) -> Result<(), NodeError> {
        docker::pause(&self.node(node))
    }

    /// Resumes a frozen node.
    ///
    /// # Errors
    /// If the node is not frozen.
    pub fn thaw(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["unpause", &self.node(node)]))
    }

    /// Partitions a node from the others. Clients still reach it.
    ///
    /// # Errors
    /// If the node is already partitioned.
    pub fn partition(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["network", "disconnect", &self.inner(), &self.node(node)]))
    }

    /// Ends the partition of a node.
    ///
    /// # Errors
    /// If the node is not partitioned.
    pub fn rejoin(&self, node: usize) -> Result<(), NodeError> {
        self.connect(node)
    }

    /// Waits until all nodes accept connections and are in the cluster.
    ///
    /// # Errors
    /// If a node does not become ready in two minutes.
    pub fn await_all(&self) -> Result<(), NodeError> {
        for node in 0..Self::NODES {
            self.await_node(node)?;
            self.control(node, &["await_online_nodes", &Self::NODES.to_string()])?;
        }
        Ok(())
    }

    /// Runs `rabbitmqctl` on a node, which takes seconds.
    ///
    /// # Errors
    /// If the command fails. The error contains its output.
    pub fn control(&self, node: usize, arguments: &[&str]) -> Result<(), NodeError> {
        run(docker(&["exec", &self.node(node), "rabbitmqctl", "--quiet"]).args(arguments))
    }

    fn create(&self, node: usize) -> Result<(), NodeError> {
        let (name, clients) = (self.node(node), format!("{}-clients-{}", self.name, node + 1));
        run(&mut docker(&["network", "create", "--label", LABEL, &clients]))?;
        let mut create = docker(&["create", "--label", LABEL, "--name", &name]);
        create.args(["--network", &clients, "--hostname", &host(node)]);
        create.args(["--publish", &format!("127.0.0.1:{}:5672", self.ports[node])]);
        create.args(["--env", "RABBITMQ_LOGS=-"]);
        let arguments = format!("{ERLANG_ARGUMENTS} -kernel net_ticktime {NET_TICK_TIME}");
        create.args(["--env", &format!("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={arguments}")]);
        let image = std::env::var(IMAGE_VARIABLE).unwrap_or_else(|_| IMAGE.to_owned());
        run(create.arg(image))?;
        self.connect(node)?;
        for (file, place) in
            [("cookie", "/var/lib/rabbitmq/.erlang.cookie"), (CONFIGURATION, CONFIGURATION_PLACE)]
        {
            let file = self.data().join(file).display().to_string();
            run(&mut docker(&["cp", &file, &format!("{name}:{place}")]))?;
        }
        Ok(())
    }

    /// Writes the cookie and the configuration that all nodes share.
    fn write(&self) -> Result<(), NodeError> {
        let written = |name: &str, mode: u32, text: &str| {
            let path = self.data().join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))
        };
        let peers: String = (0..Self::NODES)
            .map(|node| {
                format!(
                    "cluster_formation.classic_config.nodes.{} = rabbit@{}\n",
                    node + 1,
                    host(node)
                )
            })
            .collect();
        let configuration = format!(
            "loopback_users.guest = false\n\
             cluster_formation.peer_discovery_backend = classic_config\n{peers}"
        );
        // Erlang refuses a cookie that other users can read. The image changes its owner at start.
        written("cookie", 0o400, &self.name.replace('-', ""))
            .and_then(|()| written(CONFIGURATION, 0o644, &configuration))
            .map_err(NodeError::io(format!("write to {}", self.data().display())))
    }

    fn connect(&self, node: usize) -> Result<(), NodeError> {
        let (inner, name) = (self.inner(), self.node(node));
        run(&mut docker(&["network", "connect", "--alias", &host(node), &inner, &name]))
    }

    fn await_node(&self, node: usize) -> Result<(), NodeError> {
        let deadline = Instant::now() + PATIENCE;
        while !ready::speaks_amqp(self.ports[node]) {
            if Instant::now() > deadline {
                let logs = docker(&["logs", "--tail", "40", &self.node(node)]).output();
                let logs = logs.map(|output| output.stdout).unwrap_or_default();
                let console = String::from_utf8_lossy(&logs).into_owned();
                return Err(NodeError::Timeout { waited: PATIENCE, console });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn node(&self, node: usize) -> String {
        format!("{}-{}", self.name, node + 1)
    }

    /// The network that the nodes share.
    fn inner(&self) -> String {
        format!("{}-nodes", self.name)
    }

    fn data(&self) -> &Path {
        self.data.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.watchdog.end();
    }
}

const CONFIGURATION: &str = "20-cluster.conf";
const CONFIGURATION_PLACE: &str = "/etc/rabbitmq/conf.d/20-cluster.conf";

/// The host name of a node.
fn host(node: usize) -> String {
    format!("n{}", node + 1)
}
