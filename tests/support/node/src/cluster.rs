//! Three nodes in containers that form a cluster.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::configuration::ERLANG_ARGUMENTS;
use crate::docker::{LABEL, docker, run};
use crate::node::{PATIENCE, POLL};
use crate::watchdog::Watchdog;
use crate::{IMAGE_VARIABLE, NodeError, port, ready};

/// The image where [`IMAGE_VARIABLE`] names none.
const IMAGE: &str = "rabbitmq:4.3-management";
/// Nodes that hear nothing from another for so many seconds hold it for gone.
const NET_TICK_TIME: u32 = 4;

/// Three nodes of RabbitMQ in containers, gone when this is dropped or when this process ends.
///
/// Each node has a network for its clients, and all share one for themselves: a node that is cut off
/// from the others still serves its clients, as well as it can.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    ports: [u16; Self::NODES],
    watchdog: Watchdog,
    data: TempDir,
}

impl Cluster {
    /// How many nodes there are.
    pub const NODES: usize = 3;

    /// Starts the nodes, and waits until each speaks AMQP and knows the others: about 15 seconds.
    ///
    /// # Errors
    /// When there is no Docker or no image, or a node does not start.
    pub fn start() -> Result<Self, NodeError> {
        let data = tempfile::Builder::new()
            .prefix("phalanx-node-")
            .tempdir()
            .map_err(NodeError::io("make a temporary directory"))?;
        let name = data.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let watchdog = Watchdog::of_cluster(&name, data.path()).map_err(NodeError::io("run sh"))?;
        // From here on whatever exists is cleared away.
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

    /// The URL that names all nodes, for the user `guest`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = (0..Self::NODES).map(|n| self.address(n).to_string()).collect();
        format!("amqp://guest:guest@{}/%2f", hosts.join(","))
    }

    /// Where clients reach a node.
    pub fn address(&self, node: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[node]).into()
    }

    /// Ends a node at once (`SIGKILL`). Its data stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["kill", &self.node(node)]))
    }

    /// Starts a node again that was killed, and waits until it speaks AMQP.
    ///
    /// # Errors
    /// When it does not start.
    pub fn revive(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["start", &self.node(node)]))?;
        self.await_node(node)
    }

    /// Stops a node where it stands: its connections stay, and it answers nobody.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["pause", &self.node(node)]))
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// When it is not frozen.
    pub fn thaw(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["unpause", &self.node(node)]))
    }

    /// Cuts a node off from the others; its clients still reach it.
    ///
    /// # Errors
    /// When it is cut off already.
    pub fn part(&self, node: usize) -> Result<(), NodeError> {
        run(&mut docker(&["network", "disconnect", &self.inner(), &self.node(node)]))
    }

    /// Lets a node that was cut off find the others again.
    ///
    /// # Errors
    /// When it is not cut off.
    pub fn rejoin(&self, node: usize) -> Result<(), NodeError> {
        self.connect(node)
    }

    /// Waits until all nodes are there.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn await_all(&self) -> Result<(), NodeError> {
        for node in 0..Self::NODES {
            self.await_node(node)?;
            self.control(node, &["await_online_nodes", &Self::NODES.to_string()])?;
        }
        Ok(())
    }

    /// Tells a node something by `rabbitmqctl`, which takes seconds.
    ///
    /// # Errors
    /// When it refuses: then the error holds what it said.
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

    /// What all nodes read.
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
        // Erlang takes no cookie that others may read; who starts the broker makes it his own.
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
                let said = docker(&["logs", "--tail", "40", &self.node(node)]).output();
                let said = said.map(|output| output.stdout).unwrap_or_default();
                let console = String::from_utf8_lossy(&said).into_owned();
                return Err(NodeError::Timeout { waited: PATIENCE, console });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn node(&self, node: usize) -> String {
        format!("{}-{}", self.name, node + 1)
    }

    /// The network of the nodes.
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

/// The name under which the others know a node.
fn host(node: usize) -> String {
    format!("n{}", node + 1)
}
