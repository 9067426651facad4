//! The delay wheel and the leases against plain sorted lists, whatever the clock and the caller do.

use std::collections::BTreeSet;

use jobq_core::delays::{DelayWheel, Pace};
use jobq_core::leases::Leases;
use proptest::prelude::*;

/// The clock when a test begins: some moment of 2026, one of the 2^36 ms borders that come every two
/// years, the epoch, and close to the end of all numbers.
const STARTS: [u64; 4] = [1_795_478_400_123, (27 << 36) - 40, 0, u64::MAX - 500];

/// Shares so small that slices, cascades and compactions are interrupted everywhere.
const SMALL: Pace = Pace { moves: 2, cancelled: 3, swept_per_advance: 2, swept_per_cancel: 1 };

/// An instant, seen from the clock and from the instants that were used before.
#[derive(Clone, Debug)]
enum When {
    In(u64),
    Ago(u64),
    /// One that was used before, so that many are equal.
    Again(usize),
    Last,
}

impl When {
    fn resolve(&self, now: u64, used: &[u64]) -> u64 {
        match *self {
            Self::In(ms) => now.saturating_add(ms),
            Self::Ago(ms) => now.saturating_sub(ms),
            Self::Again(index) if used.is_empty() => now.saturating_add(index as u64 % 64),
            Self::Again(index) => used[index % used.len()],
            Self::Last => u64::MAX,
        }
    }
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        3 => (0..200_u64).prop_map(When::In),
        2 => (0..3_u64).prop_map(When::In),
        2 => (0..46_u32, any::<u64>()).prop_map(|(bits, ms)| When::In(ms & ((1 << bits) - 1))),
        1 => any::<u64>().prop_map(When::In),
        1 => (0..300_u64).prop_map(When::Ago),
        5 => any::<usize>().prop_map(When::Again),
        1 => Just(When::Last),
    ]
}

/// Where the clock goes.
#[derive(Clone, Debug)]
enum Step {
    To(When),
    /// To the first instant that is awaited.
    Next,
    Stay,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..100_u64).prop_map(|ms| Step::To(When::In(ms))),
        1 => (0..40_u32).prop_map(|bits| Step::To(When::In(1 << bits))),
        1 => (0..400_u64).prop_map(|ms| Step::To(When::Ago(ms))),
        1 => (0..40_u32).prop_map(|bits| Step::To(When::Ago(1 << bits))),
        3 => Just(Step::Next),
        3 => Just(Step::Stay),
    ]
}

impl Step {
    fn resolve(&self, now: u64, first: Option<u64>) -> u64 {
        match self {
            Self::To(when) => when.resolve(now, &[]),
            Self::Next => first.unwrap_or(now),
            Self::Stay => now,
        }
    }
}

#[derive(Clone, Debug)]
enum DelayCall {
    Insert(When, u32),
    Cancel(usize),
    /// Cancels and inserts the same slot for the same due.
    Renew(usize),
    CancelFirst,
    Advance(Step, usize),
    FirstDue,
}

fn delay_call() -> impl Strategy<Value = DelayCall> {
    prop_oneof![
        8 => (when(), 0..6_u32).prop_map(|(when, slot)| DelayCall::Insert(when, slot)),
        4 => any::<usize>().prop_map(DelayCall::Cancel),
        2 => any::<usize>().prop_map(DelayCall::Renew),
        1 => Just(DelayCall::CancelFirst),
        5 => (step(), 0..5_usize).prop_map(|(step, limit)| DelayCall::Advance(step, limit)),
        2 => Just(DelayCall::FirstDue),
    ]
}

/// A delay wheel, and beside it a list sorted by (due, insertion).
struct Delays {
    wheel: DelayWheel,
    live: BTreeSet<(u64, u64, u32)>,
    inserted: u64,
    now: u64,
    used: Vec<u64>,
}

impl Delays {
    fn new(now: u64, pace: Pace) -> Self {
        Self { wheel: DelayWheel::with_pace(now, pace), live: BTreeSet::new(), inserted: 0, now, used: Vec::new() }
    }

    fn insert(&mut self, due: u64, slot: u32) {
        if self.live.iter().any(|&(d, _, s)| (d, s) == (due, slot)) {
            return;
        }
        self.inserted += 1;
        self.live.insert((due, self.inserted, slot));
        self.used.push(due);
        self.wheel.insert(due, slot);
    }

    fn cancel(&mut self, index: usize) -> Option<(u64, u32)> {
        let count = self.live.len().max(1);
        let entry = *self.live.iter().nth(index % count)?;
        self.live.remove(&entry);
        self.wheel.cancel(entry.0, entry.2);
        Some((entry.0, entry.2))
    }

    fn first_due(&self) -> Option<u64> {
        self.live.first().map(|entry| entry.0)
    }

    /// One call: what comes out is the beginning of what is due, and all of it if the call says so.
    fn advance(&mut self, limit: usize) -> bool {
        let due: Vec<_> = self.live.iter().take_while(|entry| entry.0 <= self.now).copied().collect();
        let mut out = vec![(0, 99)];
        let more = self.wheel.advance(self.now, limit, &mut out);
        let out = &out[1..];
        assert!(out.len() <= limit, "{} delivered, {limit} allowed", out.len());
        let expected: Vec<_> = due.iter().map(|&(due, _, slot)| (due, slot)).collect();
        assert_eq!(out, &expected[..out.len().min(expected.len())]);
        if !more {
            assert_eq!(out.len(), due.len(), "all is said to be delivered");
            assert!(self.wheel.next_wake().is_none_or(|wake| wake > self.now), "no sleep");
        }
        for entry in &due[..out.len()] {
            self.live.remove(entry);
        }
        more
    }

    fn drain(&mut self, limit: usize) {
        for _ in 0..100_000 {
            if !self.advance(limit) {
                return;
            }
        }
        panic!("advance goes on without end");
    }

    fn call(&mut self, call: &DelayCall) {
        match call {
            DelayCall::Insert(when, slot) => self.insert(when.resolve(self.now, &self.used), *slot),
            DelayCall::Cancel(index) => {
                self.cancel(*index);
            }
            DelayCall::CancelFirst => {
                self.cancel(0);
            }
            DelayCall::Renew(index) => {
                if let Some((due, slot)) = self.cancel(*index) {
                    self.insert(due, slot);
                }
            }
            DelayCall::Advance(step, limit) => {
                self.now = step.resolve(self.now, self.first_due());
                self.advance(*limit);
            }
            DelayCall::FirstDue => assert_eq!(self.wheel.first_due(), self.first_due()),
        }
        assert_eq!(self.wheel.len(), self.live.len());
        if let Some(first) = self.first_due() {
            let wake = self.wheel.next_wake().expect("something is awaited");
            assert!(wake <= first, "sleeping until {wake} is too long: {first} is due before");
        }
    }
}

#[derive(Clone, Debug)]
enum LeaseCall {
    Grant(When),
    End(usize),
    Extend(usize, When),
    Advance(Step, usize),
}

fn lease_call() -> impl Strategy<Value = LeaseCall> {
    prop_oneof![
        6 => when().prop_map(LeaseCall::Grant),
        3 => any::<usize>().prop_map(LeaseCall::End),
        3 => (any::<usize>(), when()).prop_map(|(index, when)| LeaseCall::Extend(index, when)),
        5 => (step(), 0..5_usize).prop_map(|(step, limit)| LeaseCall::Advance(step, limit)),
    ]
}

/// Leases, and beside them a list sorted by (deadline, arming) and one of those reported.
struct Held {
    leases: Leases,
    /// (number, token), in order of grant.
    all: Vec<(u32, u64)>,
    armed: BTreeSet<(u64, u64, u32)>,
    arms: u64,
    now: u64,
    used: Vec<u64>,
}

impl Held {
    fn new(now: u64) -> Self {
        Self {
            leases: Leases::with_moves(now, 2),
            all: Vec::new(),
            armed: BTreeSet::new(),
            arms: 0,
            now,
            used: Vec::new(),
        }
    }

    fn arm(&mut self, deadline: u64, lease: u32) {
        self.arms += 1;
        self.armed.insert((deadline, self.arms, lease));
        self.used.push(deadline);
    }

    fn pick(&self, index: usize) -> Option<usize> {
        (!self.all.is_empty()).then(|| index % self.all.len())
    }

    fn advance(&mut self, limit: usize) -> bool {
        let over: Vec<_> = self.armed.iter().take_while(|entry| entry.0 <= self.now).copied().collect();
        let mut out = Vec::new();
        let more = self.leases.advance(self.now, limit, &mut out);
        assert!(out.len() <= limit, "{} reported, {limit} allowed", out.len());
        let expected: Vec<_> = over.iter().map(|entry| entry.2).collect();
        assert_eq!(out, expected[..out.len().min(expected.len())]);
        if !more {
            assert_eq!(out.len(), over.len(), "all is said to be reported");
            assert!(self.leases.next_wake().is_none_or(|wake| wake > self.now), "no sleep");
        }
        for entry in &over[..out.len()] {
            self.armed.remove(entry);
        }
        more
    }

    fn call(&mut self, call: &LeaseCall) {
        match call {
            LeaseCall::Grant(when) => {
                let deadline = when.resolve(self.now, &self.used);
                let token = self.arms;
                let lease = self.leases.grant(token, 5, deadline, 6);
                assert!(self.all.iter().all(|held| held.0 != lease), "{lease} is in use");
                self.all.push((lease, token));
                self.arm(deadline, lease);
            }
            LeaseCall::End(index) => {
                if let Some(index) = self.pick(*index) {
                    let (lease, token) = self.all.remove(index);
                    self.armed.retain(|entry| entry.2 != lease);
                    let ended = self.leases.end(lease).expect("it is held");
                    assert_eq!((ended.token, ended.job, ended.reserved_at), (token, 5, 6));
                    assert!(self.leases.end(lease).is_none());
                }
            }
            LeaseCall::Extend(index, when) => {
                if let Some(index) = self.pick(*index) {
                    let lease = self.all[index].0;
                    let deadline = when.resolve(self.now, &self.used);
                    self.leases.extend(lease, deadline);
                    self.armed.retain(|entry| entry.2 != lease);
                    self.arm(deadline, lease);
                }
            }
            LeaseCall::Advance(step, limit) => {
                let first = self.armed.first().map(|entry| entry.0);
                self.now = step.resolve(self.now, first);
                self.advance(*limit);
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.leases.len(), self.all.len());
        let mut all = self.all.clone();
        all.sort_unstable();
        let held: Vec<_> = self.leases.iter().map(|(lease, held)| (lease, held.token)).collect();
        assert_eq!(held, all);
        for &(deadline, _, lease) in &self.armed {
            assert_eq!(self.leases.get(lease).map(|held| held.deadline), Some(deadline));
        }
        let first = self.armed.first().map(|entry| entry.0);
        let wake = self.leases.next_wake();
        // What ended has left nothing behind, so with nothing awaited there is no wake-up.
        assert_eq!(wake.is_some(), first.is_some());
        assert!(wake <= first, "sleeping until {wake:?} is too long: {first:?} is over before");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The promise of the delay wheel: order of (due, insertion), never early, nothing lost, exactly
    /// the cancelled ones skipped, in whatever slices time is taken and wherever the clock jumps.
    #[test]
    fn delays_come_out_like_from_a_sorted_list(
        start in prop::sample::select(&STARTS[..]),
        small in any::<bool>(),
        calls in prop::collection::vec(delay_call(), 0..250),
    ) {
        let mut delays = Delays::new(start, if small { SMALL } else { Pace::default() });
        for call in &calls {
            delays.call(call);
        }
        delays.now = u64::MAX;
        delays.drain(3);
        prop_assert!(delays.live.is_empty() && delays.wheel.is_empty());
        prop_assert_eq!(delays.wheel.next_wake(), None);
    }

    /// The same for leases, which end and are extended at any time: in a list, in a slot that
    /// cascades, beside the wheel, or reported already.
    #[test]
    fn leases_are_reported_like_from_a_sorted_list(
        start in prop::sample::select(&STARTS[..]),
        calls in prop::collection::vec(lease_call(), 0..250),
    ) {
        let mut held = Held::new(start);
        for call in &calls {
            held.call(call);
        }
        held.now = u64::MAX;
        while held.advance(3) {}
        held.check();
    }

    /// Compactions of lists of many chunks, begun and crossed by cascades and deliveries at any
    /// point, with a clock that was set back for part of the entries.
    #[test]
    fn compaction_keeps_order_and_every_live_entry(
        span in prop::sample::select(&[1_u64, 50, 5_000, 1 << 20, 1 << 38][..]),
        back in prop::sample::select(&[0_u64, 60, 10_000][..]),
        steps in 1..8_usize,
        seeds in prop::collection::vec((any::<u64>(), any::<usize>()), 100..400),
    ) {
        let pace = Pace { swept_per_cancel: steps, cancelled: 20, ..SMALL };
        let mut delays = Delays::new(STARTS[0], pace);
        for (round, &(seed, index)) in seeds.iter().enumerate() {
            if round == seeds.len() / 2 {
                delays.advance(0);
                delays.now -= back;
            }
            for extra in 0..3 {
                delays.insert(delays.now + (seed >> extra) % span, u32::try_from(index % 3).unwrap() + extra);
            }
            delays.call(&DelayCall::Cancel(index));
            delays.call(&DelayCall::Cancel(index / 2));
            if index % 5 == 0 {
                delays.call(&DelayCall::Renew(index / 3));
            }
            if index % 7 == 0 {
                delays.now += span / 100 + 1;
                delays.call(&DelayCall::Advance(Step::Stay, index % 4));
            }
            if index % 11 == 0 {
                delays.call(&DelayCall::FirstDue);
            }
        }
        delays.now = u64::MAX;
        delays.drain(4);
        prop_assert!(delays.live.is_empty());
    }
}

/// A slot with very many timers must not make one call slow: a call moves its share and comes back.
#[test]
fn one_call_moves_no_more_than_its_share() {
    let (count, due) = (50_000_u32, 1 << 30);
    let pace = Pace { moves: 100, ..Pace::default() };
    let mut delays = DelayWheel::with_pace(0, pace);
    for slot in 0..count {
        delays.insert(due, slot);
    }
    let mut out = Vec::new();
    let mut calls = 0;
    while out.is_empty() {
        assert!(delays.advance(due, 10, &mut out), "nothing was delivered yet");
        calls += 1;
    }
    assert!(calls >= count / 100, "{count} entries were moved in {calls} calls");
    // What is inserted for that instant meanwhile stands last.
    delays.insert(due, count);
    while delays.advance(due, 10, &mut out) {}
    assert!(out.iter().map(|entry| entry.1).eq(0..=count));
}

/// Jobs that are cancelled years before their due must not be kept until then.
#[test]
fn cancelled_jobs_give_their_memory_back() {
    let mut delays = DelayWheel::new(0);
    let due = |slot: u32| 1 << 33 | u64::from(slot % 1_000) << 20;
    for slot in 0..300_000 {
        delays.insert(due(slot), slot);
    }
    let full = delays.held_bytes();
    assert!(full < 300_000 * 10, "{full} bytes for 300,000 entries");
    // In an order that leaves no block of memory empty by itself.
    let scattered = (0..300_000_u64).map(|index| (index * 7_919 % 300_000) as u32);
    for slot in scattered.filter(|slot| slot % 97 != 7) {
        delays.cancel(due(slot), slot);
    }
    assert!(delays.held_bytes() < full / 4, "{} of {full} bytes", delays.held_bytes());
    let mut out = Vec::new();
    while delays.advance(u64::MAX, 1_000, &mut out) {}
    let mut kept: Vec<_> = (0..300_000).filter(|slot| slot % 97 == 7).map(|slot| (due(slot), slot)).collect();
    kept.sort_unstable();
    assert_eq!(out, kept);
    assert!(delays.held_bytes() <= 1 << 18, "{} bytes for nothing", delays.held_bytes());
}

/// A job enqueued for the same instant over and over, by the same slot, must stay one timer.
#[test]
fn a_timer_renewed_forever_takes_no_more_memory() {
    let mut delays = DelayWheel::new(0);
    for _ in 0..200_000 {
        delays.insert(1 << 40, 3);
        delays.cancel(1 << 40, 3);
    }
    assert!(delays.held_bytes() <= 1 << 19, "{} bytes for nothing", delays.held_bytes());
    assert_eq!(delays.first_due(), None);
}

/// With nothing in it, the wheel follows a clock that is set back by years, and is a wheel again.
#[test]
fn an_empty_wheel_follows_the_clock_back() {
    let mut delays = DelayWheel::new(STARTS[0]);
    let mut out = Vec::new();
    assert!(!delays.advance(1_000, 10, &mut out));
    delays.insert(1_001, 1);
    assert!(delays.held_bytes() > 0, "it went beside the wheel");
    assert!(!delays.advance(1_001, 10, &mut out));
    assert_eq!(out, [(1_001, 1)]);
}
