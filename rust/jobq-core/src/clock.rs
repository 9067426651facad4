//! Time as the engine sees it: a wall clock for dates, a monotonic one for leases, and a manual one for tests.
//!
//! Two grains. The exact clocks are read to set a due date. Whether anything is due at all is asked of a coarse
//! monotonic clock (5 ns instead of 25): while it has not moved, nothing can have become due.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sync::{Mutex, Number};

/// Milliseconds since 1970 on the wall clock, which people and NTP may step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// Milliseconds on a clock that only goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

/// Both clocks at one instant, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For dates.
    pub wall: Wall,
    /// For leases.
    pub mono: Mono,
}

/// Where a service reads the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System(SystemClock),
    /// Moved by hand.
    Manual(Arc<ManualClock>),
}

impl Default for Clock {
    fn default() -> Self {
        Self::System(SystemClock::new())
    }
}

impl Clock {
    /// A number that changes whenever time has visibly moved; the cheap question.
    #[inline]
    #[must_use]
    pub fn mark(&self) -> u64 {
        match self {
            Self::System(clock) => clock.coarse(),
            Self::Manual(clock) => clock.moves.get(),
        }
    }

    /// Both clocks, exactly.
    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::System(clock) => Now { wall: wall_floor(), mono: Mono(clock.elapsed()) },
            Self::Manual(clock) => clock.now(),
        }
    }

    /// The wall clock, exactly, rounded up: what a delay is counted from, so that nothing is early.
    #[must_use]
    pub fn wall_ceil(&self) -> Wall {
        match self {
            Self::System(_) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Wall(ceil_ms(since))
            }
            Self::Manual(clock) => clock.now().wall,
        }
    }

    /// How far behind [`Clock::now`] a cached reading may be, in milliseconds, rounding included.
    #[must_use]
    pub fn grain(&self) -> u64 {
        match self {
            Self::System(clock) => clock.grain,
            Self::Manual(_) => 0,
        }
    }

    /// Whether a sleeping thread can wait for time to pass: not on a clock moved by hand.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::System(_))
    }
}

/// The machine's clocks.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
    grain: u64,
}

impl SystemClock {
    fn new() -> Self {
        Self { start: Instant::now(), grain: coarse::step() + 1 }
    }

    #[inline]
    fn coarse(&self) -> u64 {
        coarse::read(self.start)
    }

    fn elapsed(&self) -> u64 {
        floor_ms(self.start.elapsed())
    }
}

#[cfg(target_os = "linux")]
mod coarse {
    use rustix::time::{ClockId, clock_getres, clock_gettime};
    use std::time::Instant;

    /// The coarse clock's reading, as a number that changes with each of its steps.
    #[inline]
    pub(super) fn read(_start: Instant) -> u64 {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
    }

    /// Its step in milliseconds, rounded up.
    pub(super) fn step() -> u64 {
        let step = clock_getres(ClockId::MonotonicCoarse);
        step.tv_sec.cast_unsigned() * 1_000 + step.tv_nsec.cast_unsigned().div_ceil(1_000_000)
    }
}

#[cfg(not(target_os = "linux"))]
mod coarse {
    use std::time::Instant;

    /// Milliseconds of the exact clock: elsewhere there is no coarse one.
    pub(super) fn read(start: Instant) -> u64 {
        super::floor_ms(start.elapsed())
    }

    pub(super) fn step() -> u64 {
        1
    }
}

fn wall_floor() -> Wall {
    Wall(floor_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

fn floor_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn ceil_ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Something that must act when a manual clock was moved: a service.
pub trait Ticker: Send + Sync {
    /// Do everything that has become due.
    fn tick(&self);
    /// Whether it will never act again, so that the clock may forget it.
    fn is_over(&self) -> bool;
}

/// Time that moves when told.
pub struct ManualClock {
    wall: Number,
    mono: Number,
    moves: Number,
    services: Mutex<Vec<std::sync::Weak<dyn Ticker>>>,
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Wall) -> Self {
        Self {
            wall: Number::new(start.0),
            mono: Number::new(0),
            moves: Number::new(1),
            services: Mutex::new(Vec::new()),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: Wall(self.wall.get()), mono: Mono(self.mono.get()) }
    }

    /// Move both clocks on, then let every service on this clock do what is due.
    pub fn advance(&self, milliseconds: u64) {
        self.mono.set(self.mono.get().saturating_add(milliseconds));
        self.set_wall(self.wall.get().saturating_add(milliseconds));
    }

    /// Step the wall clock alone, in either direction; then as [`ManualClock::advance`].
    pub fn jump(&self, milliseconds: i64) {
        self.set_wall(self.wall.get().saturating_add_signed(milliseconds));
    }

    fn set_wall(&self, wall: u64) {
        self.wall.set(wall);
        self.moves.add(1);
        for service in self.services() {
            service.tick();
        }
    }

    /// Have a service told when the clock moves.
    pub fn attach(&self, service: std::sync::Weak<dyn Ticker>) {
        if let Ok(mut services) = self.services.lock() {
            services.push(service);
        }
    }

    fn services(&self) -> Vec<Arc<dyn Ticker>> {
        let Ok(mut services) = self.services.lock() else { return Vec::new() };
        services.retain(|service| service.upgrade().is_some_and(|service| !service.is_over()));
        services.iter().filter_map(std::sync::Weak::upgrade).collect()
    }
}
