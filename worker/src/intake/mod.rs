//! Taking deliveries, and deciding what each of them is.

mod consume;
mod pace;
mod refusing;
mod sort;

pub(crate) use consume::consume;
pub(crate) use pace::Pace;
pub(crate) use refusing::Refusing;
