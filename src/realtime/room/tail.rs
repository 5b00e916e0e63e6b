//! The newest entries of a room, in memory.

use std::{collections::VecDeque, sync::Arc};

use crate::domain::{
    chain::genesis,
    entry::{Entry, Hash},
    id::RoomId,
};

/// A contiguous run of entries up to the log's head, bounded in number and bytes.
pub(super) struct Tail {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    /// Hash of the entry before the first one, where it is known.
    before: Option<Hash>,
}

impl Tail {
    /// The tail that `newest`, read from the log of `room`, makes.
    pub(super) fn new(
        room: RoomId,
        newest: Vec<Entry>,
        max_entries: usize,
        max_bytes: usize,
    ) -> (Self, Vec<Arc<Entry>>) {
        let whole = newest.first().is_none_or(|first| first.seq == 1);
        let mut tail = Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            before: whole.then(|| genesis(room)),
        };
        let entries: Vec<Arc<Entry>> = newest.into_iter().map(Arc::new).collect();
        for entry in &entries {
            tail.push(Arc::clone(entry), |_| {});
        }
        let kept = tail.entries.iter().cloned().collect();
        (tail, kept)
    }

    /// Takes in the entry behind the last one; `forget` is told which ones make room for it.
    pub(super) fn push(&mut self, entry: Arc<Entry>, mut forget: impl FnMut(&Entry)) {
        self.bytes += entry.weight();
        self.entries.push_back(entry);
        while self.entries.len() > 1 && (self.entries.len() > self.max_entries || self.bytes > self.max_bytes)
        {
            if let Some(old) = self.entries.pop_front() {
                self.bytes -= old.weight();
                self.before = Some(old.hash);
                forget(&old);
            }
        }
    }

    /// Number of the first entry; of an empty tail the number that comes first.
    pub(super) fn first_seq(&self) -> u64 {
        self.entries.front().map_or(1, |first| first.seq)
    }

    /// The entry `seq`, if it is here.
    pub(super) fn get(&self, seq: u64) -> Option<&Arc<Entry>> {
        let index = seq.checked_sub(self.first_seq())?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The chain's hash up to and including `seq`, if it is known here.
    pub(super) fn hash_at(&self, seq: u64) -> Option<Hash> {
        if seq + 1 == self.first_seq() {
            self.before
        } else {
            self.get(seq).map(|entry| entry.hash)
        }
    }

    /// Entries from `from` to `to`, both included, as far as they are here.
    pub(super) fn range(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        let first = self.first_seq();
        let length = self.entries.len();
        let start = usize::try_from(from.saturating_sub(first))
            .unwrap_or(length)
            .min(length);
        let end = usize::try_from((to + 1).saturating_sub(first))
            .unwrap_or(length)
            .clamp(start, length);
        self.entries.range(start..end)
    }
}
