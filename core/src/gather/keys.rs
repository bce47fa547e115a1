//! Keys: which partition each is in, and tables of them.

use xxhash_rust::xxh3::xxh3_64;

/// The fewest slots of a table that has a key.
const FEWEST_SLOTS: usize = 64;
/// The number of keys that are looked up together.
const TOGETHER: usize = 32;

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

/// The part of the key with this hash, of the `parts` of its partition, which is one of
/// `partitions`: chosen by the bits behind those that choose the partition (rule 33).
#[inline]
pub fn part_of(hash: u64, partitions: u32, parts: u32) -> u32 {
    partition_of(hash.wrapping_mul(u64::from(partitions)), parts)
}

/// Different keys, numbered in the order in which they were met.
///
/// A table with linear probing. It is written for many keys that are met again and again: a look-up
/// reads a slot, a place and the key, each of which may have to come from memory, so keys are
/// looked up in batches whose reads overlap. All keys of a partition have the same first bits of
/// their hashes; the last bits choose the slot.
#[derive(Debug, Default)]
pub struct Keys {
    /// A power of two of slots, at least twice as many as keys. One that is not empty has the upper
    /// half of a hash, and the number of its key plus one.
    slots: Vec<u64>,
    /// Where each key is.
    places: Vec<Place>,
    /// All keys, one after the other.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u64,
    /// The end of the key in `bytes`, where the next one begins.
    end: usize,
}

impl Keys {
    /// The number of different keys.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The size of all keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The memory that these keys need, in bytes, if there is no more of it than they need.
    pub fn size(&self) -> usize {
        const SLOTS: usize = 4;
        self.bytes.len() + (size_of::<Place>() + SLOTS * size_of::<u64>()) * self.places.len()
    }

    /// The number of a key with this hash, which is added if it is new.
    #[inline]
    pub fn number(&mut self, key: &[u8], hash: u64) -> u32 {
        if self.slots.is_empty() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return self.add(key, hash, at);
            }
            if tag(slot) == tag(hash) && self.is(number_in(slot), key, hash) {
                return number_in(slot) as u32;
            }
            at = (at + 1) & mask;
        }
    }

    /// Appends the numbers of keys to `numbers`, as [`number`](Self::number) gives them one by one.
    pub fn number_all<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, numbers: &mut Vec<u32>) {
        if self.slots.is_empty() {
            self.grow();
        }
        let mut keys = keys.fuse();
        let mut batch: [(&[u8], u64, u64); TOGETHER] = [(&[], 0, 0); TOGETHER];
        loop {
            let mut len = 0;
            for (entry, key) in batch.iter_mut().zip(&mut keys) {
                *entry = (key, hash(key), 0);
                len += 1;
            }
            let batch = &mut batch[..len];
            // Nothing in these two loops depends on the turn before, so that their reads overlap.
            let mask = self.slots.len() - 1;
            for (_, hash, slot) in &mut *batch {
                let mut at = *hash as usize & mask;
                *slot = self.slots[at];
                while *slot != 0 && tag(*slot) != tag(*hash) {
                    at = (at + 1) & mask;
                    *slot = self.slots[at];
                }
            }
            for (_, hash, slot) in &mut *batch {
                let place = self.places.get(number_in(*slot));
                if place.is_none_or(|place| place.hash != *hash) {
                    *slot = 0;
                }
            }
            for (key, hash, slot) in &*batch {
                let number = number_in(*slot);
                numbers.push(match *slot != 0 && same(self.get(number), key) {
                    true => number as u32,
                    // It is new, or shares its tag with another one.
                    false => self.number(key, *hash),
                });
            }
            if len < TOGETHER {
                return;
            }
        }
    }

    /// The key with this number.
    #[inline]
    pub fn get(&self, number: usize) -> &[u8] {
        let from = number.checked_sub(1).map_or(0, |before| self.places[before].end);
        &self.bytes[from..self.places[number].end]
    }

    /// The hash of the key with this number.
    pub fn hash(&self, number: usize) -> u64 {
        self.places[number].hash
    }

    /// Forgets all keys. Keeps the memory, except that of many slots that few keys have used:
    /// emptying them would take longer than that of all these keys.
    pub fn clear(&mut self) {
        if self.slots.len() > (8 * self.places.len()).max(FEWEST_SLOTS) {
            self.slots = Vec::new();
        }
        self.slots.fill(0);
        self.places.clear();
        self.bytes.clear();
    }

    #[inline]
    fn is(&self, number: usize, key: &[u8], hash: u64) -> bool {
        self.places[number].hash == hash && same(self.get(number), key)
    }

    fn add(&mut self, key: &[u8], hash: u64, at: usize) -> u32 {
        let number = self.places.len() as u32;
        self.slots[at] = slot(hash, number);
        self.bytes.extend_from_slice(key);
        self.places.push(Place { hash, end: self.bytes.len() });
        if 2 * self.places.len() > self.slots.len() {
            self.grow();
        }
        number
    }

    #[cold]
    fn grow(&mut self) {
        let count = (2 * self.slots.len()).max(FEWEST_SLOTS);
        let mask = count - 1;
        self.slots.clear();
        self.slots.resize(count, 0);
        for (number, Place { hash, .. }) in (0..).zip(&self.places) {
            let mut at = *hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot(*hash, number);
        }
    }
}

#[inline]
fn slot(hash: u64, number: u32) -> u64 {
    tag(hash) << 32 | (u64::from(number) + 1)
}

/// The upper half, of a hash or a slot.
#[inline]
fn tag(bits: u64) -> u64 {
    bits >> 32
}

/// The number of the key in a slot; of an empty slot, one that no key has.
#[inline]
fn number_in(slot: u64) -> usize {
    (slot as u32).wrapping_sub(1) as usize
}

/// Whether two keys are equal. Most keys are short, and calling `memcmp` takes longer than
/// comparing them.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() || a.len() > 16 {
        return a == b;
    }
    match (a.first_chunk::<8>(), a.first_chunk::<4>()) {
        (Some(first), _) => {
            Some(first) == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk::<8>()
        }
        (None, Some(first)) => {
            Some(first) == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk::<4>()
        }
        (None, None) => a.iter().eq(b),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn keys_are_numbered_in_the_order_in_which_they_were_met() {
        let mut keys = Keys::default();
        let words = ["b", "", "a", "b", "", "ab"];
        let numbers = words.map(|word| keys.number(word.as_bytes(), hash(word.as_bytes())));
        assert_eq!((numbers, keys.count()), ([0, 1, 2, 0, 1, 3], 4));
        assert_eq!((keys.get(0), keys.get(1), keys.get(3)), (&b"b"[..], &b""[..], &b"ab"[..]));
    }

    /// Both ways of looking up, beside a map of `std`.
    #[test]
    fn keys_have_the_same_numbers_one_by_one_and_together() {
        let numbers = (0..40_000_u32).map(|n| n.wrapping_mul(0x9e37_79b9) % 9_000);
        let words: Vec<Vec<u8>> =
            numbers.map(|n| format!("{n:x}").repeat(n as usize % 7).into_bytes()).collect();
        let (mut one_by_one, mut together, mut map) =
            (Keys::default(), Keys::default(), HashMap::new());
        let mut numbers = Vec::new();
        for part in words.chunks(1_001) {
            together.number_all(part.iter().map(Vec::as_slice), &mut numbers);
        }
        for (word, number) in words.iter().zip(&numbers) {
            let next = map.len() as u32;
            assert_eq!(*map.entry(word.clone()).or_insert(next), *number, "{word:?}");
            assert_eq!(one_by_one.number(word, hash(word)), *number);
            assert_eq!(together.get(*number as usize), word);
        }
        assert_eq!((together.count(), one_by_one.count()), (map.len(), map.len()));
        together.clear();
        let mut again = Vec::new();
        together.number_all(words.iter().map(Vec::as_slice), &mut again);
        assert_eq!(again, numbers);
    }

    #[test]
    fn a_table_that_was_cleared_takes_up_nothing_and_few_keys_do_not_keep_many_slots() {
        let mut keys = Keys::default();
        for n in 0..10_000_u32 {
            keys.number(&n.to_le_bytes(), hash(&n.to_le_bytes()));
        }
        keys.clear();
        assert_eq!((keys.count(), keys.bytes(), keys.size()), (0, 0, 0));
        let slots = keys.slots.len();
        keys.number(b"a", 7);
        keys.clear();
        assert!(slots >= 20_000 && keys.slots.is_empty(), "{slots}");
        assert_eq!(keys.number(b"b", 8), 0);
    }

    #[test]
    fn keys_are_compared_byte_by_byte() {
        for length in 0..40 {
            let key: Vec<u8> = (0..length).collect();
            assert!(same(&key, &key.clone()));
            assert!(!same(&key, &[&key[..], b"x"].concat()));
            for at in 0..key.len() {
                let mut other = key.clone();
                other[at] ^= 0x80;
                assert!(!same(&key, &other), "{length} {at}");
            }
        }
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
