//! Blocking operations: `map`, `try_map`, `filter`, `flat_map`.

use super::{
    Chunk, Elements, OnThisThread, RunChunk, RunEncoded, Shorten, State, another_type, caught,
    remove_last, wrong_type,
};
use crate::{
    codec::Encodings,
    operation::{Data, Items, Operation, Result, TaskContext},
    registry::{Column, FailedElement, description::VerbEntry},
};

pub(in crate::registry) fn map<O: Operation>(state: &State, chunk: &mut Chunk<'_>) -> Result<()> {
    let (Some(operation), Some((inputs, outputs, elements))) =
        (state.downcast_ref::<O>(), chunk.parts::<O::Input, O::Output>())
    else {
        return Err(another_type());
    };
    for value in inputs {
        if elements.begin() {
            outputs.push(operation.execute(value, elements.cx)?);
            elements.made_one();
        }
    }
    Ok(())
}

pub(in crate::registry) fn filter<O: Operation<Output = bool>>(
    state: &State,
    chunk: &mut Chunk<'_>,
) -> Result<()>
where
    O::Input: Clone,
{
    let (Some(operation), Some((inputs, outputs, elements))) =
        (state.downcast_ref::<O>(), chunk.parts::<O::Input, O::Input>())
    else {
        return Err(another_type());
    };
    for value in inputs {
        if elements.begin() && operation.execute_ref(&value, elements.cx)? {
            outputs.push(value);
            elements.made_one();
        }
    }
    Ok(())
}

pub(in crate::registry) fn flat_map<O: Operation>(
    state: &State,
    chunk: &mut Chunk<'_>,
) -> Result<()>
where
    O::Output: IntoIterator<Item: Data>,
{
    let (Some(operation), Some((inputs, outputs, elements))) =
        (state.downcast_ref::<O>(), chunk.parts::<O::Input, <O::Output as IntoIterator>::Item>())
    else {
        return Err(another_type());
    };
    for value in inputs {
        if elements.begin() {
            for item in operation.execute(value, elements.cx)? {
                outputs.push(item);
                elements.made_item();
            }
        }
    }
    Ok(())
}

pub(in crate::registry) fn flat_map_encoded<O: Operation>(
    state: &State,
    chunk: &mut Chunk<'_, Encodings>,
) -> Result<()>
where
    O::Output: IntoIterator<Item: Data>,
{
    let Chunk { name, queue, outputs, elements } = chunk;
    let (Some(operation), Some(inputs)) =
        (state.downcast_ref::<O>(), queue.downcast_mut::<std::vec::IntoIter<O::Input>>())
    else {
        return Err(another_type());
    };
    let mut items = Items::new(name, outputs);
    for value in inputs {
        if elements.begin() {
            operation.execute_items(value, elements.cx, &mut items)?;
            elements.made_up_to(items.len());
        }
    }
    Ok(())
}

/// One run of a blocking step on one chunk.
pub(super) struct Run<'a> {
    pub(super) name: &'a str,
    pub(super) entry: &'a VerbEntry,
    pub(super) state: &'a State,
    pub(super) cx: &'a TaskContext,
    /// Whether the column of the outputs tells the input of each.
    pub(super) tracks: bool,
}

impl<'a> Run<'a> {
    /// Runs all elements, and continues after one that fails or panics. The other values and
    /// outputs of the failed element are removed.
    pub(super) fn all(
        &self,
        run: RunChunk,
        input: Column,
        failures: &mut Vec<FailedElement>,
    ) -> Column {
        let outputs = self.entry.output.values(input.len());
        match self.chunk(input, outputs, failures) {
            Some(mut chunk) => {
                self.run(|chunk| run(self.state, chunk), &mut chunk, failures);
                let Elements { made, sources, .. } = chunk.elements;
                Column::from_parts(chunk.outputs, made).with_sources(sources)
            }
            None => Column::empty(),
        }
    }

    /// As [`all`](Self::all), with outputs that are encoded as they are made.
    pub(super) fn all_encoded(
        &self,
        run: RunEncoded,
        input: Column,
        failures: &mut Vec<FailedElement>,
    ) -> (Encodings, Vec<u32>) {
        match self.chunk(input, Encodings::default(), failures) {
            Some(mut chunk) => {
                self.run(|chunk| run(self.state, chunk), &mut chunk, failures);
                (chunk.outputs, chunk.elements.made)
            }
            None => Default::default(),
        }
    }

    /// The chunk that begins with this input; `None` if that has another type.
    fn chunk<Outputs>(
        &self,
        input: Column,
        outputs: Outputs,
        failures: &mut Vec<FailedElement>,
    ) -> Option<Chunk<'a, Outputs>> {
        let (queue, offsets) = match self.entry.input.queue(input) {
            Ok(parts) => parts,
            Err(column) => {
                failures.extend(wrong_type(&column.offsets, self.name));
                return None;
            }
        };
        let capacity = offsets.len();
        let mut elements = Elements::new(offsets, capacity, self.cx);
        elements.sources = self.tracks.then(Vec::new);
        Some(Chunk { name: self.name, queue, outputs, elements })
    }

    fn run<Outputs: Shorten>(
        &self,
        run: impl Fn(&mut Chunk<'a, Outputs>) -> Result<()>,
        chunk: &mut Chunk<'a, Outputs>,
        failures: &mut Vec<FailedElement>,
    ) {
        let _running = OnThisThread::of(self.name);
        loop {
            let begun = chunk.elements.begun;
            let error = match caught(|| run(chunk)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(panic) => panic.into_error(self.name),
            };
            let elements = &mut chunk.elements;
            if elements.begun == begun {
                // No element has begun, so none would begin in another pass.
                failures.extend(wrong_type(&elements.offsets[begun..], self.name));
                return;
            }
            let offset = elements.offset;
            if elements.failed != Some(offset) {
                failures.push(FailedElement { offset, error });
            }
            elements.failed = Some(offset);
            remove_last(&mut chunk.outputs, &mut chunk.elements.made, offset);
            if let Some(sources) = &mut chunk.elements.sources {
                sources.truncate(chunk.elements.made.len());
            }
        }
    }
}
