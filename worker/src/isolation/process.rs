//! One child process.

use std::{
    env, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use phalanx_core::id::WorkerId;
use uuid::Uuid;

use super::{
    VARIABLE,
    frame::{Frame, Frames},
    status::in_words,
};

/// How long a child may take until it speaks.
const START: Duration = Duration::from_secs(20);

/// How long a connection may take to say its token.
const GREETING: Duration = Duration::from_secs(2);

/// How long a child may take to take a task.
const TAKE: Duration = Duration::from_secs(10);

/// How long a child that has fallen silent may take to end.
const END: Duration = Duration::from_secs(1);

/// How long it is listened to in one go.
const LISTEN: Duration = Duration::from_millis(20);

/// Looks at what nobody can wait for are so far apart.
const LOOK: Duration = Duration::from_millis(2);

/// One child process, which ends with this.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stream: TcpStream,
    frames: Frames,
}

impl Process {
    /// Starts this executable again, as a child of `worker`, and waits until it speaks.
    ///
    /// # Errors
    /// When the system starts no process, or what it starts does not speak.
    pub(super) fn start(worker: WorkerId) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let token = Uuid::new_v4().to_string();
        let place = format!("{}/{token}/{worker}", listener.local_addr()?);
        let mut child = command()?.env(VARIABLE, place).spawn()?;
        match meet(&listener, &token, &mut child) {
            Ok((stream, frames)) => Ok(Self { child, stream, frames }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// # Errors
    /// When it is gone, or does not listen.
    pub(super) fn say(&mut self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut self.stream)
    }

    /// The next thing that it says; `None` when it says nothing for a moment.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn hear(&mut self) -> io::Result<Option<Frame>> {
        self.frames.next()
    }

    /// Waits until a process that has fallen silent has ended, and says how.
    pub(super) fn status(mut self) -> String {
        let until = Instant::now() + END;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(Some(status)) => return in_words(status),
                Ok(None) => thread::sleep(LOOK),
                Err(error) => return format!("ended, and nobody knows how: {error}"),
            }
        }
        "gave up its connection".to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process, and waits for it: it takes no time.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// This program as it was started: the child finds its way to `isolated` as the parent did.
fn command() -> io::Result<Command> {
    // The file may have been replaced meanwhile; this is what runs here.
    let running = "/proc/self/exe";
    let mut command = match cfg!(target_os = "linux") {
        true => Command::new(running),
        false => Command::new(env::current_exe()?),
    };
    let mut line = env::args_os();
    let name = line.next();
    command.args(line);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // What a terminal sends to all that runs in it is the parent's to decide about.
        command.process_group(0);
        if let Some(name) = name {
            command.arg0(name);
        }
    }
    #[cfg(not(unix))]
    drop(name);
    Ok(command)
}

/// Waits for the child, and for nobody else, to call.
fn meet(listener: &TcpListener, token: &str, child: &mut Child) -> io::Result<(TcpStream, Frames)> {
    let until = Instant::now() + START;
    while Instant::now() < until {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Ok(Some(met)) = greet(stream, token) {
                    return Ok(met);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(status) = child.try_wait()? {
                    let status = in_words(status);
                    return Err(io::Error::other(format!("it {status} before it took a task")));
                }
                thread::sleep(LOOK);
            }
            Err(error) => return Err(error),
        }
    }
    let reason = "it does not take tasks: does its `main` call `isolated`?";
    Err(io::Error::new(io::ErrorKind::TimedOut, reason))
}

/// `None` for who does not know the token.
fn greet(stream: TcpStream, token: &str) -> io::Result<Option<(TcpStream, Frames)>> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(TAKE))?;
    stream.set_read_timeout(Some(GREETING))?;
    let mut frames = Frames::new(stream.try_clone()?);
    if frames.next()? != Some(Frame::Token(token.as_bytes().to_vec().into())) {
        return Ok(None);
    }
    stream.set_read_timeout(Some(LISTEN))?;
    Ok(Some((stream, frames)))
}
