//! Which entries of the delay wheel were cancelled: counted, not marked, until they are reached.

use hashbrown::HashMap;

const SHARD_BITS: u32 = 10;
const SHARDS: usize = 1 << SHARD_BITS;
/// A shard of this capacity is not worth shrinking.
const SMALL: usize = 64;

/// How many of the oldest entries of each (due, slot) are cancelled.
///
/// Entries of one (due, slot) are in one list in order of insertion, and at most the newest of them
/// is live: skipping as many as were cancelled, from the oldest on, skips exactly the cancelled.
///
/// There are many small maps, as one large one would stop its caller for 0.1 s when it grows.
pub(super) struct Stale {
    /// Empty before the first entry is cancelled.
    shards: Vec<HashMap<Key, u32>>,
    total: usize,
    /// The shard that [`Stale::shrink_one`] looks at next.
    next: usize,
}

/// Both halves of due, and the slot: three words, so that a key and its count take 16 bytes.
type Key = (u32, u32, u32);

impl Stale {
    pub(super) const fn new() -> Self {
        Self { shards: Vec::new(), total: 0, next: 0 }
    }

    /// How many cancelled entries have not been reached yet.
    #[inline]
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// One more of the oldest entries of (due, slot) is cancelled.
    pub(super) fn add(&mut self, due: u64, slot: u32) {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, HashMap::new);
        }
        *self.shards[shard(due, slot)].entry(key(due, slot)).or_insert(0) += 1;
        self.total += 1;
    }

    /// The oldest entry of (due, slot) is reached: whether it was cancelled, which is then settled.
    #[inline]
    pub(super) fn take(&mut self, due: u64, slot: u32) -> bool {
        self.total != 0 && self.take_counted(due, slot)
    }

    /// Gives back memory of one shard, if much of it is unused. They are looked at in turn, one per
    /// call, as all of them become empty at about the same time.
    pub(super) fn shrink_one(&mut self) {
        if let Some(map) = self.shards.get_mut(self.next)
            && map.capacity() > SMALL
            && map.len() < map.capacity() / 4
        {
            map.shrink_to(map.len() * 2);
        }
        self.next = (self.next + 1) % SHARDS;
    }

    fn take_counted(&mut self, due: u64, slot: u32) -> bool {
        let (map, key) = (&mut self.shards[shard(due, slot)], key(due, slot));
        let Some(count) = map.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            map.remove(&key);
        }
        self.total -= 1;
        true
    }
}

#[inline]
const fn key(due: u64, slot: u32) -> Key {
    ((due >> 32) as u32, (due & 0xFFFF_FFFF) as u32, slot)
}

#[inline]
const fn shard(due: u64, slot: u32) -> usize {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = (due ^ (slot as u64).wrapping_mul(SPREAD)).wrapping_mul(SPREAD);
    (mixed >> (u64::BITS - SHARD_BITS)) as usize
}
