//! A topic: a name with a queue of ready jobs, its waiters and its counts; and the table of all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::clock::Mono;
use crate::error::Error;
use crate::options::Limits;
use crate::ready::ReadyQueue;
use crate::slab::Slab;
use crate::stats::Counters;
use crate::sync::Number;

/// A named queue.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// Tells this topic from an earlier one in the same slot.
    pub(crate) generation: u32,
    pub(crate) ready: ReadyQueue,
    /// Who waits for a job here, oldest first; the numbers are those of the waiters' table.
    pub(crate) waiters: BTreeSet<u64>,
    pub(crate) counters: Counters,
    pub(crate) paused: bool,
    pub(crate) last_call: Mono,
    /// Whether a look at its idleness is already planned.
    pub(crate) watched: bool,
    /// Whether its record waits to be written.
    pub(crate) dirty: bool,
}

impl Topic {
    /// Whether something keeps it: a job (finished ones too), a waiter, a pause.
    pub(crate) fn is_used(&self) -> bool {
        self.paused || !self.waiters.is_empty() || self.counters.present() > 0
    }
}

/// All topics, by slot and by name.
#[derive(Default)]
pub(crate) struct Topics {
    /// Each in a box of its own: a place in an array of pointers takes half the instructions to find.
    slab: Slab<Box<Topic>, 64>,
    names: HashMap<Arc<str>, u32>,
    generation: u32,
}

impl Topics {
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&Topic> {
        self.slab.get(slot).map(Box::as_ref)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Topic> {
        self.slab.get_mut(slot).map(Box::as_mut)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Topic)> {
        self.slab.iter().map(|(slot, topic)| (slot, topic.as_ref()))
    }

    pub(crate) fn slot_of(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The topic's slot, and the topic: the call counts as one of it.
    #[inline(always)]
    pub(crate) fn call(&mut self, topic: TopicRef<'_>, now: Mono) -> Option<u32> {
        if let TopicRef::Handle(handle) = topic {
            let (slot, generation) = handle.place();
            if let Some(there) = self.slab.get_mut(slot)
                && there.generation == generation
            {
                there.last_call = now;
                return Some(slot);
            }
        }
        self.call_found(topic, now)
    }

    fn call_found(&mut self, topic: TopicRef<'_>, now: Mono) -> Option<u32> {
        let slot = self.find(topic)?;
        self.slab.get_mut(slot)?.last_call = now;
        Some(slot)
    }

    /// The topic's slot, wherever the reference had it last.
    #[inline]
    pub(crate) fn find(&self, topic: TopicRef<'_>) -> Option<u32> {
        match topic {
            TopicRef::Name(name) => self.slot_of(name),
            TopicRef::Handle(handle) => {
                let (slot, generation) = handle.place();
                match self.slab.get(slot) {
                    Some(there) if there.generation == generation => Some(slot),
                    _ => self.find_again(handle),
                }
            }
        }
    }

    #[cold]
    fn find_again(&self, handle: &TopicHandle) -> Option<u32> {
        let slot = self.slot_of(&handle.name)?;
        handle.remember(slot, self.slab.get(slot)?.generation);
        Some(slot)
    }

    /// Make a topic whose name was checked.
    pub(crate) fn insert(&mut self, name: Arc<str>, now: Mono) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slab.insert(Box::new(Topic {
            name: Arc::clone(&name),
            generation: self.generation,
            ready: ReadyQueue::new(),
            waiters: BTreeSet::new(),
            counters: Counters::default(),
            paused: false,
            last_call: now,
            watched: false,
            dirty: false,
        }));
        self.names.insert(name, slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Box<Topic>> {
        let topic = self.slab.remove(slot)?;
        self.names.remove(&topic.name);
        Some(topic)
    }
}

/// A topic's name that remembers where the topic was found last.
#[derive(Debug)]
pub struct TopicHandle {
    name: Arc<str>,
    /// Generation in the upper half, slot in the lower. Generation 0 is no topic's.
    place: Number,
}

impl TopicHandle {
    /// A handle of a name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no topic can have.
    pub fn new(name: &str, limits: &Limits) -> Result<Self, Error> {
        check_name(name, limits)?;
        Ok(Self { name: Arc::from(name), place: Number::new(0) })
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn place(&self) -> (u32, u32) {
        let place = self.place.peek();
        let low = u32::try_from(place & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (low, u32::try_from(place >> 32).unwrap_or(0))
    }

    fn remember(&self, slot: u32, generation: u32) {
        self.place.set(u64::from(generation) << 32 | u64::from(slot));
    }
}

/// How a call names its topic.
#[derive(Clone, Copy, Debug)]
pub enum TopicRef<'a> {
    /// By its name, which is checked when it is new.
    Name(&'a str),
    /// By a handle.
    Handle(&'a TopicHandle),
}

impl<'a> TopicRef<'a> {
    /// The topic's name.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            Self::Name(name) => name,
            Self::Handle(handle) => &handle.name,
        }
    }
}

/// Whether a topic may have this name.
///
/// # Errors
/// [`Error::Invalid`]: empty, longer than `max_topic_name`, or with a NUL.
pub fn check_name(name: &str, limits: &Limits) -> Result<(), Error> {
    let wanted = limits.max_topic_name;
    let came = match name.len() {
        0 => "an empty one".to_owned(),
        length if length > wanted => format!("{length} bytes"),
        _ if name.contains('\0') => "one with a NUL".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!("topic must be a name of 1 to {wanted} bytes of UTF-8 without NUL, not {came}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, limits: &Limits) -> Option<String> {
        check_name(name, limits).err().map(|error| error.to_string())
    }

    #[test]
    fn a_name_is_1_to_255_bytes_without_nul() {
        let limits = Limits::default();
        let longest = "é".repeat(127) + "x";
        for name in ["a", " ", "\u{1F98A}", "a/b", &longest] {
            assert_eq!(refusal(name, &limits), None, "{name:?}");
        }
        let text =
            |came: &str| Some(format!("topic must be a name of 1 to 255 bytes of UTF-8 without NUL, not {came}"));
        assert_eq!(refusal("", &limits), text("an empty one"));
        assert_eq!(refusal(&"é".repeat(128), &limits), text("256 bytes"));
        assert_eq!(refusal("a\0", &limits), text("one with a NUL"));
    }

    #[test]
    fn the_limit_on_names_is_the_services() {
        let limits = Limits { max_topic_name: 3, ..Limits::default() };
        assert_eq!(refusal("abc", &limits), None);
        assert!(refusal("abcd", &limits).is_some_and(|text| text.contains("1 to 3 bytes")));
        assert!(TopicHandle::new("abcd", &limits).is_err());
    }

    #[test]
    fn a_handle_finds_the_next_topic_of_its_name_and_not_the_next_in_its_slot() {
        let mut topics = Topics::default();
        let handle = TopicHandle::new("a", &Limits::default()).unwrap();
        assert_eq!(topics.find(TopicRef::Handle(&handle)), None);
        let slot = topics.insert(Arc::from("a"), Mono(0));
        assert_eq!(topics.find(TopicRef::Handle(&handle)), Some(slot));
        topics.remove(slot);
        assert_eq!(topics.insert(Arc::from("b"), Mono(0)), slot, "the slot is used again");
        assert_eq!(topics.find(TopicRef::Handle(&handle)), None);
        let again = topics.insert(Arc::from("a"), Mono(0));
        assert_eq!(topics.find(TopicRef::Handle(&handle)), Some(again));
    }
}
