//! Confirms of published copies, and copies that the broker did not accept.

use std::time::Duration;

use super::{
    blame, event::JobEvent, gone, groups::ElementName, job::JobState, retry, schedule,
    shared::Shared, table::CopyState,
};
use crate::{broker::PublishError, error::Error, id::CopyId};

/// The broker confirmed a copy.
pub(super) fn confirmed(shared: &mut Shared, copy: CopyId) {
    let (order, now) = (shared.probes.next_order(), shared.clocks.quiet);
    shared.tasks.confirm(copy, order, now);
}

/// The broker did not accept a copy, or its confirm was lost.
pub(super) fn failed(shared: &mut Shared, job: &mut JobState, copy: CopyId, error: &PublishError) {
    let number = copy.task;
    let known = shared.tasks.get(number).and_then(|task| task.copy(copy.attempt));
    // A copy that is leased was delivered, so the broker had accepted it.
    if known.is_none_or(|known| known.state != CopyState::Publishing) {
        return;
    }
    // A copy whose confirm was lost is removed. If it was delivered after all, its result counts.
    if !shared.tasks.remove_copy(copy) {
        return;
    }
    let Some(task) = shared.tasks.get_mut(number) else { return };
    let times = task.unaccepted.take().map_or(0, |(times, _)| times);
    task.unaccepted = Some((times + 1, error.to_string()));
    let delay = match error {
        PublishError::Lost => {
            // Both copies may be in the queue. The second must not kill another worker (rule 7).
            task.isolated = true;
            Duration::ZERO
        }
        PublishError::Nacked { .. } => {
            task.setbacks += 1;
            retry::delay_of_task(task.setbacks, number)
        }
        PublishError::TooLarge { .. } => {
            return gone::too_large(shared, job, number, &error.to_string());
        }
        PublishError::Refused { .. } => {
            let (operation, name) = blame::first(job, task);
            let source = error.clone();
            schedule::reissue(shared, job, number, Duration::ZERO);
            let ElementName { index, group } = name;
            let group = group.map(Box::new);
            return job.fail(Error::Submit { job: job.id, operation, index, group, source });
        }
        PublishError::Closed => {
            schedule::reissue(shared, job, number, Duration::ZERO);
            return job.fail(Error::BrokerClosed);
        }
    };
    let next = CopyId::new(number, copy.attempt + 1);
    let event = JobEvent::TaskReissued { copy: next, reason: error.to_string() };
    shared.emit(job.id, event);
    schedule::reissue(shared, job, number, delay);
}
