//! What a child process says.

use std::{
    io,
    net::TcpStream,
    sync::{Mutex, PoisonError},
};

use super::frame::Frame;

/// The way to the parent. What is said is with the system when `say` comes back: it gets there
/// although this process ends the moment after.
#[derive(Debug)]
pub(super) struct Says(Mutex<TcpStream>);

impl Says {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// # Errors
    /// When the parent is gone.
    pub(super) fn say(&self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
