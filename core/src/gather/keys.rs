//! Keys: which partition each is in, and tables of them.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The hash of the encoding of a key: the same in every build and on every machine.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The partition of the key with this hash, of `count`.
#[inline]
pub fn partition_of(hash: u64, count: u32) -> u32 {
    ((u128::from(hash) * u128::from(count)) >> u64::BITS) as u32
}

/// Different keys, numbered in the order in which they were met.
#[derive(Debug, Default)]
pub struct Keys {
    /// The number of each key, by its hash.
    numbers: HashTable<u32>,
    hashes: Vec<u64>,
    /// All keys, one after the other.
    bytes: Vec<u8>,
    /// The end of each key in `bytes`.
    ends: Vec<usize>,
}

impl Keys {
    /// The number of different keys.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// The memory that they take up, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + 24 * self.hashes.len()
    }

    /// The number of a key with this hash, which is added if it is new.
    #[inline]
    pub fn number(&mut self, key: &[u8], hash: u64) -> u32 {
        let Self { numbers, hashes, bytes, ends } = self;
        let known = numbers.find(hash, |number| {
            let number = *number as usize;
            hashes[number] == hash && key_at(bytes, ends, number) == key
        });
        if let Some(number) = known {
            return *number;
        }
        let number = hashes.len() as u32;
        numbers.insert_unique(hash, number, |number| hashes[*number as usize]);
        hashes.push(hash);
        bytes.extend_from_slice(key);
        ends.push(bytes.len());
        number
    }

    /// The key with this number.
    #[inline]
    pub fn get(&self, number: usize) -> &[u8] {
        key_at(&self.bytes, &self.ends, number)
    }

    /// The hash of the key with this number.
    pub fn hash(&self, number: usize) -> u64 {
        self.hashes[number]
    }

    /// Forgets all keys, and keeps the memory.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.hashes.clear();
        self.bytes.clear();
        self.ends.clear();
    }
}

#[inline]
fn key_at<'k>(bytes: &'k [u8], ends: &[usize], number: usize) -> &'k [u8] {
    let from = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[from..ends[number]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_in_the_order_in_which_they_were_met() {
        let mut keys = Keys::default();
        let words = ["b", "", "a", "b", "", "ab"];
        let numbers = words.map(|word| keys.number(word.as_bytes(), hash(word.as_bytes())));
        assert_eq!((numbers, keys.count()), ([0, 1, 2, 0, 1, 3], 4));
        assert_eq!((keys.get(0), keys.get(1), keys.get(3)), (&b"b"[..], &b""[..], &b"ab"[..]));
    }

    #[test]
    fn keys_with_equal_hashes_are_different_keys() {
        let mut keys = Keys::default();
        assert_eq!([b"a", b"b", b"a"].map(|key| keys.number(key, 7)), [0, 1, 0]);
    }

    /// If these change, the partitions of a job differ between the builds of its workers.
    #[test]
    fn the_hashes_of_ten_keys_are_constants() {
        let keys: [&[u8]; 10] = [
            b"",
            b"a",
            b"b",
            b"ab",
            b"\x04word",
            b"\0",
            b"\0\0",
            b"0123456789",
            &[7; 100],
            &[7; 300],
        ];
        let partitions = keys.map(|key| partition_of(hash(key), 1_000));
        assert_eq!(partitions, [175, 901, 341, 658, 593, 766, 199, 429, 551, 542]);
        assert_eq!(hash(b"a"), 0xe6c6_32b6_1e96_4e1f);
    }

    #[test]
    fn every_partition_of_any_number_gets_keys() {
        for count in [1, 3, 64, 300] {
            let mut met = vec![0_u32; count as usize];
            for n in 0..20_000_u32 {
                met[partition_of(hash(&n.to_le_bytes()), count) as usize] += 1;
            }
            let fair = 20_000 / count;
            assert!(met.iter().all(|it| (fair / 2..=2 * fair).contains(it)), "{count}: {met:?}");
        }
    }
}
