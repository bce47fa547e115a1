//! Catching panics in code of the user, with their message and location.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    io::Write,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::pin,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
};

use super::{super::values::drop_guarded, backtrace};
use crate::{
    operation::{ErrorKind, OperationError, panic_message},
    report::{MAX_TEXT, cut},
};

thread_local! {
    /// Whether this thread runs code whose panics are caught here.
    static INSIDE: Inside = const { Inside(Cell::new(false)) };
    /// The last panic of this thread while `INSIDE` was set.
    static LAST: RefCell<Place> = const { RefCell::new(Place { location: None, backtrace: None }) };
}

/// Whether an `exit` in code of the user counts as a crash of this process.
static EXIT_IS_CRASH: AtomicBool = AtomicBool::new(false);

/// From now on, an operation that ends this process with `exit` aborts it: a supervisor must not
/// take an `exit(0)` in an operation for a good end of the worker. Works where `exit` drops the
/// thread-local values of its thread: with glibc, and on macOS.
pub fn treat_exit_as_crash() {
    EXIT_IS_CRASH.store(true, Relaxed);
}

/// Whether this thread runs code of the user.
struct Inside(Cell<bool>);

impl Drop for Inside {
    fn drop(&mut self) {
        // A thread that ends runs no code of the user. So that code has called `exit`.
        if self.0.get() && EXIT_IS_CRASH.load(Relaxed) {
            // Nobody may read standard error any more.
            let _ = writeln!(
                std::io::stderr(),
                "phalanx: an operation ended this process with `exit`, which counts as a crash"
            );
            std::process::abort();
        }
    }
}

/// Where a panic began.
#[derive(Default)]
struct Place {
    location: Option<String>,
    backtrace: Option<String>,
}

/// A panic that was caught.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    location: Option<String>,
    message: String,
    backtrace: Option<String>,
}

impl Panicked {
    #[cold]
    pub(super) fn into_error(self, operation: &str) -> OperationError {
        let error =
            OperationError::new(ErrorKind::Panic, format!("operation `{operation}` {self}"));
        match self.backtrace {
            Some(backtrace) => error.because(backtrace),
            None => error,
        }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

/// Runs code of the user; returns a panic in it as an error, and does not print it.
pub(in crate::registry) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    install_hook();
    let outside = INSIDE.with(|inside| inside.0.replace(true));
    let outcome = catch_unwind(AssertUnwindSafe(code));
    INSIDE.with(|inside| inside.0.set(outside));
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
    let message = cut(panic_message(&*payload).to_owned(), MAX_TEXT);
    // The payload can panic again when it is dropped.
    drop_guarded(payload);
    let Place { location, backtrace } = LAST.take();
    Panicked { location, message, backtrace }
}

/// Installs a hook, because only a hook receives the location of a panic. Panics of other code are
/// passed on to the previous hook.
///
/// With `panic = "abort"` nothing is caught: the process ends after the hook, which must print.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    if cfg!(panic = "abort") {
        return;
    }
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if INSIDE.try_with(|inside| inside.0.get()) == Ok(true) {
                let location = info.location().map(ToString::to_string);
                LAST.set(Place { location, backtrace: backtrace::capture() });
            } else {
                previous(info);
            }
        }));
    });
}
