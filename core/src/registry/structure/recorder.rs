//! A serializer that records what a type writes.

use serde::ser::{self, Serialize};

use super::{
    error::TraceError,
    tokens::{Fields, Token},
};
use crate::codec::{Shape, Shapes};

/// The most tokens that are recorded: larger made-up values are not checked.
const MOST_TOKENS: usize = 100_000;

/// What a value writes.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) tokens: Vec<Token>,
    pub(super) shapes: Shapes,
    /// What postcard cannot carry.
    pub(super) mismatch: Option<String>,
}

impl Record {
    fn push(&mut self, token: Token) -> Result<(), TraceError> {
        if self.tokens.len() == MOST_TOKENS {
            return Err(TraceError);
        }
        self.tokens.push(token);
        Ok(())
    }

    fn shape(
        &mut self,
        name: &'static str,
        variant: &'static str,
        index: u32,
        len: usize,
    ) -> Result<(), TraceError> {
        *self.shapes.entry(Shape { name, variant, index, len }).or_default() += 1;
        let owner = if variant.is_empty() {
            name.to_owned()
        } else {
            self.push(Token::Variant(index))?;
            format!("{name}::{variant}")
        };
        self.fields(owner, len)
    }

    fn fields(&mut self, owner: String, count: usize) -> Result<(), TraceError> {
        self.push(Token::Fields(Fields { owner, names: Vec::new(), count }))
    }

    fn unnamed(&mut self, len: Option<usize>) -> Result<&mut Self, TraceError> {
        match len {
            Some(len) => self.push(Token::Len(len))?,
            // As with `serde(flatten)`, which the tracer refuses by name.
            None => return Err(TraceError),
        }
        Ok(self)
    }
}

macro_rules! leaves {
    ($($method:ident($v:ident: $type:ty) => $token:expr;)*) => {$(
        fn $method(self, $v: $type) -> Result<(), TraceError> {
            self.push($token)
        }
    )*};
}

impl<'r> ser::Serializer for &'r mut Record {
    type Ok = ();
    type Error = TraceError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Named<'r>;
    type SerializeStructVariant = Named<'r>;

    leaves! {
        serialize_bool(v: bool) => Token::Bool(v);
        serialize_u8(v: u8) => Token::U8(v);
        serialize_i8(v: i8) => Token::I8(v);
        serialize_u16(v: u16) => Token::Unsigned(v.into());
        serialize_u32(v: u32) => Token::Unsigned(v.into());
        serialize_u64(v: u64) => Token::Unsigned(v.into());
        serialize_u128(v: u128) => Token::Unsigned(v);
        serialize_i16(v: i16) => Token::Signed(v.into());
        serialize_i32(v: i32) => Token::Signed(v.into());
        serialize_i64(v: i64) => Token::Signed(v.into());
        serialize_i128(v: i128) => Token::Signed(v);
        serialize_f32(v: f32) => Token::F32(v);
        serialize_f64(v: f64) => Token::F64(v);
        serialize_char(v: char) => Token::Text(v.to_string());
        serialize_str(v: &str) => Token::Text(v.to_owned());
        serialize_bytes(v: &[u8]) => Token::Bytes(v.to_vec());
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_none(self) -> Result<(), TraceError> {
        self.push(Token::Present(false))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TraceError> {
        self.push(Token::Present(true))?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), TraceError> {
        self.fields(String::new(), 0)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), TraceError> {
        self.fields(name.to_owned(), 0)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), TraceError> {
        self.shape(name, variant, index, 0)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), TraceError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), TraceError> {
        self.shape(name, variant, index, 1)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self, TraceError> {
        self.unnamed(len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self, TraceError> {
        self.unnamed(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self, TraceError> {
        self.fields(String::new(), len)?;
        Ok(self)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self, TraceError> {
        self.shape(name, "", 0, len)?;
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self, TraceError> {
        self.shape(name, variant, index, len)?;
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Named<'r>, TraceError> {
        self.shape(name, "", 0, len)?;
        Ok(Named { at: self.tokens.len() - 1, record: self, name })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Named<'r>, TraceError> {
        self.shape(name, variant, index, len)?;
        Ok(Named { at: self.tokens.len() - 1, record: self, name })
    }
}

macro_rules! elements {
    ($($compound:ident::$($element:ident)+),*) => {$(
        impl ser::$compound for &mut Record {
            type Ok = ();
            type Error = TraceError;

            $(fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TraceError> {
                value.serialize(&mut **self)
            })+

            fn end(self) -> Result<(), TraceError> {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
    SerializeMap::serialize_key serialize_value
}

/// Records named fields.
pub(super) struct Named<'r> {
    record: &'r mut Record,
    /// The number of the token that lists them.
    at: usize,
    name: &'static str,
}

macro_rules! named_fields {
    ($($compound:ident),*) => {$(
        impl ser::$compound for Named<'_> {
            type Ok = ();
            type Error = TraceError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                field: &'static str,
                value: &T,
            ) -> Result<(), TraceError> {
                if let Some(Token::Fields(fields)) = self.record.tokens.get_mut(self.at) {
                    fields.names.push(field);
                }
                value.serialize(&mut *self.record)
            }

            fn skip_field(&mut self, field: &'static str) -> Result<(), TraceError> {
                self.record.mismatch = Some(format!(
                    "leaves field `{field}` of `{}` out at times: remove \
                     `serde(skip_serializing_if)`",
                    self.name
                ));
                Err(TraceError)
            }

            fn end(self) -> Result<(), TraceError> {
                Ok(())
            }
        }
    )*};
}

named_fields!(SerializeStruct, SerializeStructVariant);
