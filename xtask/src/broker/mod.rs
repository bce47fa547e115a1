//! Provides the broker that tests, examples and benchmarks run against.

mod container;
mod engine;
mod install;

use std::env;
use std::error::Error;

use clap::{Args, ValueEnum};
use phalanx_test_node::{Installation, NodeError, NodeOptions, PrivateNode};

use container::Container;

/// The URL of a running broker. The tests read it, too.
pub(crate) const URL_VARIABLE: &str = "PHALANX_TEST_AMQP_URL";

/// The kinds of broker, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The one that PHALANX_TEST_AMQP_URL names.
    Url,
    /// RabbitMQ in a container.
    Docker,
    /// A private node of this machine's rabbitmq-server, which is installed if it is missing.
    Node,
}

/// Options of every command that needs a broker.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Use this kind of broker or fail.
    #[arg(long, value_name = "KIND")]
    broker: Option<Kind>,
    #[command(flatten)]
    consent: Consent,
}

/// Options of every command that may install RabbitMQ.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Install RabbitMQ without asking if it is missing.
    ///
    /// The question is also skipped if CI is set, or if there is no terminal.
    #[arg(long)]
    yes: bool,
}

/// A broker. One that was started here is stopped on drop.
#[derive(Debug)]
pub(crate) enum Broker {
    Url(String),
    Docker(Container),
    Node(Box<PrivateNode>),
}

impl Broker {
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Docker(container) => container.url.clone(),
            Self::Node(node) => node.url(),
        }
    }

    /// The image, if the broker runs in a container.
    pub(crate) fn image(&self) -> Option<&str> {
        match self {
            Self::Docker(container) => Some(&container.image),
            Self::Url(_) | Self::Node(_) => None,
        }
    }
}

/// Provides the first available broker, or the requested kind, and prints in one line which broker
/// it is and why.
pub(crate) fn find(choice: &Choice, port: Option<u16>) -> Result<Broker, Box<dyn Error>> {
    let wanted = choice.broker;
    let kinds = match &wanted {
        Some(kind) => std::slice::from_ref(kind),
        None => Kind::value_variants(),
    };
    let mut reasons = Vec::new();
    for kind in kinds {
        match try_kind(*kind, port, choice.consent) {
            Ok((broker, what)) => {
                let why = match wanted {
                    Some(_) => "asked for".to_owned(),
                    None if reasons.is_empty() => "it is set".to_owned(),
                    None => reasons.join("; "),
                };
                eprintln!("broker: {what} ({why})");
                return Ok(broker);
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Err(format!(
        "no broker: {}. Set {URL_VARIABLE} to the URL of one, start Docker, or install RabbitMQ",
        reasons.join("; ")
    )
    .into())
}

/// A broker of this kind and its description, or why it is not available.
fn try_kind(kind: Kind, port: Option<u16>, consent: Consent) -> Result<(Broker, String), String> {
    match kind {
        Kind::Url => match env::var(URL_VARIABLE) {
            // The URL is not printed: it contains a password.
            Ok(url) if !url.is_empty() => {
                Ok((Broker::Url(url), format!("the one that {URL_VARIABLE} names")))
            }
            _ => Err(format!("{URL_VARIABLE} is not set")),
        },
        Kind::Docker => {
            let container = Container::start(port)?;
            let what = format!("a container of {}", container.image);
            Ok((Broker::Docker(container), what))
        }
        Kind::Node => {
            let node = start_node(port, consent).map_err(|error| error.to_string())?;
            let version = node.version().unwrap_or_default();
            Ok((Broker::Node(Box::new(node)), format!("a private node of RabbitMQ {version}")))
        }
    }
}

/// The RabbitMQ that private nodes run, which is installed if it is missing.
pub(crate) fn installation(consent: Consent) -> Result<Installation, Box<dyn Error>> {
    match Installation::find() {
        Err(NodeError::NotInstalled) => {
            install::install(consent.yes)?;
            Ok(Installation::find()?)
        }
        found => Ok(found?),
    }
}

fn start_node(port: Option<u16>, consent: Consent) -> Result<PrivateNode, Box<dyn Error>> {
    let installation = installation(consent)?;
    let mut options = NodeOptions::new();
    if let Some(port) = port {
        options = options.port(port);
    }
    Ok(PrivateNode::start_of(&installation, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_tried_from_the_named_one_to_the_private_one() {
        assert_eq!(Kind::value_variants(), [Kind::Url, Kind::Docker, Kind::Node]);
    }
}
