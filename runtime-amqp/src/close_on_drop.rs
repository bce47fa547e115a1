//! Closes a channel that nobody uses any more.

use lapin::Channel;
use tokio::runtime::Handle;

/// Closes a channel when dropped, unless it is kept.
pub(crate) struct CloseOnDrop(Option<Channel>);

impl CloseOnDrop {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Some(channel))
    }

    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // Without a Tokio runtime, the connection is gone too.
        if let (Some(channel), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { channel.close(200, "not needed".into()).await });
        }
    }
}
