//! What the elements of a sealed partition are: its rows, brought together by key (rule 33).
//!
//! Workers gather the elements of the tasks that read an exchange. The leader gathers a partition
//! only to say which element failed, and to keep it in a dead letter.

mod element;
mod joined;
mod keys;
mod list;
mod listed;
mod whole;

pub use element::Element;
pub use keys::{Keys, hash, part_of, partition_of};
pub use list::List;
pub use listed::{Numbered, Place, malformed};
