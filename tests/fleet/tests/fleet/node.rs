//! A broker of the test's own.

use phalanx_test_node::{NodeOptions, PrivateNode};

pub(crate) async fn start(options: NodeOptions) -> PrivateNode {
    let started = tokio::task::spawn_blocking(move || PrivateNode::start(&options));
    started.await.unwrap().unwrap()
}

/// Does something that takes its time with the node.
pub(crate) async fn with<T: Send + 'static>(
    mut node: PrivateNode,
    work: impl FnOnce(&mut PrivateNode) -> T + Send + 'static,
) -> (PrivateNode, T) {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut node);
        (node, done)
    });
    done.await.unwrap()
}
