//! Removes single rules of the protocol from a world, to show that the explorer detects the absence
//! of each.
//!
//! The engine itself has no switches for this: a rule is removed at its border, or by changing its
//! task table between two steps.

use crate::{
    id::TaskNumber,
    leader::engine::{
        Engine,
        job::{Batch, Elements, InlineBlock, Winner},
        protocol::{Action, Input},
        schedule,
        table::{Task, Work},
    },
    wire::{Outcome, ResultMessage, RowTotal, TaskInlet},
};

/// The rules of the protocol that can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// 1: one owner for each element.
    OneOwner,
    /// 2: a result counts only if its task is live.
    LiveTable,
    /// 3: each published copy has a unique number.
    Attempts,
    /// 4: elements that are not done go into new tasks.
    Tiling,
    /// 5: new tasks inherit the tries of their elements.
    Budgets,
    /// 6: a redelivered task is returned, not run.
    Redelivered,
    /// 7: a task that may have killed a worker is isolated.
    Isolated,
    /// 7: a worker without children names each element before it runs in its own process.
    Naming,
    /// 7: a task whose child died with others in it runs alone.
    Alone,
    /// 8: each delivery is settled in time.
    Hold,
    /// 9: no task is dropped without a reply.
    Replies,
    /// 12: copies without a reply are probed.
    Probes,
    /// 13: quiet time pauses while replies are unread or cannot arrive.
    QuietClock,
    /// 14: a copy whose confirm was lost is reissued.
    LostConfirms,
    /// 21: the live jobs of a leader are state, which it announces repeatedly.
    CancelIsState,
    /// 31: only the blocks of executions that count are kept.
    Winners,
    /// 32: an exchange is sealed when all that feeds it is settled.
    Seal,
    /// 33: all readers of a partition see the same list.
    FixedList,
    /// 29: all queues exist before the first task that writes to them, and what has no queue is
    /// published again.
    DeclareFirst,
    /// 30: a result follows its blocks.
    BlocksFirst,
    /// 34: reading does not consume.
    ReadOnly,
    /// 35: a queue has one reader at a time.
    OneReader,
    /// 36: a reader knows when it has all.
    Announced,
    /// 37: no task runs again for the sake of its blocks.
    Blocks,
    /// 39: only the outputs of the execution count whose result counts.
    OutputWinners,
}

impl Engine {
    /// One step of an engine without this rule.
    pub(super) fn step_without(&mut self, rule: Option<Rule>, input: Input) -> Vec<Action> {
        let Some(rule) = rule else { return self.step(input) };
        let (number, not_run) = match &input {
            Input::Result(result) => {
                let not_run = |outcome: &Outcome| matches!(outcome, Outcome::NotRun { .. });
                let segments = &result.header.segments;
                (Some(result.header.copy.task), segments.iter().any(|s| not_run(&s.outcome)))
            }
            Input::Return(returned) => (returned.copy.map(|copy| copy.task), false),
            _ => (None, false),
        };
        if rule == Rule::LostConfirms && matches!(input, Input::NotPublished { .. }) {
            return Vec::new();
        }
        let is_result = matches!(input, Input::Result(_));
        let late = match &input {
            Input::Result(result) if rule == Rule::Winners => Some(result.clone()),
            _ => None,
        };
        let before =
            number.and_then(|number| Some((number, self.shared.tasks.get(number)?.clone())));
        let first_new = self.shared.tasks.next_number();
        let mut actions = self.step(input);
        match rule {
            Rule::LiveTable if is_result => self.restore(before),
            Rule::OneOwner if !is_result => {
                if let Some((_, task)) = before {
                    let number = self.shared.tasks.next_number();
                    self.shared.tasks.skip_number();
                    self.restore(Some((number, task)));
                }
            }
            Rule::Tiling if not_run => {
                for number in first_new.0..self.shared.tasks.next_number().0 {
                    self.retire(TaskNumber(number));
                }
                actions.retain(|action| !matches!(action, Action::Publish { .. }));
            }
            Rule::Attempts => {
                for action in &mut actions {
                    if let Action::Publish { message, .. } = action {
                        message.header.copy.attempt = 1;
                    }
                }
                self.shared.tasks.iter_mut().for_each(Task::forget_attempts);
            }
            Rule::Budgets => {
                for task in self.shared.tasks.iter_mut() {
                    if let Work::Run { batch: Batch::Elements(elements), .. } = &mut task.work {
                        let mut end = 0;
                        let ends = elements.lengths().into_iter().map(|length| {
                            end += length;
                            end
                        });
                        let (first, bytes) = (elements.first(), elements.bytes().clone());
                        *elements = Elements::pulled(first, bytes, ends.collect());
                    }
                }
            }
            Rule::Winners if before.is_none() => self.keep_blocks(late),
            Rule::Seal if is_result => {
                for job in self.jobs.iter_mut() {
                    job.seal_early();
                }
            }
            Rule::FixedList => {
                for action in &mut actions {
                    if let Action::Publish { message, .. } = action
                        && matches!(message.header.inlet, TaskInlet::Partitions(_))
                        && message.header.copy.task.0 % 2 == 1
                    {
                        message.payload = message.payload.iter().rev().copied().collect();
                    }
                }
            }
            Rule::Blocks => {
                for action in &mut actions {
                    if let Action::Publish { message, .. } = action
                        && message.header.copy.attempt > 1
                        && let TaskInlet::Partitions(gather) = &mut message.header.inlet
                        && let Some(job) = self.jobs.get_mut(message.header.job)
                    {
                        // What was written again went elsewhere.
                        job.exchanges[0].swap_partitions();
                        let read: Vec<u32> =
                            gather.partitions.iter().map(|it| it.partition).collect();
                        (gather.partitions, message.payload) = job.exchanges[0].read(&read, 1);
                    }
                }
            }
            Rule::Isolated => {
                for action in &mut actions {
                    if let Action::Publish { message, .. } = action {
                        message.header.isolated = false;
                    }
                }
                self.shared.tasks.iter_mut().for_each(|task| task.isolated = false);
            }
            _ => {}
        }
        actions
    }

    /// Keeps the blocks of a result that does not count.
    fn keep_blocks(&mut self, late: Option<ResultMessage>) {
        let (Some(late), Some(job)) = (late, self.jobs.iter_mut().next()) else { return };
        let mut payload = late.payload;
        let blocks = late.header.blocks.iter().map(|block| InlineBlock {
            partition: block.partition,
            first: 0,
            rows: block.rows,
            bytes: payload.split_to(block.bytes as usize),
        });
        let (task, execution) = (late.header.copy.task, late.header.execution);
        let winner = Winner { feeder: 0, task, execution };
        job.exchanges[0].add(winner, RowTotal::default(), blocks);
    }

    /// Retires a task, as if it were done.
    fn retire(&mut self, number: TaskNumber) {
        let Some(job) = self.shared.tasks.get(number).map(|task| task.job) else { return };
        if let Some(job) = self.jobs.get_mut(job) {
            schedule::retire(&mut self.shared, job, number);
        }
    }

    /// Inserts a retired task again.
    fn restore(&mut self, task: Option<(TaskNumber, Task)>) {
        let Some((number, task)) = task else { return };
        if self.shared.tasks.get(number).is_some() {
            return;
        }
        let Some(job) = self.jobs.get_mut(task.job) else { return };
        let charge = schedule::charge_of(&self.shared.settings, job, &task);
        self.shared.tasks.restore(number, task, charge);
        schedule::charge(&mut self.shared, job, number, charge);
    }
}
