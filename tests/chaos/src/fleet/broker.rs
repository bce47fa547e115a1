//! A broker that belongs to a fleet, which may break it.

use phalanx_test_node::{Cluster, NodeError, NodeOptions, PrivateNode};

/// A broker that belongs to a fleet, which may break it.
#[derive(Debug)]
pub(crate) enum OwnBroker {
    Node(PrivateNode),
    Cluster(Cluster),
}

impl OwnBroker {
    pub(crate) fn start_node() -> Result<Self, NodeError> {
        PrivateNode::start(&NodeOptions::new()).map(Self::Node)
    }

    pub(crate) fn start_cluster() -> Result<Self, NodeError> {
        Cluster::start().map(Self::Cluster)
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Node(node) => node.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    pub(super) fn node(&mut self) -> Option<&mut PrivateNode> {
        match self {
            Self::Node(node) => Some(node),
            Self::Cluster(_) => None,
        }
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Node(_) => None,
            Self::Cluster(cluster) => Some(cluster),
        }
    }
}
