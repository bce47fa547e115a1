//! Types that look at parts of a value: what the function names, and the owned type that is sent.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    GenericArgument, PathArguments, Type, TypeReference,
    spanned::Spanned,
    visit_mut::{self, VisitMut},
};

use super::{bare, borrowed, is_named, local, shown};
use crate::mistakes::Mistakes;

/// A type that may look at parts of the value that is sent.
pub(super) enum View {
    /// The value itself.
    Owned(Type),
    /// A reference to a value of this type, or to the slice of it.
    Reference(Type),
    /// A tuple with a reference inside.
    Tuple(Vec<View>),
    /// An `Option` with a reference inside.
    Option(Box<View>),
}

impl View {
    /// Reads a type; `part` names its role in mistakes.
    pub(super) fn read(ty: &Type, part: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match ty {
            Type::Reference(reference) => Self::reference(reference, part, mistakes),
            Type::Tuple(tuple) if has_reference(ty) => {
                let items: Vec<Option<Self>> =
                    tuple.elems.iter().map(|item| Self::read(bare(item), part, mistakes)).collect();
                Some(Self::Tuple(items.into_iter().collect::<Option<_>>()?))
            }
            _ => match option_item(ty) {
                Some(item) if has_reference(ty) => {
                    Some(Self::Option(Box::new(Self::read(bare(item), part, mistakes)?)))
                }
                _ => {
                    borrowed::check(ty, part, mistakes);
                    Some(Self::Owned(ty.clone()))
                }
            },
        }
    }

    fn reference(reference: &TypeReference, part: &str, mistakes: &mut Mistakes) -> Option<Self> {
        if let Some(mutability) = &reference.mutability {
            mistakes.at(
                mutability,
                "an operation cannot change its input in place: take it by value and return the \
                 result",
            );
            return None;
        }
        if let Some(lifetime) =
            reference.lifetime.as_ref().filter(|lifetime| lifetime.ident == "static")
        {
            let elem = shown(&reference.elem);
            mistakes
                .at(lifetime, format!("what is sent does not live for `'static`: write `&{elem}`"));
            return None;
        }
        let ty = bare(&reference.elem);
        if let Type::TraitObject(object) = ty {
            mistakes.at(
                object,
                "a value behind a trait object cannot be sent: take a reference to a type with a \
                 name",
            );
            return None;
        }
        borrowed::check(ty, part, mistakes);
        Some(Self::Reference(ty.clone()))
    }

    /// Whether it is a reference as a whole.
    pub(super) fn is_reference(&self) -> bool {
        matches!(self, Self::Reference(_))
    }

    /// Whether it is enough to look at the values of these views, some of which are references:
    /// what is taken by value beside them is cloned, and is known to be `Clone`.
    pub(super) fn all_can_look<'v>(mut views: impl Iterator<Item = &'v Self> + Clone) -> bool {
        views.clone().all(Self::can_look) && views.any(Self::has_reference)
    }

    fn can_look(&self) -> bool {
        match self {
            Self::Owned(ty) => is_scalar(ty),
            Self::Reference(_) => true,
            Self::Tuple(items) => items.iter().all(Self::can_look),
            Self::Option(item) => item.can_look(),
        }
    }

    fn has_reference(&self) -> bool {
        match self {
            Self::Owned(_) => false,
            // Tuples and options without references are values.
            Self::Reference(_) | Self::Tuple(_) | Self::Option(_) => true,
        }
    }

    /// The type that is sent.
    pub(super) fn wire(&self, private: &TokenStream) -> TokenStream {
        match self {
            Self::Owned(ty) => ty.to_token_stream(),
            Self::Reference(ty) => {
                quote_spanned!(ty.span()=> <#ty as #private::Parameter>::Owned)
            }
            Self::Tuple(items) => {
                let items = items.iter().map(|item| item.wire(private));
                quote!((#(#items,)*))
            }
            Self::Option(item) => {
                let item = item.wire(private);
                quote!(::core::option::Option<#item>)
            }
        }
    }

    /// The view of a sent value in `place`, which may be a reference to it.
    pub(super) fn look(&self, place: &TokenStream, place_is_reference: bool) -> TokenStream {
        match self {
            Self::Owned(_) if place_is_reference => {
                quote!(::core::clone::Clone::clone(#place))
            }
            Self::Owned(_) => place.clone(),
            Self::Reference(ty) => {
                let reference = if place_is_reference { place.clone() } else { quote!(&#place) };
                quote!(::core::borrow::Borrow::<#ty>::borrow(#reference))
            }
            Self::Tuple(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    let index = syn::Index::from(index);
                    match place_is_reference {
                        true => item.look(&quote!((&#place.#index)), true),
                        false => item.look(&quote!(#place.#index), false),
                    }
                });
                quote!((#(#items,)*))
            }
            Self::Option(item) => {
                let inner = local("inner");
                let item = item.look(&quote!(#inner), true);
                let reference = if place_is_reference { place.clone() } else { quote!(&#place) };
                quote!(::core::option::Option::as_ref(#reference).map(|#inner| #item))
            }
        }
    }

    /// The value to send, made from a view in `place`.
    pub(super) fn own(&self, place: &TokenStream) -> TokenStream {
        match self {
            Self::Owned(_) => place.clone(),
            Self::Reference(ty) => {
                quote_spanned!(ty.span()=> <#ty as ::std::borrow::ToOwned>::to_owned(#place))
            }
            Self::Tuple(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    let index = syn::Index::from(index);
                    item.own(&quote!(#place.#index))
                });
                quote!((#(#items,)*))
            }
            Self::Option(item) => {
                let inner = local("inner");
                let item = item.own(&quote!(#inner));
                quote!(::core::option::Option::map(#place, |#inner| #item))
            }
        }
    }
}

/// Whether there is a reference in a type, outside of the types of functions.
fn has_reference(ty: &Type) -> bool {
    struct Finder(bool);
    impl VisitMut for Finder {
        fn visit_type_reference_mut(&mut self, _: &mut TypeReference) {
            self.0 = true;
        }

        fn visit_type_mut(&mut self, ty: &mut Type) {
            if !matches!(ty, Type::BareFn(_) | Type::TraitObject(_)) {
                visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut finder = Finder(false);
    // The trait for immutable visits needs another feature of `syn`.
    finder.visit_type_mut(&mut ty.clone());
    finder.0
}

/// `T` of `Option<T>`.
fn option_item(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|_| is_named(ty, "Option"))?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(item) if arguments.args.len() == 1 => Some(item),
        _ => None,
    }
}

/// Whether a type is known by its name to be `Clone`.
fn is_scalar(ty: &Type) -> bool {
    const NAMES: [&str; 17] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "f32", "f64", "bool", "char", "String",
    ];
    NAMES.iter().any(|name| is_named(ty, name))
}
