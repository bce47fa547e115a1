//! The return type of the function, and the output of the operation.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::quote;
use syn::{
    AssocType, GenericArgument, PathArguments, ReturnType, Type, TypeParamBound,
    punctuated::Punctuated, spanned::Spanned, token::Plus,
};

use super::{bare, borrowed, is_named};
use crate::mistakes::Mistakes;

pub(super) struct Output {
    /// The `Result` whose `Ok` value is the output, if the function returns one.
    result: Option<Type>,
    form: Form,
}

enum Form {
    /// A value of this type; `None` is `()`.
    Value(Option<Type>),
    /// An iterator over this type, which is collected.
    Items(Type),
}

impl Output {
    pub(super) fn read(output: &ReturnType, mistakes: &mut Mistakes) -> Self {
        let ty = match output {
            ReturnType::Default => return Self { result: None, form: Form::Value(None) },
            ReturnType::Type(_, ty) => bare(ty),
        };
        if !is_named(ty, "Result") {
            return Self { result: None, form: Form::read(ty, mistakes) };
        }
        let form = match first_argument(ty) {
            Some(ok) => Form::read(bare(ok), mistakes),
            None => Form::Value(None),
        };
        Self { result: Some(ty.clone()), form }
    }

    /// The type `Output` of the operation.
    pub(super) fn ty(&self, private: &TokenStream) -> TokenStream {
        match (&self.form, &self.result) {
            (Form::Items(item), _) => quote!(::std::vec::Vec<#item>),
            // The arguments of an alias can differ from those of `Result`.
            (Form::Value(_), Some(result)) => quote!(<#result as #private::ResultType>::Ok),
            (Form::Value(Some(ty)), None) => quote!(#ty),
            (Form::Value(None), None) => quote!(()),
        }
    }

    /// The `Result` of `execute`, made from a `call` of the function.
    pub(super) fn result(&self, call: &TokenStream, private: &TokenStream) -> TokenStream {
        let value = super::parameter::local("value");
        let error = super::parameter::local("error");
        let finish = match &self.form {
            Form::Value(_) => quote!(#value),
            Form::Items(_) => quote! {
                ::core::iter::Iterator::collect(::core::iter::IntoIterator::into_iter(#value))
            },
        };
        let Some(result) = &self.result else {
            return match &self.form {
                // A call that returns `()` is a statement.
                Form::Value(None) => quote!(#call; ::core::result::Result::Ok(())),
                Form::Value(Some(_)) => quote!(::core::result::Result::Ok(#call)),
                Form::Items(_) => quote! {
                    let #value = #call;
                    ::core::result::Result::Ok(#finish)
                },
            };
        };
        // With the span of the return type, so that the compiler underlines an unsuitable error
        // type.
        let convert = quote! {
            #private::TypeProbe::of(&#error).operation_error(#error)
        };
        let convert = located_at(convert, result.span());
        quote! {
            match #call {
                ::core::result::Result::Ok(#value) => ::core::result::Result::Ok(#finish),
                ::core::result::Result::Err(#error) => {
                    use #private::OtherError as _;
                    ::core::result::Result::Err(#convert)
                }
            }
        }
    }
}

impl Form {
    fn read(ty: &Type, mistakes: &mut Mistakes) -> Self {
        if let Some(bounds) = trait_bounds(ty) {
            return match bounds.iter().find_map(item) {
                Some(item) => {
                    borrowed::check(item, "the item of the iterator", mistakes);
                    Self::Items(item.clone())
                }
                None => {
                    mistakes.at(
                        ty,
                        "the output is sent over the network, so its type must have a name; only \
                         `impl Iterator<Item = T>` is supported",
                    );
                    Self::Value(None)
                }
            };
        }
        borrowed::check(ty, "the output", mistakes);
        Self::Value(Some(ty.clone()))
    }
}

/// The same tokens with another location for diagnostics. Their names resolve as before.
fn located_at(tokens: TokenStream, place: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(token.span().located_at(place));
            if let TokenTree::Group(group) = &token {
                let inner = located_at(group.stream(), place);
                let mut group = Group::new(group.delimiter(), inner);
                group.set_span(token.span());
                return TokenTree::Group(group);
            }
            token
        })
        .collect()
}

/// The bounds of `impl A + B` and of `Box<dyn A + B>`.
fn trait_bounds(ty: &Type) -> Option<&Punctuated<TypeParamBound, Plus>> {
    match ty {
        Type::ImplTrait(opaque) => Some(&opaque.bounds),
        Type::Path(_) if is_named(ty, "Box") => match bare(first_argument(ty)?) {
            Type::TraitObject(object)
                if object.bounds.iter().any(|bound| item(bound).is_some()) =>
            {
                Some(&object.bounds)
            }
            _ => None,
        },
        _ => None,
    }
}

/// `T` of `Iterator<Item = T>`.
fn item(bound: &TypeParamBound) -> Option<&Type> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    let last = bound.path.segments.last()?;
    if !last.ident.to_string().ends_with("Iterator") {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(AssocType { ident, ty, .. }) if ident == "Item" => Some(ty),
        _ => None,
    })
}

fn first_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}
