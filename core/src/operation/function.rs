//! Conversions from the types of a function to those of an operation; for `#[operation]`.

use std::{
    borrow::Borrow,
    ffi::{CStr, CString, OsStr, OsString},
    path::{Path, PathBuf},
};

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

impl Parameter for Path {
    type Owned = PathBuf;
}

impl Parameter for OsStr {
    type Owned = OsString;
}

impl Parameter for CStr {
    type Owned = CString;
}

/// State that the function takes by value: a copy for each element.
#[diagnostic::on_unimplemented(
    message = "`#[state]` of type `{Self}` is not `Copy`, so it would be cloned for each element",
    label = "taken by value",
    note = "take it by reference: `#[state] name: &{Self}`"
)]
pub trait StateByValue: Copy {}

#[diagnostic::do_not_recommend]
impl<T: Copy> StateByValue for T {}

/// A copy of state.
pub fn copied<T: StateByValue>(state: &T) -> T {
    *state
}

/// A `Result`, under any alias.
pub trait ResultType {
    /// The type of the `Ok` value.
    type Ok;
}

impl<T, E> ResultType for std::result::Result<T, E> {
    type Ok = T;
}
