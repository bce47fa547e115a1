//! Operations: the traits that users implement ([`Operation`], [`AsyncOperation`], [`Monoid`]), the
//! context in which they run ([`TaskContext`]) and the errors that they return
//! ([`OperationError`]).

mod context;
mod data;
mod error;
mod error_text;
mod execute_error;
mod failure;
mod function;
mod group;
mod items;
#[cfg(feature = "json")]
mod json;
mod macros;
mod monoid;
mod panic;
mod step;
mod traits;

pub use context::{ElementKey, ElementRange, Execution, TaskContext};
pub use data::Data;
pub use error::{ErrorKind, OperationError, Result, ResultExt};
pub use execute_error::ExecuteError;
pub use failure::Failure;
#[doc(hidden)]
pub use function::{Parameter, ResultType, StateByValue, copied};
pub(crate) use group::element_name;
pub use group::{Group, KeyPrefix};
#[doc(hidden)]
pub use items::Items;
#[cfg(feature = "json")]
pub use json::Json;
pub use monoid::Monoid;
#[doc(hidden)]
pub use panic::panic_message;
pub use step::{Asynchronous, Blocking, Step};
pub use traits::{AsyncOperation, Operation, RemoteExecute};
