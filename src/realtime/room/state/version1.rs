//! Sockets of version 1: a socket has one room, and is told whole chat messages.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{Attached, Join, State};
use crate::{
    domain::{entry::Entry, id::UserId},
    i18n::Language,
    realtime::{
        protocol::{CloseCode, v1, v2::EntryStyle},
        roster::SessionId,
        told::Progress,
    },
};

/// Entries that a socket which comes back is told at most.
const REPEATED: usize = 200;

impl State {
    /// Attaches a session and tells it what its sign-in has not been told yet, in one turn.
    pub(super) fn join_version_1(&mut self, join: &Join, told: &Progress) {
        let head = self.tip.head.seq;
        let missed = match told.seq() {
            // Nobody knows what its client has: to repeat anything could show it twice.
            0 => Vec::new(),
            seq => self.chat_messages(&self.missed_version_1(join.user, seq + 1), join.language),
        };
        if missed.is_empty() {
            told.reach(head);
        }
        if push(&join.outbox.0, &missed) {
            let attached = Attached {
                user: join.user,
                outbox: join.outbox.0.clone(),
                language: join.language,
                wire: join.wire(),
                sent: head,
            };
            self.sessions.insert(join.session, attached);
        }
    }

    /// The newest of the entries from `from` on that `user` may see.
    fn missed_version_1(&self, user: UserId, from: u64) -> Vec<Arc<Entry>> {
        let Some(visible) = self.circle.visible(user) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let mut missed: Vec<Arc<Entry>> = self
            .tail
            .range(from, self.tip.head.seq)
            .rev()
            .filter(|entry| visible.contains(entry.seq))
            .take(REPEATED)
            .take_while(|entry| {
                bytes += entry.weight();
                bytes <= self.settings.answer_bytes
            })
            .cloned()
            .collect();
        missed.reverse();
        missed
    }

    /// Takes over a session of a room that panicked, or closes it if its user takes part no longer.
    pub(super) fn adopt_version_1(&mut self, session: SessionId, mut old: Attached) {
        let missed = self.missed_version_1(old.user, old.sent + 1);
        let alive = push(&old.outbox, &self.chat_messages(&missed, old.language));
        if !self.circle.has(old.user) {
            old.outbox.close(CloseCode::Removed);
        } else if alive {
            old.sent = self.tip.head.seq;
            self.sessions.insert(session, old);
        }
    }

    /// These entries as version 1 is told them, one frame each, with the seq of each.
    pub(super) fn chat_messages(&self, entries: &[Arc<Entry>], language: Language) -> Vec<(Bytes, u64)> {
        let style = EntryStyle {
            language,
            name_of: &|user| self.people.get(&user).cloned(),
        };
        let frame = |entry: &Arc<Entry>| Some((v1::message_frame(self.event.id, entry, &style)?, entry.seq));
        entries.iter().filter_map(frame).collect()
    }

    /// The names of everyone whom the record may name, as they are now.
    pub(in crate::realtime::room) fn names(&self) -> Arc<HashMap<UserId, String>> {
        Arc::clone(&self.people)
    }
}

/// Whether `outbox` took all of `frames`.
fn push(outbox: &crate::realtime::outbox::Outbox, frames: &[(Bytes, u64)]) -> bool {
    frames
        .iter()
        .all(|(frame, seq)| outbox.try_push_through(frame.clone(), *seq).is_ok())
}
