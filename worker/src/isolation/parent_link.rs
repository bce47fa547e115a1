//! The connection from a child process to its parent.

use std::{io, net::TcpStream, sync::Mutex};

use super::frame::Frame;
use crate::lock::lock;

/// Sends frames to the parent. When [`send`](Self::send) returns, the operating system has the
/// frame: it arrives even if this process ends right afterwards.
#[derive(Debug)]
pub(super) struct ParentLink(Mutex<TcpStream>);

impl ParentLink {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// # Errors
    /// If the parent is gone.
    pub(super) fn send(&self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut lock(&self.0))
    }
}
