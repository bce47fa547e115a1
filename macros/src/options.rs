//! The options in `#[remote(…)]` and `#[operation(…)]`.

use std::time::Duration;

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::{
    Ident, LitInt, LitStr, Path, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    parse_quote,
};

use crate::{duration, mistakes::Mistakes};

/// The options of an operation.
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) type_name: Option<Ident>,
    /// The path of the crate `phalanx`.
    pub(crate) phalanx: Path,
    version: u32,
    pool: Option<LitStr>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    backoff: Option<(Duration, Duration)>,
    by_version: bool,
    /// The keys that were set, to find duplicates.
    given: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            type_name: None,
            phalanx: parse_quote!(::phalanx),
            version: 0,
            pool: None,
            timeout: None,
            retries: None,
            backoff: None,
            by_version: false,
            given: Vec::new(),
        }
    }
}

/// The item that the options are for; a function has the additional option `type`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Type,
    Function,
}

const KEYS: &str =
    "`name`, `version`, `pool`, `timeout`, `retries`, `backoff`, `fingerprint` and `crate`";

impl Options {
    /// Reads `key = value, …`.
    pub(crate) fn read(&mut self, tokens: TokenStream, of: Of, mistakes: &mut Mistakes) {
        let outcome = Parser::parse2(
            |input: ParseStream<'_>| {
                while !input.is_empty() {
                    let key = input.call(Ident::parse_any)?;
                    let assigned = input.parse::<Option<Token![=]>>()?.is_some();
                    let mut value = TokenStream::new();
                    while !input.is_empty() && !input.peek(Token![,]) {
                        value.extend([input.parse::<TokenTree>()?]);
                    }
                    input.parse::<Option<Token![,]>>()?;
                    if assigned && !value.is_empty() {
                        self.set(&key, value, of, mistakes);
                    } else {
                        let example = example(&key.to_string());
                        mistakes.at(&key, format!("`{key}` needs a value: `{example}`"));
                    }
                }
                Ok(())
            },
            tokens,
        );
        if let Err(error) = outcome {
            mistakes.add(error);
        }
    }

    fn set(&mut self, key: &Ident, value: TokenStream, of: Of, mistakes: &mut Mistakes) {
        let known = key.to_string();
        if self.given.contains(&known) {
            mistakes.at(key, format!("`{known}` is set twice"));
            return;
        }
        let outcome = match known.as_str() {
            "name" => name(value).map(|name| self.name = Some(name)),
            "version" => number(value, &known).map(|version| self.version = version),
            "pool" => pool(value).map(|pool| self.pool = Some(pool)),
            "timeout" => timeout(value).map(|timeout| self.timeout = Some(timeout)),
            "retries" => number(value, &known).map(|retries| self.retries = Some(retries)),
            "backoff" => backoff(value).map(|backoff| self.backoff = Some(backoff)),
            "fingerprint" => fingerprint(value).map(|version| self.by_version = version),
            "crate" => path(value).map(|path| self.phalanx = path),
            "type" if of == Of::Function => {
                identifier(value).map(|ident| self.type_name = Some(ident))
            }
            _ => Err(syn::Error::new_spanned(key, unknown(&known, of))),
        };
        match outcome {
            Ok(()) => self.given.push(known),
            Err(error) => mistakes.add(error),
        }
    }

    /// The path of the module `__private`.
    pub(crate) fn private(&self) -> TokenStream {
        let phalanx = &self.phalanx;
        quote!(#phalanx::__private)
    }

    /// The declared options of the type `ident`, as an expression.
    pub(crate) fn declaration(&self, ident: &Ident) -> TokenStream {
        let private = self.private();
        let name = if let Some(name) = &self.name {
            quote!(#name)
        } else {
            let ident = ident.unraw().to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #ident))
        };
        let version = self.version;
        let pool = optional(self.pool.as_ref().map(|pool| quote!(#pool)));
        let retries = optional(self.retries.map(|retries| quote!(#retries)));
        let timeout = optional(self.timeout.map(duration_expression));
        let backoff = optional(self.backoff.map(|(from, to)| {
            let (from, to) = (duration_expression(from), duration_expression(to));
            quote!((#from, #to))
        }));
        let mode = if self.by_version { quote!(Version) } else { quote!(Structure) };
        quote! {
            #private::Declaration {
                name: #name,
                version: #version,
                pool: #pool,
                timeout: #timeout,
                retries: #retries,
                backoff: #backoff,
                fingerprint: #private::FingerprintMode::#mode,
            }
        }
    }
}

fn duration_expression(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn optional(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn unknown(key: &str, of: Of) -> String {
    let also = if of == Of::Function { "`type`, " } else { "" };
    format!("unknown option `{key}`: the options are {also}{KEYS}")
}

fn example(key: &str) -> &'static str {
    match key {
        "name" => "name = \"billing.price\"",
        "version" => "version = 1",
        "pool" => "pool = \"gpu\"",
        "timeout" => "timeout = \"30s\"",
        "retries" => "retries = 5",
        "backoff" => "backoff = \"1s..5m\"",
        "fingerprint" => "fingerprint = \"version\"",
        "crate" => "crate = path::to::phalanx",
        "type" => "type = \"Fibonacci\"",
        _ => "key = value",
    }
}

fn text(value: TokenStream, key: &str) -> syn::Result<LitStr> {
    let wrong =
        syn::Error::new_spanned(&value, format!("`{key}` must be a string: `{}`", example(key)));
    syn::parse2(value).map_err(|_| wrong)
}

fn name(value: TokenStream) -> syn::Result<LitStr> {
    let name = text(value, "name")?;
    let text = name.value();
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 255 || text.contains(bad) {
        let message = "a name has 1 to 255 bytes without spaces: `name = \"billing.price\"`";
        return Err(syn::Error::new(name.span(), message));
    }
    Ok(name)
}

/// The name of a pool; with the same rules as `Pool::new` in the core.
fn pool(value: TokenStream) -> syn::Result<LitStr> {
    let pool = text(value, "pool")?;
    let text = pool.value();
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(legal) {
        let message =
            "a pool name has 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`: `pool = \"gpu\"`";
        return Err(syn::Error::new(pool.span(), message));
    }
    Ok(pool)
}

fn timeout(value: TokenStream) -> syn::Result<Duration> {
    let timeout = text(value, "timeout")?;
    duration::parse(&timeout.value()).ok_or_else(|| {
        let message = "a timeout is a positive integer with the unit `ms`, `s`, `m` or `h`: \
             `timeout = \"30s\"`";
        syn::Error::new(timeout.span(), message)
    })
}

fn backoff(value: TokenStream) -> syn::Result<(Duration, Duration)> {
    let backoff = text(value, "backoff")?;
    duration::parse_range(&backoff.value()).ok_or_else(|| {
        let message = "a back-off is its shortest and its longest duration, with the unit `ms`, `s`, \
             `m` or `h`: `backoff = \"1s..5m\"`";
        syn::Error::new(backoff.span(), message)
    })
}

fn number(value: TokenStream, key: &str) -> syn::Result<u32> {
    let wrong = syn::Error::new_spanned(
        &value,
        format!("`{key}` must be an integer from 0 to {}: `{}`", u32::MAX, example(key)),
    );
    syn::parse2::<LitInt>(value).and_then(|number| number.base10_parse()).map_err(|_| wrong)
}

fn fingerprint(value: TokenStream) -> syn::Result<bool> {
    let mode = text(value, "fingerprint")?;
    match mode.value().as_str() {
        "version" => Ok(true),
        "structure" => Ok(false),
        _ => Err(syn::Error::new(
            mode.span(),
            "`fingerprint` is `\"structure\"` (the default) to compare versions and types, or \
             `\"version\"` to compare only versions",
        )),
    }
}

fn path(value: TokenStream) -> syn::Result<Path> {
    let wrong = syn::Error::new_spanned(
        &value,
        "`crate` is the path of the crate `phalanx`: `crate = path::to::phalanx`",
    );
    let parsed = match syn::parse2::<LitStr>(value.clone()) {
        Ok(text) => text.parse_with(Path::parse_mod_style),
        Err(_) => Path::parse_mod_style.parse2(value),
    };
    parsed.map_err(|_| wrong)
}

fn identifier(value: TokenStream) -> syn::Result<Ident> {
    let wrong = syn::Error::new_spanned(
        &value,
        "`type` is the name of the operation: `type = \"Fibonacci\"`",
    );
    match syn::parse2::<LitStr>(value.clone()) {
        Ok(text) => text.parse::<Ident>().map_err(|_| wrong),
        Err(_) => syn::parse2(value).map_err(|_| wrong),
    }
}
