//! The RabbitMQ node that both sides share.

use anyhow::{Context, Result};
use phalanx_test_node::{NodeOptions, PrivateNode};

/// The environment variable with the URL of a running broker; without it, a private node is started.
const URL_VARIABLE: &str = "PHALANX_BENCH_AMQP_URL";

pub(crate) enum RabbitMq {
    Given { url: String },
    Private { node: PrivateNode },
}

impl RabbitMq {
    pub(crate) async fn find() -> Result<Self> {
        if let Some(url) = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
            return Ok(Self::Given { url });
        }
        let starting = tokio::task::spawn_blocking(|| PrivateNode::start(&NodeOptions::new()));
        let node = starting
            .await?
            .with_context(|| format!("no broker: set {URL_VARIABLE}, or install RabbitMQ"))?;
        Ok(Self::Private { node })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Given { url } => url.clone(),
            Self::Private { node } => node.url(),
        }
    }

    pub(crate) fn description(&self) -> String {
        match self {
            Self::Given { .. } => format!("RabbitMQ: the one that {URL_VARIABLE} names"),
            Self::Private { node } => {
                let version = node.version().unwrap_or_else(|| "of unknown version".to_owned());
                format!("RabbitMQ: a private node, {version}")
            }
        }
    }
}
