//! The blocking operation that runs on this thread.

use std::cell::RefCell;

thread_local! {
    static RUNNING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The name of the blocking operation that runs on this thread, if one does.
pub(crate) fn running_operation() -> Option<String> {
    RUNNING.with_borrow(Clone::clone)
}

/// Until it is dropped, a blocking operation runs on this thread.
pub(super) struct OnThisThread {
    before: Option<String>,
}

impl OnThisThread {
    pub(super) fn of(name: &str) -> Self {
        Self { before: RUNNING.replace(Some(name.to_owned())) }
    }
}

impl Drop for OnThisThread {
    fn drop(&mut self) {
        RUNNING.set(self.before.take());
    }
}
