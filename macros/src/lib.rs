//! The derive and attribute macros of Phalanx.
//!
//! Use them through the crate `phalanx`, which re-exports them.
//!
//! The generated code is thin: trait implementations, constants, and calls to macros of the core.
//! All mistakes in an expansion are reported at once.

mod derive;
mod duration;
mod mistakes;
mod operation;
mod options;

use proc_macro::TokenStream;

/// Turns a type into an operation that workers can find by name.
///
/// Implements the marker trait `RemoteExecute`, and registers the type. The type also implements
/// exactly one of `Operation`, `AsyncOperation` and `Monoid`, and serde's `Serialize` and
/// `Deserialize`.
///
/// ```
/// # use phalanx::prelude::*;
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// #[remote(name = "billing.discount", version = 2, timeout = "30s")]
/// struct Discount {
///     percent: u64,
/// }
///
/// impl Operation for Discount {
///     type Input = u64;
///     type Output = u64;
///
///     fn execute(&self, price: u64, _cx: &TaskContext) -> Result<u64> {
///         Ok(price - price * self.percent / 100)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let prices = IndexedStream::from([200, 500]).map(Discount { percent: 10 });
/// assert_eq!(prices.collect(&runtime).await?, [180, 450]);
/// # Ok(())
/// # }
/// ```
///
/// # Options
///
/// `#[remote(…)]` on the type takes:
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `name = "billing.price"` | the name by which workers find the operation: 1 to 255 bytes without spaces | module path and identifier |
/// | `version = 2` | workers with another version refuse the operation | 0 |
/// | `pool = "gpu"` | the pool of workers that runs it | `default` |
/// | `timeout = "30s"` | how long it may run on one element: a positive integer with `ms`, `s`, `m` or `h` | no limit |
/// | `retries = 5` | how often an element is retried after transient errors and timeouts | 3 |
/// | `backoff = "1s..5m"` | how long it waits before the first retry, doubled for each further one, and at most; with jitter | 100 ms to 30 s |
/// | `fingerprint = "version"` | compare only the versions of leader and worker, not the structure of the types | `"structure"` |
/// | `crate = path` | the path of the crate `phalanx` | `::phalanx` |
///
/// A program can override pool, timeout, retries and back-off for a step.
///
/// # Generic types
///
/// The derive implements the marker for all instances of a generic type. Register each instance
/// that you use with `phalanx::register!`.
#[proc_macro_derive(RemoteExecute, attributes(remote))]
pub fn derive_remote_execute(input: TokenStream) -> TokenStream {
    derive::expand(input.into()).into()
}

/// Turns a function into an operation.
///
/// `fn fib_at(n: u64) -> u64` becomes the operation `FibAt` from `u64` to `u64`, with the
/// visibility and the documentation of the function, which stays callable.
///
/// ```
/// # use phalanx::prelude::*;
/// /// Adds one.
/// #[operation]
/// fn increment(n: u64) -> u64 {
///     n + 1
/// }
///
/// #[operation(pool = "io", timeout = "30s", retries = 5)]
/// async fn fetch(id: u64, cx: &TaskContext) -> Result<String> {
///     // … an asynchronous request
///     Ok(format!("page {id}, try {}", cx.tries()))
/// }
///
/// #[operation]
/// fn scale(#[state] factor: u64, n: u64) -> u64 {
///     factor * n
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let ids = IndexedStream::from([1, 2]).map(Increment).map(Scale { factor: 10 });
/// let pages = ids.map(Fetch).collect(&runtime).await?;
/// assert_eq!(pages, ["page 20, try 1", "page 30, try 1"]);
/// assert_eq!(increment(1), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Parameters
///
/// - One parameter is the input. Several are a tuple, none is `()`.
/// - A reference is owned when it is sent: `&str` is a `String`, `&[T]` a `Vec<T>`, `&Path` a
///   `PathBuf`, `&OsStr` an `OsString`, `&CStr` a `CString`, `&T` a `T`.
/// - So are references in a tuple or an `Option`, in any depth. A row of a join can be taken apart
///   without a copy: `fn total((key, (price, count)): (&str, (&Price, u64))) -> u64` takes a
///   `(String, (Price, u64))`.
/// - A parameter with `#[state]` becomes a field of the operation: `Scale { factor: 10 }`. It is a
///   reference, or `Copy`: other state would be cloned for each element.
/// - The last parameter can be a `&TaskContext`.
///
/// # Return type
///
/// - Of a `Result`, the `Ok` value is the output. Every error type is converted into an
///   `OperationError`; one that implements `Error + Serialize + DeserializeOwned` keeps its type,
///   for `OperationError::downcast`. A function that returns `anyhow::Result` can use anyhow's
///   `bail!` and `ensure!`; one that returns phalanx's `Result` uses `phalanx::bail!` and
///   `phalanx::ensure!`. Only phalanx's `Result` can carry that a failure is transient:
///   `fetch(url).transient()?`.
/// - An iterator (`impl Iterator<Item = T>`) is collected into a `Vec<T>`, for `flat_map`. Its
///   items may borrow from the input, as references, also in tuples and in an `Option`: `fn
///   words(line: &str) -> impl Iterator<Item = &str>` gives `String`s. Before a directive by key
///   they are neither collected nor copied, which makes a word count several times as fast.
/// - An `async fn` becomes an `AsyncOperation`.
///
/// # Options
///
/// All options of `#[derive(RemoteExecute)]`, and `type = "Fibonacci"`, which names the operation:
/// for a function like `fn row(row: Row)`, whose operation would be named as one of its types.
#[proc_macro_attribute]
pub fn operation(options: TokenStream, function: TokenStream) -> TokenStream {
    operation::expand(options.into(), function.into()).into()
}
