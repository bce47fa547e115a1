//! A handle that shuts a connection's TCP socket down.

use std::{
    io,
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
};

use crate::lock::lock;

/// A second handle to the TCP socket of a connection, once it is open.
///
/// lapin closes a connection by a handshake only. A peer that does not respond never completes it,
/// and lapin's I/O thread would wait forever; shutting the socket down ends that thread at once.
#[derive(Clone, Default)]
pub(crate) struct SocketHandle(Arc<Mutex<Option<TcpStream>>>);

impl SocketHandle {
    /// Refers to the socket of `stream` from now on.
    pub(crate) fn attach(&self, stream: &tokio::net::TcpStream) -> io::Result<()> {
        #[cfg(unix)]
        let duplicate = std::os::fd::AsFd::as_fd(stream).try_clone_to_owned()?;
        #[cfg(windows)]
        let duplicate = std::os::windows::io::AsSocket::as_socket(stream).try_clone_to_owned()?;
        *lock(&self.0) = Some(TcpStream::from(duplicate));
        Ok(())
    }

    /// Ends the connection at once, even if lapin is still using it.
    pub(crate) fn shut_down(&self) {
        if let Some(socket) = lock(&self.0).take() {
            // Fails only if the peer has ended the connection first.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
