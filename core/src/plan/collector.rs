//! How the value of a program is made from the outputs of its job.

use crate::{
    codec::{self, CodecError},
    operation::Data,
    registry::Largest,
};

/// Makes the value of a program from the outputs of its job, which come one after the other.
pub(crate) trait Collector<V>: Send {
    /// Whether the value needs no further outputs.
    fn is_complete(&self) -> bool {
        false
    }

    /// Decodes the output at the front of `bytes`, and cuts it off.
    fn add(&mut self, bytes: &mut &[u8]) -> Result<(), CodecError>;

    /// The value, after all outputs or enough of them.
    fn finish(self: Box<Self>) -> Result<V, CodecError>;
}

/// One output: the only one, or the first.
pub(crate) struct One<T> {
    value: Option<T>,
    /// Whether it is valid before the job has succeeded.
    is_first: bool,
}

impl<T> One<T> {
    pub(crate) fn only() -> Self {
        Self { value: None, is_first: false }
    }

    pub(crate) fn first() -> Self {
        Self { value: None, is_first: true }
    }
}

impl<T: Data> Collector<Option<T>> for One<T> {
    fn is_complete(&self) -> bool {
        self.is_first && self.value.is_some()
    }

    fn add(&mut self, bytes: &mut &[u8]) -> Result<(), CodecError> {
        self.value = Some(codec::decode_front(bytes)?);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Option<T>, CodecError> {
        Ok(self.value)
    }
}

impl<T: Data> Collector<T> for One<T> {
    fn is_complete(&self) -> bool {
        Collector::<Option<T>>::is_complete(self)
    }

    fn add(&mut self, bytes: &mut &[u8]) -> Result<(), CodecError> {
        Collector::<Option<T>>::add(self, bytes)
    }

    fn finish(self: Box<Self>) -> Result<T, CodecError> {
        // An absent value is read as an empty encoding: right for `()`, an error for others.
        self.value.map_or_else(|| codec::decode(&[]), Ok)
    }
}

/// Nothing: the output is the number of elements.
pub(crate) struct Nothing;

impl Collector<()> for Nothing {
    fn add(&mut self, bytes: &mut &[u8]) -> Result<(), CodecError> {
        codec::decode_front::<u64>(bytes).map(|_| ())
    }

    fn finish(self: Box<Self>) -> Result<(), CodecError> {
        Ok(())
    }
}

/// The largest outputs.
pub(crate) struct Top<T>(pub(crate) Largest<T, ()>);

impl<T: Data + Ord> Collector<Vec<T>> for Top<T> {
    fn is_complete(&self) -> bool {
        self.0.keeps_none()
    }

    fn add(&mut self, bytes: &mut &[u8]) -> Result<(), CodecError> {
        let output = *bytes;
        let element = codec::decode_front(bytes)?;
        self.0.add(element, &output[..output.len() - bytes.len()], ());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<T>, CodecError> {
        Ok(self.0.into_sorted().map(|(element, ())| element).collect())
    }
}

/// The values of the outputs with the largest keys.
pub(crate) struct TopByKey<K, T>(pub(crate) Largest<K, T>);

impl<K: Data + Ord, T: Data> Collector<Vec<T>> for TopByKey<K, T> {
    fn is_complete(&self) -> bool {
        self.0.keeps_none()
    }

    fn add(&mut self, bytes: &mut &[u8]) -> Result<(), CodecError> {
        let key = codec::decode_front(bytes)?;
        let output = *bytes;
        let element = codec::decode_front(bytes)?;
        self.0.add(key, &output[..output.len() - bytes.len()], element);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<T>, CodecError> {
        Ok(self.0.into_sorted().map(|(_, element)| element).collect())
    }
}
