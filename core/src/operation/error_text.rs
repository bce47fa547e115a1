//! Bounds the texts of errors: they travel to the leader in the same message as the outputs.

use crate::report::{MAX_TEXT, cut};

/// The longest chain of messages, in bytes.
const MAX_CHAIN: usize = 16 << 10;

/// Cuts the messages of an error and its causes, outermost first, and says how much is left out.
pub(super) fn bounded(chain: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut bounded: Vec<String> = Vec::new();
    let (mut room, mut left_out) = (MAX_CHAIN, 0);
    for text in chain {
        if room == 0 {
            left_out += text.len();
            continue;
        }
        let cut = cut(text, MAX_TEXT.min(room));
        room = room.saturating_sub(cut.len());
        bounded.push(cut);
    }
    if left_out > 0 {
        bounded.push(format!("… ({left_out} bytes more)"));
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_and_long_ones_say_how_much_is_left_out() {
        assert_eq!(bounded(["a".to_owned(), "b".to_owned()]), ["a", "b"]);
        // Two bytes each, so the limit falls on the first of them.
        let long = format!("x{}", "ß".repeat(MAX_TEXT));
        let [cut] = &bounded([long.clone()])[..] else { panic!("one text") };
        let kept = cut.strip_suffix(&format!("… ({} bytes more)", long.len() - MAX_TEXT + 1));
        assert_eq!(kept, Some(&long[..MAX_TEXT - 1]));
    }

    #[test]
    fn a_chain_of_any_length_is_bounded() {
        let chain = bounded(std::iter::repeat_n("y".repeat(3_000), 100_000));
        let size: usize = chain.iter().map(String::len).sum();
        assert!(size < MAX_CHAIN + 100, "{size} bytes");
        assert!(chain.last().unwrap().ends_with("bytes more)"), "{:?}", chain.last());
    }
}
