//! The queues of partitions in the broker of a world.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use super::{
    output_queues::queues_outputs,
    parts::{Copy, Reply, WorkerState},
    rules::Rule,
    world::World,
};
use crate::{
    broker::{BrokerError, QueueAction, ShuffleQueue},
    id::ExecutionId,
    leader::engine::protocol::Input,
    wire::{
        BlockMessage, BlockName, BlockRoute, Gather, PartitionBlocks, QueuedGather, ResultMessage,
        ReturnReason, Scatter, SpreadBlocks, TaskInlet, TaskMessage, TaskOutlet,
    },
};

#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    /// The blocks of each queue that exists.
    pub(super) blocks: BTreeMap<u32, Vec<BlockMessage>>,
    /// What the leader has begun: a declaration takes time, and what follows waits for it.
    pub(super) managing: VecDeque<(QueueAction, Vec<ShuffleQueue>)>,
    /// Blocks of the leader on their way.
    pub(super) published: VecDeque<BlockMessage>,
    /// Blocks that come after the result of their execution, without rule 30.
    pub(super) late: Vec<BlockMessage>,
    /// The worker that reads each queue: nobody else sees its blocks.
    pub(super) readers: BTreeMap<u32, usize>,
    /// Whether the broker has lost blocks.
    pub(super) lost: bool,
    /// The number of runs whose blocks went to queues.
    runs: u64,
}

impl World {
    /// The leader declares, renews or deletes queues. A declaration takes time.
    pub(super) fn manage(&mut self, action: QueueAction, queues: Vec<ShuffleQueue>) {
        if self.rule_off == Some(Rule::DeclareFirst) && action == QueueAction::Declare {
            // The leader does not wait for it.
            self.managed(action, &queues, |_| Ok(0));
            self.queues.managing.push_back((action, queues));
        } else if action == QueueAction::Declare || !self.queues.managing.is_empty() {
            self.queues.managing.push_back((action, queues));
        } else {
            self.carry_out(action, &queues);
        }
    }

    /// The broker has carried out what the leader has begun first.
    pub(super) fn carry_out_next(&mut self) {
        if let Some((action, queues)) = self.queues.managing.pop_front() {
            self.carry_out(action, &queues);
        }
    }

    fn carry_out(&mut self, action: QueueAction, queues: &[ShuffleQueue]) {
        let mut absent = Vec::new();
        for queue in queues {
            let exists = match *queue {
                ShuffleQueue::Partition { partition, .. } => {
                    carry_out(action, &mut self.queues.blocks, partition)
                }
                ShuffleQueue::Output { task, .. } => {
                    carry_out(action, &mut self.output_queues.blocks, task)
                }
            };
            if !exists {
                absent.push(*queue);
            }
        }
        self.managed(action, queues, |queue| match absent.contains(&queue) {
            true => Err(BrokerError::Absent { what: String::new(), reason: String::new() }),
            false => Ok(0),
        });
    }

    fn managed(
        &mut self,
        action: QueueAction,
        queues: &[ShuffleQueue],
        outcome: impl Fn(ShuffleQueue) -> Result<u64, BrokerError>,
    ) {
        let outcomes = queues.iter().map(|queue| (*queue, outcome(*queue))).collect();
        self.input(Input::Managed { job: self.job, action, outcomes });
    }

    /// Whether a queue exists when all that the leader has begun is carried out.
    pub(super) fn leaves_queues(&self) -> bool {
        let mut after = self.clone();
        while !after.queues.managing.is_empty() {
            after.carry_out_next();
        }
        !after.queues.blocks.is_empty() || !after.output_queues.blocks.is_empty()
    }

    /// A block arrives, if it has a queue.
    pub(super) fn put(&mut self, block: BlockMessage) {
        if let Some(queue) = self.queues.blocks.get_mut(&block.name.partition) {
            queue.push(block);
        }
    }

    /// The first block of the leader has its queue.
    pub(super) fn block_arrives(&mut self) {
        if let Some(block) = self.queues.published.pop_front() {
            let (job, bytes) = (block.name.job, block.block.len());
            self.put(block);
            self.input(Input::BlockPublished { job, exchange: 0, bytes, result: Ok(()) });
        }
    }

    /// Whether all queues exist that this reply needs. Its worker publishes its blocks until they
    /// do.
    pub(super) fn has_queues_for(&self, message: &TaskMessage, reply: &Reply) -> bool {
        let Reply::Result(result) = reply else { return true };
        if queues_outputs(message) {
            return self.output_queues.blocks.contains_key(&message.header.copy.task);
        }
        let has = |partition| self.queues.blocks.contains_key(&partition);
        !spreads(message)
            || self.rule_off == Some(Rule::DeclareFirst)
            || result.header.blocks.iter().all(|block| has(block.partition))
    }

    /// Publishes the blocks of a reply, if they go through queues, and returns the reply that
    /// follows them.
    pub(super) fn publish_blocks(&mut self, message: &TaskMessage, reply: &Reply) -> Reply {
        let Reply::Result(result) = reply else { return reply.clone() };
        if !spreads(message) && !queues_outputs(message) {
            return reply.clone();
        }
        self.queues.runs += 1;
        let execution = ExecutionId(uuid::Uuid::from_u128(self.queues.runs.into()));
        if queues_outputs(message) {
            return self.publish_outputs(message, result, execution);
        }
        let (result, blocks) = split(message, result, execution);
        for block in blocks {
            match self.rule_off {
                Some(Rule::BlocksFirst) => self.queues.late.push(block),
                _ => self.put(block),
            }
        }
        Reply::Result(Rc::new(result))
    }

    /// Whether a worker can begin to read the queues of a task: none of them has another reader.
    pub(super) fn may_read(&self, queued: &QueuedGather) -> bool {
        let mut partitions = queued.partitions.iter();
        self.rule_off == Some(Rule::OneReader)
            || !partitions.any(|it| self.queues.readers.contains_key(&it.partition))
    }

    /// A worker begins to read the queues of a task: nobody else sees their blocks.
    pub(super) fn begin_reading(&mut self, number: usize, queued: &QueuedGather) {
        for it in &queued.partitions {
            self.queues.readers.entry(it.partition).or_insert(number);
        }
    }

    /// A worker that has let go of its task reads no queue.
    pub(super) fn free_readers(&mut self) {
        let reads = |number: usize| match &self.workers[number] {
            WorkerState::Holds { copy, reply: None, .. } | WorkerState::Leases { copy, .. } => {
                queued(copy).is_some()
            }
            _ => false,
        };
        self.queues.readers.retain(|_, reader| reads(*reader));
    }

    /// The queues that a worker reads have their blocks back.
    pub(super) fn end_reading(&mut self, number: usize) {
        self.queues.readers.retain(|_, reader| *reader != number);
    }

    /// A worker has read all that it sees of the queues of a task: the task with what it has
    /// gathered, or why it is returned.
    pub(super) fn gather(
        &mut self,
        number: usize,
        message: &TaskMessage,
        queued: &QueuedGather,
    ) -> Result<TaskMessage, ReturnReason> {
        let (mut payload, mut partitions) = (Vec::new(), Vec::new());
        for announced in &queued.partitions {
            let partition = announced.partition;
            let sees = self.queues.readers.get(&partition) == Some(&number);
            let queue = self.queues.blocks.get_mut(&partition).filter(|_| sees);
            let mut blocks = Vec::new();
            if let Some(queue) = queue {
                // It acks what can never count.
                queue.retain(|block| queued.winners.contains(&block.name.execution));
                blocks.clone_from(queue);
            }
            blocks.sort_by_key(|it| (it.name.first, it.name.execution, it.name.number));
            blocks.dedup_by_key(|it| (it.name.execution, it.name.number));
            let (announced, found) = (announced.blocks, blocks.len() as u32);
            if found < announced && self.rule_off != Some(Rule::Announced) {
                return Err(ReturnReason::BlocksMissing { partition, announced, found });
            }
            let lengths = blocks.iter().map(|it| it.block.len() as u32).collect();
            partitions.push(PartitionBlocks { partition, blocks: lengths, second: Vec::new() });
            blocks.iter().for_each(|it| payload.extend_from_slice(&it.block));
        }
        let grouping = queued.grouping;
        let inlet = TaskInlet::Partitions(Gather { grouping, partitions });
        let mut message = TaskMessage { header: message.header.clone(), payload: payload.into() };
        message.header.inlet = inlet;
        Ok(message)
    }

    /// Without rule 34, a reader acks what it has read with its reply.
    pub(super) fn ack_read(&mut self, message: &TaskMessage) {
        if let TaskInlet::Partitions(gather) = &message.header.inlet
            && self.rule_off == Some(Rule::ReadOnly)
        {
            for it in &gather.partitions {
                if let Some(queue) = self.queues.blocks.get_mut(&it.partition) {
                    queue.clear();
                }
            }
        }
    }

    /// The blocks that are in queues, without those that can never count, as far as they differ.
    pub(super) fn canonical_queues(&self, of_copy: impl Fn(&Reply) -> String) -> String {
        let winners = self.engine.winners();
        let held = self.workers.iter().filter_map(|state| match state {
            WorkerState::Holds { reply, .. } => reply.as_ref(),
            _ => None,
        });
        let kept = self.kept.iter().map(|kept| &kept.reply);
        let pending: Vec<&Reply> = self.replies.iter().chain(held).chain(kept).collect();
        let class = |execution: ExecutionId| {
            let of = |reply: &&Reply| matches!(reply, Reply::Result(result) if result.header.execution == execution);
            match winners.contains(&execution) {
                true => Some("won".to_owned()),
                false => pending.iter().copied().find(|reply| of(reply)).map(&of_copy),
            }
        };
        let canonical = |block: &BlockMessage| {
            let BlockName { partition, number, first, execution, .. } = block.name;
            Some(format!("{partition} {number} {first} {:?} {}", block.block, class(execution)?))
        };
        let sorted = |blocks: &mut dyn Iterator<Item = &BlockMessage>| {
            let mut all: Vec<String> = blocks.filter_map(canonical).collect();
            all.sort_unstable();
            all
        };
        let Queues { blocks, managing, published, late, readers, lost, .. } = &self.queues;
        let exist: Vec<_> = blocks.keys().collect();
        let inside = sorted(&mut blocks.values().flatten());
        let published: Vec<_> = published.iter().map(|it| (it.name.partition, &it.block)).collect();
        let late = sorted(&mut late.iter());
        let managing: Vec<_> =
            managing.iter().map(|(action, all)| (action, canonical_names(all))).collect();
        let outputs = self.canonical_output_queues(class);
        format!(
            "{exist:?} {inside:?} {managing:?} {published:?} {late:?} {readers:?} {lost} {outputs}"
        )
    }
}

/// The partitions of queues; what tells the queues of tasks apart is the order of their tasks.
fn canonical_names(queues: &[ShuffleQueue]) -> Vec<Option<u32>> {
    let partition = |queue: &ShuffleQueue| match queue {
        ShuffleQueue::Partition { partition, .. } => Some(*partition),
        ShuffleQueue::Output { .. } => None,
    };
    queues.iter().map(partition).collect()
}

/// Declares or deletes a queue, or says whether it exists.
fn carry_out<Q: Ord, B>(action: QueueAction, queues: &mut BTreeMap<Q, Vec<B>>, queue: Q) -> bool {
    match action {
        QueueAction::Declare => drop(queues.entry(queue).or_default()),
        QueueAction::Delete => drop(queues.remove(&queue)),
        _ => return queues.contains_key(&queue),
    }
    true
}

/// Whether the blocks of a task go through queues.
fn spreads(message: &TaskMessage) -> bool {
    matches!(
        &message.header.outlet,
        TaskOutlet::Exchange(Scatter { route: BlockRoute::Spread { .. }, .. })
    )
}

/// What a task reads from queues.
pub(super) fn queued(copy: &Copy) -> Option<QueuedGather> {
    match &copy.message.header.inlet {
        TaskInlet::Queues(queued) => Some(queued.clone()),
        _ => None,
    }
}

/// The blocks of a result, and the result without them.
fn split(
    message: &TaskMessage,
    result: &ResultMessage,
    execution: ExecutionId,
) -> (ResultMessage, Vec<BlockMessage>) {
    let mut result = result.clone();
    let header = &mut result.header;
    header.execution = execution;
    let mut totals = BTreeMap::<u32, SpreadBlocks>::new();
    let mut blocks = Vec::new();
    for (number, block) in (0..).zip(std::mem::take(&mut header.blocks)) {
        let partition = block.partition;
        let none = SpreadBlocks { partition, blocks: 0, rows: 0, bytes: 0 };
        let total = totals.entry(partition).or_insert(none);
        (total.blocks, total.rows, total.bytes) =
            (total.blocks + 1, total.rows + 1, total.bytes + u64::from(block.bytes));
        let name = BlockName {
            job: message.header.job,
            exchange: 0,
            feeder: 0,
            partition,
            task: message.header.copy.task,
            execution,
            number,
            first: message.header.position(block.first, &[]).expect("an element of the task"),
        };
        let bytes = result.payload.split_to(block.bytes as usize);
        blocks.push(BlockMessage { name, block: bytes });
    }
    header.spread = totals.into_values().collect();
    (result, blocks)
}
