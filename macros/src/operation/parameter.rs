//! A parameter of the function: input, state or context.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, Ident, Meta, Pat, PatType, Type, spanned::Spanned};

use super::{bare, borrowed, is_named, view::View};
use crate::mistakes::Mistakes;

pub(super) enum Parameter {
    /// The input, or a part of it, with its type as written.
    Input(Type, View),
    /// A field of the operation.
    State { field: Ident, docs: Vec<Attribute>, state: State },
    /// The `&TaskContext`.
    Context,
}

/// State that the function takes: as a whole, or a reference to it.
pub(super) struct State(View);

impl Parameter {
    /// Reads a parameter, and removes the attributes that the compiler would reject.
    pub(super) fn read(
        argument: &mut PatType,
        is_last: bool,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let (is_state, docs) = take_attributes(&mut argument.attrs, mistakes);
        let ty = bare(&argument.ty);
        if is_named(looked_at(ty), "TaskContext") {
            let view = View::read(ty, "the context", mistakes)?;
            return context(argument, &view, is_state, is_last, mistakes);
        }
        if !is_state {
            let view = View::read(ty, "the input", mistakes)?;
            return Some(Self::Input(ty.clone(), view));
        }
        let state = State::read(ty, mistakes)?;
        match &*argument.pat {
            Pat::Ident(name) => Some(Self::State { field: name.ident.clone(), docs, state }),
            pattern => {
                mistakes.at(
                    pattern,
                    "a `#[state]` parameter becomes a field of the operation: it needs a name instead of a pattern",
                );
                None
            }
        }
    }

    /// The type of an input, as written.
    pub(super) fn input(&self) -> Option<&Type> {
        match self {
            Self::Input(written, _) => Some(written),
            Self::State { .. } | Self::Context => None,
        }
    }

    pub(super) fn is_context(&self) -> bool {
        matches!(self, Self::Context)
    }
}

impl State {
    fn read(ty: &Type, mistakes: &mut Mistakes) -> Option<Self> {
        if let Type::Reference(_) = ty {
            return View::read(ty, "the state", mistakes).map(Self);
        }
        // Its parts are in a field, and cannot be taken out of it.
        borrowed::check(ty, "the state", mistakes);
        Some(Self(View::Owned(ty.clone())))
    }

    pub(super) fn is_reference(&self) -> bool {
        self.0.is_reference()
    }

    /// The type of the field.
    pub(super) fn wire(&self, private: &TokenStream) -> TokenStream {
        self.0.wire(private)
    }

    /// The argument of the call, for a field of the operation.
    pub(super) fn argument(&self, field: &Ident, private: &TokenStream) -> TokenStream {
        match &self.0 {
            View::Owned(ty) => {
                quote_spanned!(ty.span()=> #private::copied::<#ty>(&self.#field))
            }
            view => view.look(&quote!(self.#field), false),
        }
    }
}

/// The type without an `&`.
fn looked_at(ty: &Type) -> &Type {
    match ty {
        Type::Reference(reference) => bare(&reference.elem),
        owned => owned,
    }
}

fn context(
    argument: &PatType,
    view: &View,
    is_state: bool,
    is_last: bool,
    mistakes: &mut Mistakes,
) -> Option<Parameter> {
    if !view.is_reference() {
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
