//! What a worker and its child processes say to each other.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use bytes::{Buf, Bytes, BytesMut};
use phalanx_core::{broker::MessageKind, wire::MAX_MESSAGE_BYTES};

/// What a worker and its child processes say to each other: a length, a tag, a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// From the child, first: the token that it was started with.
    Token(Bytes),
    /// To the child: a task, to be run element by element if it says that it is isolated.
    Task(Bytes),
    /// To the child: the job of its task is dead.
    Cancel,
    /// From the child: the chunk that begins with the element at this offset begins.
    At(u32),
    /// From the child: what became of the task.
    Result(Bytes),
    /// From the child: the task was not run.
    Return(Bytes),
    /// From the child: it is done with the task, answered or not.
    Over,
}

/// No frame is longer: a message, and the tag.
const MOST: usize = MAX_MESSAGE_BYTES + 1;

/// Bytes read in one go.
const PIECE: usize = 64 << 10;

impl Frame {
    /// The answer of this kind; `None` when children do not say such things.
    pub(super) fn answer(kind: MessageKind, body: Bytes) -> Option<Self> {
        match kind {
            MessageKind::Result => Some(Self::Result(body)),
            MessageKind::Return => Some(Self::Return(body)),
            _ => None,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the other side is gone.
    pub(super) fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let position;
        let (tag, body): (u8, &[u8]) = match self {
            Self::Token(token) => (0, token),
            Self::Task(task) => (1, task),
            Self::Cancel => (2, &[]),
            Self::At(offset) => {
                position = offset.to_le_bytes();
                (3, &position)
            }
            Self::Result(body) => (4, body),
            Self::Return(body) => (5, body),
            Self::Over => (6, &[]),
        };
        let length = u32::try_from(1 + body.len())
            .ok()
            .filter(|length| *length as usize <= MOST)
            .ok_or(ErrorKind::InvalidInput)?;
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = tag;
        // Short ones at once: a half frame would wait for the acknowledgement of the other half.
        if body.len() <= PIECE {
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
            (Some(3), 4) => Ok(Self::At(frame.get_u32_le())),
            (Some(4), _) => Ok(Self::Result(frame)),
            (Some(5), _) => Ok(Self::Return(frame)),
            (Some(6), 0) => Ok(Self::Over),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// The frames that come from the other side.
#[derive(Debug)]
pub(super) struct Frames {
    stream: TcpStream,
    /// What has come of frames that are not complete. Grows with what comes, not with what is
    /// announced.
    come: BytesMut,
    piece: Box<[u8]>,
}

impl Frames {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, come: BytesMut::new(), piece: vec![0; PIECE].into() }
    }

    /// The next frame; `None` when none came in the time that the stream may block.
    ///
    /// # Errors
    /// When the other side is gone, or says what is no frame.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.complete()? {
                return Frame::read(frame).map(Some);
            }
            match self.stream.read(&mut self.piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.come.extend_from_slice(&self.piece[..read]),
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
        let Some(length) = self.come.first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MOST {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.come.len() - 4 < length {
            return Ok(None);
        }
        self.come.advance(4);
        Ok(Some(self.come.split_to(length).freeze()))
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
    fn frames_arrive_as_they_were_written_and_then_the_end() {
        let (mut one, other) = pair();
        let large = Bytes::from(vec![7; 3 * PIECE]);
        let said = [
            Frame::Token(Bytes::from_static(b"x")),
            Frame::Task(large),
            Frame::At(u32::MAX),
            Frame::Cancel,
            Frame::Result(Bytes::new()),
            Frame::Return(Bytes::from_static(b"no")),
            Frame::Over,
        ];
        let writes = said.clone();
        let writer = std::thread::spawn(move || {
            for frame in writes {
                frame.write(&mut one).unwrap();
            }
        });
        let mut frames = Frames::new(other);
        for frame in said {
            assert_eq!(frames.next().unwrap(), Some(frame));
        }
        writer.join().unwrap();
        assert_eq!(frames.next().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_frame_that_is_not_complete_is_waited_for() {
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
        assert_eq!(next, Frame::Over);
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_takes_no_memory() {
        for garbage in [&[0xff; 8][..], &[1, 0, 0, 0, 99], &[0, 0, 0, 0], &[2, 0, 0, 0, 6, 6]] {
            let (mut one, other) = pair();
            one.write_all(garbage).unwrap();
            let mut frames = Frames::new(other);
            assert_eq!(frames.next().unwrap_err().kind(), ErrorKind::InvalidData);
            assert!(frames.come.capacity() <= 2 * PIECE);
        }
    }
}
