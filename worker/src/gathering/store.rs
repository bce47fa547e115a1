//! Where gathered bytes are: in memory, or in a file that has no name.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::lock::lock;

/// Bytes that lie together in a store: their place, and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    from: u64,
    length: u64,
}

/// Bytes that were gathered, and are not changed any more.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Memory(Bytes),
    File(Arc<SpillFile>),
}

/// Bytes that are being gathered.
#[derive(Debug)]
pub(crate) enum StoreWriter {
    Memory(BytesMut),
    File { file: SpillFile, length: u64 },
}

/// A file that was removed from its directory when it was created: it is gone with this process,
/// however that ends.
pub(crate) struct SpillFile {
    file: Mutex<File>,
    directory: PathBuf,
}

impl Piece {
    pub(crate) fn new(from: u64, length: u64) -> Self {
        Self { from, length }
    }

    pub(crate) fn length(self) -> usize {
        self.length as usize
    }

    /// Adds a piece if it is the next one.
    pub(super) fn join(&mut self, next: Self) -> Option<()> {
        let is_next = self.from + self.length == next.from;
        is_next.then(|| self.length += next.length)
    }

    /// The first bytes, and the rest; `None` if there are fewer.
    pub(super) fn split_at(self, length: u64) -> Option<(Self, Self)> {
        let rest = self.length.checked_sub(length)?;
        Some((Self { length, ..self }, Self::new(self.from + length, rest)))
    }

    /// The same bytes, cut into pieces of at most this length.
    pub(crate) fn cut(self, most: u64) -> impl Iterator<Item = Self> {
        let end = self.from + self.length;
        let from = (self.from..end).step_by(most as usize);
        from.map(move |from| Self { from, length: most.min(end - from) })
    }
}

impl StoreWriter {
    /// Begins a store of about this many bytes; in a file of this directory, if there is one.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn new(directory: Option<&Path>, size: u64) -> io::Result<Self> {
        let Some(directory) = directory else {
            return Ok(Self::Memory(BytesMut::with_capacity(size as usize)));
        };
        let file = SpillFile::create(directory)?;
        Ok(Self::File { file, length: 0 })
    }

    /// Appends bytes, and tells where they are. Blocks on a disk.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<Piece> {
        let from = self.length();
        match self {
            Self::Memory(memory) => memory.extend_from_slice(bytes),
            Self::File { file, length } => {
                file.write(bytes)?;
                *length += bytes.len() as u64;
            }
        }
        Ok(Piece { from, length: bytes.len() as u64 })
    }

    pub(crate) fn finish(self) -> Store {
        match self {
            Self::Memory(memory) => Store::Memory(memory.freeze()),
            Self::File { file, .. } => Store::File(Arc::new(file)),
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::Memory(Bytes::new())
    }
}

impl Store {
    /// Whether the bytes are on disk.
    pub(crate) fn is_spilled(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// These pieces, one after the other. Blocks on a disk; one piece in memory is not copied.
    ///
    /// # Errors
    /// If the file cannot be read, or there are no such pieces.
    pub(crate) fn read(&self, pieces: &[Piece]) -> io::Result<Bytes> {
        if let (Self::Memory(bytes), [piece]) = (self, pieces) {
            return in_memory(bytes, *piece);
        }
        let length = pieces.iter().map(|piece| piece.length()).sum();
        let mut read = BytesMut::with_capacity(length);
        for piece in pieces {
            match self {
                Self::Memory(bytes) => read.extend_from_slice(&in_memory(bytes, *piece)?),
                Self::File(file) => file.read(*piece, &mut read)?,
            }
        }
        Ok(read.freeze())
    }
}

fn in_memory(bytes: &Bytes, piece: Piece) -> io::Result<Bytes> {
    let from = piece.from as usize;
    let to = from.saturating_add(piece.length()).min(bytes.len());
    match to.checked_sub(from) {
        Some(length) if length == piece.length() => Ok(bytes.slice(from..to)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl SpillFile {
    fn create(directory: &Path) -> io::Result<Self> {
        let directory = directory.to_owned();
        match tempfile::tempfile_in(&directory) {
            Ok(file) => Ok(Self { file: Mutex::new(file), directory }),
            Err(error) => Err(explain(&directory, "create a file", &error)),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // The writer reads nothing, so that the file is always at its end.
        let written = lock(&self.file).write_all(bytes);
        written.map_err(|error| explain(&self.directory, "write", &error))
    }

    fn read(&self, piece: Piece, to: &mut BytesMut) -> io::Result<()> {
        let before = to.len();
        to.resize(before + piece.length(), 0);
        let mut file = lock(&self.file);
        let read = file.seek(SeekFrom::Start(piece.from));
        let read = read.and_then(|_| file.read_exact(&mut to[before..]));
        read.map_err(|error| explain(&self.directory, "read", &error))
    }
}

impl fmt::Debug for SpillFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpillFile").field(&self.directory).finish()
    }
}

/// The error with the directory, and what to do.
fn explain(directory: &Path, what: &str, error: &io::Error) -> io::Error {
    let text = format!(
        "could not {what} in the spill directory `{}`: {error}; give it more room, choose another \
         one (`--spill-dir`), or give workers more memory (`--gather-memory`)",
        directory.display()
    );
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_they_were_written_from_memory_and_from_disk() {
        let directory = tempfile::tempdir().unwrap();
        for spills in [None, Some(directory.path())] {
            let mut writer = StoreWriter::new(spills, 5).unwrap();
            let pieces = [&b"ab"[..], b"", b"cde"].map(|bytes| writer.append(bytes).unwrap());
            let whole = Piece::new(0, 5);
            let store = writer.finish();
            assert_eq!(store.is_spilled(), spills.is_some());
            let read = |pieces: &[Piece]| store.read(pieces).unwrap();
            assert_eq!(read(&[pieces[2], pieces[1], pieces[0]]), &b"cdeab"[..]);
            assert_eq!(read(&[pieces[2]]), &b"cde"[..]);
            assert_eq!(read(&whole.cut(2).collect::<Vec<_>>()), &b"abcde"[..]);
            assert_eq!(whole.cut(2).map(Piece::length).collect::<Vec<_>>(), [2, 2, 1]);
            let behind = Piece { from: 4, length: 2 };
            assert_eq!(store.read(&[behind]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(directory.path().read_dir().unwrap().count(), 0, "the file has no name");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_is_reported_with_its_directory() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let file = SpillFile { file: Mutex::new(full), directory: PathBuf::from("/scratch") };
        let mut writer = StoreWriter::File { file, length: 0 };
        let error = writer.append(b"a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("write in the spill directory `/scratch`"), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let error = StoreWriter::new(Some(Path::new("/nowhere")), 5).unwrap_err().to_string();
        assert!(error.contains("`/nowhere`") && error.contains("--spill-dir"), "{error}");
    }
}
