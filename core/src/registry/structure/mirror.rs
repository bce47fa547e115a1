//! Checks, with made-up values, that a type reads what it writes.

use serde::Serialize;

use super::{
    Unsupported,
    error::TraceError,
    format::Kind,
    recorder::Record,
    session::{Entered, Session},
    tokens::{Fields, Replay, Token},
};
use crate::codec;

impl Session {
    /// Checks a made-up value: it is written, read again with `read`, and written once more.
    ///
    /// A value that the type does not write is no fault: the type may have variants that are never
    /// sent.
    pub(super) fn check<T: Serialize>(
        &mut self,
        value: &T,
        read: impl FnOnce(&mut Self) -> Result<T, TraceError>,
    ) {
        let written = self.record(value);
        let Some(written) = written else { return };
        self.replay = Some(Replay::new(written.tokens));
        let again = read(self);
        let Some(mut replay) = self.replay.take() else { return };
        if again.is_ok() && !replay.is_at_end() {
            replay.refuse(|| "writes more than it reads".to_owned());
        }
        let read = again.ok().and_then(|again| codec::looked_at(again, |again| self.record(again)));
        if let Some(mismatch) = replay.mismatch {
            self.refuse_written(mismatch);
            return;
        }
        // Otherwise the type rejects its own value, for reasons of its own.
        let Some(Some(read)) = read else {
            self.partial = true;
            return;
        };
        match codec::compare(&written.shapes, &read.shapes) {
            Ok(()) => self.shapes.extend(written.shapes.into_keys()),
            Err(mismatch) => self.refuse_written(mismatch),
        }
    }

    fn record<T: Serialize>(&mut self, value: &T) -> Option<Record> {
        let mut record = Record::default();
        let done = value.serialize(&mut record);
        if let Some(mismatch) = record.mismatch.take() {
            self.refuse_written(mismatch);
        }
        if done.is_err() {
            self.partial = true;
        }
        done.is_ok().then_some(record)
    }

    fn refuse_written(&mut self, reason: String) {
        if self.unsupported.is_none() {
            self.unsupported = Some(Unsupported { path: String::new(), reason });
        }
    }
}

impl Replay {
    /// Begins to read a container.
    pub(super) fn enter(&mut self, kind: Kind) -> Result<Entered, TraceError> {
        let (branch, len) = match kind {
            Kind::Option => match self.scalar() {
                Some(Token::Present(present)) => (usize::from(!present), 0),
                _ => return Err(self.differs("Option")),
            },
            Kind::Seq => (0, self.len().ok_or_else(|| self.differs("sequence"))?),
            Kind::Map => (0, self.len().ok_or_else(|| self.differs("map"))?.saturating_mul(2)),
            Kind::Tuple(_) | Kind::Struct => (0, 0),
            Kind::Enum => match self.scalar() {
                Some(Token::Variant(index)) => (index as usize, 0),
                _ => return Err(self.differs("enum")),
            },
        };
        Ok(Entered { depth: 0, container: 0, branch, len })
    }

    /// The error of a place where something else is written than this.
    pub(super) fn differs(&mut self, read: &str) -> TraceError {
        self.refuse(|| {
            format!(
                "reads `{read}` where it writes something else: make its `Serialize` and its \
                     `Deserialize` agree"
            )
        });
        TraceError
    }

    /// The error of a variant that is written with a number that is not read.
    pub(super) fn unread_variant(&mut self, index: usize) -> TraceError {
        let variant = self.fields().map(|fields| fields.owner).unwrap_or_default();
        self.refuse(|| {
            format!(
                "writes `{variant}` as number {index}, which it does not read: a variant with \
                     `serde(skip)` or `skip_deserializing` shifts those after it; move it to the \
                     end of the enum"
            )
        });
        TraceError
    }

    /// Compares the fields that were written with those that were read.
    pub(super) fn compare(
        &mut self,
        written: &Fields,
        read: Result<usize, TraceError>,
        names: &[&'static str],
    ) {
        match read {
            Ok(read) => {
                if let Some(mismatch) = written.mismatch(read, names) {
                    self.refuse(|| mismatch);
                }
            }
            // What was read after a missing field is something else: the field is the reason.
            Err(TraceError) if !self.blamed => {
                if let Some(mismatch) = written.mismatch(names.len(), names) {
                    self.mismatch = Some(mismatch);
                    self.blamed = true;
                }
            }
            Err(TraceError) => {}
        }
    }
}

#[cfg(test)]
mod tests;
