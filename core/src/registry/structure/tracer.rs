//! A deserializer that makes up values and records the structure that is requested.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::{
    attribute,
    error::TraceError,
    format::{Form, Format, Kind},
    session::{Entered, Session},
};

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
}

macro_rules! leaves {
    ($($method:ident: $type:ty, $visit:ident($value:ident => $passed:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
            let $value: $type = self.0.scalar()?;
            visitor.$visit($passed)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = TraceError;

    leaves! {
        deserialize_bool: bool, visit_bool(v => v);
        deserialize_i8: i8, visit_i8(v => v);
        deserialize_i16: i16, visit_i16(v => v);
        deserialize_i32: i32, visit_i32(v => v);
        deserialize_i64: i64, visit_i64(v => v);
        deserialize_i128: i128, visit_i128(v => v);
        deserialize_u8: u8, visit_u8(v => v);
        deserialize_u16: u16, visit_u16(v => v);
        deserialize_u32: u32, visit_u32(v => v);
        deserialize_u64: u64, visit_u64(v => v);
        deserialize_u128: u128, visit_u128(v => v);
        deserialize_f32: f32, visit_f32(v => v);
        deserialize_f64: f64, visit_f64(v => v);
        deserialize_char: char, visit_char(v => v);
        deserialize_str: String, visit_str(v => &v);
        deserialize_string: String, visit_string(v => v);
        deserialize_bytes: Vec<u8>, visit_bytes(v => &v);
        deserialize_byte_buf: Vec<u8>, visit_byte_buf(v => v);
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
        Err(self.0.refuse(attribute::self_describing::<V>()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
        Err(self.0.refuse(attribute::self_describing::<V>()))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
        Err(self.0.refuse(attribute::FLATTEN))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.0.written_fields();
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
        let value = visitor.visit_seq(Elements { session, entered, next: 0, len: entered.len })?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Map, &[])?;
        let value = visitor.visit_map(Elements { session, entered, next: 0, len: entered.len })?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (session, entered) = self.enter::<V>(Kind::Tuple(len), &[])?;
        let value = visit_fields(session, entered, &[], len, visitor)?;
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
        let value = visit_fields(session, entered, fields, fields.len(), visitor)?;
        session.leave(entered);
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        if attribute::is_adjacently_tagged::<V>() {
            return Err(self.0.refuse(attribute::ADJACENT));
        }
        let (session, entered) = self.enter::<V>(Kind::Enum, variants)?;
        let value = visitor.visit_enum(Variant { session, entered })?;
        session.leave(entered);
        Ok(value)
    }
}

/// Makes the fields of a tuple, struct or variant; `names` includes aliases.
fn visit_fields<'de, V: Visitor<'de>>(
    session: &mut Session,
    entered: Entered,
    names: &'static [&'static str],
    len: usize,
    visitor: V,
) -> Result<V::Value, TraceError> {
    let written = session.written_fields();
    let mut elements = Elements { session, entered, next: 0, len };
    let value = visitor.visit_seq(&mut elements);
    let read = elements.next;
    session.compare_fields(written, value.as_ref().map(|_| read).map_err(|_| TraceError), names);
    value
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
        let Self { session, entered } = self;
        let index = u32::try_from(entered.branch).map_err(|_| TraceError)?;
        let variant = seed.deserialize(IntoDeserializer::<TraceError>::into_deserializer(index));
        match variant {
            Ok(variant) => Ok((variant, Self { session, entered })),
            Err(error) => Err(session.unread_variant(entered.branch).unwrap_or(error)),
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = TraceError;

    fn unit_variant(self) -> Result<(), TraceError> {
        let written = self.session.written_fields();
        self.session.compare_fields(written, Ok(0), &[]);
        self.session.shape(self.entered, Form::Unit, &[]);
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, TraceError> {
        let written = self.session.written_fields();
        self.session.compare_fields(written, Ok(1), &[]);
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
        visit_fields(session, entered, &[], len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let Self { session, entered } = self;
        session.shape(entered, Form::Struct, fields);
        visit_fields(session, entered, fields, fields.len(), visitor)
    }
}
