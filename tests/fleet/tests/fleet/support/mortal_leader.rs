//! A leader that dies in the middle of its jobs.

use phalanx::{Runtime, RuntimeBuilder};
use phalanx_test_node::PrivateNode;
use phalanx_test_support::{soon, with_node};

/// A leader on a runtime of Tokio of its own, with which it dies: then its connections are gone, and
/// nothing was closed or deleted.
pub(crate) struct MortalLeader {
    tokio: tokio::runtime::Runtime,
    runtime: Runtime,
}

impl MortalLeader {
    pub(crate) async fn connect(builder: RuntimeBuilder) -> Self {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let connecting = tokio.spawn(builder.connect());
        let runtime = soon("a leader", connecting).await.unwrap().unwrap();
        Self { tokio, runtime }
    }

    /// Starts a job of this leader.
    pub(crate) fn start<T>(&self, start: impl FnOnce(&Runtime) -> T) -> T {
        let _inside = self.tokio.enter();
        start(&self.runtime)
    }

    pub(crate) fn die(self) {
        self.tokio.shutdown_background();
    }
}

/// Lets the queues of blocks expire after three seconds, instead of 30 minutes.
pub(crate) async fn expire_soon(node: PrivateNode) -> PrivateNode {
    let short = r#"{"expires":3000}"#;
    let policy = ["set_policy", "--apply-to", "queues", "short", r".*\.shuffle\..*", short];
    with_node(node, move |node| node.control(&policy).unwrap()).await.0
}

/// Waits until no queue is left, of those that `look` finds.
pub(crate) async fn expired(look: impl AsyncFn() -> bool) {
    let expired = async {
        // To look at a queue keeps it, so this looks less often than they expire.
        while look().await {
            tokio::time::sleep(std::time::Duration::from_secs(9)).await;
        }
    };
    soon("the queues to expire", expired).await;
}
