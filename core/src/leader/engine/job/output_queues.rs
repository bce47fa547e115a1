//! Outputs that wait in the queues of tasks until their reader wants them (rule 39).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use crate::id::{ExecutionId, TaskNumber};

/// The queues of tasks whose outputs are more than fit into a result. They hold neither a slot nor
/// memory of the leader.
///
/// All copies of a task write to the queue of the task. Its result says which execution counts, so
/// the leader reads a queue only after that.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputQueues {
    /// Those that are not deleted, by task.
    queues: BTreeMap<TaskNumber, OutputQueue>,
    /// What the reader gets next, in order.
    waiting: VecDeque<QueuedOutputs>,
    /// The bytes of the outputs that were not read.
    unread: u64,
    /// When they were renewed, in healthy time; `None` if they are to be renewed soon.
    renewed: Option<Duration>,
    /// The number of declarations and renewals under way. No renewal begins before all are over.
    managing: u32,
    /// A queue that is inaccessible, and why.
    down: Option<(TaskNumber, String)>,
}

/// Outputs of neighbouring elements, in the queue of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuedOutputs {
    pub(crate) task: TaskNumber,
    /// The size of their encodings.
    pub(crate) bytes: u64,
    /// Their number.
    pub(crate) outputs: u32,
}

/// The queue of one task.
#[derive(Debug, Clone)]
struct OutputQueue {
    /// The number of the exchange that its task reads.
    exchange: usize,
    /// Whether it was declared. Before that, its task does not go out.
    is_open: bool,
    /// The result of its task, once that counts.
    result: Option<QueuedResult>,
}

/// What is left to read of the execution that counts.
#[derive(Debug, Clone)]
struct QueuedResult {
    execution: ExecutionId,
    /// The number of its blocks.
    blocks: u32,
    /// The number of those that were read.
    read: u32,
    /// Whether the next block was asked for.
    is_asked: bool,
    /// The rest of the block that was read last: the encodings of this many outputs.
    values: Bytes,
    outputs: u32,
    /// The number of [`QueuedOutputs`] that were not handed out as a whole.
    left: usize,
}

/// What comes next for the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextOutputs {
    /// Nothing waits in a queue.
    Nothing,
    /// Outputs that were read.
    Outputs { values: Bytes, count: u32 },
    /// The next block of this execution, which has written `blocks`, must be read first.
    Block { task: TaskNumber, execution: ExecutionId, blocks: u32 },
    /// A block that was asked for.
    Asked,
    /// The blocks of this task are not what its result says.
    Malformed { task: TaskNumber },
}

impl OutputQueues {
    /// A task that reads this exchange writes to a queue of its own, whose declaration begins.
    pub(crate) fn declare(&mut self, task: TaskNumber, exchange: usize, now: Duration) {
        self.renewed.get_or_insert(now);
        self.queues.insert(task, OutputQueue { exchange, is_open: false, result: None });
        self.managing += 1;
    }

    /// The queue of a task was declared.
    pub(crate) fn open(&mut self, task: TaskNumber) {
        if let Some(queue) = self.queues.get_mut(&task) {
            queue.is_open = true;
        }
    }

    /// Whether a task may go out as far as its queue is concerned.
    pub(crate) fn may_write(&self, task: TaskNumber) -> bool {
        self.queues.get(&task).is_none_or(|queue| queue.is_open)
    }

    /// The exchange behind which a task has a queue; `None` if the queue is deleted.
    pub(crate) fn exchange_of(&self, task: TaskNumber) -> Option<usize> {
        self.queues.get(&task).map(|queue| queue.exchange)
    }

    /// The tasks whose queues are not deleted, and whether each was declared.
    pub(crate) fn live(&self) -> impl Iterator<Item = (TaskNumber, bool)> + '_ {
        self.queues.iter().map(|(task, queue)| (*task, queue.is_open))
    }

    /// The queues that are to be deleted, because the job ends.
    pub(crate) fn take_live(&mut self) -> Vec<TaskNumber> {
        std::mem::take(&mut self.queues).into_keys().collect()
    }

    /// The queues that are to be deleted, because nobody writes or reads them any more.
    pub(crate) fn take_unneeded(
        &mut self,
        is_live: impl Fn(TaskNumber) -> bool,
    ) -> Vec<TaskNumber> {
        let is_over = |(task, queue): &(&TaskNumber, &OutputQueue)| {
            queue.result.as_ref().is_none_or(|result| result.left == 0) && !is_live(**task)
        };
        let over: Vec<TaskNumber> = self.queues.iter().filter(is_over).map(|it| *it.0).collect();
        over.iter().for_each(|task| drop(self.queues.remove(task)));
        over
    }

    /// The result of a task counts: the queue has its outputs in this many blocks, and each of
    /// `left` runs of them will be [queued](Self::push).
    pub(crate) fn accept(
        &mut self,
        task: TaskNumber,
        execution: ExecutionId,
        blocks: u32,
        left: usize,
    ) {
        if let Some(queue) = self.queues.get_mut(&task) {
            let (values, outputs) = (Bytes::new(), 0);
            let (read, is_asked) = (0, false);
            queue.result =
                Some(QueuedResult { execution, blocks, read, is_asked, values, outputs, left });
        }
    }

    /// Whether the outputs of a task are in its queue.
    pub(crate) fn has_outputs_of(&self, task: TaskNumber) -> bool {
        self.queues.get(&task).is_some_and(|queue| queue.result.is_some())
    }

    /// Outputs were written.
    pub(crate) fn written(&mut self, bytes: u64) {
        // The number can be made up.
        self.unread = self.unread.saturating_add(bytes);
    }

    /// The bytes of the outputs that the queues have.
    pub(crate) fn unread(&self) -> u64 {
        self.unread
    }

    /// The reader gets these outputs after all that were pushed before.
    pub(crate) fn push(&mut self, more: QueuedOutputs) {
        if let Some(last) = self.waiting.back_mut().filter(|last| last.task == more.task)
            && let Some(outputs) = last.outputs.checked_add(more.outputs)
            && let Some(bytes) = last.bytes.checked_add(more.bytes)
        {
            (last.outputs, last.bytes) = (outputs, bytes);
            if let Some(result) = self.queues.get_mut(&more.task).and_then(|it| it.result.as_mut())
            {
                result.left = result.left.saturating_sub(1);
            }
        } else {
            self.waiting.push_back(more);
        }
    }

    /// Whether outputs wait for a block.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The exchange behind which a block was asked for.
    pub(crate) fn asked_behind(&self) -> Option<usize> {
        let front = self.waiting.front()?;
        let queue = self.queues.get(&front.task)?;
        queue.result.as_ref().is_some_and(|result| result.is_asked).then_some(queue.exchange)
    }

    /// The exchange behind which a queue was not declared yet.
    pub(crate) fn opening_behind(&self) -> Option<usize> {
        self.queues.values().find(|queue| !queue.is_open).map(|queue| queue.exchange)
    }

    /// Whether outputs that count have not been handed out.
    pub(crate) fn has_outputs(&self) -> bool {
        self.queues.values().any(|queue| queue.result.as_ref().is_some_and(|it| it.left > 0))
    }

    /// What comes next for the reader. Outputs are taken out.
    pub(crate) fn next(&mut self) -> NextOutputs {
        while let Some(front) = self.waiting.front_mut() {
            let task = front.task;
            let result = self.queues.get_mut(&task).and_then(|queue| queue.result.as_mut());
            let Some(result) = result else {
                self.waiting.pop_front();
                continue;
            };
            if front.outputs == 0 && front.bytes == 0 {
                result.left = result.left.saturating_sub(1);
                self.waiting.pop_front();
                continue;
            }
            if result.outputs > 0 {
                return match take(front, result) {
                    Some((values, count)) => NextOutputs::Outputs { values, count },
                    None => NextOutputs::Malformed { task },
                };
            }
            let QueuedResult { execution, read, blocks, is_asked, .. } = *result;
            return match (is_asked, read < blocks) {
                (true, _) => NextOutputs::Asked,
                (false, true) => NextOutputs::Block { task, execution, blocks },
                (false, false) => NextOutputs::Malformed { task },
            };
        }
        NextOutputs::Nothing
    }

    /// The next block of a task is being read.
    pub(crate) fn ask(&mut self, task: TaskNumber) {
        if let Some(result) = self.queues.get_mut(&task).and_then(|queue| queue.result.as_mut()) {
            result.is_asked = true;
        }
    }

    /// The block of a task that was asked for.
    pub(crate) fn read(&mut self, task: TaskNumber, values: Bytes, outputs: u32) {
        let result = self.queues.get_mut(&task).and_then(|queue| queue.result.as_mut());
        if let Some(result) = result.filter(|result| result.is_asked) {
            self.unread = self.unread.saturating_sub(values.len() as u64);
            (result.is_asked, result.read) = (false, result.read + 1);
            (result.values, result.outputs) = (values, outputs);
        }
    }

    /// The number of blocks of a task, and of those that were read.
    pub(crate) fn blocks_of(&self, task: TaskNumber) -> (u32, u32) {
        let result = self.queues.get(&task).and_then(|queue| queue.result.as_ref());
        result.map_or((0, 0), |result| (result.blocks, result.read))
    }

    /// Whether they are to be renewed, after this long since the last time.
    pub(crate) fn are_due(&self, now: Duration, interval: Duration) -> bool {
        let is_old = |renewed| now.saturating_sub(renewed) >= interval;
        self.managing == 0 && !self.queues.is_empty() && self.renewed.is_none_or(is_old)
    }

    /// They are to be renewed as soon as no renewal is under way: one of them may be gone.
    pub(crate) fn make_due(&mut self) {
        self.renewed = None;
    }

    /// The queue of a task is inaccessible, because its node is down.
    pub(crate) fn unreachable(&mut self, task: TaskNumber, reason: String) {
        self.down = Some((task, reason));
    }

    /// The queue of a task is accessible.
    pub(crate) fn reached(&mut self, task: TaskNumber) {
        self.down.take_if(|(down, _)| *down == task);
    }

    /// A queue that is inaccessible, with the exchange behind which it is, and why.
    pub(crate) fn down(&self) -> Option<(usize, &str)> {
        let (task, reason) = self.down.as_ref()?;
        Some((self.exchange_of(*task)?, reason))
    }

    /// This many declarations and renewals begin.
    pub(crate) fn begin_renewal(&mut self, now: Duration, count: u32) {
        self.renewed = Some(now);
        self.managing += count;
    }

    /// One of them is over.
    pub(crate) fn end_renewal(&mut self) {
        self.managing = self.managing.saturating_sub(1);
    }
}

#[cfg(test)]
impl OutputQueues {
    /// A text that is equal for queues that behave alike: it leaves out the numbers of tasks,
    /// executions and clocks.
    pub(crate) fn canonical(&self) -> String {
        let tasks: Vec<TaskNumber> = self.queues.keys().copied().collect();
        let queue = |OutputQueue { is_open, result, .. }: &OutputQueue| {
            let result = result.as_ref().map(|it| {
                (it.blocks, it.read, it.is_asked, it.values.clone(), it.outputs, it.left)
            });
            format!("{is_open} {result:?}")
        };
        let waiting = |it: &QueuedOutputs| {
            (tasks.iter().position(|task| *task == it.task), it.bytes, it.outputs)
        };
        let queues: Vec<String> = self.queues.values().map(queue).collect();
        let waiting: Vec<_> = self.waiting.iter().map(waiting).collect();
        format!("{queues:?} {waiting:?} {}", self.managing)
    }

    /// The executions that count.
    pub(crate) fn executions(&self) -> impl Iterator<Item = ExecutionId> + '_ {
        self.queues.values().filter_map(|queue| Some(queue.result.as_ref()?.execution))
    }
}

/// Takes what the block that was read last has of `front`. `None` if the two contradict each other.
///
/// A block is cut between two outputs, wherever the elements begin: it may have outputs of several
/// runs, and a run may be in several blocks.
fn take(front: &mut QueuedOutputs, result: &mut QueuedResult) -> Option<(Bytes, u32)> {
    let in_block = result.values.len() as u64;
    let (values, count) = if front.bytes > in_block {
        (std::mem::take(&mut result.values), result.outputs)
    } else {
        (result.values.split_to(front.bytes as usize), front.outputs)
    };
    front.bytes -= values.len() as u64;
    front.outputs = front.outputs.checked_sub(count)?;
    result.outputs = result.outputs.checked_sub(count)?;
    Some((values, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskNumber = TaskNumber(7);

    fn queues(execution: ExecutionId, blocks: u32, left: usize) -> OutputQueues {
        let mut queues = OutputQueues::default();
        queues.declare(TASK, 0, Duration::ZERO);
        assert!(!queues.may_write(TASK) && queues.may_write(TaskNumber(8)));
        queues.open(TASK);
        assert!(queues.may_write(TASK));
        queues.accept(TASK, execution, blocks, left);
        queues
    }

    fn run(bytes: u64, outputs: u32) -> QueuedOutputs {
        QueuedOutputs { task: TASK, bytes, outputs }
    }

    fn outputs(text: &'static str, count: u32) -> NextOutputs {
        NextOutputs::Outputs { values: Bytes::from_static(text.as_bytes()), count }
    }

    /// In order, other outputs come between the runs of one task.
    fn push_apart(queues: &mut OutputQueues, runs: impl IntoIterator<Item = QueuedOutputs>) {
        queues.waiting.extend(runs);
    }

    #[test]
    fn a_run_may_be_in_several_blocks_and_a_block_may_have_several_runs() {
        let execution = ExecutionId::new();
        let mut queues = queues(execution, 2, 3);
        push_apart(&mut queues, [run(1, 1), run(5, 3), run(2, 1)]);
        let block = NextOutputs::Block { task: TASK, execution, blocks: 2 };
        assert_eq!(queues.next(), block);
        queues.ask(TASK);
        assert_eq!(queues.next(), NextOutputs::Asked);
        queues.read(TASK, Bytes::from_static(b"abbc"), 3);
        assert_eq!(queues.next(), outputs("a", 1));
        assert_eq!(queues.next(), outputs("bbc", 2));
        assert_eq!(queues.next(), block);
        queues.ask(TASK);
        queues.read(TASK, Bytes::from_static(b"ddee"), 2);
        assert_eq!(queues.next(), outputs("dd", 1));
        assert!(queues.has_outputs() && queues.take_unneeded(|_| false).is_empty());
        assert_eq!(queues.next(), outputs("ee", 1));
        assert_eq!(queues.next(), NextOutputs::Nothing);
        assert!(!queues.has_outputs());
        assert_eq!(queues.take_unneeded(|_| false), [TASK]);
    }

    #[test]
    fn outputs_without_bytes_are_counted() {
        let mut queues = queues(ExecutionId::new(), 1, 2);
        push_apart(&mut queues, [run(0, 2), run(1, 2)]);
        queues.ask(TASK);
        queues.read(TASK, Bytes::from_static(b"a"), 4);
        assert_eq!(queues.next(), outputs("", 2));
        assert_eq!(queues.next(), outputs("a", 2));
        assert_eq!(queues.next(), NextOutputs::Nothing);
    }

    #[test]
    fn runs_of_a_task_that_follow_each_other_are_one() {
        let mut queues = queues(ExecutionId::new(), 1, 3);
        [run(1, 1), run(0, 0), run(2, 1)].into_iter().for_each(|run| queues.push(run));
        assert_eq!(queues.waiting, [run(3, 2)]);
        queues.ask(TASK);
        queues.read(TASK, Bytes::from_static(b"abb"), 2);
        assert_eq!(queues.next(), outputs("abb", 2));
        assert_eq!(queues.next(), NextOutputs::Nothing);
        assert!(!queues.has_outputs());
    }

    #[test]
    fn blocks_that_contradict_their_result_are_malformed() {
        for (bytes, count) in [("abcd", 1), ("", 3), ("a", 5)] {
            let mut queues = queues(ExecutionId::new(), 1, 1);
            queues.push(run(3, 2));
            queues.ask(TASK);
            queues.read(TASK, Bytes::from_static(bytes.as_bytes()), count);
            let mut next = queues.next();
            if let NextOutputs::Outputs { .. } = next {
                next = queues.next();
            }
            assert_eq!(next, NextOutputs::Malformed { task: TASK }, "{bytes} {count}");
        }
    }

    #[test]
    fn a_queue_stays_while_its_task_is_live_or_its_outputs_are_not_read() {
        let mut queues = queues(ExecutionId::new(), 1, 1);
        queues.declare(TaskNumber(8), 0, Duration::ZERO);
        assert!(queues.take_unneeded(|task| task == TaskNumber(8)).is_empty());
        assert_eq!(queues.take_unneeded(|_| false), [TaskNumber(8)], "its task was split");
        assert_eq!(queues.exchange_of(TASK), Some(0));
        assert_eq!(queues.take_live(), [TASK]);
    }
}
