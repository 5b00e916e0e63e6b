//! How far each sign-in of version 1 has been told each room.
//!
//! Version 1 has no cursor on the wire and asks for nothing when it comes back:
//! the server remembers instead, so that a new socket begins exactly where the
//! last page of history or the last socket ended. In memory only, and bounded:
//! what is forgotten is not repeated.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lru::LruCache;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::domain::id::EventId;

/// Pairs of sign-in and event that are remembered; the longest unused goes first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// Up to where one sign-in has been told one room; 0 where nothing is known. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// The last seq told; 0 where nothing is known.
    pub fn seq(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Everything up to `seq` is told now. Never goes back.
    pub fn reach(&self, seq: u64) {
        self.0.fetch_max(seq, Ordering::AcqRel);
    }
}

/// The progress of every sign-in in every event, as far as it is remembered. Clones share it.
#[derive(Clone)]
pub struct Told {
    book: Arc<Mutex<LruCache<(Uuid, EventId), Progress>>>,
}

impl Default for Told {
    fn default() -> Self {
        Self::remembering(REMEMBERED)
    }
}

impl Told {
    fn remembering(pairs: NonZeroUsize) -> Self {
        Self {
            // Grows as it is used: most servers never see so many.
            book: Arc::new(Mutex::new(LruCache::sparse(pairs))),
        }
    }

    /// The progress of `sign_in` in `event`, or one that is not remembered yet: what a
    /// stranger asks for pushes nothing out.
    pub fn known(&self, sign_in: Uuid, event: EventId) -> Progress {
        self.book
            .lock()
            .get(&(sign_in, event))
            .cloned()
            .unwrap_or_default()
    }

    /// The progress of `sign_in` in `event`, remembered from now on.
    pub fn of(&self, sign_in: Uuid, event: EventId) -> Progress {
        self.book
            .lock()
            .get_or_insert((sign_in, event), Progress::default)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use uuid::Uuid;

    use super::Told;
    use crate::domain::id::EventId;

    #[test]
    fn each_sign_in_has_its_own_place_in_each_room_and_never_goes_back() {
        let told = Told::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(told.of(one, EventId(1)).seq(), 0);
        told.of(one, EventId(1)).reach(7);
        told.of(one, EventId(1)).reach(5);
        assert_eq!(told.of(one, EventId(1)).seq(), 7);
        assert_eq!(told.of(one, EventId(2)).seq(), 0);
        assert_eq!(told.of(other, EventId(1)).seq(), 0);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let told = Told::remembering(NonZeroUsize::new(2).unwrap());
        for event in 1..=3 {
            told.of(Uuid::nil(), EventId(event)).reach(9);
        }
        told.known(Uuid::nil(), EventId(4)).reach(9);
        assert_eq!(told.known(Uuid::nil(), EventId(4)).seq(), 0);
        assert_eq!(told.of(Uuid::nil(), EventId(3)).seq(), 9);
        assert_eq!(told.of(Uuid::nil(), EventId(1)).seq(), 0);
    }
}
