//! The generated code: the type, its implementation and its entry in the registry.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Ident};

use super::{
    Model, local,
    parameter::{Parameter, State},
    view::View,
};
use crate::derive;

pub(super) fn operation(model: &Model) -> TokenStream {
    let function = &model.function;
    let cfgs = conditions(&function.attrs);
    let definition = definition(model);
    let implementation = implementation(model);
    let debug = debug(model);
    let registration = registration(model);
    quote! {
        #function
        #definition
        #(#cfgs)*
        const _: () = {
            #debug
            #implementation
            #registration
        };
    }
}

/// The `cfg` attributes of the function, which apply to the generated items, too.
fn conditions(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}

fn definition(model: &Model) -> TokenStream {
    let Model { function, type_name, options, .. } = model;
    let private = options.private();
    let serde_path = format!("{}::serde", path_text(&private));
    let cfgs = conditions(&function.attrs);
    let docs = docs(
        function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")),
        &format!("The operation of the function `{}`.", function.sig.ident),
    );
    let visibility = &function.vis;
    let fields: Vec<TokenStream> = states(model)
        .map(|(field, docs, state)| field_definition(model, field, docs, state))
        .collect();
    let (copies, body) = if fields.is_empty() {
        (quote!(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug,), quote!(;))
    } else if states(model).all(|(_, _, state)| !state.is_reference()) {
        (quote!(::core::clone::Clone,), quote!({ #(#fields)* }))
    } else {
        (TokenStream::new(), quote!({ #(#fields)* }))
    };
    quote! {
        #(#cfgs)*
        #docs
        #[derive(#copies #private::serde::Serialize, #private::serde::Deserialize)]
        #[serde(crate = #serde_path)]
        #visibility struct #type_name #body
    }
}

fn field_definition(
    model: &Model,
    field: &Ident,
    attributes: &[Attribute],
    state: &State,
) -> TokenStream {
    let function = &model.function;
    let docs = docs(
        attributes.iter(),
        &format!("The `{field}` of the function `{}`.", function.sig.ident),
    );
    let visibility = &function.vis;
    let ty = state.wire(&model.options.private());
    quote!(#docs #visibility #field: #ty,)
}

fn docs<'a>(written: impl Iterator<Item = &'a Attribute>, otherwise: &str) -> TokenStream {
    let written: Vec<&Attribute> = written.collect();
    if written.is_empty() { quote!(#[doc = #otherwise]) } else { quote!(#(#written)*) }
}

/// A `Debug` without the fields, whose types may not implement it.
fn debug(model: &Model) -> Option<TokenStream> {
    states(model).next()?;
    let type_name = &model.type_name;
    let text = type_name.to_string();
    let formatter = local("formatter");
    Some(quote! {
        #[automatically_derived]
        impl ::core::fmt::Debug for #type_name {
            fn fmt(
                &self,
                #formatter: &mut ::core::fmt::Formatter<'_>,
            ) -> ::core::fmt::Result {
                ::core::fmt::Formatter::debug_struct(#formatter, #text).finish_non_exhaustive()
            }
        }
    })
}

fn implementation(model: &Model) -> TokenStream {
    let Model { type_name, options, output, .. } = model;
    let private = options.private();
    let wires: Vec<TokenStream> = inputs(model).map(|value| value.wire(&private)).collect();
    let input_type = match wires.as_slice() {
        [only] => quote!(#only),
        all => quote!((#(#all),*)),
    };
    let output_type = output.ty(&private);
    let (input, cx) = (local("input"), local("cx"));
    let execute = body(model, false, Sink::Output);
    let is_async = model.function.sig.asyncness.is_some();
    let (implemented, asyncness) = if is_async {
        (quote!(AsyncOperation), quote!(async))
    } else {
        (quote!(Operation), quote!())
    };
    let looks_only = View::all_can_look(inputs(model));
    let execute_ref = (looks_only && !is_async).then(|| {
        let body = body(model, true, Sink::Output);
        quote! {
            fn execute_ref(
                &self,
                #input: &Self::Input,
                #cx: &#private::TaskContext,
            ) -> #private::Result<Self::Output> {
                #body
            }
        }
    });
    let execute_items = output.item(&private).filter(|_| !is_async).map(|item| {
        let items = local("items");
        let body = body(model, false, Sink::Items(&items));
        quote! {
            fn execute_items(
                &self,
                #input: Self::Input,
                #cx: &#private::TaskContext,
                #items: &mut #private::Items<'_, #item>,
            ) -> #private::Result<()> {
                #body
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #private::#implemented for #type_name {
            type Input = #input_type;
            type Output = #output_type;

            #asyncness fn execute(
                &self,
                #input: Self::Input,
                #cx: &#private::TaskContext,
            ) -> #private::Result<Self::Output> {
                #execute
            }

            #execute_ref
            #execute_items
        }
    }
}

/// Where the items of an output go.
enum Sink<'a> {
    /// They are collected, as the output.
    Output,
    /// Into the argument of this name, one by one.
    Items(&'a Ident),
}

/// The call of the function on `input`, which is a reference in `execute_ref`.
fn body(model: &Model, input_is_reference: bool, sink: Sink<'_>) -> TokenStream {
    let private = model.options.private();
    let (input, cx) = (local("input"), local("cx"));
    let names: Vec<Ident> =
        (0..inputs(model).count()).map(|index| local(&format!("input_{index}"))).collect();
    let unpack = match names.as_slice() {
        [] => quote!(let () = #input;),
        [only] => quote!(let #only = #input;),
        all => quote!(let (#(#all),*) = #input;),
    };
    let mut unpacked = names.iter();
    let arguments = model.parameters.iter().map(|parameter| match parameter {
        Parameter::Input(_, view) => {
            let name = unpacked.next().to_token_stream();
            view.look(&name, input_is_reference)
        }
        Parameter::State { field, state, .. } => state.argument(field, &private),
        Parameter::Context => quote!(#cx),
    });
    let function = &model.function.sig.ident;
    let mut call = quote!(#function(#(#arguments),*));
    if model.function.sig.asyncness.is_some() {
        call = quote!(#call.await);
    }
    let result = match sink {
        Sink::Output => model.output.result(&call, &private),
        Sink::Items(items) => model.output.emit(&call, items, &private),
    };
    let ignored =
        (!model.parameters.iter().any(Parameter::is_context)).then(|| quote!(let _ = #cx;));
    quote! {
        #ignored
        #unpack
        #result
    }
}

fn registration(model: &Model) -> TokenStream {
    let marker = derive::marker(&model.type_name, &syn::Generics::default(), &model.options);
    let entry = derive::entry(&model.type_name, &model.options);
    quote!(#marker #entry)
}

fn inputs(model: &Model) -> impl Iterator<Item = &View> + Clone {
    model.parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Input(_, view) => Some(view),
        Parameter::State { .. } | Parameter::Context => None,
    })
}

fn states(model: &Model) -> impl Iterator<Item = (&Ident, &[Attribute], &State)> {
    model.parameters.iter().filter_map(|parameter| match parameter {
        Parameter::State { field, docs, state } => Some((field, docs.as_slice(), state)),
        Parameter::Input(..) | Parameter::Context => None,
    })
}

/// The path without spaces, as serde's `crate` option expects it.
fn path_text(path: &TokenStream) -> String {
    path.to_string().split_whitespace().collect()
}
