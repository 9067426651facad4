//! The only door to locks, atomics and waiting. A wait ends by an event; a timeout is an event that a timer delivers.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// A lock whose holder never runs foreign code.
///
/// A panic under it poisons it for good: whoever comes next learns that the state is not to be trusted.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

/// The lock, held.
pub type Guard<'a, T> = std::sync::MutexGuard<'a, T>;

/// The lock's state can no longer be trusted: a holder panicked.
#[derive(Clone, Copy, Debug)]
pub struct Poisoned;

impl<T> Mutex<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Hold the lock.
    ///
    /// # Errors
    /// [`Poisoned`] after a panic under it.
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_, T>, Poisoned> {
        self.0.lock().map_err(|_| Poisoned)
    }

    /// Forget that a holder panicked: whoever takes the state apart has been told.
    pub fn forgive(&self) {
        self.0.clear_poison();
    }

    /// What it guarded, when nobody else has it any more.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hold the lock whatever happened under it: to take things apart, never to serve.
    pub fn lock_anyway(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A number that several threads read and write.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// A number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Its value; what was written before it is seen.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Its value, alone.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Set it; whoever reads it sees what was written before.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// Its value; while that is 0, it becomes this one.
    pub fn get_or_set(&self, value: u64) -> u64 {
        self.0.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire).map_or_else(|there| there, |_| value)
    }

    /// Add to it; returns the value before.
    pub fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::AcqRel)
    }
}

/// How often this process is a fork's child: a service of another generation is the parent's.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Which generation of forks this process is.
#[inline]
#[must_use]
pub fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Say that this process has just become a fork's child. To be called before any service is used in it.
pub fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Where one thread sleeps until it is told of an event.
///
/// `word` counts the events, so one that comes between looking and sleeping is never missed: [`Parker::wait`]
/// returns at once when the count is not the one that was looked at.
#[derive(Debug, Default)]
pub struct Parker {
    word: AtomicU32,
    #[cfg(not(target_os = "linux"))]
    fallback: (std::sync::Mutex<()>, std::sync::Condvar),
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// By an event.
    Notified,
    /// The deadline passed.
    TimedOut,
    /// A signal was delivered to this thread.
    Signal,
}

thread_local! {
    static PARKER: Arc<Parker> = Arc::default();
}

impl Parker {
    /// The calling thread's own.
    #[must_use]
    pub fn of_this_thread() -> Arc<Self> {
        PARKER.with(Arc::clone)
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }
}

#[cfg(target_os = "linux")]
impl Parker {
    /// Tell of an event.
    pub fn notify(&self) {
        self.word.fetch_add(1, Ordering::Release);
        // The only error is a bad address, which a reference is not.
        let _ = rustix::thread::futex::wake(&self.word, rustix::thread::futex::Flags::PRIVATE, 1);
    }

    /// Sleep until there were more events than `seen`, the deadline passes, or a signal comes.
    pub fn wait(&self, seen: u32, deadline: Option<Instant>) -> Woken {
        use rustix::io::Errno;
        use rustix::thread::futex;
        loop {
            let timeout = match deadline {
                None => None,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.outcome(seen, Woken::TimedOut);
                    }
                    futex::Timespec::try_from(left).ok()
                }
            };
            match futex::wait(&self.word, futex::Flags::PRIVATE, seen, timeout.as_ref()) {
                Err(Errno::INTR) => return self.outcome(seen, Woken::Signal),
                Ok(()) | Err(_) if self.events() != seen => return Woken::Notified,
                // Woken for nothing, or by the timer: the loop looks at the deadline.
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn outcome(&self, seen: u32, otherwise: Woken) -> Woken {
        if self.events() == seen { otherwise } else { Woken::Notified }
    }
}

#[cfg(not(target_os = "linux"))]
impl Parker {
    /// Tell of an event.
    pub fn notify(&self) {
        let _guard = self.fallback.0.lock();
        self.word.fetch_add(1, Ordering::Release);
        self.fallback.1.notify_one();
    }

    /// Sleep until there were more events than `seen` or the deadline passes.
    ///
    /// A condition variable hides signals, so every 50 ms the caller is asked to look for one.
    pub fn wait(&self, seen: u32, deadline: Option<Instant>) -> Woken {
        let slice = std::time::Duration::from_millis(50);
        let left = deadline.map_or(slice, |at| at.saturating_duration_since(Instant::now()).min(slice));
        let Ok(guard) = self.fallback.0.lock() else { return Woken::Notified };
        let _ = self.fallback.1.wait_timeout_while(guard, left, |()| self.events() == seen);
        if self.events() != seen {
            Woken::Notified
        } else if deadline.is_some_and(|at| at <= Instant::now()) {
            Woken::TimedOut
        } else {
            Woken::Signal
        }
    }
}

/// Whether this is the process's main thread, to which signals are delivered first.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Elsewhere a wait looks for signals every 50 ms, in every thread.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn is_main_thread() -> bool {
    false
}

/// Run something in a thread of its own, which nobody waits for.
///
/// # Errors
/// The system's, when it gives no thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Run something in a thread of its own, and wait for it no longer than this; what it returned, if it has.
pub fn within<R: Send + 'static>(name: &str, span: Duration, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (tell, told) = std::sync::mpsc::channel();
    // Whoever waits may have gone.
    spawn(name, move || drop(tell.send(work()))).ok()?;
    told.recv_timeout(span).ok()
}

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Run another library's code, whose panic becomes an error with its text and is printed nowhere; nor are those of the
/// threads that it has, by the beginning of their names.
///
/// # Errors
/// The panic's text.
pub fn catch<R>(threads: &'static str, work: impl FnOnce() -> R) -> Result<R, String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_theirs = std::thread::current().name().is_some_and(|name| name.starts_with(threads));
            if !is_theirs && !CATCHES.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
    let was = CATCHES.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(was);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

/// Sleep, where there is no event to wait for: another program's lock, a file that another thread of sled's closes.
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Which thread this is, to know one that comes back into its own call.
#[must_use]
pub fn this_thread() -> std::thread::ThreadId {
    std::thread::current().id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_between_looking_and_sleeping_is_not_missed() {
        let parker = Parker::default();
        let seen = parker.events();
        parker.notify();
        assert_eq!(parker.wait(seen, None), Woken::Notified);
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let parker = Parker::default();
        let start = Instant::now();
        let span = Duration::from_millis(20);
        while parker.wait(parker.events(), Some(start + span)) != Woken::TimedOut {}
        assert!(start.elapsed() >= span);
    }

    #[test]
    fn a_panic_under_the_lock_is_told_to_the_next() {
        let lock = Mutex::new(0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = lock.lock();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err() && lock.lock().is_err());
        assert_eq!(*lock.lock_anyway(), 0);
    }
}
