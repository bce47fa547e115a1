//! The configuration files and environment of a node.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::{Installation, NodeOptions};

/// Few scheduler threads, which never spin: the broker shares its cores with the test.
pub(crate) const ERLANG_ARGUMENTS: &str = "+S 2:2 +A 8 +sbwt none +sbwtdcpu none +sbwtdio none";

/// The name of the main configuration file, in the data directory.
pub(crate) const FILE: &str = "rabbitmq.conf";

/// The ports on which a node listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) amqp: u16,
    pub(crate) tls: u16,
    pub(crate) distribution: u16,
    pub(crate) mapper: u16,
}

/// Writes a node's configuration into its data directory.
pub(crate) fn write(
    installation: &Installation,
    data: &Path,
    ports: Ports,
    options: &NodeOptions,
) -> io::Result<()> {
    let place = installation.data_path(data);
    let place = place.display();
    let address = match installation {
        Installation::Machine { .. } | Installation::Tree { .. } => "127.0.0.1",
        // All addresses of the container, whose port is published only on 127.0.0.1.
        Installation::Image { .. } => "0.0.0.0",
    };
    for directory in ["home", "mnesia", "log", "expand"] {
        fs::create_dir(data.join(directory))?;
    }
    let mut config = format!(
        "listeners.tcp.1 = {address}:{}\n\
         loopback_users.guest = false\n\
         load_definitions = {place}/definitions.json\n\
         log.console = true\n\
         log.console.level = info\n\
         log.file = false\n",
        ports.amqp
    );
    if let Some(identity) = &options.tls {
        fs::write(data.join("authority.pem"), &identity.authority)?;
        fs::write(data.join("certificate.pem"), &identity.certificate)?;
        fs::write(data.join("key.pem"), &identity.key)?;
        // Writing to a `String` never fails.
        let _ = write!(
            config,
            "listeners.ssl.1 = {address}:{}\n\
             ssl_options.cacertfile = {place}/authority.pem\n\
             ssl_options.certfile = {place}/certificate.pem\n\
             ssl_options.keyfile = {place}/key.pem\n\
             ssl_options.verify = verify_none\n\
             ssl_options.fail_if_no_peer_cert = false\n",
            ports.tls
        );
    }
    for line in &options.config {
        config.push_str(line);
        config.push('\n');
    }
    fs::write(data.join(FILE), config)?;
    let advanced = options.advanced.join(",");
    fs::write(data.join("advanced.config"), format!("[{{rabbit,[{advanced}]}}].\n"))?;
    fs::write(data.join("definitions.json"), options.definitions().to_string())?;
    fs::write(data.join("plugins"), format!("[{}].\n", options.plugins.join(",")))
}

/// The environment of a node. It overrides every variable that could select the configuration or
/// the cookie of the machine's own RabbitMQ by accident.
pub(crate) fn environment(
    installation: &Installation,
    data: &Path,
    ports: Ports,
) -> Vec<(&'static str, String)> {
    let place = installation.data_path(data);
    let within = |name: &str| place.join(name).display().to_string();
    vec![
        ("HOME", within("home")),
        // No crash dump, which would be written to the working directory.
        ("ERL_CRASH_DUMP_SECONDS", "0".to_owned()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_EPMD_PORT", ports.mapper.to_string()),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", within("advanced.config")),
        ("RABBITMQ_CONFIG_FILE", within(FILE)),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        ("RABBITMQ_DIST_PORT", ports.distribution.to_string()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", within("plugins")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_LOG_BASE", within("log")),
        ("RABBITMQ_MNESIA_BASE", within("mnesia")),
        ("RABBITMQ_NODENAME", format!("phalanx{}@localhost", ports.amqp)),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODE_PORT", ports.amqp.to_string()),
        ("RABBITMQ_PID_FILE", within("pid")),
        ("RABBITMQ_PLUGINS_EXPAND_DIR", within("expand")),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS.to_owned()),
    ]
}

/// The variables that a container needs in addition to those of its image.
pub(crate) fn container_environment(
    installation: &Installation,
    data: &Path,
) -> [(&'static str, String); 5] {
    let place = installation.data_path(data);
    let within = |name: &str| place.join(name).display().to_string();
    [
        ("RABBITMQ_ADVANCED_CONFIG_FILE", within("advanced.config")),
        ("RABBITMQ_CONFIG_FILE", within(FILE)),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", within("plugins")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS.to_owned()),
    ]
}
