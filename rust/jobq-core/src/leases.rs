//! The leases that are held, and which of them are over, by monotonic milliseconds.

use crate::list::{Ends, Links};
use crate::slab::{NIL, Slab};
use crate::wheel::{Home, LEAST_MOVES, Place, Slots, Wheel};

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
    /// The neighbours in the list of a slot. Beside the wheel, both halves of the entry's number.
    next: u32,
    prev: u32,
    post: Post,
}

/// Where a lease waits for its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Post {
    /// Nowhere: it was reported.
    Reported,
    Slot(Place),
    Side,
}

/// All leases under stable `u32` numbers, and a wheel that reports those that are over.
///
/// Granting, ending and extending take constant time: the lists of the wheel run through the leases
/// themselves, so one that ends leaves nothing behind.
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
}

impl Leases {
    /// No lease, at the monotonic time `now` in milliseconds.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self::with_moves(now, LEAST_MOVES)
    }

    /// No lease, and `moves` from level to level in one `advance`, or 4 × its limit if that is more:
    /// as a test wants it.
    #[must_use]
    pub fn with_moves(now: u64, moves: usize) -> Self {
        Self {
            wheel: Wheel::new(now, moves),
            lists: Lists { leases: Slab::new(), ends: vec![Ends::EMPTY; Place::COUNT].into_boxed_slice() },
        }
    }

    /// Grants a lease and returns its number, which stays its own until [`Leases::end`].
    #[inline]
    pub fn grant(&mut self, token: u64, job: u32, deadline: u64, reserved_at: u64) -> u32 {
        let lease = self.lists.leases.insert(Lease {
            token,
            deadline,
            job,
            reserved_at,
            next: NIL,
            prev: NIL,
            post: Post::Reported,
        });
        self.arm(lease, deadline);
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
        self.disarm(lease);
        self.lists.leases.remove(lease)
    }

    /// Sets a lease's deadline, earlier or later. It stands last among those of the same deadline,
    /// and will be reported again if it was. Without a lease under the number, nothing happens.
    pub fn extend(&mut self, lease: u32, deadline: u64) {
        self.disarm(lease);
        if let Some(held) = self.lists.leases.get_mut(lease) {
            held.deadline = deadline;
            self.arm(lease, deadline);
        }
    }

    /// Appends to `out` the leases with deadline ≤ `now`, in order of (deadline, grant or last
    /// extension), at most `limit`. Each is reported once, and stays until [`Leases::end`]. `true`:
    /// more may be over at `now`, so call again, also when this call found none.
    pub fn advance(&mut self, now: u64, limit: usize, out: &mut Vec<u32>) -> bool {
        self.wheel.advance(&mut self.lists, now, limit, |_, lease| out.push(lease))
    }

    /// An instant that is not after the first deadline not reported, for sleeping until then, and at
    /// which `advance` gets nearer to it; `None` if no deadline is awaited.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        self.wheel.next_start()
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

    #[inline]
    fn arm(&mut self, lease: u32, deadline: u64) {
        if let Home::Side(number) = self.wheel.insert(&mut self.lists, deadline, lease)
            && let Some(held) = self.lists.leases.get_mut(lease)
        {
            held.post = Post::Side;
            held.next = (number & 0xFFFF_FFFF) as u32;
            held.prev = (number >> 32) as u32;
        }
    }

    /// Takes a lease out of the wheel, if it is in it.
    #[inline]
    fn disarm(&mut self, lease: u32) {
        let Some(held) = self.lists.leases.get(lease) else {
            return;
        };
        match held.post {
            Post::Reported => {}
            Post::Slot(place) => {
                let ends = &mut self.lists.ends[place.index()];
                ends.unlink(&mut self.lists.leases, lease);
                if ends.is_empty() {
                    self.wheel.vacate(place);
                }
            }
            Post::Side => {
                let number = u64::from(held.prev) << 32 | u64::from(held.next);
                let found = self.wheel.side().remove(&(held.deadline, number));
                debug_assert_eq!(found, Some(lease), "the side map and lease {lease} disagree");
                self.lists.leave_links(lease);
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
            held.next = NIL;
            held.prev = NIL;
            held.post = Post::Reported;
        }
    }
}

impl Slots for Lists {
    type Entry = u32;

    #[inline]
    fn push(&mut self, place: Place, _: u64, lease: u32) {
        self.ends[place.index()].push_back(&mut self.leases, lease);
        if let Some(held) = self.leases.get_mut(lease) {
            held.post = Post::Slot(place);
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
        self.get(lease).map_or(NIL, |held| held.next)
    }

    #[inline]
    fn prev(&self, lease: u32) -> u32 {
        self.get(lease).map_or(NIL, |held| held.prev)
    }

    #[inline]
    fn set_next(&mut self, lease: u32, to: u32) {
        if let Some(held) = self.get_mut(lease) {
            held.next = to;
        }
    }

    #[inline]
    fn set_prev(&mut self, lease: u32, to: u32) {
        if let Some(held) = self.get_mut(lease) {
            held.prev = to;
        }
    }
}
