//! Postcard's serializer, guarded against fields that are left out.
//!
//! Postcard writes no field names. A field that `skip_serializing_if` leaves out shifts all fields
//! after it, and the decoder returns a wrong value without an error. So leaving out a field is an
//! error here.

use serde::ser::{self, Serialize};

use super::{CodecError, appending::zigzag, guard::Guard, shape::WAY_OUT};

/// Methods for values without nested values, which postcard serializes directly.
macro_rules! leaves {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> Result<(), CodecError> {
            ser::Serializer::$method(&mut self.postcard, $($argument),*)
                .map_err(CodecError::unencodable)
        }
    )*};
}

macro_rules! varints {
    ($($method:ident($v:ident: $type:ty) => $number:expr;)*) => {$(
        #[inline]
        fn $method(self, $v: $type) -> Result<(), CodecError> {
            self.postcard.output.push_varint($number);
            Ok(())
        }
    )*};
}

impl<'g, 'a> ser::Serializer for &'g mut Guard<'a> {
    type Ok = ();
    type Error = CodecError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Fields<'g, 'a>;
    type SerializeStructVariant = Fields<'g, 'a>;

    leaves! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u128(v: u128);
        serialize_f32(v: f32);
        serialize_f64(v: f64);
        serialize_char(v: char);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
    }

    varints! {
        serialize_u16(v: u16) => u64::from(v);
        serialize_u32(v: u32) => u64::from(v);
        serialize_u64(v: u64) => v;
        serialize_i16(v: i16) => zigzag(v.into());
        serialize_i32(v: i32) => zigzag(v.into());
        serialize_i64(v: i64) => zigzag(v);
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), CodecError> {
        self.serialize_bytes(v.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<(), CodecError> {
        let output = &mut self.postcard.output;
        // Most texts are short.
        match v.len() {
            short @ 0..0x80 => output.0.push(short as u8),
            len => output.push_varint(len as u64),
        }
        output.0.extend_from_slice(v);
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), CodecError> {
        self.meet(name, variant, index, 0);
        self.serialize_u32(index)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CodecError> {
        self.postcard.output.0.push(1);
        self.inner(value)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        self.inner(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        self.meet(name, variant, index, 1);
        ser::Serializer::serialize_u32(&mut *self, index)?;
        self.inner(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self, CodecError> {
        ser::Serializer::serialize_seq(&mut self.postcard, len).map_err(CodecError::unencodable)?;
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Self, CodecError> {
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self, CodecError> {
        // A tuple struct leaves a field out without a call: only its length is another.
        self.meet(name, "", 0, len);
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self, CodecError> {
        self.meet(name, variant, index, len);
        ser::Serializer::serialize_u32(&mut *self, index)?;
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self, CodecError> {
        ser::Serializer::serialize_seq(self, len)
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Fields<'g, 'a>, CodecError> {
        self.meet_struct(name, len);
        self.enter()?;
        Ok(Fields { guard: self, name })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'g, 'a>, CodecError> {
        self.meet(name, variant, index, len);
        ser::Serializer::serialize_u32(&mut *self, index)?;
        self.enter()?;
        Ok(Fields { guard: self, name })
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), CodecError> {
        ser::Serializer::collect_str(&mut self.postcard, value).map_err(CodecError::unencodable)
    }
}

macro_rules! elements {
    ($($compound:ident::$element:ident),*) => {$(
        impl ser::$compound for &mut Guard<'_> {
            type Ok = ();
            type Error = CodecError;

            #[inline]
            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), CodecError> {
                self.leave();
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

impl ser::SerializeTuple for &mut Guard<'_> {
    type Ok = ();
    type Error = CodecError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        value.serialize(&mut **self)?;
        self.wrote_item();
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), CodecError> {
        self.leave();
        Ok(())
    }
}

impl ser::SerializeMap for &mut Guard<'_> {
    type Ok = ();
    type Error = CodecError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CodecError> {
        key.serialize(&mut **self)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result<(), CodecError> {
        self.leave();
        Ok(())
    }
}

/// Serializes the named fields of a struct or variant, none of which can be left out.
pub(super) struct Fields<'g, 'a> {
    guard: &'g mut Guard<'a>,
    name: &'static str,
}

impl Fields<'_, '_> {
    #[cold]
    fn left_out(&self, field: &'static str) -> CodecError {
        CodecError::new(format!(
            "`{}` leaves out its field `{field}`: `skip_serializing_if` would corrupt the fields \
             after it; remove the attribute, {WAY_OUT}",
            self.name
        ))
    }
}

macro_rules! named_fields {
    ($($compound:ident),*) => {$(
        impl ser::$compound for Fields<'_, '_> {
            type Ok = ();
            type Error = CodecError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _field: &'static str,
                value: &T,
            ) -> Result<(), CodecError> {
                value.serialize(&mut *self.guard)
            }

            fn skip_field(&mut self, field: &'static str) -> Result<(), CodecError> {
                Err(self.left_out(field))
            }

            #[inline]
            fn end(self) -> Result<(), CodecError> {
                self.guard.leave();
                Ok(())
            }
        }
    )*};
}

named_fields!(SerializeStruct, SerializeStructVariant);
