//! One child process, from the parent's side.

use std::{
    env, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use phalanx_core::id::WorkerId;
use uuid::Uuid;

use super::{
    PARENT_VARIABLE, SPILL_VARIABLE,
    frame::{Frame, Frames},
    status::describe,
};

/// How long a child may take to connect.
const CHILD_START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may take to present its token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a child may take to read a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a child that has closed its connection may take to end.
const CHILD_END_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one call of [`ChildProcess::receive`] blocks.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(20);

/// The polling interval if the operating system offers no call that blocks.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// One child process, which is killed when this is dropped.
#[derive(Debug)]
pub(super) struct ChildProcess {
    child: Child,
    stream: TcpStream,
    frames: Frames,
}

impl ChildProcess {
    /// Starts this executable again as a child of `worker`, with slot threads of `stack` bytes and
    /// this spill directory, and waits until it has connected.
    ///
    /// # Errors
    /// If the operating system starts no process, or the process does not connect.
    pub(super) fn start(
        worker: WorkerId,
        slots: usize,
        stack: usize,
        spills: &Path,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let token = Uuid::new_v4().to_string();
        let parent = format!("{}/{token}/{worker}/{slots}/{stack}", listener.local_addr()?);
        let mut command = command()?;
        let mut child = command.env(PARENT_VARIABLE, parent).env(SPILL_VARIABLE, spills).spawn()?;
        match accept(&listener, &token, &mut child) {
            Ok((stream, frames)) => Ok(Self { child, stream, frames }),
            Err(error) => {
                kill(&mut child);
                Err(error)
            }
        }
    }

    /// # Errors
    /// If the child is gone, or does not read.
    pub(super) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut self.stream)
    }

    /// What another thread can send frames with.
    ///
    /// # Errors
    /// If the operating system opens no further handle.
    pub(super) fn writer(&self) -> io::Result<ChildWriter> {
        self.stream.try_clone().map(ChildWriter)
    }

    /// The next frame; `None` if none arrives within [`RECEIVE_TIMEOUT`].
    ///
    /// # Errors
    /// If the child is gone, or sends something other than frames.
    pub(super) fn receive(&mut self) -> io::Result<Option<Frame>> {
        self.frames.next()
    }

    /// Waits until a child that has closed its connection has ended, and describes how.
    pub(super) fn into_status(mut self) -> String {
        let until = Instant::now() + CHILD_END_TIMEOUT;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(Some(status)) => return describe(status),
                Ok(None) => thread::sleep(POLL_INTERVAL),
                Err(error) => return format!("ended with an unknown status: {error}"),
            }
        }
        "closed its connection".to_owned()
    }
}

/// Sends frames to a child process.
#[derive(Debug)]
pub(super) struct ChildWriter(TcpStream);

impl ChildWriter {
    /// # Errors
    /// If the child is gone, or does not read.
    pub(super) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut self.0)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Kills a process and reaps it, which takes no noticeable time.
fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// This program with its own arguments: the child reaches `isolated` in the same way as the parent.
fn command() -> io::Result<Command> {
    // The file at the path of the executable may have been replaced; this link leads to the
    // original.
    let running = "/proc/self/exe";
    let mut command = match cfg!(target_os = "linux") {
        true => Command::new(running),
        false => Command::new(env::current_exe()?),
    };
    let mut arguments = env::args_os();
    let name = arguments.next();
    command.args(arguments);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // A terminal signals its whole process group; only the parent must react.
        command.process_group(0);
        if let Some(name) = name {
            command.arg0(name);
        }
    }
    #[cfg(not(unix))]
    drop(name);
    Ok(command)
}

/// Waits until the child has connected. Other connections are closed.
fn accept(
    listener: &TcpListener,
    token: &str,
    child: &mut Child,
) -> io::Result<(TcpStream, Frames)> {
    let until = Instant::now() + CHILD_START_TIMEOUT;
    while Instant::now() < until {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Ok(Some(connection)) = authenticate(stream, token) {
                    return Ok(connection);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(status) = child.try_wait()? {
                    let status = describe(status);
                    return Err(io::Error::other(format!("it {status} before it took a task")));
                }
                thread::sleep(POLL_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    let reason = format!(
        "it did not connect within {CHILD_START_TIMEOUT:?}; call `phalanx::worker::isolated` first \
         in `main`"
    );
    Err(io::Error::new(io::ErrorKind::TimedOut, reason))
}

/// `None` if the first frame is not the token.
fn authenticate(stream: TcpStream, token: &str) -> io::Result<Option<(TcpStream, Frames)>> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(TOKEN_TIMEOUT))?;
    let mut frames = Frames::new(stream.try_clone()?);
    if frames.next()? != Some(Frame::Token(token.as_bytes().to_vec().into())) {
        return Ok(None);
    }
    stream.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
    Ok(Some((stream, frames)))
}
