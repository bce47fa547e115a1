//! The shapes of values: how their structs and variants are written.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

/// The most shapes of one type that are remembered; a program that makes names at run time has more
/// and is checked each time.
const MOST_SHAPES: usize = 10_000;

/// How a struct, tuple struct or variant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shape {
    /// The name of the type, as serde reports it.
    pub(crate) name: &'static str,
    /// The name of the variant; empty for structs.
    pub(crate) variant: &'static str,
    /// The number of the variant.
    pub(crate) index: u32,
    /// The number of fields.
    pub(crate) len: usize,
}

impl Shape {
    fn address(&self) -> Address {
        (self.variant.as_ptr() as usize, self.name.as_ptr() as usize, self.index, self.len)
    }
}

/// A shape by the addresses of its names: comparing these is much faster than comparing names. One
/// shape can have several, because a name can be in a program several times.
type Address = (usize, usize, u32, usize);

/// The shapes of a value, and how often each occurs.
pub(crate) type Shapes = HashMap<Shape, u64>;

/// Writes a value of one type and reads it again, field by field.
///
/// # Errors
/// What the type does not read as it writes it.
pub(crate) type Verify = fn(&dyn Any) -> Result<(), String>;

/// The shapes of a type that are known to be read as they are written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Whether a variant leads to each struct that was not checked, so that structs need no check
    /// of their own.
    whole: bool,
    pub(super) verify: Option<Verify>,
    /// Whether any value was checked. A value without structs and variants has no shape, so the
    /// first one is checked whatever it is.
    checked: bool,
    /// Sorted.
    addresses: Vec<Address>,
    pub(super) shapes: Vec<Shape>,
}

static KNOWN: LazyLock<RwLock<HashMap<TypeId, Arc<Known>>>> = LazyLock::new(RwLock::default);

impl Known {
    /// What is known about this type.
    pub(crate) fn of<T: Any>() -> Arc<Self> {
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&TypeId::of::<T>()).cloned().unwrap_or_default()
    }

    /// Remembers how values of a type are checked.
    pub(crate) fn verify_with(id: TypeId, verify: Verify) {
        let mut all = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(all.entry(id).or_default()).verify = Some(verify);
    }

    /// Adds shapes that were checked.
    pub(crate) fn learn(id: TypeId, whole: bool, shapes: impl IntoIterator<Item = Shape>) {
        let mut all = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::make_mut(all.entry(id).or_default());
        known.whole |= whole;
        known.checked = true;
        for shape in shapes {
            if known.addresses.len() == MOST_SHAPES {
                break;
            }
            if let Err(at) = known.addresses.binary_search(&shape.address()) {
                known.addresses.insert(at, shape.address());
                known.shapes.push(shape);
            }
        }
    }

    /// Whether any value of the type was checked.
    #[inline]
    pub(super) fn is_checked(&self) -> bool {
        self.checked
    }

    /// Whether structs have to be looked up.
    #[inline]
    pub(super) fn checks_structs(&self) -> bool {
        !self.whole
    }

    #[inline]
    pub(super) fn has(&self, shape: &Shape) -> bool {
        self.addresses.binary_search(&shape.address()).is_ok()
    }
}

/// Checks that a value has the shapes that it was written with.
///
/// # Errors
/// The first shape that is read as another one.
pub(crate) fn compare(written: &Shapes, read: &Shapes) -> Result<(), String> {
    let (written, read) = (by_name(written), by_name(read));
    let Some(shape) = written.iter().find(|(shape, count)| read.get(shape) != Some(count)) else {
        return Ok(());
    };
    let shape = shape.0;
    let as_other = read
        .iter()
        .find(|(other, count)| other.name == shape.name && written.get(other) != Some(count));
    Err(match as_other {
        Some((other, _)) if !shape.variant.is_empty() => format!(
            "writes variant `{}` of `{}` as number {}, which it reads as `{}`: a variant with \
             `serde(skip)` or `skip_deserializing` shifts those after it; move it to the end of \
             the enum",
            shape.variant, shape.name, shape.index, other.variant
        ),
        _ => format!(
            "writes `{}`, which it reads as something else: make its `Serialize` and its \
             `Deserialize` agree",
            full_name(shape)
        ),
    })
}

/// What remains for a type that postcard cannot carry.
pub(crate) const WAY_OUT: &str = "or wrap the type in `phalanx::Json`, which sends it as JSON text";

pub(super) fn by_name(shapes: &Shapes) -> BTreeMap<Shape, u64> {
    shapes.iter().map(|(shape, count)| (*shape, *count)).collect()
}

pub(super) fn full_name(shape: &Shape) -> String {
    match shape.variant {
        "" => shape.name.to_owned(),
        variant => format!("{}::{variant}", shape.name),
    }
}
