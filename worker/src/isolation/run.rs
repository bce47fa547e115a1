//! One isolated run, on the slot thread that waits for it.

use std::time::{Duration, Instant};

use phalanx_core::{
    registry::Refusal,
    wire::{ResultMessage, Return, ReturnReason},
};

use super::{Crew, frame::Frame, process::Process};
use crate::{
    answer::{Answer, Ticket},
    execution::{Running, Stop},
};

/// How long a child whose job is dead may take to hear of it.
const FAREWELL: Duration = Duration::from_millis(500);

/// What came of a task that was given to a child.
enum Ran {
    /// It was answered, here or elsewhere.
    Answered,
    /// The child left it alone: nobody waits for it.
    Forgotten,
    /// The child ended before the first element began.
    NotBegun { status: String },
    /// The child ended in a chunk that begins at an element.
    Died { status: String, position: u32 },
}

/// Runs a task in a child process, and answers. Waits for it: on a slot thread.
///
/// In chunks at first, as most tasks that may have ended a worker have not: those that end the
/// child are run once more, element by element, which takes longer.
pub(crate) fn run_isolated(running: &Running, crew: &Crew) {
    let mut one_by_one = running.count() == 1;
    let mut warm = crew.warm();
    loop {
        // A warm child may have ended since it was used last, or be about to: that is no crash. A
        // fresh one that ends died of what comes before the elements.
        let (child, is_warm) = match warm.take() {
            Some(child) => (child, true),
            None => match crew.fresh() {
                Ok(child) => (child, false),
                Err(error) => {
                    let reason = format!("no child process for a isolated run: {error}");
                    return running.refuse(Refusal::Message { reason });
                }
            },
        };
        match run_in(running, crew, child, one_by_one) {
            Ran::Answered => return,
            Ran::Forgotten => return running.answer_by(Ticket::forget),
            Ran::NotBegun { .. } if is_warm => {}
            Ran::NotBegun { status } => {
                return crashed(running, status, None);
            }
            Ran::Died { .. } if !one_by_one => one_by_one = true,
            Ran::Died { status, position } => {
                return crashed(running, status, Some(position));
            }
        }
    }
}

fn crashed(running: &Running, status: String, position: Option<u32>) {
    let job = running.task.header.job;
    tracing::error!(%job, position, status, "a child process ended while it ran a task");
    running.answer_by(|ticket| ticket.give_back(ReturnReason::Crashed { status }, position));
}

fn run_in(running: &Running, crew: &Crew, mut child: Process, one_by_one: bool) -> Ran {
    let mut task = running.task.clone();
    // What the child is to be told: it contains nothing itself.
    task.header.isolated = one_by_one;
    let Ok(task) = task.encode() else {
        running.refuse(Refusal::Message { reason: "the task does not encode".to_owned() });
        return Ran::Answered;
    };
    let mut position = None;
    let mut answer = None;
    let mut told: Option<Instant> = None;
    let mut next = child.say(&Frame::Task(task)).map(|()| None);
    loop {
        match next {
            Ok(None) => {}
            Ok(Some(Frame::At(offset))) => {
                position = Some(offset);
                running.context.set_offset(offset);
            }
            Ok(Some(said @ (Frame::Result(_) | Frame::Return(_)))) => answer = Some(said),
            Ok(Some(Frame::Over)) => {
                crew.take_back(child);
                return relay(running, answer).unwrap_or(Ran::Forgotten);
            }
            // Gone, or out of its mind.
            Ok(Some(_)) | Err(_) => {
                if let Some(ran) = relay(running, answer) {
                    return ran;
                }
                let status = child.status();
                return match position {
                    Some(position) => Ran::Died { status, position },
                    None => Ran::NotBegun { status },
                };
            }
        }
        if running.taken.is_cancelled() {
            return Ran::Answered;
        }
        match (running.stopped(), told) {
            (None, _) => {}
            (Some(Stop::Cancelled), None) => {
                told = Some(Instant::now());
                // Should it be gone, the next look says so.
                let _ = child.say(&Frame::Cancel);
            }
            (Some(Stop::Cancelled), Some(since)) if since.elapsed() < FAREWELL => {}
            (Some(_), _) => {
                running.end_unrun();
                return Ran::Answered;
            }
        }
        next = child.hear();
    }
}

/// Hands in what a child answered; `None` when it has not answered.
fn relay(running: &Running, answer: Option<Frame>) -> Option<Ran> {
    let decoded = match answer? {
        Frame::Result(body) => ResultMessage::decode(&body).map(|message| {
            let last_step = running.task.header.steps.len().saturating_sub(1) as u32;
            running.answer_by(|ticket| ticket.answer(Answer::Result { message, last_step }));
        }),
        Frame::Return(body) => Return::decode(&body).map(|returned| {
            running.answer_by(|ticket| match returned.reason {
                ReturnReason::Refused(refusal) => ticket.refuse(refusal),
                why => ticket.give_back(why, returned.offset),
            });
        }),
        _ => return None,
    };
    if let Err(error) = decoded {
        let reason = format!("a child process answered what is no answer: {error}");
        running.refuse(Refusal::Message { reason });
    }
    Some(Ran::Answered)
}
