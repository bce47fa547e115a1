//! What isolated runs have in common: the task that is sent to a child, and the replies.

use std::io;

use phalanx_core::{
    registry::Refusal,
    wire::{ResultMessage, Return, ReturnReason},
};

use super::{
    frame::{Frame, RunNumber},
    gathered,
};
use crate::execution::Running;

/// The frames that give a task to a child as this run: what it has gathered, and the task. `None` if
/// the worker has replied, because the task cannot be encoded. Reading them blocks on a disk.
pub(super) fn task_for_child(
    running: &Running,
    run: RunNumber,
    one_by_one: bool,
) -> Option<impl Iterator<Item = io::Result<Frame>> + Send + 'static> {
    let mut task = running.task.clone();
    // In a child, the flag asks for chunks of one element.
    task.header.isolated = one_by_one;
    let Ok(encoded) = task.encode() else {
        let reason = "could not encode the task for a child process".to_owned();
        running.refuse(Refusal::Message { reason });
        return None;
    };
    let gathered = running.gathered().cloned().map(|gathered| gathered::frames(run, gathered));
    Some(gathered.into_iter().flatten().chain(std::iter::once(Ok(Frame::Task(run, encoded)))))
}

/// Refuses a task because what it has gathered cannot be read again.
pub(super) fn refuse_unreadable(running: &Running, error: &io::Error) {
    running.refuse(Refusal::Spill { reason: error.to_string() });
}

/// Replies as the child did; `false` if it did not.
pub(super) async fn relay(running: &Running, reply: Option<Frame>) -> bool {
    let decoded = match reply {
        Some(Frame::Result(_, body)) => match ResultMessage::decode(&body) {
            Ok(message) => {
                running.relay_result(message).await;
                Ok(())
            }
            Err(error) => Err(error),
        },
        Some(Frame::Return(_, body)) => Return::decode(&body).map(|returned| {
            running.reply_with(|pending| match returned.reason {
                ReturnReason::Refused(refusal) => pending.refuse(refusal),
                reason => pending.return_unrun(reason, returned.offset),
            });
        }),
        _ => return false,
    };
    if let Err(error) = decoded {
        let reason = format!("could not decode the reply of a child process: {error}");
        running.refuse(Refusal::Message { reason });
    }
    true
}

/// Returns a task whose child ended in the chunk that begins at `offset`; `None` before the first.
pub(super) fn return_crashed(running: &Running, status: String, offset: Option<u32>) {
    let job = running.task.header.job;
    tracing::error!(%job, offset, status, "a child process ended while it ran a task");
    running.return_failed(ReturnReason::Crashed { status }, offset);
}

/// Returns a task because no child can be started, which is no fault of the task: the worker
/// that takes it next, perhaps this one, runs it in another way.
pub(super) fn return_unable(running: &Running) {
    running.reply_with(|pending| pending.return_unrun(ReturnReason::NotStarted, None));
}
