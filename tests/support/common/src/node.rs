//! A broker that belongs to one test, which may kill and restart it.

use phalanx_test_node::{NodeOptions, PrivateNode};

/// Starts a node; takes 3 to 10 seconds.
pub async fn start_node(options: NodeOptions) -> PrivateNode {
    let started = tokio::task::spawn_blocking(move || PrivateNode::start(&options));
    started.await.unwrap().unwrap()
}

/// Runs blocking work on a node, off the threads of the Tokio runtime.
pub async fn with_node<T: Send + 'static>(
    mut node: PrivateNode,
    work: impl FnOnce(&mut PrivateNode) -> T + Send + 'static,
) -> (PrivateNode, T) {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut node);
        (node, done)
    });
    done.await.unwrap()
}
