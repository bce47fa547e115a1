//! The queues of tasks in the broker of a world.

use std::{collections::BTreeMap, rc::Rc};

use bytes::Bytes;

use super::{faults::Fault, moves::Moves, parts::Reply, rules::Rule, world::World};
use crate::{
    id::{ExecutionId, TaskNumber},
    leader::engine::protocol::{Input, OutputsError},
    wire::{OutputHeader, OutputMessage, ResultMessage, TaskMessage, TaskOutlet},
};

#[derive(Debug, Clone, Default)]
pub(super) struct OutputQueues {
    /// The blocks of each queue that exists.
    pub(super) blocks: BTreeMap<TaskNumber, Vec<OutputMessage>>,
    /// The next block of this execution is to be read.
    pub(super) asked: Option<(TaskNumber, ExecutionId)>,
    /// The number of blocks that were read of each queue.
    read: BTreeMap<TaskNumber, u32>,
}

impl World {
    /// Publishes the outputs of a result, each in a block, and returns the reply that follows them.
    pub(super) fn publish_outputs(
        &mut self,
        message: &TaskMessage,
        result: &ResultMessage,
        execution: ExecutionId,
    ) -> Reply {
        let (job, task) = (message.header.job, message.header.copy.task);
        let mut result = result.clone();
        for (number, value) in (0..).zip(std::mem::take(&mut result.payload)) {
            let header = OutputHeader { job, task, execution, number, outputs: 1 };
            let block = OutputMessage { header, values: Bytes::from(vec![value]) };
            if let Some(queue) = self.output_queues.blocks.get_mut(&task) {
                queue.push(block);
            }
            result.header.output_blocks += 1;
        }
        result.header.execution = execution;
        Reply::Result(Rc::new(result))
    }

    /// The last of the outputs that a task has published were not.
    pub(super) fn forget_last_outputs(&mut self, message: &TaskMessage) {
        if let Some(queue) = self.output_queues.blocks.get_mut(&message.header.copy.task) {
            queue.pop();
        }
    }

    /// The leader has read the block that it has asked for, if the queue has it.
    fn read_outputs(&mut self) {
        let Some((task, execution)) = self.output_queues.asked.take() else { return };
        let OutputQueues { blocks, read, .. } = &mut self.output_queues;
        let number = read.entry(task).or_default();
        let any = self.rule_off == Some(Rule::OutputWinners);
        let is_next = |block: &OutputMessage| match any {
            true => true,
            false => (block.header.execution, block.header.number) == (execution, *number),
        };
        let queue = blocks.get_mut(&task);
        let next = queue.and_then(|queue| Some(queue.remove(queue.iter().position(is_next)?)));
        *number += 1;
        let block = match next {
            Some(block) => Ok((block.header.outputs, block.values)),
            None => Err(OutputsError::Lost),
        };
        self.input(Input::OutputsRead { job: self.job, task, block });
    }

    /// The queues of tasks, with the blocks that may count, as far as they differ.
    pub(super) fn canonical_output_queues(
        &self,
        class: impl Fn(ExecutionId) -> Option<String>,
    ) -> String {
        let OutputQueues { blocks, asked, read } = &self.output_queues;
        let counts = self.engine.queued_executions();
        let queue = |(task, blocks): (&TaskNumber, &Vec<OutputMessage>)| {
            let block = |block: &OutputMessage| {
                let OutputHeader { execution, number, .. } = block.header;
                let class = match counts.contains(&execution) {
                    true => Some("won".to_owned()),
                    // Without the rule, those of the dead differ, too.
                    false if self.rule_off == Some(Rule::OutputWinners) => Some(String::new()),
                    false => class(execution),
                };
                Some(format!("{number} {:?} {}", block.values, class?))
            };
            let mut all: Vec<String> = blocks.iter().filter_map(block).collect();
            all.sort_unstable();
            let copy = crate::id::CopyId::new(*task, 0);
            format!("{} {:?} {all:?}", self.engine.canonical_copy(copy), read.get(task))
        };
        let queues: Vec<String> = blocks.iter().map(queue).collect();
        format!("{queues:?} {}", asked.is_some())
    }
}

impl Moves<'_> {
    /// The leader reads, and the broker loses what it has not read.
    pub(super) fn output_queues(&mut self) {
        if self.world.is_dead() {
            return;
        }
        if self.world.output_queues.asked.is_some() {
            self.branch(World::read_outputs);
        }
        for (task, blocks) in &self.world.output_queues.blocks {
            self.fault(Fault::QueueDeleted, |world| {
                world.queues.lost = true;
                world.output_queues.blocks.remove(task);
            });
            for at in 0..blocks.len() {
                self.fault(Fault::BlockLost, |world| {
                    world.queues.lost = true;
                    world.output_queues.blocks.get_mut(task).expect("it exists").remove(at);
                });
                self.fault(Fault::BlockTwice, |world| {
                    let queue = world.output_queues.blocks.get_mut(task).expect("it exists");
                    queue.push(queue[at].clone());
                });
            }
        }
    }
}

/// Whether the outputs of a task go through its queue.
pub(super) fn queues_outputs(message: &TaskMessage) -> bool {
    matches!(message.header.outlet, TaskOutlet::Queue { .. })
}
