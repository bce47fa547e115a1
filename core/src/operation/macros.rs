//! `bail!` and `ensure!`, for operations.

/// Returns from an operation with a fatal error: `bail!("no user {id}")`.
///
/// Takes a format string with its arguments, or any value that `?` would convert.
///
/// It is for functions that return phalanx's `Result`, whose error is an
/// [`OperationError`](crate::operation::OperationError). Where a function returns
/// `anyhow::Result`, which `#[operation]` takes as well, use the macro of the same name in `anyhow`.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::bail;
///
/// #[operation]
/// fn half(n: u64) -> Result<u64> {
///     if n % 2 == 1 {
///         bail!("{n} is odd");
///     }
///     Ok(n / 2)
/// }
///
/// assert_eq!(half(7).unwrap_err().message(), "7 is odd");
/// ```
#[macro_export]
macro_rules! bail {
    ($message:literal $(,)?) => {
        return ::core::result::Result::Err($crate::operation::OperationError::fatal(
            ::std::format!($message),
        ))
    };
    ($error:expr $(,)?) => {
        return ::core::result::Result::Err($crate::operation::OperationError::from($error))
    };
    ($format:expr, $($argument:tt)*) => {
        return ::core::result::Result::Err($crate::operation::OperationError::fatal(
            ::std::format!($format, $($argument)*),
        ))
    };
}

/// Returns from an operation with a fatal error unless a condition holds:
/// `ensure!(n > 0, "{n} is not positive")`.
///
/// Without a message, the error quotes the condition. Otherwise like [`bail`](macro@crate::bail).
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::ensure;
///
/// #[operation]
/// fn half(n: u64) -> Result<u64> {
///     ensure!(n > 0);
///     ensure!(n % 2 == 0, "{n} is odd");
///     Ok(n / 2)
/// }
///
/// assert_eq!(half(7).unwrap_err().message(), "7 is odd");
/// assert_eq!(half(0).unwrap_err().message(), "condition failed: `n > 0`");
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        if !$condition {
            $crate::bail!(::std::concat!(
                "condition failed: `",
                ::core::stringify!($condition),
                "`"
            ));
        }
    };
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            $crate::bail!($($message)+);
        }
    };
}
