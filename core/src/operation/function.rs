//! How the types of a function become those of an operation; for `#[operation]`.

use std::borrow::Borrow;

/// What a reference borrows, and what owns it on the wire.
///
/// `ToOwned` would demand `Clone` of every type.
pub trait Parameter {
    /// What travels.
    type Owned: Borrow<Self>;
}

impl<T> Parameter for T {
    type Owned = T;
}

impl Parameter for str {
    type Owned = String;
}

impl<T> Parameter for [T] {
    type Owned = Vec<T>;
}

/// A `Result`, by whatever alias.
pub trait ResultType {
    /// Its success.
    type Ok;
}

impl<T, E> ResultType for std::result::Result<T, E> {
    type Ok = T;
}
