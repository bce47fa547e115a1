//! The child's side: what `main` of a worker becomes.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpStream},
    process::{self, ExitCode},
    sync::Arc,
    thread,
    time::Duration,
};

use phalanx_core::{id::WorkerId, registry::Registry};
use uuid::Uuid;

use super::{
    VARIABLE,
    frame::{Frame, Frames},
    parent::Parent,
    says::Says,
};
use crate::{Worker, WorkerOptions, engine::Role};

/// Serves as a child process of a worker, where this process was started as one: then it takes
/// isolated tasks until the worker ends, and gives the exit code of the program. `None` where it
/// was not.
///
/// [`main`](crate::main) does this by itself. Programs that start a [`Worker`] with
/// [`contain`](WorkerOptions::contain) call it first of all: the child is the same executable,
/// started with the same arguments.
///
/// ```no_run
/// # use std::process::ExitCode;
/// #[tokio::main]
/// async fn main() -> ExitCode {
///     if let Some(code) = phalanx_worker::isolated().await {
///         return code;
///     }
///     // Connect, start a worker, wait for its end.
///     # ExitCode::SUCCESS
/// }
/// ```
pub async fn isolated() -> Option<ExitCode> {
    let place = env::var(VARIABLE).ok()?;
    Some(match serve(&place).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "a child process of a worker cannot serve");
            ExitCode::FAILURE
        }
    })
}

async fn serve(place: &str) -> io::Result<()> {
    be_killed_first();
    #[cfg(feature = "cli")]
    let _deaf = crate::cli::Signals::listen()?;
    let (address, token, worker) = parse(place).ok_or(io::ErrorKind::InvalidInput)?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let says = Arc::new(Says::new(stream.try_clone()?));
    says.say(&Frame::Token(token.as_bytes().to_vec().into()))?;
    let (parent, mut inbox) = Parent::new(Arc::clone(&says));
    thread::Builder::new().name("phalanx-parent".to_owned()).spawn(move || {
        let mut frames = Frames::new(stream);
        while let Ok(frame) = frames.next() {
            if let Some(frame) = frame {
                inbox.take(frame);
            }
        }
        // The parent is gone, whatever runs here.
        process::exit(0);
    })?;
    let registry = Registry::global().map_err(io::Error::other)?;
    let report = Arc::new(move |offset| {
        // A parent that is gone ends this process.
        let _ = says.say(&Frame::At(offset));
    });
    let role = Role::Child { worker, report };
    let worker = Worker::assemble(Arc::new(parent), options(), Box::new(registry), role);
    // It ends when it has given up its thread, which has been answered for.
    worker.finished().await;
    Ok(())
}

fn options() -> WorkerOptions {
    WorkerOptions { slots: 1, listen: Duration::ZERO, ..WorkerOptions::default() }
}

/// The address, the token and the identity of the parent.
fn parse(place: &str) -> Option<(SocketAddr, &str, WorkerId)> {
    let mut parts = place.split('/');
    let (address, token, worker) = (parts.next()?, parts.next()?, parts.next()?);
    Some((address.parse().ok()?, token, WorkerId(worker.parse::<Uuid>().ok()?)))
}

/// Where memory runs out, the child goes, and not its parent or anybody else.
fn be_killed_first() {
    // There is no such file but on Linux, and it is not always ours to write.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}
