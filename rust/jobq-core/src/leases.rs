//! The leases that are held, and which of them are over, by monotonic milliseconds.

use crate::list::{Ends, Links};
use crate::slab::{NIL, Slab};
use crate::wheel::{Home, LEAST_MOVES, MOVES_PER_DELIVERY, Place, Slots, Wheel};

/// An exclusive hold on a job.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Names the lease.
    pub token: u64,
    /// When the lease is over: monotonic milliseconds.
    pub deadline: u64,
    /// The slot of the job's record.
    pub job: u32,
    /// When it was granted: unix milliseconds.
    pub reserved_at: u64,
    stand: Stand,
}

/// Where a lease stands until its deadline.
#[derive(Clone, Copy, Debug)]
struct Stand {
    /// The neighbours in its list. Beside the wheel, both halves of the entry's number.
    next: u32,
    prev: u32,
    post: Post,
}

impl Stand {
    const YOUNG: Self = Self { next: NIL, prev: NIL, post: Post::Young };
    const REPORTED: Self = Self { next: NIL, prev: NIL, post: Post::Reported };
}

/// Where a lease waits for its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Post {
    /// Nowhere: it was reported.
    Reported,
    /// Among the young.
    Young,
    Slot(Place),
    Side,
}

/// All leases under stable `u32` numbers, and a wheel that reports those that are over.
///
/// Granting, ending and extending take constant time: the lists of the wheel run through the leases
/// themselves, so one that ends leaves nothing behind.
///
/// Most leases end before time moves. So a new one, or one extended, is young at first: it stands in a
/// list in order of arming, and goes to the wheel, in that order, only when time is to move. The wheel
/// does not see the difference, as its time stands still meanwhile. A lease that ends young costs an
/// entry of that list, not one of the wheel: half the instructions.
///
/// ```
/// use jobq_core::leases::Leases;
///
/// let mut leases = Leases::new(0);
/// let lease = leases.grant(1, 7, 30_000, 1_795_000_000_000);
/// leases.extend(lease, 60_000);
/// let mut over = Vec::new();
/// assert!(!leases.advance(59_999, 100, &mut over));
/// assert!(over.is_empty());
/// assert!(!leases.advance(60_000, 100, &mut over));
/// assert_eq!(over, [lease]);
/// assert_eq!(leases.end(lease).map(|lease| lease.job), Some(7));
/// ```
pub struct Leases {
    wheel: Wheel<u32>,
    lists: Lists,
    /// Leases armed since time last moved, in order of arming.
    young: Ends,
    /// Not after the deadline of any young lease.
    young_least: u64,
    least_moves: usize,
}

impl Leases {
    /// No lease, at the monotonic time `now` in milliseconds.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self::with_moves(now, LEAST_MOVES)
    }

    /// No lease, and `moves` to the wheel, and as many from level to level, in one `advance`, or 4 × its
    /// limit if that is more: as a test wants it.
    #[must_use]
    pub fn with_moves(now: u64, moves: usize) -> Self {
        Self {
            wheel: Wheel::new(now, moves),
            lists: Lists { leases: Slab::new(), ends: vec![Ends::EMPTY; Place::COUNT].into_boxed_slice() },
            young: Ends::EMPTY,
            young_least: u64::MAX,
            least_moves: moves.max(1),
        }
    }

    /// Grants a lease and returns its number, which stays its own until [`Leases::end`].
    #[inline(always)]
    pub fn grant(&mut self, token: u64, job: u32, deadline: u64, reserved_at: u64) -> u32 {
        let lease = self.lists.leases.insert(Lease { token, deadline, job, reserved_at, stand: Stand::YOUNG });
        self.enter_young(lease, deadline);
        lease
    }

    /// The lease under a number; `None` if there is none.
    #[inline]
    #[must_use]
    pub fn get(&self, lease: u32) -> Option<&Lease> {
        self.lists.leases.get(lease)
    }

    /// Ends a lease, reported or not; `None` if there is none under the number.
    #[inline]
    pub fn end(&mut self, lease: u32) -> Option<Lease> {
        let held = self.lists.leases.remove(lease)?;
        self.disarm(lease, held.deadline, held.stand);
        Some(held)
    }

    /// Ends the lease under a number if it has this token; whether it had.
    #[inline(always)]
    pub fn end_if(&mut self, lease: u32, token: u64) -> bool {
        let Some(&Lease { token: held, deadline, stand, .. }) = self.lists.leases.get(lease) else { return false };
        if held != token {
            return false;
        }
        self.lists.leases.remove(lease);
        self.disarm(lease, deadline, stand);
        true
    }

    /// Sets a lease's deadline, earlier or later. It stands last among those of the same deadline,
    /// and will be reported again if it was. Without a lease under the number, nothing happens.
    pub fn extend(&mut self, lease: u32, deadline: u64) {
        let Some(held) = self.lists.leases.get_mut(lease) else { return };
        let before = std::mem::replace(&mut held.deadline, deadline);
        let stand = std::mem::replace(&mut held.stand, Stand::YOUNG);
        self.disarm(lease, before, stand);
        self.enter_young(lease, deadline);
    }

    /// Appends to `out` the leases with deadline ≤ `now`, in order of (deadline, grant or last
    /// extension), at most `limit`. Each is reported once, and stays until [`Leases::end`]. `true`:
    /// more may be over at `now`, so call again, also when this call found none.
    pub fn advance(&mut self, now: u64, limit: usize, out: &mut Vec<u32>) -> bool {
        let moves = self.least_moves.max(limit.saturating_mul(MOVES_PER_DELIVERY));
        if !self.settle_young(moves) {
            return true;
        }
        self.wheel.advance(&mut self.lists, now, limit, |_, lease| out.push(lease))
    }

    /// An instant that is not after the first deadline not reported, for sleeping until then, and at
    /// which `advance` gets nearer to it; `None` if no deadline is awaited.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let young = (!self.young.is_empty()).then_some(self.young_least);
        let old = self.wheel.next_start();
        young.into_iter().chain(old).min()
    }

    /// How many leases there are, reported ones included.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lists.leases.len()
    }

    /// Whether there is no lease.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lists.leases.is_empty()
    }

    /// Every lease and its number, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Lease)> {
        self.lists.leases.iter()
    }

    /// The lease stands last among the young; its links are free and its post is set.
    #[inline(always)]
    fn enter_young(&mut self, lease: u32, deadline: u64) {
        let first = if self.young.is_empty() { u64::MAX } else { self.young_least };
        self.young_least = first.min(deadline);
        self.young.push_back(&mut self.lists.leases, lease);
    }

    /// Puts the young on the wheel, at most `moves` of them; whether none is left.
    fn settle_young(&mut self, moves: usize) -> bool {
        for _ in 0..moves {
            let Some(lease) = self.young.pop_front(&mut self.lists.leases) else { return true };
            let deadline = self.lists.leases.get(lease).map_or(0, |held| held.deadline);
            self.arm(lease, deadline);
        }
        self.young.is_empty()
    }

    fn arm(&mut self, lease: u32, deadline: u64) {
        if let Home::Side(number) = self.wheel.insert(&mut self.lists, deadline, lease)
            && let Some(held) = self.lists.leases.get_mut(lease)
        {
            let (next, prev) = ((number & 0xFFFF_FFFF) as u32, (number >> 32) as u32);
            held.stand = Stand { next, prev, post: Post::Side };
        }
    }

    /// Takes a lease out of where it stood; what the lease itself says does not matter any more.
    #[inline(always)]
    fn disarm(&mut self, lease: u32, deadline: u64, stand: Stand) {
        if stand.post == Post::Young {
            self.young.close_gap(&mut self.lists.leases, stand.prev, lease, stand.next);
        } else {
            self.disarm_old(lease, deadline, stand);
        }
    }

    #[inline(never)]
    fn disarm_old(&mut self, lease: u32, deadline: u64, stand: Stand) {
        match stand.post {
            Post::Young | Post::Reported => {}
            Post::Slot(place) => {
                let ends = &mut self.lists.ends[place.index()];
                ends.close_gap(&mut self.lists.leases, stand.prev, lease, stand.next);
                if ends.is_empty() {
                    self.wheel.vacate(place);
                }
            }
            Post::Side => {
                let number = u64::from(stand.prev) << 32 | u64::from(stand.next);
                let found = self.wheel.side().remove(&(deadline, number));
                debug_assert_eq!(found, Some(lease), "the side map and lease {lease} disagree");
            }
        }
    }
}

/// The lists of the wheel's slots, linked through the leases.
struct Lists {
    leases: Slab<Lease>,
    ends: Box<[Ends]>,
}

impl Lists {
    /// The lease is in no list and not beside the wheel any more.
    fn leave_links(&mut self, lease: u32) {
        if let Some(held) = self.leases.get_mut(lease) {
            held.stand = Stand::REPORTED;
        }
    }
}

impl Slots for Lists {
    type Entry = u32;

    #[inline]
    fn push(&mut self, place: Place, _: u64, lease: u32) {
        self.ends[place.index()].push_back(&mut self.leases, lease);
        if let Some(held) = self.leases.get_mut(lease) {
            held.stand.post = Post::Slot(place);
        }
    }

    #[inline]
    fn take(&mut self, place: Place, _: u64, most: usize, mut each: impl FnMut(&mut Self, u64, u32)) -> usize {
        for taken in 0..most {
            let Some(lease) = self.ends[place.index()].pop_front(&mut self.leases) else {
                return taken;
            };
            if let Some(held) = self.leases.get(lease) {
                let deadline = held.deadline;
                each(self, deadline, lease);
            }
        }
        most
    }

    fn is_empty(&self, place: Place) -> bool {
        self.ends[place.index()].is_empty()
    }

    #[inline]
    fn leave(&mut self, _: u64, lease: u32) -> bool {
        self.leave_links(lease);
        true
    }
}

impl Links for Slab<Lease> {
    #[inline]
    fn next(&self, lease: u32) -> u32 {
        self.get(lease).map_or(NIL, |held| held.stand.next)
    }

    #[inline]
    fn prev(&self, lease: u32) -> u32 {
        self.get(lease).map_or(NIL, |held| held.stand.prev)
    }

    #[inline]
    fn set_next(&mut self, lease: u32, to: u32) {
        if let Some(held) = self.get_mut(lease) {
            held.stand.next = to;
        }
    }

    #[inline]
    fn set_prev(&mut self, lease: u32, to: u32) {
        if let Some(held) = self.get_mut(lease) {
            held.stand.prev = to;
        }
    }
}
