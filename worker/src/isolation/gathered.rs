//! What a task has gathered, on its way from a worker to the child process that runs it.

use std::{collections::HashMap, io, path::PathBuf};

use bytes::Bytes;
use phalanx_core::{codec, wire::TaskHeader};

use super::frame::{Frame, RunNumber};
use crate::gathering::{self, GatheredPartition, GatheredTask, StoreWriter};

/// The most bytes of blocks in one frame.
const MAX_BLOCK_BYTES: u64 = 1 << 20;

/// The frames that bring what a task has gathered to a child, before the task itself: first how it
/// is divided, then the blocks. The last is an error if the blocks cannot be read.
pub(super) fn frames(
    run: RunNumber,
    task: GatheredTask,
) -> impl Iterator<Item = io::Result<Frame>> + Send + 'static {
    let (partitions, pieces) = task.repack();
    let spills = task.store().is_spilled();
    let divided = codec::encode(&(spills, partitions)).map_err(io::Error::other);
    let divided = divided.map(|bytes| Frame::Gathered(run, bytes.into()));
    let blocks = pieces.into_iter().flat_map(|piece| piece.cut(MAX_BLOCK_BYTES));
    let blocks = blocks.map(move |piece| Ok(Frame::Blocks(run, task.store().read(&[piece])?)));
    std::iter::once(divided).chain(blocks)
}

/// What tasks have gathered that have not arrived yet: at most one for each run of the parent.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Where those are written that do not fit into memory.
    directory: PathBuf,
    runs: HashMap<RunNumber, io::Result<(Vec<GatheredPartition>, StoreWriter)>>,
}

impl Arrivals {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, runs: HashMap::new() }
    }

    /// What a task has gathered will arrive, divided in this way.
    pub(super) fn begin(&mut self, run: RunNumber, divided: &[u8]) {
        let divided = codec::decode::<(bool, Vec<GatheredPartition>)>(divided);
        let begun = divided.map_err(io::Error::other).and_then(|(spills, partitions)| {
            let size = partitions.iter().map(GatheredPartition::size).sum();
            let writer = StoreWriter::new(spills.then_some(&*self.directory), size)?;
            Ok((partitions, writer))
        });
        self.runs.insert(run, begun);
    }

    /// Further blocks have arrived.
    pub(super) fn append(&mut self, run: RunNumber, blocks: &Bytes) {
        if let Some(arriving) = self.runs.get_mut(&run)
            && let Ok((_, writer)) = arriving
            && let Err(error) = writer.append(blocks)
        {
            *arriving = Err(error);
        }
    }

    /// No more will arrive.
    pub(super) fn forget(&mut self, run: RunNumber) {
        self.runs.remove(&run);
    }

    /// What a task has gathered, of which all has arrived; `None` if it gathers nothing.
    ///
    /// # Errors
    /// If it could not be written.
    pub(super) fn finish(
        &mut self,
        run: RunNumber,
        task: &TaskHeader,
    ) -> io::Result<Option<GatheredTask>> {
        let Some(arrived) = self.runs.remove(&run) else { return Ok(None) };
        let (partitions, writer) = arrived?;
        let queued = gathering::queued(task);
        Ok(queued.map(|queued| GatheredTask::new(task, queued, partitions, writer.finish())))
    }
}
