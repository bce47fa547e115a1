//! The elements of a part of a partition, as a worker makes them: with the values of each key
//! combined, if the task begins with that.

use bytes::Bytes;
use phalanx_core::{gather::List, operation::OperationError, registry::Refusal};

use super::{
    super::{Running, rows::Rows},
    combined::CombinedGroups,
    wanted::Wanted,
};

/// The elements of one part of a partition.
pub(super) struct Gathered {
    list: List,
    /// What became of each group, if the first step combines their values.
    combined: Option<CombinedGroups>,
}

impl Gathered {
    /// The elements of a list that is made from the blocks in the payload. Combines the values of
    /// those that the task asks for.
    pub(super) fn new(
        running: &Running,
        list: List,
        payload: &Bytes,
        wanted: &Wanted,
    ) -> Result<Self, Refusal> {
        let combined = match list.uncombined() {
            Some((keys, rows)) => {
                Some(CombinedGroups::combine(running, payload, keys, rows, wanted)?)
            }
            None => None,
        };
        Ok(Self { list, combined })
    }

    /// Adds the element with this number to `rows`, for this batch offset.
    pub(super) fn push(
        &self,
        number: u64,
        offset: u32,
        rows: &mut Rows,
    ) -> Result<(), OperationError> {
        let Some(combined) = &self.combined else {
            let element = self.list.element(number)?;
            rows.push(offset, element.key, |out| element.write_value(out));
            return Ok(());
        };
        let value = combined.get(number)?;
        let key = self.list.key(number).unwrap_or_default();
        rows.push(offset, key, |out| out.extend_from_slice(value));
        Ok(())
    }
}
