//! The frames between a worker and its child processes.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use bytes::{Buf, Bytes, BytesMut};
use phalanx_core::{broker::MessageKind, wire::MAX_MESSAGE_BYTES};

/// A frame between a worker and a child process: on the wire a length, a tag and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// From the child, first: the token that it was started with.
    Token(Bytes),
    /// To the child: a task, to be run element by element if its header has `isolated` set.
    Task(Bytes),
    /// To the child: the job of its task is dead.
    Cancel,
    /// From the child: it begins the chunk whose first element is at this offset.
    ChunkBegins(u32),
    /// From the child: the result of the task.
    Result(Bytes),
    /// From the child: the task was not run.
    Return(Bytes),
    /// From the child: it has settled the task, with a reply before this frame or without.
    Settled,
}

/// The longest frame, without its length: a message and the tag.
const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + 1;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

impl Frame {
    /// The frame for a reply of this kind; `None` if children do not send it.
    pub(super) fn reply(kind: MessageKind, body: Bytes) -> Option<Self> {
        match kind {
            MessageKind::Result => Some(Self::Result(body)),
            MessageKind::Return => Some(Self::Return(body)),
            _ => None,
        }
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// If the other side is gone.
    pub(super) fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let offset_bytes;
        let (tag, body): (u8, &[u8]) = match self {
            Self::Token(token) => (0, token),
            Self::Task(task) => (1, task),
            Self::Cancel => (2, &[]),
            Self::ChunkBegins(offset) => {
                offset_bytes = offset.to_le_bytes();
                (3, &offset_bytes)
            }
            Self::Result(body) => (4, body),
            Self::Return(body) => (5, body),
            Self::Settled => (6, &[]),
        };
        let length = u32::try_from(1 + body.len())
            .ok()
            .filter(|length| *length as usize <= MAX_FRAME_BYTES)
            .ok_or(ErrorKind::InvalidInput)?;
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = tag;
        // Short frames in one write: half a frame would wait for the acknowledgement of the other
        // half.
        if body.len() <= READ_BYTES {
            return stream.write_all(&[&head, body].concat());
        }
        stream.write_all(&head)?;
        stream.write_all(body)
    }

    fn read(mut frame: Bytes) -> io::Result<Self> {
        let tag = frame.first().copied();
        frame.advance(tag.iter().len());
        match (tag, frame.len()) {
            (Some(0), _) => Ok(Self::Token(frame)),
            (Some(1), _) => Ok(Self::Task(frame)),
            (Some(2), 0) => Ok(Self::Cancel),
            (Some(3), 4) => Ok(Self::ChunkBegins(frame.get_u32_le())),
            (Some(4), _) => Ok(Self::Result(frame)),
            (Some(5), _) => Ok(Self::Return(frame)),
            (Some(6), 0) => Ok(Self::Settled),
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
            Frame::Task(large),
            Frame::ChunkBegins(u32::MAX),
            Frame::Cancel,
            Frame::Result(Bytes::new()),
            Frame::Return(Bytes::from_static(b"no")),
            Frame::Settled,
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
        one.write_all(&[1, 0, 0]).unwrap();
        assert_eq!(frames.next().unwrap(), None);
        one.write_all(&[0, 6]).unwrap();
        let next = loop {
            if let Some(frame) = frames.next().unwrap() {
                break frame;
            }
        };
        assert_eq!(next, Frame::Settled);
    }

    #[test]
    fn invalid_frames_are_errors_and_allocate_no_memory() {
        for garbage in [&[0xff; 8][..], &[1, 0, 0, 0, 99], &[0, 0, 0, 0], &[2, 0, 0, 0, 6, 6]] {
            let (mut one, other) = pair();
            one.write_all(garbage).unwrap();
            let mut frames = Frames::new(other);
            assert_eq!(frames.next().unwrap_err().kind(), ErrorKind::InvalidData);
            assert!(frames.received.capacity() <= 2 * READ_BYTES);
        }
    }
}
