//! `#[derive(RemoteExecute)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, GenericParam, Generics, Ident, Meta, parse_quote};

use crate::{
    mistakes::Mistakes,
    options::{Of, Options},
};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut mistakes = Mistakes::default();
    let options = read_options(&input, &mut mistakes);
    check(&input, &mut mistakes);
    if mistakes.any() {
        return mistakes.into_compile_errors();
    }
    let marker = marker(&input.ident, &input.generics, &options);
    if input.generics.params.is_empty() {
        let entry = entry(&input.ident, &options);
        quote!(#marker #entry)
    } else {
        marker
    }
}

fn read_options(input: &DeriveInput, mistakes: &mut Mistakes) -> Options {
    let mut options = Options::default();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("remote")) {
        match &attribute.meta {
            Meta::List(list) => options.read(list.tokens.clone(), Of::Type, mistakes),
            other => {
                mistakes.at(other, "write the options in parentheses: `#[remote(pool = \"gpu\")]`")
            }
        }
    }
    options
}

fn check(input: &DeriveInput, mistakes: &mut Mistakes) {
    if let Data::Union(union) = &input.data {
        mistakes.at(union.union_token, "a union cannot be serialized: use a struct or an enum");
    }
    for parameter in &input.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            mistakes.at(
                lifetime,
                "an operation is sent to workers, so it cannot borrow: replace borrowed fields by \
                 owned ones (`String` for `&str`) and remove the lifetime",
            );
        }
    }
}

/// The marker trait and the declared options, for all instances.
pub(crate) fn marker(ident: &Ident, generics: &Generics, options: &Options) -> TokenStream {
    let private = options.private();
    let declaration = options.declaration(ident);
    let mut bounded = generics.clone();
    let (_, arguments, _) = generics.split_for_impl();
    if !generics.params.is_empty() {
        bounded.make_where_clause().predicates.push(parse_quote! {
            #ident #arguments: #private::serde::Serialize
                + for<'de> #private::serde::Deserialize<'de>
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static
        });
    }
    let (parameters, _, bounds) = bounded.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters #private::RemoteExecute for #ident #arguments #bounds {}

        #[automatically_derived]
        impl #parameters #private::HasDeclaration for #ident #arguments #bounds {
            const DECLARATION: #private::Declaration = #declaration;
        }
    }
}

/// The entry of a type without parameters.
pub(crate) fn entry(ident: &Ident, options: &Options) -> TokenStream {
    let private = options.private();
    let message = format!(
        "`{ident}` is registered for remote execution, so it must implement exactly one of \
         `Operation`, `AsyncOperation` and `Monoid`"
    );
    // `register!` asserts the same. It is written out here with the span of the type's name, so
    // that the compiler underlines the name instead of the derive.
    let assertion = quote_spanned! {ident.span()=>
        const _: () = {
            use #private::Otherwise as _;
            ::core::assert!(
                #private::TypeProbe::<#ident>::OPERATION
                    + #private::TypeProbe::<#ident>::ASYNC_OPERATION
                    + #private::TypeProbe::<#ident>::MONOID
                    == 1,
                #message
            );
        };
    };
    quote! {
        #assertion
        #private::place_operation!(#ident, #private::EntryName::Declared);
    }
}
