//! Slab, list, ready queue and id map against naive models: the same calls, the same answers.

use std::collections::{BTreeMap, VecDeque};

use jobq_core::ids::IdMap;
use jobq_core::list::{Links, List};
use jobq_core::ready::{ReadyQueue, Stamps};
use jobq_core::slab::{NIL, Slab};
use proptest::prelude::*;
use proptest::sample::Index;

/// Records as the engine has them: links and a stamp under each slot.
#[derive(Default)]
struct Records(Vec<Record>);

struct Record {
    next: u32,
    prev: u32,
    stamp: u64,
}

impl Records {
    fn add(&mut self, stamp: u64) -> u32 {
        let slot = u32::try_from(self.0.len()).expect("few records");
        self.0.push(Record { next: NIL, prev: NIL, stamp });
        slot
    }

    fn unlinked(&self, slot: u32) -> bool {
        self.next(slot) == NIL && self.prev(slot) == NIL
    }
}

impl Links for Records {
    fn next(&self, slot: u32) -> u32 {
        self.0[slot as usize].next
    }

    fn prev(&self, slot: u32) -> u32 {
        self.0[slot as usize].prev
    }

    fn set_next(&mut self, slot: u32, to: u32) {
        self.0[slot as usize].next = to;
    }

    fn set_prev(&mut self, slot: u32, to: u32) {
        self.0[slot as usize].prev = to;
    }
}

impl Stamps for Records {
    fn stamp(&self, slot: u32) -> u64 {
        self.0[slot as usize].stamp
    }
}

// ---- slab ----

#[derive(Clone, Debug)]
enum SlabCall {
    /// Insert so many.
    Grow(usize),
    /// Remove so many of those in use, beginning at a place and striding on.
    Shrink(usize, Index),
    /// Ask for a slot that may never have been used.
    Probe(u32),
}

fn slab_call() -> impl Strategy<Value = SlabCall> {
    prop_oneof![
        (1..20_usize).prop_map(SlabCall::Grow),
        (1..6_000_usize).prop_map(SlabCall::Grow),
        (1..20_usize, any::<Index>()).prop_map(|(count, at)| SlabCall::Shrink(count, at)),
        (1..9_000_usize, any::<Index>()).prop_map(|(count, at)| SlabCall::Shrink(count, at)),
        prop_oneof![0..20_000_u32, any::<u32>()].prop_map(SlabCall::Probe),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A record found under another's slot would be another job. The slot freed last comes first,
    /// new slots are dense, and no value ever moves.
    #[test]
    fn slab_gives_each_value_the_slot_the_model_gives(calls in prop::collection::vec(slab_call(), 1..24)) {
        let mut slab = Slab::new();
        let mut model: BTreeMap<u32, Box<u64>> = BTreeMap::new();
        let mut in_use: Vec<u32> = Vec::new();
        let mut free: Vec<u32> = Vec::new();
        let mut fresh = 0_u32;
        let mut value = 0_u64;
        let first = slab.insert(Box::new(u64::MAX));
        let address = std::ptr::from_ref(slab.get(first).expect("just inserted"));
        prop_assert_eq!(first, fresh);
        fresh += 1;

        for call in calls {
            match call {
                SlabCall::Grow(count) => for _ in 0..count {
                    value += 1;
                    let slot = slab.insert(Box::new(value));
                    let expected = free.pop().unwrap_or_else(|| { fresh += 1; fresh - 1 });
                    prop_assert_eq!(slot, expected);
                    model.insert(slot, Box::new(value));
                    in_use.push(slot);
                },
                SlabCall::Shrink(count, at) => for _ in 0..count.min(in_use.len()) {
                    let slot = in_use.swap_remove(at.index(in_use.len()));
                    prop_assert_eq!(slab.remove(slot), model.remove(&slot));
                    prop_assert_eq!(slab.remove(slot), None);
                    free.push(slot);
                },
                SlabCall::Probe(slot) => if slot != first {
                    prop_assert_eq!(slab.get(slot), model.get(&slot));
                    prop_assert_eq!(slab.get_mut(slot), model.get_mut(&slot));
                },
            }
            prop_assert_eq!(slab.len(), model.len() + 1);
            prop_assert!(!slab.is_empty());
        }
        prop_assert_eq!(std::ptr::from_ref(slab.get(first).expect("never removed")), address);
        prop_assert_eq!(slab.remove(first), Some(Box::new(u64::MAX)));
        prop_assert!(slab.iter().eq(model.iter().map(|(&slot, value)| (slot, value))));
        prop_assert_eq!(slab.is_empty(), model.is_empty());
    }
}

// ---- list ----

#[derive(Clone, Debug)]
enum ListCall {
    PushBack,
    PopFront,
    Remove(Index),
}

fn list_call() -> impl Strategy<Value = ListCall> {
    prop_oneof![
        3 => Just(ListCall::PushBack),
        1 => Just(ListCall::PopFront),
        1 => any::<Index>().prop_map(ListCall::Remove),
    ]
}

proptest! {
    /// Leases and finished jobs stand in such lists; a slot that leaves must drag no link along.
    #[test]
    fn list_keeps_the_order_of_a_deque(calls in prop::collection::vec(list_call(), 1..80)) {
        let mut records = Records::default();
        let mut list = List::new();
        let mut model: VecDeque<u32> = VecDeque::new();
        for call in calls {
            let gone = match call {
                ListCall::PushBack => {
                    let slot = records.add(0);
                    list.push_back(&mut records, slot);
                    model.push_back(slot);
                    None
                }
                ListCall::PopFront => {
                    let gone = list.pop_front(&mut records);
                    prop_assert_eq!(gone, model.pop_front());
                    gone
                }
                ListCall::Remove(_) if model.is_empty() => None,
                ListCall::Remove(at) => {
                    let gone = model.remove(at.index(model.len())).expect("an index below the length");
                    list.remove(&mut records, gone);
                    Some(gone)
                }
            };
            if let Some(slot) = gone {
                prop_assert!(records.unlinked(slot), "slot {} keeps a link", slot);
            }
            prop_assert_eq!(list.front(), model.front().copied());
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.is_empty(), model.is_empty());
            prop_assert!(chain(list.front(), |slot| records.next(slot)).eq(model.iter().copied()));
            prop_assert!(
                chain(model.back().copied(), |slot| records.prev(slot)).eq(model.iter().rev().copied())
            );
        }
    }
}

fn chain(first: Option<u32>, step: impl Fn(u32) -> u32) -> impl Iterator<Item = u32> {
    std::iter::successors(first, move |&slot| Some(step(slot)).filter(|&next| next != NIL))
}

// ---- ready queue ----

#[derive(Clone, Debug)]
enum ReadyCall {
    /// Enter jobs of these weights.
    Push(Vec<i16>),
    /// Take so many jobs.
    Pop(usize),
    /// Put a job taken before back to its place.
    PutBack(Index),
    /// Take out a ready job wherever it stands.
    Remove(Index),
    /// Take out the jobs of one weight from the last to the first.
    Clear(Index),
    Heads,
}

/// Which weights a run uses: one form of the queue only, the border between the two, or all.
fn palette() -> impl Strategy<Value = Vec<i16>> {
    prop_oneof![
        Just(vec![0]),
        Just(vec![i16::MIN, 0, i16::MAX - 1, i16::MAX]),
        prop::collection::vec(any::<i16>(), 60..70),
        Just((-40..40).collect()),
        prop::collection::vec(any::<i16>(), 300),
        (0..=255_i16, any::<u8>())
            .prop_map(|(low, page)| (0..=low).map(|at| (i16::from(page) - 128) * 256 + at).collect()),
    ]
}

fn ready_call(palette: Vec<i16>) -> impl Strategy<Value = ReadyCall> {
    let weights = prop::sample::select(palette);
    prop_oneof![
        4 => prop::collection::vec(weights.clone(), 1..4).prop_map(ReadyCall::Push),
        2 => prop::collection::vec(weights, 60..200).prop_map(ReadyCall::Push),
        4 => (1..4_usize).prop_map(ReadyCall::Pop),
        2 => (60..400_usize).prop_map(ReadyCall::Pop),
        1 => Just(ReadyCall::Pop(usize::MAX)),
        6 => any::<Index>().prop_map(ReadyCall::PutBack),
        6 => any::<Index>().prop_map(ReadyCall::Remove),
        1 => any::<Index>().prop_map(ReadyCall::Clear),
        1 => Just(ReadyCall::Heads),
    ]
}

fn ready_calls() -> impl Strategy<Value = Vec<ReadyCall>> {
    palette().prop_flat_map(|palette| prop::collection::vec(ready_call(palette), 1..60))
}

/// The queue under test beside the ordered map it must equal.
#[derive(Default)]
struct Pair {
    records: Records,
    ready: ReadyQueue,
    model: BTreeMap<(i16, u64), u32>,
    taken: Vec<((i16, u64), u32)>,
    stamp: u64,
}

impl Pair {
    fn run(&mut self, call: ReadyCall) -> Result<(), TestCaseError> {
        match call {
            ReadyCall::Push(weights) => {
                for weight in weights {
                    self.push(weight);
                }
            }
            ReadyCall::Pop(count) => {
                for _ in 0..count.min(self.model.len() + 1) {
                    self.pop()?;
                }
            }
            ReadyCall::PutBack(_) if self.taken.is_empty() => {}
            ReadyCall::PutBack(at) => {
                let (place, slot) = self.taken.swap_remove(at.index(self.taken.len()));
                self.ready.put_back(place.0, place.1, slot);
                self.model.insert(place, slot);
            }
            ReadyCall::Remove(_) | ReadyCall::Clear(_) if self.model.is_empty() => {}
            ReadyCall::Remove(at) => {
                let place = *self.model.keys().nth(at.index(self.model.len())).expect("an index below it");
                self.remove(place)?;
            }
            ReadyCall::Clear(at) => {
                let (weight, _) = *self.model.keys().nth(at.index(self.model.len())).expect("an index below it");
                let all = self.model.range((weight, 0)..=(weight, u64::MAX));
                for place in all.map(|(&place, _)| place).rev().collect::<Vec<_>>() {
                    self.remove(place)?;
                }
            }
            ReadyCall::Heads => self.heads()?,
        }
        prop_assert_eq!(self.ready.peek(&self.records), self.model.values().next().copied());
        prop_assert_eq!(self.ready.len(), self.model.len());
        prop_assert_eq!(self.ready.is_empty(), self.model.is_empty());
        Ok(())
    }

    fn push(&mut self, weight: i16) {
        self.stamp += 1;
        let slot = self.records.add(self.stamp);
        self.ready.push_back(&mut self.records, weight, slot);
        self.model.insert((weight, self.stamp), slot);
    }

    fn pop(&mut self) -> Result<(), TestCaseError> {
        let expected = self.model.pop_first();
        let slot = self.ready.pop(&mut self.records);
        prop_assert_eq!(slot, expected.map(|(_, slot)| slot));
        if let Some((place, slot)) = expected {
            prop_assert!(self.records.unlinked(slot), "slot {} keeps a link", slot);
            self.taken.push((place, slot));
        }
        Ok(())
    }

    fn remove(&mut self, place: (i16, u64)) -> Result<(), TestCaseError> {
        let slot = self.model.remove(&place).expect("a place of the model");
        self.ready.remove(&mut self.records, place.0, place.1, slot);
        prop_assert!(self.records.unlinked(slot), "slot {} keeps a link", slot);
        self.taken.push((place, slot));
        Ok(())
    }

    fn heads(&self) -> Result<(), TestCaseError> {
        let mut expected = Vec::new();
        let mut last = None;
        for (&(weight, _), &slot) in &self.model {
            if last.replace(weight) != Some(weight) {
                expected.push(slot);
            }
        }
        let mut heads = Vec::new();
        self.ready.heads(&self.records, |slot| heads.push(slot));
        prop_assert_eq!(heads, expected);
        Ok(())
    }
}

proptest! {
    /// Contract O1 and O3: order is (weight, stamp), whatever was put back or taken out between.
    #[test]
    fn ready_queue_keeps_the_order_of_weight_and_stamp(calls in ready_calls()) {
        let mut pair = Pair::default();
        for call in calls {
            pair.run(call)?;
        }
        pair.heads()?;
        pair.run(ReadyCall::Pop(usize::MAX))?;
        prop_assert!(pair.ready.is_empty());
        pair.heads()?;
    }
}

#[test]
fn ready_queue_orders_all_65_536_weights() {
    // The bias of the weight's sign and the borders of words and pages show only over all of them.
    let mut pair = Pair::default();
    let mut weight = 0_i16;
    for _ in 0..=u16::MAX {
        pair.push(weight);
        weight = weight.wrapping_add(25_253);
    }
    assert_eq!(pair.model.len(), 65_536);
    pair.heads().expect("one head per weight, in order");
    for _ in 0..=65_536 {
        pair.pop().expect("lower weights first");
    }
    assert!(pair.ready.is_empty());
}

#[test]
fn an_idle_topic_is_small() {
    // 100,000 topics must fit 60 MB.
    assert!(size_of::<ReadyQueue>() <= 72, "{} bytes", size_of::<ReadyQueue>());
    assert!(size_of::<List>() <= 12, "{} bytes", size_of::<List>());
}

// ---- id map ----

#[derive(Clone, Debug)]
enum IdCall {
    /// After a gap, so many consecutive ids.
    Insert(u64, u64),
    /// Ids so far apart, so many of them.
    Stride(u64, u64),
    /// Remove the oldest so many.
    RemoveOldest(usize),
    /// Remove all but one of so many neighbours.
    Thin(usize),
    Remove(Index),
    /// Insert an id again that was removed, or give it another slot.
    Again(Index),
    Scan(Index),
}

fn id_call() -> impl Strategy<Value = IdCall> {
    let gap = prop_oneof![
        8 => Just(0_u64),
        2 => 0..1_000_u64,
        2 => 0..200_000_u64,
        1 => 0..1_u64 << 40,
    ];
    prop_oneof![
        4 => (gap.clone(), 1..20_u64).prop_map(|(gap, count)| IdCall::Insert(gap, count)),
        3 => (gap, 200..3_000_u64).prop_map(|(gap, count)| IdCall::Insert(gap, count)),
        2 => (10..400_u64, 1..3_000_u64).prop_map(|(step, count)| IdCall::Stride(step, count)),
        2 => (1..2_000_usize).prop_map(IdCall::RemoveOldest),
        2 => (2..100_usize).prop_map(IdCall::Thin),
        3 => any::<Index>().prop_map(IdCall::Remove),
        2 => any::<Index>().prop_map(IdCall::Again),
        3 => any::<Index>().prop_map(IdCall::Scan),
    ]
}

#[derive(Default)]
struct Ids {
    map: IdMap,
    model: BTreeMap<u64, u32>,
    newest: u64,
    slot: u32,
}

impl Ids {
    fn run(&mut self, call: &IdCall) -> Result<(), TestCaseError> {
        match *call {
            IdCall::Insert(gap, count) => {
                self.newest += gap;
                for _ in 0..count {
                    self.newest += 1;
                    self.insert(self.newest);
                }
            }
            IdCall::Stride(step, count) => {
                for _ in 0..count {
                    self.newest += step;
                    self.insert(self.newest);
                }
            }
            IdCall::RemoveOldest(count) => {
                for id in self.model.keys().copied().take(count).collect::<Vec<_>>() {
                    self.remove(id)?;
                }
            }
            IdCall::Thin(keep) => {
                let all: Vec<u64> = self.model.keys().copied().collect();
                for (at, id) in all.into_iter().enumerate() {
                    if at % keep != 0 {
                        self.remove(id)?;
                    }
                }
            }
            IdCall::Remove(at) => self.remove(self.known(at))?,
            IdCall::Again(at) => {
                let id = at.index(usize::try_from(self.newest).expect("64 bits") + 1);
                self.insert(u64::try_from(id).expect("64 bits").max(1));
                self.insert(self.known(at).max(1));
            }
            IdCall::Scan(at) => {
                let mut from = self.known(at).saturating_sub(1);
                for (&id, &slot) in self.model.range(from + 1..).take(600) {
                    prop_assert_eq!(self.map.next_after(from), Some((id, slot)));
                    prop_assert_eq!(self.map.get(id), Some(slot));
                    from = id;
                }
            }
        }
        prop_assert_eq!(self.map.len(), self.model.len());
        prop_assert_eq!(self.map.is_empty(), self.model.is_empty());
        Ok(())
    }

    /// An id of the model, or the next that would be given out.
    fn known(&self, at: Index) -> u64 {
        let at = at.index(self.model.len() + 1);
        self.model.keys().nth(at).copied().unwrap_or(self.newest + 1)
    }

    fn insert(&mut self, id: u64) {
        self.slot += 1;
        self.newest = self.newest.max(id);
        self.map.insert(id, self.slot);
        self.model.insert(id, self.slot);
    }

    fn remove(&mut self, id: u64) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.map.remove(id), self.model.remove(&id));
        prop_assert_eq!(self.map.get(id), None);
        prop_assert_eq!(self.map.remove(id), None);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// An id that finds another job's slot, or none, is a job lost. Ids leave in order and out of
    /// order, in numbers that empty pages, thin them out, and leave gaps of any width.
    #[test]
    fn id_map_finds_what_an_ordered_map_finds(calls in prop::collection::vec(id_call(), 1..30)) {
        let mut ids = Ids::default();
        for call in &calls {
            ids.run(call)?;
        }
        let scan = std::iter::successors(ids.map.next_after(0), |&(id, _)| ids.map.next_after(id));
        prop_assert!(scan.eq(ids.model.iter().map(|(&id, &slot)| (id, slot))));
        ids.run(&IdCall::RemoveOldest(usize::MAX))?;
        prop_assert_eq!(ids.map.next_after(0), None);
    }
}

#[test]
fn id_map_holds_the_greatest_id() {
    let mut ids = IdMap::new();
    for id in [1, u64::MAX - 1, u64::MAX] {
        ids.insert(id, 3);
    }
    assert_eq!(ids.next_after(u64::MAX - 1), Some((u64::MAX, 3)));
    assert_eq!(ids.next_after(u64::MAX), None);
    assert_eq!(ids.remove(u64::MAX), Some(3));
    assert_eq!(ids.next_after(1), Some((u64::MAX - 1, 3)));
}
