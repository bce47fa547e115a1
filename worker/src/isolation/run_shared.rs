//! One isolated run of an asynchronous task, in a child process that it shares with others.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    ChildPool,
    frame::Frame,
    reply::{refuse_unreadable, relay, return_crashed, return_unable, task_for_child},
    shared_child::SharedRun,
};
use crate::{
    execution::{Running, Stop},
    reply::PendingReply,
};

/// How long a child may take to end its task after a cancel.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// The outcome of a task that was sent to a child.
enum SharedOutcome {
    /// The worker has replied.
    Replied,
    /// The child ended; `offset` is the first element of the chunk that ran last, if one began.
    Ended { status: String, offset: Option<u32> },
}

/// Runs an asynchronous task in a child process, and replies.
///
/// The first run is beside other tasks, and many of its elements run at once. If the child ends,
/// nobody knows whose element ended it: each of its tasks runs once more, element by element in a
/// child of its own, which names the element at fault.
pub(crate) async fn run_isolated_async(running: &Arc<Running>, children: &Arc<ChildPool>) {
    if let Some(child) = children.shared().await
        && let Some(run) = child.run()
    {
        drop(child);
        if let SharedOutcome::Replied = run_in(running, run, false).await {
            return;
        }
    } else if !children.is_able() {
        return return_unable(running);
    }
    // Cancel-safe: a permit that is not taken stays in the semaphore.
    let turn = tokio::select! {
        biased;
        () = running.replied.cancelled() => return,
        () = running.context.execution().cancelled.cancelled() => None,
        turn = children.alone() => turn,
    };
    let Some(_turn) = turn else { return running.reply_rest_not_run() };
    let Some(run) = children.start_shared().await.and_then(|child| child.run()) else {
        return return_unable(running);
    };
    if let SharedOutcome::Ended { status, offset } = run_in(running, run, true).await {
        return_crashed(running, status, offset);
    }
}

async fn run_in(running: &Running, mut run: SharedRun, one_by_one: bool) -> SharedOutcome {
    let Some(task) = task_for_child(running, run.number(), one_by_one) else {
        return SharedOutcome::Replied;
    };
    if let Err(error) = run.send_all(task).await {
        refuse_unreadable(running, &error);
        run.send(Frame::Cancel(run.number())).await;
        return SharedOutcome::Replied;
    }
    let cancelled = &running.context.execution().cancelled;
    let (mut reply, mut offset) = (None, None);
    let mut give_up: Option<Instant> = None;
    loop {
        // Cancel-safe: tokens and timers only observe, and `next` loses no frame.
        let frame = tokio::select! {
            () = running.replied.cancelled() => return SharedOutcome::Replied,
            () = cancelled.cancelled(), if give_up.is_none() => {
                let grace = match running.stopped() {
                    Some(Stop::Cancelled) => CANCEL_GRACE,
                    _ => Duration::ZERO,
                };
                run.send(Frame::Cancel(run.number())).await;
                give_up = Some(Instant::now() + grace);
                continue;
            }
            () = tokio::time::sleep_until(give_up.unwrap_or_else(Instant::now)),
                if give_up.is_some() =>
            {
                running.reply_rest_not_run();
                return SharedOutcome::Replied;
            }
            frame = run.next() => frame,
        };
        match frame {
            Ok(Frame::ChunkBegins(_, first)) => {
                offset = Some(first);
                running.context.set_offset(first);
            }
            Ok(Frame::Settled(_)) => {
                if !relay(running, reply).await {
                    running.reply_with(PendingReply::discard);
                }
                return SharedOutcome::Replied;
            }
            Ok(frame) => reply = Some(frame),
            Err(_) if relay(running, reply.take()).await => return SharedOutcome::Replied,
            Err(status) => return SharedOutcome::Ended { status, offset },
        }
    }
}
