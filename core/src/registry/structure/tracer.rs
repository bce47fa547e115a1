//! A deserializer that makes up values and records the structure that is requested.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::{
    error::TraceError,
    format::{Form, Format, Kind},
    samples,
    session::{Entered, Session},
};

const SELF_DESCRIBING: &str = "needs a format that describes itself, as `serde(untagged)`, \
     `serde(tag)`, `serde(flatten)` and `serde_json::Value` do";
const FLATTENED: &str = "reads its fields by name, as `serde(flatten)` does";
const ADJACENT: &str = "has its tag beside its content: remove `serde(tag, content)`";

/// Deserializes one made-up value.
pub(super) struct Tracer<'s>(pub(super) &'s mut Session);

impl<'s> Tracer<'s> {
    fn enter<V>(
        self,
        kind: Kind,
        variants: &'static [&'static str],
    ) -> Result<(&'s mut Session, Entered), TraceError> {
        self.0.visit()?;
        let entered = self.0.enter(typeid::of::<V>(), kind, variants)?;
        Ok((self.0, entered))
    }

    fn leaf<T: Copy>(self, name: &'static str, samples: &[T]) -> Result<T, TraceError> {
        self.0.note(Format::Leaf(name));
        self.0.visit()?;
        Ok(self.0.sample(samples))
    }
}

macro_rules! leaves {
    ($($method:ident: $name:literal from $samples:ident by $visit:ident($($convert:tt)*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
            let sample = self.leaf($name, &samples::$samples)?;
            visitor.$visit(leaves!(@ sample $($convert)*))
        }
    )*};
    (@ $sample:ident) => { $sample };
    (@ $sample:ident as $type:ty) => { <$type>::from($sample) };
    (@ $sample:ident signed $type:ty) => { $sample as $type };
    (@ $sample:ident . $method:ident()) => { $sample.$method() };
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = TraceError;

    leaves! {
        deserialize_bool: "bool" from BOOLS by visit_bool();
        deserialize_i8: "i8" from INTEGERS by visit_i8(signed i8);
        deserialize_i16: "i16" from INTEGERS by visit_i16(as i16);
        deserialize_i32: "i32" from INTEGERS by visit_i32(as i32);
        deserialize_i64: "i64" from INTEGERS by visit_i64(as i64);
        deserialize_i128: "i128" from INTEGERS by visit_i128(as i128);
        deserialize_u8: "u8" from INTEGERS by visit_u8();
        deserialize_u16: "u16" from INTEGERS by visit_u16(as u16);
        deserialize_u32: "u32" from INTEGERS by visit_u32(as u32);
        deserialize_u64: "u64" from INTEGERS by visit_u64(as u64);
        deserialize_u128: "u128" from INTEGERS by visit_u128(as u128);
        deserialize_f32: "f32" from FLOATS by visit_f32();
        deserialize_f64: "f64" from FLOATS by visit_f64(as f64);
        deserialize_char: "char" from CHARS by visit_char();
        deserialize_str: "str" from STRINGS by visit_str();
        deserialize_string: "str" from STRINGS by visit_string(.to_owned());
        deserialize_bytes: "bytes" from BYTES by visit_bytes();
        deserialize_byte_buf: "bytes" from BYTES by visit_byte_buf(.to_vec());
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
        Err(self.0.refuse(SELF_DESCRIBING))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
        Err(self.0.refuse(SELF_DESCRIBING))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
        Err(self.0.refuse(FLATTENED))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.0.note(Format::Leaf("()"));
        self.0.visit()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        self.0.visit()?;
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Option, &[])?;
        let value = if entered.branch == 0 {
            visitor.visit_some(Tracer(session.go_to(entered, 0)))?
        } else {
            visitor.visit_none()?
        };
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Seq, &[])?;
        let len = usize::from(entered.branch == 0);
        let value = visitor.visit_seq(Elements { session, entered, next: 0, len })?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Map, &[])?;
        let len = if entered.branch == 0 { 2 } else { 0 };
        let value = visitor.visit_map(Elements { session, entered, next: 0, len })?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Tuple(len), &[])?;
        let value = visitor.visit_seq(Elements { session, entered, next: 0, len })?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Struct, &[])?;
        session.shape(entered, Form::Struct, fields);
        let len = fields.len();
        let value = visitor.visit_seq(Elements { session, entered, next: 0, len })?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        // Only the name of the visitor distinguishes the tag of such an enum from an enum.
        if std::any::type_name::<V>().contains("AdjacentlyTagged") {
            return Err(self.0.refuse(ADJACENT));
        }
        let (session, entered) = self.enter::<V>(Kind::Enum, variants)?;
        let value = visitor.visit_enum(Variant { session, entered })?;
        session.leave(entered);
        Ok(value)
    }
}

/// The elements of a sequence or tuple, or the keys and values of a map by turns.
struct Elements<'s> {
    session: &'s mut Session,
    entered: Entered,
    next: usize,
    len: usize,
}

impl Elements<'_> {
    fn element<'de, T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TraceError> {
        if self.next == self.len {
            return Ok(None);
        }
        let slot = self.next;
        self.next += 1;
        seed.deserialize(Tracer(self.session.go_to(self.entered, slot))).map(Some)
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = TraceError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TraceError> {
        self.element(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.next)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_> {
    type Error = TraceError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TraceError> {
        self.element(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TraceError> {
        self.element(seed)?.ok_or(TraceError)
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.len - self.next) / 2)
    }
}

/// The chosen variant of an enum.
struct Variant<'s> {
    session: &'s mut Session,
    entered: Entered,
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = TraceError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), TraceError> {
        let index = u32::try_from(self.entered.branch).map_err(|_| TraceError)?;
        let variant = seed.deserialize(IntoDeserializer::<TraceError>::into_deserializer(index))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = TraceError;

    fn unit_variant(self) -> Result<(), TraceError> {
        self.session.shape(self.entered, Form::Unit, &[]);
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, TraceError> {
        self.session.shape(self.entered, Form::Newtype, &[]);
        seed.deserialize(Tracer(self.session.go_to(self.entered, 0)))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let Self { session, entered } = self;
        session.shape(entered, Form::Tuple, &[]);
        visitor.visit_seq(Elements { session, entered, next: 0, len })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let Self { session, entered } = self;
        session.shape(entered, Form::Struct, fields);
        let len = fields.len();
        visitor.visit_seq(Elements { session, entered, next: 0, len })
    }
}
