//! The operations of the hello-world example, linked by the leader and by the worker.

use phalanx::prelude::*;

/// Converts a letter to upper case. The result can be several letters: `ß` becomes `SS`.
#[operation]
pub fn shout(letter: char) -> String {
    letter.to_uppercase().collect()
}

/// Concatenates strings in the order of the input.
#[derive(Debug, Serialize, Deserialize, RemoteExecute)]
pub struct Concat;

impl Monoid for Concat {
    type Elem = String;

    fn empty(&self) -> String {
        String::new()
    }

    fn combine(&self, left: String, right: String, _cx: &TaskContext) -> Result<String> {
        Ok(left + &right)
    }
}
