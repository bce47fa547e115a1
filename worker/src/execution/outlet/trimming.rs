//! Leaves out of a reply what its reader does not need: outputs that are not among the largest.
//!
//! An output may be left out only because of larger ones in the same reply (rule 4). So a reply is
//! trimmed when all its outcomes are known.

use std::time::Instant;

use phalanx_core::{
    registry::Order,
    wire::{Outcome, Segment, TaskOutlet},
};

use super::super::Running;

/// The order by which the reply is trimmed, and the number of outputs that stay in it; `None` if
/// all of them do. They do in isolated runs: if comparing outputs ends the process, that must not
/// be charged to the element that ran last.
pub(in crate::execution) fn order(running: &Running) -> Option<(Order, usize)> {
    if running.task.header.isolated {
        return None;
    }
    let TaskOutlet::Top { most, by_key } = running.task.header.outlet else { return None };
    let order = running.pipeline.order(by_key)?;
    Some((order, usize::try_from(most).unwrap_or(usize::MAX)))
}

/// Trims the reply. Runs code of the user on a copy of the outputs, so the ledger is not locked
/// meanwhile, and the execution may be abandoned: then all outputs have been sent.
pub(in crate::execution) fn trim(running: &Running, order: Order, most: usize) {
    let started = Instant::now();
    let mut progress = running.progress();
    let (segments, payload) = progress.ledger.parts();
    let lengths = lengths(segments);
    if lengths.len() <= most {
        return;
    }
    let payload = payload.clone();
    drop(progress);
    let outputs = cut(&payload, &lengths);
    if let Some(largest) = order.largest(&outputs, most) {
        let mut progress = running.progress();
        let (segments, payload) = progress.ledger.parts();
        keep(segments, payload, &outputs, &largest);
        progress.busy += started.elapsed();
    }
}

/// The length of each output.
fn lengths(segments: &[Segment]) -> Vec<u32> {
    let mut all = Vec::new();
    for segment in segments {
        if let Outcome::Done { lengths: Some(lengths), .. } = &segment.outcome {
            all.extend_from_slice(lengths);
        }
    }
    all
}

/// The encoding of each output.
fn cut<'a>(mut payload: &'a [u8], lengths: &[u32]) -> Vec<&'a [u8]> {
    let output = |length: &u32| {
        let (output, rest) = payload.split_at((*length as usize).min(payload.len()));
        payload = rest;
        output
    };
    lengths.iter().map(output).collect()
}

/// Leaves all outputs out of the segments and the payload but those of these numbers, which ascend.
fn keep(segments: &mut [Segment], payload: &mut Vec<u8>, outputs: &[&[u8]], numbers: &[usize]) {
    let mut all = outputs.iter().enumerate();
    let mut numbers = numbers.iter().peekable();
    payload.clear();
    for segment in segments {
        let Outcome::Done { bytes, outputs, counts: Some(counts), lengths } = &mut segment.outcome
        else {
            continue;
        };
        let before = payload.len();
        for count in counts.iter_mut() {
            let of_element = all.by_ref().take(std::mem::take(count) as usize);
            for (number, output) in of_element {
                if numbers.next_if_eq(&&number).is_some() {
                    payload.extend_from_slice(output);
                    *count += 1;
                }
            }
        }
        *bytes = (payload.len() - before) as u64;
        *outputs = counts.iter().sum();
        *lengths = None;
    }
}
