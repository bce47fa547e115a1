//! Adds, publishes, reissues and retires tasks, and charges their credit.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;

use super::{
    flow::{LEAST_CAP, Lane, MAX_OUTPUTS, Room},
    job::{Batch, JobState},
    protocol::Action,
    shared::{Settings, Shared},
    table::{Charge, Task, Work},
};
use crate::{
    codec::Layout,
    id::{CopyId, TaskNumber},
    operation::ElementRange,
    plan::{End, Inlet, Outlet},
    wire::{
        BlockRoute, Gather, QueuedGather, Scatter, TaskHeader, TaskInlet, TaskKind, TaskMessage,
        TaskOutlet,
    },
};

/// The largest output that a task may ask for, in bytes (rule 19). A single element may exceed it.
const MAX_OUTPUT: u64 = 1 << 20;
/// The most bytes of outputs that a task with a queue publishes at once, unless one is larger.
const MAX_OUTPUT_BLOCK: u64 = 1 << 20;
/// The output that every task may produce, in bytes, however little is expected of it.
const MIN_OUTPUT: u64 = 64 << 10;
/// The time slice of a task that must run as a whole.
const UNCUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Adds a new task. It is published after the delay, when there is credit for it.
pub(super) fn enqueue(shared: &mut Shared, task: Task, delay: Duration) -> TaskNumber {
    let until = shared.clocks.healthy.saturating_add(delay);
    shared.tasks.insert(task, until)
}

/// Reissues a task without copies: the next copy is published after the delay, when there is credit
/// for it.
pub(super) fn reissue(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    delay: Duration,
) {
    let until = shared.clocks.healthy.saturating_add(delay);
    let out = shared.tasks.get(number).map(|task| Out::of(job, task));
    if let (Some(out), Some(charge)) = (out, shared.tasks.wait(number, until)) {
        release(shared, job, number, out, charge);
    }
}

/// Retires a task permanently (rule 2), and releases its credit.
pub(super) fn retire(shared: &mut Shared, job: &mut JobState, number: TaskNumber) -> Option<Task> {
    let (task, charge) = shared.tasks.retire(number)?;
    if let Some(charge) = charge {
        let out = Out::of(job, &task);
        release(shared, job, number, out, charge);
    }
    Some(task)
}

/// Publishes a new copy of a task.
pub(super) fn send(shared: &mut Shared, job: &mut JobState, number: TaskNumber) {
    let Some(task) = shared.tasks.get(number) else { return };
    let credit = charge_of(&shared.settings, job, task);
    if !shared.tasks.add_copy(number, credit) {
        return;
    }
    charge(shared, job, number, credit);
    let Some(message) = message(shared, job, number, credit) else { return };
    let Some(task) = shared.tasks.get(number) else { return };
    let (pool, message) = (task.lane.pool.clone(), Box::new(message));
    shared.actions.push(Action::Publish { pool, message });
}

/// The credit that a task takes up while it is out.
pub(super) fn charge_of(settings: &Settings, job: &JobState, task: &Task) -> Charge {
    let output = job.stages[task.stage].cost.expected_output(task.size());
    match job.queues_read_by(task) {
        // Only workers hold its blocks, and it stops at a limit. It lists all winners, which are
        // final.
        Some((exchange, _)) => Charge {
            input: size_of_val(job.exchanges[exchange].winners()),
            output: output.min(most_in_result(settings, job, task)),
        },
        None => Charge { input: task.size(), output },
    }
}

/// Charges the credit of a task that is out from now on.
pub(super) fn charge(shared: &mut Shared, job: &mut JobState, number: TaskNumber, charge: Charge) {
    let Some(task) = shared.tasks.get(number) else { return };
    shared.flows.charge(&task.lane, charge, shared.clocks.healthy);
    if let Some((exchange, wanted)) = job.block_cap(task.stage) {
        let cap = match shared.blocks.room(exchange, wanted, shared.sizing(job, task.stage).slots) {
            Room::Cap(cap) => cap,
            // A worker runs a copy that was given up.
            Room::Later | Room::Full => LEAST_CAP,
        };
        shared.blocks.expect(number, exchange, cap);
    }
    if let Some((exchange, partitions)) = job.queues_read_by(task)
        && let Some(queues) = job.exchanges[exchange].queues_mut()
    {
        queues.begin_reading(&partitions);
    }
    job.charge_task(task.stage, charge);
    shared.touched.insert(job.id);
}

/// What a task takes up while it is out, besides its [`Charge`].
struct Out {
    lane: Lane,
    stage: usize,
    /// The exchange and the partitions that it reads from queues.
    read: Option<(usize, Vec<u32>)>,
}

impl Out {
    fn of(job: &JobState, task: &Task) -> Self {
        Self { lane: task.lane.clone(), stage: task.stage, read: job.queues_read_by(task) }
    }
}

/// Releases the credit of a task that is no longer out.
fn release(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    Out { lane, stage, read }: Out,
    charge: Charge,
) {
    shared.flows.release(&lane, charge);
    shared.blocks.stop_expecting(number);
    if let Some((exchange, partitions)) = read
        && let Some(queues) = job.exchanges[exchange].queues_mut()
    {
        queues.end_reading(&partitions);
    }
    job.release_task(stage, charge);
}

fn message(
    shared: &Shared,
    job: &mut JobState,
    number: TaskNumber,
    charge: Charge,
) -> Option<TaskMessage> {
    let task = shared.tasks.get(number)?;
    let stage = task.stage;
    let sizing = shared.sizing(job, stage);
    let cap = shared.blocks.cap_of(number);
    let outlet = match task.queues_outputs {
        true => TaskOutlet::Queue { block: output_block(&shared.settings) },
        false => outlet(job, stage, cap, sizing.slots),
    };
    let plan = &job.plan.stages[stage];
    let mut inlet = TaskInlet::Elements(Layout::Plain);
    let (kind, ranges, indexes, first_step, payload, uncut) = match &task.work {
        Work::Run { batch, first_step } => {
            let (ranges, indexes) = (batch.ranges(), batch.listed_indexes());
            let payload = match batch {
                Batch::Elements(elements) => {
                    inlet = TaskInlet::Elements(job.plan.layout_from(stage, *first_step));
                    elements.bytes().clone()
                }
                Batch::Partitions(read) => {
                    let Inlet::Exchange(exchange) = job.plan.inlet(stage) else { return None };
                    let (listed, payload) = gather(job, stage, exchange, &read.partitions());
                    inlet = listed;
                    payload
                }
            };
            (TaskKind::Run, ranges, indexes, *first_step, payload, job.has_leaves(stage))
        }
        Work::Combine { partials } => {
            let tries = partials.iter().map(|partial| partial.tries).max().unwrap_or(1);
            let payload: Vec<u8> = partials
                .iter()
                .filter_map(|partial| partial.bytes.as_deref())
                .flatten()
                .copied()
                .collect();
            let ranges = vec![ElementRange { from: 0, to: partials.len() as u64, tries }];
            let indexes = partials.iter().map(|partial| partial.from).collect();
            (TaskKind::Combine, ranges, indexes, plan.steps.len() - 1, payload.into(), true)
        }
    };
    let header = TaskHeader {
        leader: shared.settings.leader,
        job: job.id,
        stage: stage as u32,
        copy: CopyId::new(number, task.attempt()),
        kind,
        isolated: task.isolated,
        ranges,
        indexes,
        steps: plan.steps[first_step..].iter().map(|step| step.reference.clone()).collect(),
        time_slice: if uncut { UNCUT } else { sizing.time_slice() },
        output_cap: if uncut {
            u64::MAX
        } else {
            match &inlet {
                // A task that goes on with the rest of these elements reads all blocks again.
                TaskInlet::Partitions(_) | TaskInlet::Queues(_) => {
                    output_cap(&shared.settings, job, stage)
                }
                TaskInlet::Elements(_) => (4 * charge.output as u64).clamp(MIN_OUTPUT, MAX_OUTPUT),
            }
        },
        inlet,
        outlet,
    };
    Some(TaskMessage { header, payload })
}

/// After how many bytes of outputs a task stops that reads partitions.
fn output_cap(settings: &Settings, job: &JobState, stage: usize) -> u64 {
    // Whoever goes on without a queue gathers all blocks once for each result.
    if job.may_queue_outputs(stage) { settings.output_cap } else { MAX_OUTPUTS as u64 }
}

/// How many bytes of outputs a task with a queue publishes at once.
fn output_block(settings: &Settings) -> u32 {
    MAX_OUTPUT_BLOCK.min(settings.output_cap) as u32
}

/// The most bytes of outputs that are expected in the result of a task that reads queues.
fn most_in_result(settings: &Settings, job: &JobState, task: &Task) -> usize {
    match task.queues_outputs && !task.isolated {
        // What fills no block comes with the result.
        true => output_block(settings) as usize,
        false => output_cap(settings, job, task.stage) as usize,
    }
}

/// How a task gathers these partitions of an exchange, and the blocks that it carries for that.
fn gather(job: &JobState, stage: usize, exchange: usize, partitions: &[u32]) -> (TaskInlet, Bytes) {
    let (plan, state) = (&job.plan.exchanges[exchange], &job.exchanges[exchange]);
    let grouping = plan.kind.grouping();
    if state.queues().is_none() {
        let (partitions, payload) = state.read(partitions, plan.first_side);
        return (TaskInlet::Partitions(Gather { grouping, partitions }), payload);
    }
    let gather = QueuedGather {
        grouping,
        exchange: exchange as u32,
        first_side: plan.first_side as u32,
        of: state.count(),
        partitions: state.announced(partitions),
        winners: state.winners().to_vec(),
        layout: job.plan.layout(stage),
    };
    (TaskInlet::Queues(gather), Bytes::new())
}

/// Where the outputs of a task of this stage go. `cap` is that of its blocks, if there is one.
fn outlet(job: &mut JobState, stage: usize, cap: Option<usize>, slots: u32) -> TaskOutlet {
    match job.plan.outlet(stage) {
        Outlet::End(_) => match job.plan.end {
            End::Top { most, by_key } => TaskOutlet::Top { most, by_key },
            End::Stream { .. } | End::Fold { .. } | End::Count => TaskOutlet::Reply,
        },
        Outlet::Stage(next) => TaskOutlet::Stage(job.plan.layout_into(next)),
        Outlet::Exchange { exchange, feeder } => {
            let plan = &job.plan.exchanges[exchange];
            let (kind, side) = (plan.kind, plan.side(feeder));
            let partitions = plan.partitions.map(NonZeroU32::get);
            let state = &mut job.exchanges[exchange];
            TaskOutlet::Exchange(Scatter {
                partitions: state.partitions(partitions, slots),
                layout: kind.layout(side),
                combine: kind.combine(side),
                route: match state.queues() {
                    None => BlockRoute::Inline { cap: cap.map_or(u64::MAX, |cap| cap as u64) },
                    Some(_) => {
                        BlockRoute::Spread { exchange: exchange as u32, feeder: feeder as u32 }
                    }
                },
            })
        }
    }
}
