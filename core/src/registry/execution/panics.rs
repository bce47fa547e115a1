//! Catching panics in code of the user, with their message and location.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::pin,
    sync::Once,
    task::Poll,
};

use super::super::values::drop_guarded;
use crate::operation::{ErrorKind, OperationError, panic_message};

thread_local! {
    /// Whether this thread runs code whose panics are caught here.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The location of the last panic of this thread while `INSIDE` was set.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    place: Option<String>,
    message: String,
}

impl Panicked {
    #[cold]
    pub(super) fn into_error(self, operation: &str) -> OperationError {
        OperationError::new(ErrorKind::Panic, format!("operation `{operation}` {self}"))
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

/// Runs code of the user; returns a panic in it as an error, and does not print it.
pub(in crate::registry) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    install_hook();
    let outside = INSIDE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(code));
    INSIDE.set(outside);
    outcome.map_err(panicked)
}

/// As [`caught`], for a future.
pub(crate) async fn caught_async<R>(future: impl Future<Output = R>) -> Result<R, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> Panicked {
    let message = panic_message(&*payload).to_owned();
    // The payload can panic again when it is dropped.
    drop_guarded(payload);
    Panicked { place: PLACE.take(), message }
}

/// Installs a hook, because only a hook receives the location of a panic. Panics of other code are
/// passed on to the previous hook.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if INSIDE.try_with(Cell::get) == Ok(true) {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                previous(info);
            }
        }));
    });
}
