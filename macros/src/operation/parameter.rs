//! A parameter of the function: input, state or context.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Attribute, Ident, Meta, Pat, PatType, Type, spanned::Spanned};

use super::{bare, borrowed, is_named, shown};
use crate::mistakes::Mistakes;

pub(super) enum Parameter {
    /// The input, or a part of it.
    Input(Value),
    /// A field of the operation.
    State { field: Ident, docs: Vec<Attribute>, value: Value },
    /// The `&TaskContext`.
    Context,
}

/// A value that the function takes.
pub(super) struct Value {
    /// The type, without the `&`.
    ty: Type,
    by_reference: bool,
}

impl Parameter {
    /// Reads a parameter, and removes the attributes that the compiler would reject.
    pub(super) fn read(
        argument: &mut PatType,
        is_last: bool,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let (is_state, docs) = take_attributes(&mut argument.attrs, mistakes);
        let value = Value::read(bare(&argument.ty), mistakes)?;
        if is_named(&value.ty, "TaskContext") {
            return context(argument, &value, is_state, is_last, mistakes);
        }
        let part = if is_state { "the state" } else { "the input" };
        borrowed::check(&value.ty, part, mistakes);
        if !is_state {
            return Some(Self::Input(value));
        }
        match &*argument.pat {
            Pat::Ident(name) => Some(Self::State { field: name.ident.clone(), docs, value }),
            pattern => {
                mistakes.at(
                    pattern,
                    "a `#[state]` parameter becomes a field of the operation: it needs a name instead of a pattern",
                );
                None
            }
        }
    }

    pub(super) fn is_input(&self) -> bool {
        matches!(self, Self::Input(_))
    }

    pub(super) fn is_context(&self) -> bool {
        matches!(self, Self::Context)
    }

    /// The type of the parameter as written, without the `&`.
    pub(super) fn owned(&self) -> Option<&Type> {
        match self {
            Self::Input(value) | Self::State { value, .. } => Some(&value.ty),
            Self::Context => None,
        }
    }
}

impl Value {
    fn read(ty: &Type, mistakes: &mut Mistakes) -> Option<Self> {
        match ty {
            Type::Reference(reference) => {
                if let Some(mutability) = &reference.mutability {
                    mistakes.at(
                        mutability,
                        "an operation cannot change its input in place: take it by value and return \
                         the result",
                    );
                    return None;
                }
                if let Some(lifetime) =
                    reference.lifetime.as_ref().filter(|lifetime| lifetime.ident == "static")
                {
                    let elem = shown(&reference.elem);
                    mistakes
                        .at(lifetime, format!("inputs do not live for `'static`: take `&{elem}`"));
                    return None;
                }
                let ty = bare(&reference.elem);
                if let Type::TraitObject(object) = ty {
                    mistakes.at(
                        object,
                        "a value behind a trait object cannot be sent: take a reference to a type \
                         with a name",
                    );
                    return None;
                }
                Some(Self { ty: ty.clone(), by_reference: true })
            }
            owned => Some(Self { ty: owned.clone(), by_reference: false }),
        }
    }

    /// Whether the function takes a reference.
    pub(super) fn is_borrowed(&self) -> bool {
        self.by_reference
    }

    /// The type that is sent.
    pub(super) fn wire(&self, private: &TokenStream) -> TokenStream {
        let ty = &self.ty;
        if self.by_reference {
            quote_spanned!(ty.span()=> <#ty as #private::Parameter>::Owned)
        } else {
            quote!(#ty)
        }
    }

    /// The argument of the call, for a value in `place`, which may be a reference.
    pub(super) fn argument(&self, place: &TokenStream, place_is_reference: bool) -> TokenStream {
        if !self.by_reference {
            return place.clone();
        }
        let ty = &self.ty;
        let reference = if place_is_reference { quote!(#place) } else { quote!(&#place) };
        quote!(::core::borrow::Borrow::<#ty>::borrow(#reference))
    }

    /// The argument of the call, for a field of the operation.
    pub(super) fn field(&self, field: &Ident, private: &TokenStream) -> TokenStream {
        if self.by_reference {
            return self.argument(&quote!(self.#field), false);
        }
        let ty = &self.ty;
        quote_spanned!(ty.span()=> #private::copied::<#ty>(&self.#field))
    }
}

fn context(
    argument: &PatType,
    value: &Value,
    is_state: bool,
    is_last: bool,
    mistakes: &mut Mistakes,
) -> Option<Parameter> {
    if !value.by_reference {
        mistakes.at(&argument.ty, "the context is passed by reference: take `&TaskContext`");
    } else if is_state {
        mistakes.at(&argument.ty, "the context is not part of the state: remove `#[state]`");
    } else if !is_last {
        mistakes.at(&argument.ty, "the context must be the last parameter: move it to the end");
    } else {
        return Some(Parameter::Context);
    }
    None
}

/// Whether there is a `#[state]`, and the documentation. The compiler accepts neither on a
/// parameter.
fn take_attributes(
    attributes: &mut Vec<Attribute>,
    mistakes: &mut Mistakes,
) -> (bool, Vec<Attribute>) {
    let mut states = 0;
    let mut docs = Vec::new();
    attributes.retain(|attribute| {
        if attribute.path().is_ident("state") {
            states += 1;
            if !matches!(attribute.meta, Meta::Path(_)) || states > 1 {
                mistakes.at(attribute, "write `#[state]`, once and without arguments");
            }
            false
        } else if attribute.path().is_ident("doc") {
            docs.push(attribute.clone());
            false
        } else {
            true
        }
    });
    (states > 0, docs)
}

/// A name that cannot collide with names of the user.
pub(super) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
