//! Why an element failed.

use std::{error::Error as StdError, fmt, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What an operation returns.
pub type Result<T, E = OperationError> = std::result::Result<T, E>;

/// Why an element failed, in a form that travels.
///
/// It does not implement [`std::error::Error`]: that is what lets `?` turn any error into it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationError {
    kind: ErrorKind,
    /// The error and its causes, outermost first.
    chain: Vec<String>,
    /// Back-off that the operation asked for.
    retry_delay: Option<Duration>,
    typed: Option<Typed>,
}

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same input will fail again.
    Fatal,
    /// The same input may succeed later.
    Transient,
    /// The operation panicked.
    Panic,
    /// The operation ran longer than its timeout.
    Timeout,
    /// The worker died while it ran this element alone.
    Crash,
    /// An input, output or state did not survive serialization.
    Codec,
    /// An output does not fit into a message of the broker.
    TooLarge,
}

/// A user's own error: its type's name and its encoding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Typed {
    type_name: String,
    bytes: Vec<u8>,
}

impl OperationError {
    /// A fatal error with this message.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fatal, message)
    }

    /// An error of the given kind with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, chain: vec![message.into()], retry_delay: None, typed: None }
    }

    /// A user's own error, which the leader can get back by [`downcast`](Self::downcast).
    ///
    /// Where the error itself does not serialize, its text still travels.
    pub fn typed<E>(error: E) -> Self
    where
        E: StdError + Serialize + DeserializeOwned + 'static,
    {
        let typed = crate::codec::encode(&error)
            .ok()
            .map(|bytes| Typed { type_name: std::any::type_name::<E>().to_owned(), bytes });
        Self { kind: ErrorKind::Fatal, chain: chain_of(&error), retry_delay: None, typed }
    }

    /// The same error, marked as worth a retry.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.kind = ErrorKind::Transient;
        self
    }

    /// The same error, marked as worth a retry, not before `delay` has passed (at most a day).
    #[must_use]
    pub fn with_retry_delay(mut self, delay: Duration) -> Self {
        self.kind = ErrorKind::Transient;
        self.retry_delay = Some(delay);
        self
    }

    /// The user's own error, if it was one of type `E`.
    ///
    /// Told apart by the name and the encoding of the type: leader and worker need the same `E`.
    pub fn downcast<E: DeserializeOwned + 'static>(&self) -> Option<E> {
        let typed = self.typed.as_ref()?;
        if typed.type_name != std::any::type_name::<E>() {
            return None;
        }
        crate::codec::decode(&typed.bytes).ok()
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The outermost message.
    pub fn message(&self) -> &str {
        self.chain.first().map_or("", String::as_str)
    }

    /// The error and its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter().map(String::as_str)
    }

    /// The delay that the operation asked for, if it did.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_delay
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, message) in self.chain.iter().enumerate() {
            if depth > 0 {
                f.write_str(": ")?;
            }
            f.write_str(message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.kind, self.to_string())
    }
}

#[diagnostic::do_not_recommend]
impl<E> From<E> for OperationError
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn from(error: E) -> Self {
        let error = error.into();
        Self { kind: ErrorKind::Fatal, chain: chain_of(&*error), retry_delay: None, typed: None }
    }
}

/// Marks the error of a `Result` as worth a retry: `fetch(url).transient()?`.
pub trait ResultExt<T> {
    /// The same, with the error marked as worth a retry.
    ///
    /// # Errors
    /// Those of `self`.
    fn transient(self) -> Result<T>;
}

impl<T, E: Into<OperationError>> ResultExt<T> for std::result::Result<T, E> {
    fn transient(self) -> Result<T> {
        self.map_err(|error| error.into().transient())
    }
}

/// The texts of an error and its causes; a cause that its parent already quotes is not repeated.
fn chain_of(error: &dyn StdError) -> Vec<String> {
    let mut chain = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !chain.last().is_some_and(|parent| parent.ends_with(&text)) {
            chain.push(text);
        }
        cause = error.source();
    }
    chain
}
