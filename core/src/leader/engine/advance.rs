//! Advances a job after a change: starts combinations, delivers its value, and detects its end.

use bytes::Bytes;

use super::{
    combine,
    event::JobEvent,
    job::{Indexes, JobState, OutputBlock},
    output, output_queues,
    shared::Shared,
};
use crate::{codec, error::Error, plan::End};

/// Advances a job; returns its result if it is over.
pub(super) fn advance(shared: &mut Shared, job: &mut JobState) -> Option<Result<(), Error>> {
    if output::has_taken_all(job) {
        return Some(Ok(()));
    }
    if let Some(error) = job.take_verdict() {
        return Some(Err(error));
    }
    if let Some(failed) = job.failed_source()
        && let Some((index, source)) = job.sources[failed].failure.take()
    {
        let input = (job.sources.len() > 1).then_some(failed);
        return Some(Err(Error::Input { job: job.id, input, index, source }));
    }
    // The seal of an exchange without rows may settle all that feeds another one, whatever their
    // numbers are.
    while let Some(exchange) = (0..job.exchanges.len()).find_map(|it| job.seal(it)) {
        shared.emit(job.id, JobEvent::ExchangeSealed { exchange });
    }
    job.close_branches();
    output::release_joined(shared, job);
    output_queues::delete_read(shared, job);
    if output::has_taken_all(job) {
        return Some(Ok(()));
    }
    while let Some(partials) = job.next_combination() {
        combine::combine(shared, job, partials);
    }
    if !job.is_settled() {
        return None;
    }
    let value = match &job.plan.end {
        End::Stream { .. } | End::Top { .. } => return Some(Ok(())),
        End::Count => Some(Bytes::from(codec::encode(&job.counted).unwrap_or_default())),
        End::Fold { empty, .. } => {
            let whole = job.fold.as_ref()?.finished(job.last_place()?)?;
            whole.or_else(|| empty.clone())
        }
    };
    if let Some(values) = value {
        let indexes = Indexes::Range { first: 0 };
        let block = OutputBlock { values, count: 1, indexes, charged: 0 };
        output::deliver(shared, job, block);
    }
    Some(Ok(()))
}
