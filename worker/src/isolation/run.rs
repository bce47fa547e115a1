//! One isolated run, on the slot thread that waits for it.

use std::time::{Duration, Instant};

use futures::executor::block_on;

use super::{
    ChildPool,
    child_process::ChildProcess,
    frame::{Frame, RunNumber},
    reply::{refuse_unreadable, relay, return_crashed, return_unable, task_for_child},
};
use crate::{
    execution::{Running, Stop},
    reply::PendingReply,
};

/// How long a child may take to end its task after a cancel.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// The number of a run: a blocking task has its child to itself.
const ONLY_RUN: RunNumber = 1;

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
                None => return return_unable(running),
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

fn run_in(
    running: &Running,
    children: &ChildPool,
    mut child: ChildProcess,
    one_by_one: bool,
) -> ChildRun {
    let Some(task) = task_for_child(running, ONLY_RUN, one_by_one) else {
        return ChildRun::Replied;
    };
    let mut offset = None;
    let mut reply = None;
    let mut cancelled: Option<Instant> = None;
    let mut next = Ok(None);
    for frame in task {
        match frame {
            Ok(frame) => next = child.send(&frame).map(|()| None),
            Err(error) => {
                refuse_unreadable(running, &error);
                return ChildRun::Replied;
            }
        }
        // Gigabytes of blocks take long.
        if running.replied.is_cancelled() {
            return ChildRun::Replied;
        }
        if next.is_err() {
            break;
        }
    }
    loop {
        match next {
            Ok(None) => {}
            Ok(Some(Frame::ChunkBegins(_, first))) => {
                offset = Some(first);
                running.context.set_offset(first);
            }
            Ok(Some(frame @ (Frame::Result(..) | Frame::Return(..)))) => reply = Some(frame),
            Ok(Some(Frame::Settled(_))) => {
                children.put_idle(child);
                return match block_on(relay(running, reply)) {
                    true => ChildRun::Replied,
                    false => ChildRun::Discarded,
                };
            }
            // The child is gone, or has sent an invalid frame.
            Ok(Some(_)) | Err(_) => {
                if block_on(relay(running, reply)) {
                    return ChildRun::Replied;
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
                let _ = child.send(&Frame::Cancel(ONLY_RUN));
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
