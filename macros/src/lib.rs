//! The derive and attribute macros of Phalanx.
//!
//! Use them through the crate `phalanx`, which re-exports them.
//!
//! What they write is thin: implementations of traits, const data and one call of a macro of the
//! core. Both collect every mistake before they report any.

mod derive;
mod duration;
mod mistakes;
mod operation;
mod options;

use proc_macro::TokenStream;

/// Makes a type an operation that workers can find by name.
///
/// It implements the marker `RemoteExecute` and places an entry in the registry. The type also
/// implements exactly one of `Operation`, `AsyncOperation` and `Monoid`.
///
/// `#[remote(…)]` on the type takes:
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `name = "billing.price"` | by what it is found | module path and identifier |
/// | `version = 2` | programs with another version are refused | 0 |
/// | `pool = "gpu"` | whose workers run it | the pool `default` |
/// | `timeout = "30s"` | how long one element may take (`ms`, `s`, `m`, `h`) | none |
/// | `retries = 5` | of one element after transient errors and timeouts | 3 |
/// | `fingerprint = "version"` | compare versions only, not the structure of types | `"structure"` |
/// | `crate = path` | where Phalanx is | `::phalanx` |
///
/// All instances of a generic type are marked; `register!` places the entry of one.
#[proc_macro_derive(RemoteExecute, attributes(remote))]
pub fn derive_remote_execute(input: TokenStream) -> TokenStream {
    derive::expand(input.into()).into()
}

/// Makes an operation of a function.
///
/// `fn fib_at(n: u64) -> u64` becomes the operation `FibAt` from `u64` to `u64`, with the
/// visibility and the documentation of the function, which stays callable.
///
/// - Several parameters are a tuple on the wire, none are `()`.
/// - A reference is owned on the wire: `&str` is a `String`, `&[T]` a `Vec<T>`, `&T` a `T`.
/// - A parameter with `#[state]` becomes a field of the operation: `Scale { factor: 10 }`.
/// - The last parameter may be a `&TaskContext`.
/// - `async fn` becomes an `AsyncOperation`.
/// - Of a `Result`, the `Ok` value is the output; an error of your own that is
///   `Error + Serialize + DeserializeOwned` travels as itself.
/// - An iterator (`impl Iterator<Item = T>`) becomes a `Vec<T>`, for `flat_map`.
///
/// `#[operation(type = "Fibonacci")]` names the type; all options of `#[derive(RemoteExecute)]`
/// are taken as well.
#[proc_macro_attribute]
pub fn operation(options: TokenStream, function: TokenStream) -> TokenStream {
    operation::expand(options.into(), function.into()).into()
}
