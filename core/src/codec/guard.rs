//! The state of postcard's guarded serializer: its buffer, and what it watches for.

use postcard::Serializer;
use serde::ser::Serialize;

use super::{
    CodecError,
    appending::Appending,
    shape::{Known, Shape, Shapes},
};

/// The deepest nesting of values: a stack of 2 MiB, as Tokio's threads have it, suffices to encode,
/// decode and drop them in an unoptimized build.
pub(super) const MOST_DEPTH: usize = 1_000;

/// Postcard's serializer, which appends to a buffer.
pub(super) struct Guard<'a> {
    pub(super) postcard: Serializer<Appending<'a>>,
    watch: Watch<'a>,
    /// How many values enclose the current one.
    depth: usize,
    /// The end of the first item of the outermost value, if that is a tuple.
    first_item: Option<usize>,
}

/// What is done with the shapes of structs and variants.
enum Watch<'a> {
    Nothing,
    Unknown { known: &'a Known, met: bool },
    Collect(&'a mut Shapes),
}

impl<'a> Guard<'a> {
    #[inline]
    fn new(out: &'a mut Vec<u8>, watch: Watch<'a>) -> Self {
        Self { postcard: Serializer { output: Appending(out) }, watch, depth: 0, first_item: None }
    }

    #[inline]
    pub(super) fn appending(out: &'a mut Vec<u8>) -> Self {
        Self::new(out, Watch::Nothing)
    }

    /// Notices shapes that are not known.
    #[inline]
    pub(super) fn checking(out: &'a mut Vec<u8>, known: &'a Known) -> Self {
        Self::new(out, Watch::Unknown { known, met: false })
    }

    /// Counts all shapes.
    pub(super) fn collecting(out: &'a mut Vec<u8>, shapes: &'a mut Shapes) -> Self {
        Self::new(out, Watch::Collect(shapes))
    }

    /// Begins a value that contains others; [`leave`](Self::leave) ends it.
    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), CodecError> {
        self.depth += 1;
        if self.depth > MOST_DEPTH { Err(too_deep()) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// An item of a tuple has been written.
    #[inline]
    pub(super) fn wrote_item(&mut self) {
        if self.depth == 1 && self.first_item.is_none() {
            self.first_item = Some(self.postcard.output.0.len());
        }
    }

    /// The end of the first item in the buffer, if the value is a tuple.
    #[inline]
    pub(super) fn first_item(&self) -> Option<usize> {
        self.first_item
    }

    /// Serializes the only value in another one.
    #[inline]
    pub(super) fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.enter()?;
        value.serialize(&mut *self)?;
        self.leave();
        Ok(())
    }

    #[inline]
    pub(super) fn met_unknown(&self) -> bool {
        matches!(self.watch, Watch::Unknown { met: true, .. })
    }

    #[inline]
    pub(super) fn meet(
        &mut self,
        name: &'static str,
        variant: &'static str,
        index: u32,
        len: usize,
    ) {
        let shape = Shape { name, variant, index, len };
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Unknown { known, met } => *met = *met || !known.has(&shape),
            Watch::Collect(shapes) => *shapes.entry(shape).or_default() += 1,
        }
    }

    /// Structs cannot shift as variants do, so they are looked up only if something could be
    /// unchecked.
    #[inline]
    pub(super) fn meet_struct(&mut self, name: &'static str, len: usize) {
        if !matches!(&self.watch, Watch::Unknown { known, .. } if !known.checks_structs()) {
            self.meet(name, "", 0, len);
        }
    }
}

#[cold]
fn too_deep() -> CodecError {
    CodecError::new(format!(
        "its values are nested more than {MOST_DEPTH} deep: send long chains as a sequence"
    ))
}
