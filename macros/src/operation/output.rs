//! The return type of the function, and the output of the operation.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::quote;
use syn::{
    AssocType, GenericArgument, Ident, PathArguments, ReturnType, Type, TypeParamBound,
    punctuated::Punctuated, spanned::Spanned, token::Plus,
};

use super::{bare, borrowed, is_named, local, view::View};
use crate::mistakes::Mistakes;

pub(super) struct Output {
    /// The `Result` whose `Ok` value is the output, if the function returns one.
    result: Option<Type>,
    form: Form,
}

enum Form {
    /// A value of this type; `None` is `()`.
    Value(Option<Type>),
    /// An iterator over values of this type, which may borrow what the output owns.
    Items(View),
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
            (Form::Items(item), _) => {
                let item = item.wire(private);
                quote!(::std::vec::Vec<#item>)
            }
            // The arguments of an alias can differ from those of `Result`.
            (Form::Value(_), Some(result)) => quote!(<#result as #private::ResultType>::Ok),
            (Form::Value(Some(ty)), None) => quote!(#ty),
            (Form::Value(None), None) => quote!(()),
        }
    }

    /// The type of the items of the output, if it is an iterator.
    pub(super) fn item(&self, private: &TokenStream) -> Option<TokenStream> {
        match &self.form {
            Form::Items(item) => Some(item.wire(private)),
            Form::Value(_) => None,
        }
    }

    /// The `Result` of `execute`, made from a `call` of the function.
    pub(super) fn result(&self, call: &TokenStream, private: &TokenStream) -> TokenStream {
        let value = local("value");
        match (&self.form, &self.result) {
            // A call that returns `()` is a statement.
            (Form::Value(None), None) => quote!(#call; ::core::result::Result::Ok(())),
            (Form::Value(Some(_)), None) => quote!(::core::result::Result::Ok(#call)),
            (Form::Value(_), Some(_)) => {
                self.on_success(call, &quote!(::core::result::Result::Ok(#value)), private)
            }
            (Form::Items(item), _) => {
                let borrowed = local("item");
                let owned = item.own(&quote!(#borrowed));
                let finish = quote! {
                    ::core::result::Result::Ok(::core::iter::Iterator::collect(
                        ::core::iter::Iterator::map(
                            ::core::iter::IntoIterator::into_iter(#value),
                            |#borrowed| #owned,
                        ),
                    ))
                };
                self.on_success(call, &finish, private)
            }
        }
    }

    /// The `Result` of `execute_items`, made from a `call` of the function whose items are pushed
    /// to `items`.
    pub(super) fn emit(
        &self,
        call: &TokenStream,
        items: &Ident,
        private: &TokenStream,
    ) -> TokenStream {
        let (value, item) = (local("value"), local("item"));
        let method = match &self.form {
            Form::Items(View::Owned(_)) => quote!(push),
            _ => quote!(push_view),
        };
        let push = quote! {
            {
                for #item in #value {
                    #items.#method(&#item)?;
                }
                ::core::result::Result::Ok(())
            }
        };
        self.on_success(call, &push, private)
    }

    /// Calls the function and evaluates `finish` with its `value`, or returns its error.
    fn on_success(
        &self,
        call: &TokenStream,
        finish: &TokenStream,
        private: &TokenStream,
    ) -> TokenStream {
        let (value, error, outcome) = (local("value"), local("error"), local("outcome"));
        let Some(result) = &self.result else {
            return quote!(let #value = #call; #finish);
        };
        // With the span of the return type, so that the compiler underlines an unsuitable error
        // type.
        let convert = quote! {
            #private::TypeProbe::of(&#error).operation_error(#error)
        };
        let convert = located_at(convert, result.span());
        // In a variable, which is dropped before the inputs that it may borrow.
        quote! {
            let #outcome = #call;
            match #outcome {
                ::core::result::Result::Ok(#value) => #finish,
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
                Some(item) => View::read(bare(item), "the item of the iterator", mistakes)
                    .map_or(Self::Value(None), Self::Items),
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
