//! The file into which the blocks of a task go while they are read.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use super::store::{Piece, Store, StoreWriter};
use crate::lock::lock;

/// The file into which the blocks of a task go while they are read, in the order of their arrival.
#[derive(Debug)]
pub(super) struct Spool {
    /// `None` once it is finished.
    writer: Mutex<Option<StoreWriter>>,
    chunk: usize,
}

impl Spool {
    /// A file in this directory; `chunk` bytes of one partition are written together.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(super) async fn create(directory: &Path, chunk: usize) -> io::Result<Arc<Self>> {
        let directory = directory.to_owned();
        let writer = off_async_threads(move || StoreWriter::new(Some(&directory), 0)).await?;
        Ok(Arc::new(Self { writer: Mutex::new(Some(writer)), chunk }))
    }

    /// After how many bytes of one partition they are written.
    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    /// Appends blocks, and tells where each is.
    ///
    /// # Errors
    /// If the file cannot be written. It is then of no use.
    pub(super) async fn write(self: Arc<Self>, blocks: Vec<Bytes>) -> io::Result<Vec<Piece>> {
        off_async_threads(move || {
            let mut writer = lock(&self.writer);
            let writer = writer.as_mut().ok_or(io::ErrorKind::NotFound)?;
            blocks.iter().map(|block| writer.append(block)).collect()
        })
        .await
    }

    /// What was written; `None` if it was taken before.
    pub(super) fn finish(&self) -> Option<Store> {
        lock(&self.writer).take().map(StoreWriter::finish)
    }
}

/// Runs work that blocks on a thread for that.
pub(super) async fn off_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    // Fails when the runtime shuts down.
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}
