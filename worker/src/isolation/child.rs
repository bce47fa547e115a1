//! The child's side: serves isolated tasks instead of running the program's `main`.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{self, ExitCode},
    sync::Arc,
    thread,
    time::Duration,
};

use phalanx_core::{id::WorkerId, wire::TaskHeader};
use uuid::Uuid;

use super::{
    PARENT_VARIABLE, SPILL_VARIABLE,
    child_runs::ChildRuns,
    frame::{Frame, Frames},
    parent_broker::ParentBroker,
    parent_link::ParentLink,
};
use crate::{
    Exit, Worker, WorkerOptions,
    process_kind::{ChunkReporter, ProcessKind},
};

/// Serves isolated tasks if this process was started for that, and returns its exit code when the
/// worker has ended. Returns `None` at once in all other processes.
///
/// [`main`](crate::main) calls it itself. A program that starts a [`Worker`] with
/// [`isolate`](WorkerOptions::isolate) calls it first in its `main`: each child process is the same
/// executable, started with the same arguments, and runs everything that precedes the call.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// #[tokio::main]
/// async fn main() -> ExitCode {
///     if let Some(code) = phalanx::worker::isolated().await {
///         return code;
///     }
///     // Connect, start a worker, and wait for its end.
///     ExitCode::SUCCESS
/// }
/// ```
pub async fn isolated() -> Option<ExitCode> {
    let parent = env::var(PARENT_VARIABLE).ok()?;
    Some(match serve(&parent).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "could not serve isolated tasks; ending the child process");
            ExitCode::FAILURE
        }
    })
}

async fn serve(parent: &str) -> io::Result<()> {
    prefer_in_oom_kills();
    // Signals to the process group are for the parent; the child ends with it.
    #[cfg(feature = "cli")]
    let _ignored = crate::cli::Signals::listen()?;
    let (address, token, worker, options) = parse(parent).ok_or(io::ErrorKind::InvalidInput)?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let link = Arc::new(ParentLink::new(stream.try_clone()?));
    link.send(&Frame::Token(token.as_bytes().to_vec().into()))?;
    let runs = Arc::new(ChildRuns::default());
    let spills = env::var_os(SPILL_VARIABLE).map_or_else(env::temp_dir, PathBuf::from);
    let (broker, mut inbox) =
        ParentBroker::new(Arc::clone(&link), Arc::clone(&runs), worker, spills);
    thread::Builder::new().name("phalanx-parent".to_owned()).spawn(move || {
        let mut frames = Frames::new(stream);
        while let Ok(frame) = frames.next() {
            if let Some(frame) = frame {
                inbox.receive(frame);
            }
        }
        // The parent is gone, so no result of this process can be used.
        process::exit(0);
    })?;
    let arrived = Arc::clone(&runs);
    let gathered =
        Arc::new(move |header: &TaskHeader| arrived.take_gathered(header.leader, header.copy));
    let reporters = Arc::new(move |header: &TaskHeader| {
        let (link, run) = (Arc::clone(&link), runs.number(header.leader, header.copy));
        let report: ChunkReporter = Arc::new(move |offset| {
            if let Some(run) = run {
                // Fails only if the parent is gone, which ends this process.
                let _ = link.send(&Frame::ChunkBegins(run, offset));
            }
        });
        report
    });
    let process = ProcessKind::Child { parent: worker, reporters, gathered };
    let worker = Worker::start_in(Arc::new(broker), options, process);
    match worker.finished().await {
        Exit::Registry(error) => Err(io::Error::other(error)),
        // The worker has abandoned its threads, and has replied for them.
        _ => Ok(()),
    }
}

/// The address of the parent, the token to present there, the identity of the parent, and the
/// settings of this worker.
fn parse(parent: &str) -> Option<(SocketAddr, &str, WorkerId, WorkerOptions)> {
    let mut parts = parent.split('/');
    let (address, token, worker) = (parts.next()?, parts.next()?, parts.next()?);
    let (slots, stack) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let options =
        WorkerOptions { slots, stack, leader_wait: Duration::ZERO, ..WorkerOptions::default() };
    Some((address.parse().ok()?, token, WorkerId(worker.parse::<Uuid>().ok()?), options))
}

/// Asks the kernel to kill this process first when memory runs out, rather than its parent.
fn prefer_in_oom_kills() {
    // The file exists on Linux only, and is not always writable.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}
