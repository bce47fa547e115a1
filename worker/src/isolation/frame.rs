//! The frames between a worker and its child processes.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use bytes::{Buf, Bytes, BytesMut};
use phalanx_core::{broker::MessageKind, wire::MAX_MESSAGE_BYTES};

/// The number of a task among those that were sent to one child.
pub(super) type RunNumber = u32;

/// A frame between a worker and a child process: on the wire a length, a tag, the number of a run and
/// a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// From the child, first: the token that it was started with.
    Token(Bytes),
    /// To the child: a task, to be run element by element if its header has `isolated` set.
    Task(RunNumber, Bytes),
    /// To the child, before a task that has gathered blocks: how they are divided.
    Gathered(RunNumber, Bytes),
    /// To the child, after that: the next bytes of these blocks.
    Blocks(RunNumber, Bytes),
    /// To the child: the job of this task is dead.
    Cancel(RunNumber),
    /// From the child: it begins the chunk whose first element is at this offset.
    ChunkBegins(RunNumber, u32),
    /// From the child: the result of the task.
    Result(RunNumber, Bytes),
    /// From the child: the task was not run.
    Return(RunNumber, Bytes),
    /// From the child: it has settled the task, with a reply before this frame or without.
    Settled(RunNumber),
}

/// The bytes of a frame before its body, without its length: the tag and the number of the run.
const HEAD_BYTES: usize = 5;

/// The longest frame, without its length: a message and what precedes it.
const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + HEAD_BYTES;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

impl Frame {
    /// The frame for a reply of this kind; `None` if children do not send it.
    pub(super) fn reply(kind: MessageKind, run: RunNumber, body: Bytes) -> Option<Self> {
        match kind {
            MessageKind::Result => Some(Self::Result(run, body)),
            MessageKind::Return => Some(Self::Return(run, body)),
            _ => None,
        }
    }

    /// The run that the frame is about; 0 for a token.
    pub(super) fn run(&self) -> RunNumber {
        match self {
            Self::Token(_) => 0,
            Self::Task(run, _)
            | Self::Gathered(run, _)
            | Self::Blocks(run, _)
            | Self::Cancel(run)
            | Self::ChunkBegins(run, _)
            | Self::Result(run, _)
            | Self::Return(run, _)
            | Self::Settled(run) => *run,
        }
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// If the other side is gone.
    pub(super) fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let offset_bytes;
        let (tag, run, body): (u8, RunNumber, &[u8]) = match self {
            Self::Token(token) => (0, 0, token),
            Self::Task(run, task) => (1, *run, task),
            Self::Cancel(run) => (2, *run, &[]),
            Self::ChunkBegins(run, offset) => {
                offset_bytes = offset.to_le_bytes();
                (3, *run, &offset_bytes)
            }
            Self::Result(run, body) => (4, *run, body),
            Self::Return(run, body) => (5, *run, body),
            Self::Settled(run) => (6, *run, &[]),
            Self::Gathered(run, divided) => (7, *run, divided),
            Self::Blocks(run, blocks) => (8, *run, blocks),
        };
        let length = u32::try_from(HEAD_BYTES + body.len())
            .ok()
            .filter(|length| *length as usize <= MAX_FRAME_BYTES)
            .ok_or(ErrorKind::InvalidInput)?;
        let mut head = [0; 4 + HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = tag;
        head[5..].copy_from_slice(&run.to_le_bytes());
        // Short frames in one write: half a frame would wait for the acknowledgement of the other
        // half.
        if body.len() <= READ_BYTES {
            return stream.write_all(&[&head, body].concat());
        }
        stream.write_all(&head)?;
        stream.write_all(body)
    }

    fn read(mut frame: Bytes) -> io::Result<Self> {
        if frame.len() < HEAD_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        let (tag, run) = (frame.get_u8(), frame.get_u32_le());
        match (tag, frame.len()) {
            (0, _) => Ok(Self::Token(frame)),
            (1, _) => Ok(Self::Task(run, frame)),
            (2, 0) => Ok(Self::Cancel(run)),
            (3, 4) => Ok(Self::ChunkBegins(run, frame.get_u32_le())),
            (4, _) => Ok(Self::Result(run, frame)),
            (5, _) => Ok(Self::Return(run, frame)),
            (6, 0) => Ok(Self::Settled(run)),
            (7, _) => Ok(Self::Gathered(run, frame)),
            (8, _) => Ok(Self::Blocks(run, frame)),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// Reads frames from the other side.
#[derive(Debug)]
pub(super) struct Frames {
    stream: TcpStream,
    /// Received bytes that are not a complete frame. Grows with the bytes received, not with the
    /// length that a frame claims.
    received: BytesMut,
    buffer: Box<[u8]>,
}

impl Frames {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, received: BytesMut::new(), buffer: vec![0; READ_BYTES].into() }
    }

    /// The next frame; `None` if none arrives within the read timeout of the stream.
    ///
    /// # Errors
    /// If the other side is gone, or sends something other than frames.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.complete()? {
                return Frame::read(frame).map(Some);
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.received.extend_from_slice(&self.buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn complete(&mut self) -> io::Result<Option<Bytes>> {
        let Some(length) = self.received.first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.received.len() - 4 < length {
            return Ok(None);
        }
        self.received.advance(4);
        Ok(Some(self.received.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn frames_arrive_as_they_were_written_followed_by_the_end() {
        let (mut one, other) = pair();
        let large = Bytes::from(vec![7; 3 * READ_BYTES]);
        let sent = [
            Frame::Token(Bytes::from_static(b"x")),
            Frame::Gathered(7, Bytes::from_static(b"divided")),
            Frame::Blocks(7, Bytes::from_static(b"blocks")),
            Frame::Task(7, large),
            Frame::ChunkBegins(u32::MAX, u32::MAX),
            Frame::Cancel(1),
            Frame::Result(2, Bytes::new()),
            Frame::Return(3, Bytes::from_static(b"no")),
            Frame::Settled(4),
        ];
        let writes = sent.clone();
        let writer = std::thread::spawn(move || {
            for frame in writes {
                frame.write(&mut one).unwrap();
            }
        });
        let mut frames = Frames::new(other);
        for frame in sent {
            assert_eq!(frames.next().unwrap(), Some(frame));
        }
        writer.join().unwrap();
        assert_eq!(frames.next().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_incomplete_frame_is_kept_until_the_rest_arrives() {
        let (mut one, other) = pair();
        other.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
        let mut frames = Frames::new(other);
        one.write_all(&[5, 0, 0]).unwrap();
        assert_eq!(frames.next().unwrap(), None);
        one.write_all(&[0, 6, 9, 0, 0, 0]).unwrap();
        let next = loop {
            if let Some(frame) = frames.next().unwrap() {
                break frame;
            }
        };
        assert_eq!(next, Frame::Settled(9));
    }

    #[test]
    fn invalid_frames_are_errors_and_allocate_no_memory() {
        for garbage in [
            &[0xff; 8][..],
            &[1, 0, 0, 0, 6],
            &[0, 0, 0, 0],
            &[5, 0, 0, 0, 99, 0, 0, 0, 0],
            &[6, 0, 0, 0, 6, 0, 0, 0, 0, 6],
        ] {
            let (mut one, other) = pair();
            one.write_all(garbage).unwrap();
            let mut frames = Frames::new(other);
            assert_eq!(frames.next().unwrap_err().kind(), ErrorKind::InvalidData);
            assert!(frames.received.capacity() <= 2 * READ_BYTES);
        }
    }
}
