//! `#[operation]`: turns a function into an operation.

mod borrowed;
mod clash;
mod output;
mod parameter;
mod view;
mod write;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{FnArg, GenericParam, Ident, ItemFn, Signature, ext::IdentExt};

use self::{output::Output, parameter::Parameter};
use crate::{
    mistakes::Mistakes,
    options::{Of, Options},
};

/// A function and its options, as they were parsed.
struct Model {
    function: ItemFn,
    options: Options,
    type_name: Ident,
    parameters: Vec<Parameter>,
    output: Output,
}

pub(crate) fn expand(options: TokenStream, tokens: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(tokens.clone()) {
        Ok(function) => function,
        Err(error) => {
            if syn::parse2::<syn::Item>(tokens.clone()).is_err() {
                return error.into_compile_error();
            }
            let message = "`#[operation]` belongs on a function; for a type, use \
                 `#[derive(RemoteExecute)]` and implement `Operation`";
            return syn::Error::new_spanned(&tokens, message).into_compile_error();
        }
    };
    let mut mistakes = Mistakes::default();
    let mut read = Options::default();
    read.read(options, Of::Function, &mut mistakes);
    let model = Model::read(function, read, &mut mistakes);
    if mistakes.any() {
        // The function is kept, so that its uses cause no further errors.
        let errors = mistakes.into_compile_errors();
        let function = model.function;
        return quote!(#errors #function);
    }
    write::operation(&model)
}

impl Model {
    fn read(mut function: ItemFn, options: Options, mistakes: &mut Mistakes) -> Self {
        check_signature(&function.sig, mistakes);
        let type_name = type_name(&function.sig.ident, &options, mistakes);
        clash::check(&function.sig, &type_name, mistakes);
        let last = function.sig.inputs.len().saturating_sub(1);
        let parameters: Vec<Parameter> = function
            .sig
            .inputs
            .iter_mut()
            .enumerate()
            .filter_map(|(index, argument)| match argument {
                FnArg::Typed(argument) => Parameter::read(argument, index == last, mistakes),
                FnArg::Receiver(receiver) => {
                    mistakes.at(
                        receiver,
                        "an operation is a free function: move it out of the `impl`, or implement \
                         `Operation` for the type",
                    );
                    None
                }
            })
            .collect();
        if let Some(extra) = parameters.iter().filter_map(Parameter::input).nth(16) {
            mistakes
                .at(extra, "an operation has at most 16 inputs: combine some of them in a struct");
        }
        let output = Output::read(&function.sig.output, mistakes);
        Self { function, options, type_name, parameters, output }
    }
}

fn check_signature(signature: &Signature, mistakes: &mut Mistakes) {
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            mistakes.at(
                parameter,
                "an operation has concrete types: write them out here, or derive `RemoteExecute` for \
                 a generic type and register its instances with `register!`",
            );
        }
    }
    if let Some(unsafety) = &signature.unsafety {
        mistakes.at(unsafety, "workers call the function from safe code: remove `unsafe`");
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.at(variadic, "an operation cannot be variadic");
    }
}

fn type_name(function: &Ident, options: &Options, mistakes: &mut Mistakes) -> Ident {
    let ident = options.type_name.clone().unwrap_or_else(|| {
        Ident::new(&upper_camel_case(&function.unraw().to_string()), function.span())
    });
    if ident == *function {
        mistakes.at(
            function,
            format!(
                "function and operation would both be named `{ident}`: name the operation with \
                 `#[operation(type = \"…\")]`"
            ),
        );
    }
    ident
}

/// `fib_at` becomes `FibAt`; a name that starts with a digit gets the prefix `Operation`.
fn upper_camel_case(snake: &str) -> String {
    let words = snake.split('_').filter(|word| !word.is_empty());
    let camel: String = words
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters)
        })
        .collect();
    let starts_well = camel.chars().next().is_some_and(char::is_alphabetic);
    if starts_well { camel } else { format!("Operation{camel}") }
}

/// Whether the last segment of a path is `name`, as in `std::result::Result`.
fn is_named(ty: &syn::Type, name: &str) -> bool {
    matches!(ty, syn::Type::Path(path)
        if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

/// The type without parentheses and invisible groups around it.
fn bare(ty: &syn::Type) -> &syn::Type {
    match ty {
        syn::Type::Paren(inner) => bare(&inner.elem),
        syn::Type::Group(inner) => bare(&inner.elem),
        other => other,
    }
}

/// A name that cannot collide with names of the user.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn shown(tokens: impl ToTokens) -> String {
    let spaced = tokens.to_token_stream().to_string();
    [(" <", "<"), ("< ", "<"), (" >", ">"), (" ,", ","), ("& ", "&"), (" :: ", "::"), ("[ ", "[")]
        .iter()
        .fold(spaced, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::upper_camel_case;

    #[test]
    fn types_are_named_after_functions() {
        assert_eq!(upper_camel_case("fib_at"), "FibAt");
        assert_eq!(upper_camel_case("_private"), "Private");
        assert_eq!(upper_camel_case("parse_utf8"), "ParseUtf8");
        assert_eq!(upper_camel_case("öl"), "Öl");
        assert_eq!(upper_camel_case("_1"), "Operation1");
    }
}
