//! Identifies worlds that behave alike, so that each is explored once.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{
    parts::{Copy, Queued, Reply, WORKERS, WorkerState},
    world::World,
};
use crate::{
    id::CopyId,
    wire::{TaskInlet, TaskOutlet},
};

impl World {
    /// A hash that is equal for worlds that behave alike: it leaves out clocks, measurements, the
    /// numbers of tasks and copies, and the order of unordered collections.
    pub(super) fn canonical(&self) -> u64 {
        let sorted = |mut list: Vec<String>| {
            list.sort_unstable();
            list
        };
        let of_copy = |copy: CopyId| self.engine.canonical_copy(copy);
        let copy = |copy: &Copy| {
            let header = &copy.message.header;
            let reads = matches!(header.inlet, TaskInlet::Queues(_));
            let route = match &header.outlet {
                TaskOutlet::Exchange(scatter) => format!("{:?}", scatter.route),
                _ => String::new(),
            };
            let isolated = header.isolated;
            format!("{} {} {isolated} {reads} {route}", of_copy(copy.id()), copy.redelivered)
        };
        let nonce = |nonce: u64| self.engine.canonical_probe(nonce);
        let reply = |reply: &Reply| match reply {
            Reply::Result(result) => {
                let of = of_copy(result.header.copy);
                let header = &result.header;
                let blocks = (&header.blocks, &header.spread, header.output_blocks);
                let exchanged = (blocks, &header.lists, &result.payload);
                let writes = header.blocks.is_empty() && header.spread.is_empty();
                match writes && header.lists.is_empty() {
                    true => format!("{of} {:?}", header.segments),
                    false => format!("{of} {:?} {exchanged:?}", header.segments),
                }
            }
            Reply::Return(it) => {
                format!("{:?} {:?} {:?}", it.copy.map(of_copy), it.reason, it.offset)
            }
            Reply::Lease(_, held) => {
                format!("{} leased {} {}", of_copy(held.copy), held.offset, held.in_process)
            }
            Reply::Probe { nonce: number } => format!("probe {}", nonce(*number)),
        };
        let state = |state: &WorkerState| match state {
            WorkerState::Idle => String::new(),
            WorkerState::Holds { copy: held, reply: sent, stale, alone } => {
                format!("{} {stale} {alone} {:?}", copy(held), sent.as_ref().map(reply))
            }
            WorkerState::Leases { copy: held, alone } => format!("{} leases {alone}", copy(held)),
            WorkerState::InProcess { copy: held, offset, settled } => {
                format!("{} in process {offset} {settled}", copy(held))
            }
        };
        let worker = |number: usize| {
            let kept = self.kept.iter().filter(|kept| kept.by == number);
            let kept =
                kept.map(|it| format!("{} {:?}", reply(&it.reply), it.delivery.as_ref().map(copy)));
            let state = state(&self.workers[number]);
            format!("{} {state} {:?}", self.isolates[number], sorted(kept.collect()))
        };
        let mut probes = Vec::new();
        let mut queue = Vec::new();
        for queued in &self.queue {
            match queued {
                Queued::Probe { nonce: number } => probes.push(nonce(*number)),
                Queued::Task(task) => queue.push(format!("{} {probes:?}", copy(task))),
            }
        }
        let mut outputs = self.outputs.clone();
        outputs.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (sorted(queue), probes).hash(&mut hasher);
        sorted((0..WORKERS).map(worker).collect()).hash(&mut hasher);
        sorted(self.replies.iter().map(reply).collect()).hash(&mut hasher);
        self.unconfirmed.iter().copied().map(of_copy).collect::<Vec<_>>().hash(&mut hasher);
        self.engine.canonical().hash(&mut hasher);
        (&self.source, outputs, &self.value).hash(&mut hasher);
        (self.faults, &self.ended, self.deaths, self.cancellable).hash(&mut hasher);
        (self.reissue_causes - self.reissues, self.loss_causes - self.losses).hash(&mut hasher);
        (self.canonical_queues(reply), self.moments).hash(&mut hasher);
        hasher.finish()
    }
}
