//! The patterns of topic exchanges.

/// Whether `key` matches `pattern`: words are separated by dots, `*` is one word, `#` any number of
/// words.
pub(crate) fn matches_topic(pattern: &str, key: &str) -> bool {
    fn matches_words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            (["#", rest @ ..], key) => {
                (0..=key.len()).any(|taken| matches_words(rest, &key[taken..]))
            }
            ([expected, rest @ ..], [word, words @ ..]) => {
                (*expected == "*" || expected == word) && matches_words(rest, words)
            }
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    matches_words(&pattern, &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_one_word_and_a_hash_any_number() {
        for (pattern, key, expected) in [
            ("#", "", true),
            ("#", "worker.1.drain", true),
            ("worker.*", "worker.1", true),
            ("worker.*", "worker", false),
            ("worker.*", "worker.1.drain", false),
            ("worker.#", "worker", true),
            ("#.drain", "worker.1.drain", true),
            ("#.drain.#", "worker.1.stop", false),
            ("*.1.*", "worker.1.drain", true),
            ("all", "all", true),
            ("all", "allies", false),
        ] {
            assert_eq!(matches_topic(pattern, key), expected, "{pattern} {key}");
        }
    }
}
