//! What a worker tells people on standard error: lost connections.

use std::sync::Arc;

use phalanx_core::notice::{ConnectionNotices, Notices};

use crate::shared::Shared;

/// Prints the notices of the connection, until the broker is closed.
pub(super) async fn tell(shared: Arc<Shared>) {
    let notices = Notices::new(shared.options().quiet);
    let mut connection = ConnectionNotices::default();
    let mut health = shared.broker().health();
    loop {
        let now = health.borrow_and_update().clone();
        connection.lines(&now).iter().for_each(|line| notices.print(line));
        if health.changed().await.is_err() {
            return;
        }
    }
}
