//! The errors of operations.

use std::{error::Error as StdError, fmt, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error_text::bounded;
use crate::report::Printable;

/// The longest encoding of a typed error, in bytes. A longer one travels as text only.
const MAX_TYPED: usize = 16 << 10;

/// The result of an operation; the error is [`OperationError`] unless another is given.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
///
/// assert_eq!(parse("7"), Ok(7));
/// ```
pub type Result<T, E = OperationError> = std::result::Result<T, E>;

/// The error of an operation, in a form that can be sent to the leader: a kind, and the messages of
/// the error and its causes.
///
/// `?` converts any error into it, as [`ErrorKind::Fatal`]. To make that possible, it does not
/// implement [`std::error::Error`] itself.
///
/// Messages are cut at 4 KiB each, and at 16 KiB together with those of all causes.
///
/// Displayed, control characters of the messages are escaped; [`message`](Self::message) and
/// [`chain`](Self::chain) return them unchanged.
///
/// Mark errors that a retry may fix as [`transient`](Self::transient): network and database errors,
/// for example.
///
/// ```
/// # use phalanx::prelude::*;
/// # fn download(_url: &str) -> std::io::Result<String> { Ok("21".to_owned()) }
/// #[operation]
/// fn double_of_page(url: &str) -> Result<u64> {
///     if !url.starts_with("https://") {
///         return Err(OperationError::fatal(format!("`{url}` is not a secure URL")));
///     }
///     let page = download(url).transient()?; // may succeed later: retried
///     let number: u64 = page.parse()?; // fails again with the same page: fatal
///     Ok(2 * number)
/// }
///
/// assert_eq!(double_of_page("https://example.org"), Ok(42));
/// let error = double_of_page("ftp://example.org").unwrap_err();
/// assert_eq!(error.to_string(), "`ftp://example.org` is not a secure URL");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationError {
    kind: ErrorKind,
    /// The messages of the error and its causes, outermost first.
    chain: Vec<String>,
    /// The delay before the next try, if the operation asked for one.
    retry_delay: Option<Duration>,
    typed: Option<Typed>,
}

/// The kind of a failure, which decides whether the element is retried.
///
/// Operations set [`Fatal`](Self::Fatal) and [`Transient`](Self::Transient); leader and workers set
/// the others.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::operation::ErrorKind;
///
/// assert_eq!(OperationError::fatal("no such user").kind(), ErrorKind::Fatal);
/// assert_eq!(OperationError::fatal("timed out").transient().kind(), ErrorKind::Transient);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same input would fail again. Never retried.
    Fatal,
    /// The same input may succeed later. Retried as often as the step allows.
    Transient,
    /// The operation panicked. Never retried.
    Panic,
    /// The operation ran longer than its timeout. Retried as often as the step allows.
    Timeout,
    /// The process died while it ran this element alone. Retried once, in a child process.
    Crash,
    /// An input, an output or the state could not be encoded or decoded. Never retried.
    Codec,
    /// The output is larger than the largest message of the broker. Never retried.
    TooLarge,
}

/// A user's own error: the name of its type, and its encoding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Typed {
    type_name: String,
    bytes: Vec<u8>,
}

impl OperationError {
    /// A fatal error: the same input would fail again, so the element is not retried.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn half(n: u64) -> Result<u64> {
    ///     match n % 2 {
    ///         0 => Ok(n / 2),
    ///         _ => Err(OperationError::fatal(format!("{n} is odd"))),
    ///     }
    /// }
    ///
    /// assert_eq!(half(7).unwrap_err().message(), "7 is odd");
    /// ```
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fatal, message)
    }

    /// An error of the given kind with this message.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// use phalanx::operation::ErrorKind;
    ///
    /// let error = OperationError::new(ErrorKind::TooLarge, "the image has 3 GiB");
    /// assert_eq!(error.kind(), ErrorKind::TooLarge);
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, chain: bounded([message.into()]), retry_delay: None, typed: None }
    }

    /// The same error with a further cause, the innermost one.
    pub(crate) fn because(mut self, cause: String) -> Self {
        self.chain.push(cause);
        self.chain = bounded(self.chain);
        self
    }

    /// A fatal error that carries a value of your own error type, which the leader gets back with
    /// [`downcast`](Self::downcast).
    ///
    /// A function with `#[operation]` that returns `Result<T, E>` does this for an `E` that
    /// serializes. If the value cannot be encoded, or its encoding is longer than 16 KiB, its message
    /// is still sent.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct OutOfStock {
    ///     article: u32,
    /// }
    /// # impl std::fmt::Display for OutOfStock {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    /// #         write!(f, "article {} is out of stock", self.article)
    /// #     }
    /// # }
    /// # impl std::error::Error for OutOfStock {}
    ///
    /// let error = OperationError::typed(OutOfStock { article: 12 });
    /// assert_eq!(error.message(), "article 12 is out of stock");
    /// assert_eq!(error.downcast(), Some(OutOfStock { article: 12 }));
    /// ```
    pub fn typed<E>(error: E) -> Self
    where
        E: StdError + Serialize + DeserializeOwned + 'static,
    {
        let typed = crate::codec::encode_checked(&error)
            .ok()
            .filter(|bytes| bytes.len() <= MAX_TYPED)
            .map(|bytes| Typed { type_name: std::any::type_name::<E>().to_owned(), bytes });
        Self { kind: ErrorKind::Fatal, chain: chain_of(&error), retry_delay: None, typed }
    }

    /// The same error, marked as transient: the element is retried.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// let error = OperationError::fatal("the server is busy").transient();
    /// assert_eq!(error.kind(), phalanx::operation::ErrorKind::Transient);
    /// ```
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.kind = ErrorKind::Transient;
        self
    }

    /// The same error, marked as transient; the element is retried after `delay`, at most one day,
    /// instead of the default back-off.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// use std::time::Duration;
    ///
    /// // The server sent `Retry-After: 30`.
    /// let error = OperationError::fatal("too many requests")
    ///     .with_retry_delay(Duration::from_secs(30));
    /// assert_eq!(error.retry_delay(), Some(Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn with_retry_delay(mut self, delay: Duration) -> Self {
        self.kind = ErrorKind::Transient;
        self.retry_delay = Some(delay);
        self
    }

    /// The value of your own error type, if the error was [`typed`](Self::typed) with this type.
    ///
    /// Types are compared by name, so leader and worker must be built with the same `E`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct OutOfStock {
    ///     article: u32,
    /// }
    /// # impl std::fmt::Display for OutOfStock {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    /// #         write!(f, "article {} is out of stock", self.article)
    /// #     }
    /// # }
    /// # impl std::error::Error for OutOfStock {}
    ///
    /// #[operation]
    /// fn order(article: u32) -> Result<(), OutOfStock> {
    ///     Err(OutOfStock { article })
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let orders = IndexedStream::from([12]).try_map(Order).collect(&runtime).await?;
    /// let failure = orders[0].as_ref().unwrap_err();
    /// assert_eq!(failure.error.downcast(), Some(OutOfStock { article: 12 }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn downcast<E: DeserializeOwned + 'static>(&self) -> Option<E> {
        let typed = self.typed.as_ref()?;
        if typed.type_name != std::any::type_name::<E>() {
            return None;
        }
        crate::codec::decode(&typed.bytes).ok()
    }

    /// The kind of the failure, which decides whether the element is retried.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// let error = OperationError::from("no such user");
    /// assert_eq!(error.kind(), phalanx::operation::ErrorKind::Fatal);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message of the error, without its causes.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// assert_eq!(OperationError::fatal("no such user").message(), "no such user");
    /// ```
    pub fn message(&self) -> &str {
        self.chain.first().map_or("", String::as_str)
    }

    /// The messages of the error and its causes, outermost first.
    ///
    /// `Display` joins them with `: `.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # use std::io;
    /// #[derive(Debug)]
    /// struct ConfigError(io::Error);
    /// # impl std::fmt::Display for ConfigError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    /// #         f.write_str("cannot read the configuration")
    /// #     }
    /// # }
    /// # impl std::error::Error for ConfigError {
    /// #     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
    /// #         Some(&self.0)
    /// #     }
    /// # }
    ///
    /// let error = OperationError::from(ConfigError(io::Error::other("disk failure")));
    /// assert!(error.chain().eq(["cannot read the configuration", "disk failure"]));
    /// assert_eq!(error.to_string(), "cannot read the configuration: disk failure");
    /// ```
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter().map(String::as_str)
    }

    /// The bytes that the error adds to a message, apart from a few.
    #[doc(hidden)]
    pub fn size(&self) -> usize {
        let typed =
            self.typed.as_ref().map_or(0, |typed| typed.type_name.len() + typed.bytes.len());
        self.chain.iter().map(String::len).sum::<usize>() + typed
    }

    /// The delay before the next try, if the operation [asked](Self::with_retry_delay) for one.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// assert_eq!(OperationError::fatal("busy").transient().retry_delay(), None);
    /// ```
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
            Printable(message).fmt(f)?;
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

/// Marks the error of a `Result` as transient: `fetch(url).transient()?`.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::operation::ErrorKind;
///
/// #[operation]
/// fn read(path: &str) -> Result<String> {
///     Ok(std::fs::read_to_string(path).transient()?)
/// }
///
/// let error = read("/no/such/file").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Transient);
/// ```
pub trait ResultExt<T> {
    /// The same result, with its error converted into a transient [`OperationError`].
    ///
    /// # Errors
    /// The error of `self`.
    fn transient(self) -> Result<T>;
}

impl<T, E: Into<OperationError>> ResultExt<T> for std::result::Result<T, E> {
    fn transient(self) -> Result<T> {
        self.map_err(|error| error.into().transient())
    }
}

/// The messages of an error and its causes. A cause that its parent already quotes is left out.
fn chain_of(error: &dyn StdError) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !texts.last().is_some_and(|parent| parent.ends_with(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    bounded(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displayed_error_has_no_control_characters_but_its_message_is_unchanged() {
        let hostile = "\0\u{1b}[31mred\r\u{202e}";
        let error = OperationError::fatal(hostile).because(String::from("\u{1b}c"));
        assert_eq!(error.to_string(), r"\u{0}\u{1b}[31mred\r\u{202e}: \u{1b}c");
        assert_eq!(error.message(), hostile);
        assert!(!format!("{error:?}").contains(|c: char| c.is_control()));
    }
}
