//! The operations of the hello-world example: what leader and worker both know.

use phalanx::prelude::*;

/// A letter in upper case: one letter may become several.
#[operation]
pub fn shout(letter: char) -> String {
    letter.to_uppercase().collect()
}

/// Puts strings together, in the order of the input.
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
