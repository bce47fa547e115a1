//! A large text: the same in every run.

/// Different words of the whole text, about.
const WORDS: u64 = 1_010_000;
/// Words of a line.
const LINE: u64 = 12;

/// Lines of words of which few are frequent and most are rare: the word of rank `r` occurs about
/// `1/r` times as often as the first (Zipf's law).
#[derive(Debug)]
pub(crate) struct Text {
    bytes: String,
    /// The end of each line.
    ends: Vec<usize>,
}

impl Text {
    /// A text of at least `size` bytes.
    pub(crate) fn of(size: u64) -> Self {
        let (mut bytes, mut ends, mut state) =
            (String::with_capacity(size as usize + 256), Vec::new(), 1);
        while (bytes.len() as u64) < size {
            for word in 0..LINE {
                if word > 0 {
                    bytes.push(' ');
                }
                state = next(state);
                let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
                let rank = ((WORDS as f64).ln() * uniform).exp() as u64;
                push_word(rank, &mut bytes);
            }
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    /// The size, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn lines(&self) -> usize {
        self.ends.len()
    }

    /// The number of words.
    pub(crate) fn words(&self) -> u64 {
        self.ends.len() as u64 * LINE
    }

    pub(crate) fn line(&self, number: usize) -> &str {
        let from = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[from..self.ends[number]]
    }
}

/// Three letters, and more for rare words.
fn push_word(rank: u64, out: &mut String) {
    let mut letters = next(rank.wrapping_add(7));
    let mut rest = rank;
    for _ in 0..3 {
        out.push(char::from(b'a' + (letters % 26) as u8));
        letters /= 26;
    }
    while rest > 0 {
        out.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
}

/// The next of a sequence of numbers that look random (splitmix64).
fn next(state: u64) -> u64 {
    let n = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
