//! Conversions from the types of a function to those of an operation; for `#[operation]`.

use std::borrow::Borrow;

/// The target type of a reference parameter, with the owned type that is sent in its place.
///
/// `ToOwned` would require `Clone` of every type.
pub trait Parameter {
    /// The type that is sent.
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

/// A `Result`, under any alias.
pub trait ResultType {
    /// The type of the `Ok` value.
    type Ok;
}

impl<T, E> ResultType for std::result::Result<T, E> {
    type Ok = T;
}
