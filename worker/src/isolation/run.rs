//! One isolated run, on the slot thread that waits for it.

use std::time::{Duration, Instant};

use phalanx_core::{
    registry::Refusal,
    wire::{ResultMessage, Return, ReturnReason},
};

use super::{ChildPool, child_process::ChildProcess, frame::Frame};
use crate::{
    execution::{Running, Stop},
    reply::{PendingReply, Reply},
};

/// How long a child may take to end its task after a cancel.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// The outcome of a task that was sent to a child.
enum ChildRun {
    /// The worker has replied.
    Replied,
    /// The child has settled the task without a reply: the job is dead.
    Discarded,
    /// The child ended before the first element began.
    EndedBeforeStart { status: String },
    /// The child ended in the chunk that begins at `offset`.
    EndedInChunk { status: String, offset: u32 },
}

/// Runs a task in a child process, replies, and blocks the slot thread meanwhile.
///
/// The first run goes chunk by chunk, because most suspected tasks are harmless. If it ends the
/// child, a second run goes element by element, which takes longer but identifies the element at
/// fault.
pub(crate) fn run_isolated(running: &Running, children: &ChildPool) {
    let mut one_by_one = running.count() == 1;
    let mut idle = children.take_idle();
    loop {
        // An idle child may have ended since its last task, or be about to end: that is not a
        // crash. If a new child ends before the first element, then something that precedes the
        // elements ended it.
        let (child, was_idle) = match idle.take() {
            Some(child) => (child, true),
            None => match children.start_child() {
                Some(child) => (child, false),
                // This worker cannot isolate the task, which is no fault of the task: whoever takes
                // it next, perhaps this worker, runs it in another way.
                None => {
                    return running.reply_with(|pending| {
                        pending.return_unrun(ReturnReason::NotStarted, None);
                    });
                }
            },
        };
        match run_in(running, children, child, one_by_one) {
            ChildRun::Replied => return,
            ChildRun::Discarded => return running.reply_with(PendingReply::discard),
            ChildRun::EndedBeforeStart { .. } if was_idle => {}
            ChildRun::EndedBeforeStart { status } => return return_crashed(running, status, None),
            ChildRun::EndedInChunk { .. } if !one_by_one => one_by_one = true,
            ChildRun::EndedInChunk { status, offset } => {
                return return_crashed(running, status, Some(offset));
            }
        }
    }
}

fn return_crashed(running: &Running, status: String, offset: Option<u32>) {
    let job = running.task.header.job;
    tracing::error!(%job, offset, status, "a child process ended while it ran a task");
    running.reply_with(|pending| pending.return_unrun(ReturnReason::Crashed { status }, offset));
}

fn run_in(
    running: &Running,
    children: &ChildPool,
    mut child: ChildProcess,
    one_by_one: bool,
) -> ChildRun {
    let mut task = running.task.clone();
    // In a child, the flag asks for chunks of one element.
    task.header.isolated = one_by_one;
    let Ok(task) = task.encode() else {
        let reason = "could not encode the task for a child process".to_owned();
        running.refuse(Refusal::Message { reason });
        return ChildRun::Replied;
    };
    let mut offset = None;
    let mut reply = None;
    let mut cancelled: Option<Instant> = None;
    let mut next = child.send(&Frame::Task(task)).map(|()| None);
    loop {
        match next {
            Ok(None) => {}
            Ok(Some(Frame::ChunkBegins(first))) => {
                offset = Some(first);
                running.context.set_offset(first);
            }
            Ok(Some(frame @ (Frame::Result(_) | Frame::Return(_)))) => reply = Some(frame),
            Ok(Some(Frame::Settled)) => {
                children.put_idle(child);
                return relay(running, reply).unwrap_or(ChildRun::Discarded);
            }
            // The child is gone, or has sent an invalid frame.
            Ok(Some(_)) | Err(_) => {
                if let Some(replied) = relay(running, reply) {
                    return replied;
                }
                let status = child.into_status();
                return match offset {
                    Some(offset) => ChildRun::EndedInChunk { status, offset },
                    None => ChildRun::EndedBeforeStart { status },
                };
            }
        }
        if running.replied.is_cancelled() {
            return ChildRun::Replied;
        }
        match (running.stopped(), cancelled) {
            (None, _) => {}
            (Some(Stop::Cancelled), None) => {
                cancelled = Some(Instant::now());
                // If the child is gone, receiving fails next.
                let _ = child.send(&Frame::Cancel);
            }
            (Some(Stop::Cancelled), Some(since)) if since.elapsed() < CANCEL_GRACE => {}
            (Some(_), _) => {
                running.reply_rest_not_run();
                return ChildRun::Replied;
            }
        }
        next = child.receive();
    }
}

/// Replies as the child did; `None` if it did not.
fn relay(running: &Running, reply: Option<Frame>) -> Option<ChildRun> {
    let decoded = match reply? {
        Frame::Result(body) => ResultMessage::decode(&body).map(|message| {
            let last_step = running.task.header.steps.len().saturating_sub(1) as u32;
            running.reply_with(|pending| pending.reply(Reply::Result { message, last_step }));
        }),
        Frame::Return(body) => Return::decode(&body).map(|returned| {
            running.reply_with(|pending| match returned.reason {
                ReturnReason::Refused(refusal) => pending.refuse(refusal),
                reason => pending.return_unrun(reason, returned.offset),
            });
        }),
        _ => return None,
    };
    if let Err(error) = decoded {
        let reason = format!("could not decode the reply of a child process: {error}");
        running.refuse(Refusal::Message { reason });
    }
    Some(ChildRun::Replied)
}
