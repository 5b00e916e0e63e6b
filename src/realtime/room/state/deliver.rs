//! What the sessions are told.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::State;
use crate::{
    domain::{
        entry::{Entry, Kind},
        fact::Change,
        id::UserId,
    },
    i18n::Language,
    realtime::protocol::{
        CloseCode, Wire,
        v2::{self, EntryStyle},
    },
};

/// As what `removed` tells a change that ended somebody's taking part.
pub(super) fn going(change: &Change) -> &'static str {
    if matches!(change, Change::ParticipantLeft { .. }) {
        "left"
    } else {
        "removed"
    }
}

impl State {
    /// Tells every session these entries.
    pub(super) fn deliver(&mut self, entries: &[Arc<Entry>]) {
        let Some(last) = entries.last() else { return };
        if self.sessions.is_empty() {
            return;
        }
        // Only facts read differently in another language of version 2.
        let has_facts = entries.iter().any(|entry| entry.kind == Kind::Fact);
        let audiences: HashSet<(Wire, Language)> = self
            .sessions
            .values()
            .map(|attached| (attached.wire, attached.language))
            .collect();
        let mut frames: HashMap<(Wire, Language), Vec<(Bytes, u64)>> = HashMap::new();
        let mut shared: Option<Vec<(Bytes, u64)>> = None;
        for (wire, language) in audiences {
            let encoded = match (wire, &shared) {
                (Wire::V1, _) => self.chat_messages(entries, language),
                (Wire::V2, Some(encoded)) if !has_facts => encoded.clone(),
                (Wire::V2, _) => {
                    let pushes = self.pushes(entries, language);
                    let encoded: Vec<_> = pushes.into_iter().map(|frame| (frame, 0)).collect();
                    shared.get_or_insert_with(|| encoded.clone());
                    encoded
                }
            };
            frames.insert((wire, language), encoded);
        }
        let mut deliveries = 0;
        self.sessions.retain(|_, attached| {
            let Some(frames) = frames.get(&(attached.wire, attached.language)) else {
                return false;
            };
            let alive = frames
                .iter()
                .all(|(frame, seq)| attached.outbox.try_push_through(frame.clone(), *seq).is_ok());
            attached.sent = last.seq;
            deliveries += u64::from(alive) * entries.len() as u64;
            alive
        });
        crate::metrics::deliveries(deliveries);
    }

    /// These entries as pushes, each within the size of an answer.
    pub(super) fn pushes(&self, entries: &[Arc<Entry>], language: Language) -> Vec<Bytes> {
        let (mut frames, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut head = self.tip.head;
        for entry in entries {
            let text = self.show(entry, language);
            if bytes + text.get().len() > self.settings.answer_bytes && !part.is_empty() {
                frames.push(v2::entries_push(self.event.id, &std::mem::take(&mut part), head));
                bytes = 0;
            }
            bytes += text.get().len() + 1;
            head = entry.head();
            part.push(text);
        }
        if !part.is_empty() {
            frames.push(v2::entries_push(self.event.id, &part, head));
        }
        frames
    }

    pub(super) fn dismiss(&mut self, users: &[UserId], reason: &str) {
        if users.is_empty() {
            return;
        }
        let frame = v2::removed_push(self.event.id, reason);
        self.sessions.retain(|_, attached| {
            let gone = users.contains(&attached.user);
            match attached.wire {
                // A socket of version 1 has this one room.
                Wire::V1 if gone => attached.outbox.close(CloseCode::Removed),
                Wire::V2 if gone => {
                    let _ = attached.outbox.try_push(frame.clone());
                }
                Wire::V1 | Wire::V2 => {}
            }
            !gone
        });
    }

    /// Renders entries that come newest first, within `budget` bytes, into ascending order.
    pub(super) fn render(
        &self,
        newest_first: impl Iterator<Item = Arc<Entry>>,
        language: Language,
        budget: usize,
    ) -> (Vec<Box<RawValue>>, bool) {
        let (mut shown, mut bytes, mut cut) = (Vec::new(), 0, false);
        for entry in newest_first {
            let text = self.show(&entry, language);
            bytes += text.get().len() + 1;
            if bytes > budget && !shown.is_empty() {
                cut = true;
                break;
            }
            shown.push(text);
        }
        shown.reverse();
        (shown, cut)
    }

    pub(super) fn show(&self, entry: &Entry, language: Language) -> Box<RawValue> {
        v2::entry(
            entry,
            &EntryStyle {
                language,
                name_of: &|user| self.people.get(&user).cloned(),
            },
        )
    }
}
