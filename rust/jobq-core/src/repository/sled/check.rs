//! What a store must hold: how many records, and one sum over all of them. It is a record itself, put with each batch.
//!
//! A checksum in each record finds a record that changed. It does not find one that is missing, or an older one in its
//! place, and both are what sled makes of a torn or rotten page. So the key [`KEY`] holds:
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | layout of the store, [`LAYOUT`] |
//! | 8..16 | the store's id, drawn when it was made |
//! | 16..24 | sequence: batches so far |
//! | 24..32 | number of the other records |
//! | 32..40 | wrapping sum over these of a hash of key and value |
//! | 40..44 | crc32, as of every value |
//!
//! A put needs to know what it replaces, so there is one entry in memory for each key: 64 bits of the key's hash and 32
//! of the value, the checksum at its end.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::repository::Change;
use crate::repository::codec::{seal, unseal};

/// The key of the record; before every key of the codec.
pub(super) const KEY: &[u8] = b"\0check";

/// The layout of a store: folders, mark, this record.
pub(super) const LAYOUT: u64 = 1;

/// A hash that is one already.
#[derive(Default)]
pub(super) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) layout: u64,
    pub(super) store: u64,
    pub(super) sequence: u64,
    pub(super) count: u64,
    pub(super) sum: u64,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.layout, self.store, self.sequence, self.count, self.sum];
        seal(KEY, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    pub(super) fn decode(sealed: &[u8]) -> Option<Self> {
        let numbers = unseal(KEY, sealed)?.as_chunks::<8>().0;
        let number = |at: usize| numbers.get(at).map(|bytes| u64::from_le_bytes(*bytes));
        Some(Self { layout: number(0)?, store: number(1)?, sequence: number(2)?, count: number(3)?, sum: number(4)? })
    }
}

/// The records that are there, as far as they can be told apart.
pub(super) struct Check {
    pub(super) store: u64,
    pub(super) sequence: u64,
    sum: u64,
    tails: HashMap<u64, u32, BuildHasherDefault<Ready>>,
}

impl Check {
    /// Of no records yet.
    pub(super) fn new(store: u64, sequence: u64) -> Self {
        Self { store, sequence, sum: 0, tails: HashMap::default() }
    }

    /// What the record must say now.
    pub(super) fn record(&self) -> Record {
        let count = u64::try_from(self.tails.len()).unwrap_or(u64::MAX);
        Record { layout: LAYOUT, store: self.store, sequence: self.sequence, count, sum: self.sum }
    }

    /// Take a step of a batch in; whether it changes anything that is there.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Put(key, value) => {
                self.put(key, value);
                true
            }
            Change::Delete(key) => self.delete(key),
        }
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        let (hash, tail) = (xxh3_64(key), tail_of(value));
        if let Some(before) = self.tails.insert(hash, tail) {
            self.sum = self.sum.wrapping_sub(mix(hash, before));
        }
        self.sum = self.sum.wrapping_add(mix(hash, tail));
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let hash = xxh3_64(key);
        let Some(before) = self.tails.remove(&hash) else { return false };
        self.sum = self.sum.wrapping_sub(mix(hash, before));
        true
    }
}

/// The checksum at the end of a sealed value.
fn tail_of(value: &[u8]) -> u32 {
    value.last_chunk::<4>().map_or_else(|| crc32fast::hash(value), |tail| u32::from_le_bytes(*tail))
}

fn mix(hash: u64, tail: u32) -> u64 {
    xxh3_64_with_seed(&tail.to_le_bytes(), hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::Put(key.into(), value.into())
    }

    #[test]
    fn the_order_of_changes_does_not_matter_but_what_is_left_does() {
        let (mut one, mut other) = (Check::new(7, 1), Check::new(7, 1));
        for change in [put("a", "long value 1"), put("b", "long value 2"), put("a", "long value 3")] {
            one.apply(&change);
        }
        assert!(one.apply(&Change::Delete("b".into())));
        assert!(!one.apply(&Change::Delete("b".into())), "it is gone already");
        other.apply(&put("a", "long value 3"));
        assert_eq!(one.record(), other.record());
        assert_eq!(Record::decode(&one.record().encode()), Some(one.record()));
        other.apply(&put("a", "long value 1"));
        assert_ne!(one.record(), other.record(), "an older value in its place");
        other.apply(&put("a", "long value 3"));
        other.apply(&put("c", ""));
        assert_ne!(one.record(), other.record());
    }
}
