//! What is taken in, and what is answered at once.

use std::time::Instant;

use bytes::Bytes;
use uuid::Uuid;

use super::{Item, Place, Publish, SEARCHES_PER_USER, Search, State, Waiting};
use crate::{
    domain::{
        entry::{Draft, Entry, Kind},
        id::UserId,
        time::Micros,
    },
    realtime::room::{ReplyTo, RoomError},
};

impl State {
    /// Takes a message in, answers it, or says where its key must be looked for first.
    ///
    /// `searched` is the seq up to which the log is known not to hold the key.
    pub(in crate::realtime::room) fn publish(&mut self, publish: Publish, searched: u64) -> Option<Search> {
        match self.admit(&publish, searched) {
            Err(error) => {
                crate::metrics::publish_refused(crate::error::Coded::code(&error));
                publish.reply.fail(&error);
                None
            }
            Ok(Admission::Duplicate(seq, at)) => {
                publish.reply.published(self.event.id, seq, at, true);
                None
            }
            Ok(Admission::SameAsWaiting) => {
                let key = (publish.user, publish.key);
                if let Some(waiting) = self.waiting_mut(key) {
                    waiting.replies.push(publish.reply);
                }
                None
            }
            Ok(Admission::Search(from, to)) => {
                *self.searches.entry(publish.user).or_default() += 1;
                Some(Search { publish, from, to })
            }
            Ok(Admission::New) => {
                self.keys.insert((publish.user, publish.key), Place::Waiting);
                self.queue.push_back(Waiting {
                    draft: Draft {
                        author: Some(publish.user),
                        kind: Kind::Message,
                        key: publish.key,
                        reply_to: publish.reply_to,
                        target: None,
                        body: publish.body,
                    },
                    user: publish.user,
                    deadline: publish.deadline,
                    arrived: publish.arrived,
                    replies: vec![publish.reply],
                });
                None
            }
        }
    }

    fn admit(&self, publish: &Publish, searched: u64) -> Result<Admission, RoomError> {
        self.check_participant(publish.user)?;
        let attached = |session| self.sessions.get(&session);
        if publish
            .session
            .is_some_and(|session| attached(session).is_none_or(|attached| attached.user != publish.user))
        {
            return Err(RoomError::NotJoined);
        }
        let head = self.tip.head.seq;
        if publish.after > head {
            return Err(RoomError::PositionUnknown { head });
        }
        match self.keys.get(&(publish.user, publish.key)) {
            Some(Place::At(seq)) => {
                let entry = self.tail.get(*seq).ok_or(RoomError::Internal)?;
                let same = same_message(entry, &publish.body, publish.reply_to);
                return if same {
                    Ok(Admission::Duplicate(entry.seq, entry.at))
                } else {
                    Err(RoomError::KeyConflict)
                };
            }
            Some(Place::Waiting) => {
                let waiting = self
                    .waiting((publish.user, publish.key))
                    .ok_or(RoomError::Internal)?;
                let same = waiting.draft.body == publish.body && waiting.draft.reply_to == publish.reply_to;
                return if same {
                    Ok(Admission::SameAsWaiting)
                } else {
                    Err(RoomError::KeyConflict)
                };
            }
            None => {}
        }
        let from = publish.after.max(searched) + 1;
        let first_indexed = self.tail.first_seq();
        if from < first_indexed {
            if head - publish.after > self.settings.key_window {
                return Err(RoomError::KeyExpired);
            }
            if self
                .searches
                .get(&publish.user)
                .is_some_and(|running| *running >= SEARCHES_PER_USER)
            {
                return Err(RoomError::Busy);
            }
            return Ok(Admission::Search(from, first_indexed - 1));
        }
        if let Some(target) = publish.reply_to
            && (target > head
                || !self
                    .circle
                    .visible(publish.user)
                    .is_some_and(|visible| visible.contains(target)))
        {
            return Err(RoomError::ReplyTo);
        }
        if self.queue.len() >= self.settings.pending_entries {
            return Err(RoomError::Unavailable);
        }
        Ok(Admission::New)
    }

    /// Goes on with a message whose key was looked for: `found` is its entry, if there is one.
    pub(in crate::realtime::room) fn searched(
        &mut self,
        search: Search,
        found: Option<&Entry>,
    ) -> Option<Search> {
        let Search { publish, to, .. } = search;
        if let Some(running) = self.searches.get_mut(&publish.user) {
            *running -= 1;
            if *running == 0 {
                self.searches.remove(&publish.user);
            }
        }
        let Some(entry) = found else {
            return self.publish(publish, to);
        };
        let same = same_message(entry, &publish.body, publish.reply_to);
        match self.check_participant(publish.user) {
            Ok(()) if !same => publish.reply.fail(&RoomError::KeyConflict),
            Ok(()) => publish.reply.published(self.event.id, entry.seq, entry.at, true),
            Err(error) => publish.reply.fail(&error),
        }
        None
    }

    /// The search came to nothing: the log does not answer.
    pub(in crate::realtime::room) fn search_failed(&mut self, search: Search) {
        if let Some(running) = self.searches.get_mut(&search.publish.user) {
            *running -= 1;
            if *running == 0 {
                self.searches.remove(&search.publish.user);
            }
        }
        search.publish.reply.fail(&RoomError::Unavailable);
    }

    fn all_waiting(&self) -> impl Iterator<Item = &Waiting> {
        let flying = self
            .flight
            .iter()
            .flat_map(|flight| &flight.items)
            .filter_map(|item| match item {
                Item::Message(waiting) => Some(waiting),
                Item::Fact(_) => None,
            });
        self.queue.iter().chain(flying)
    }

    fn waiting(&self, key: (UserId, Uuid)) -> Option<&Waiting> {
        self.all_waiting()
            .find(|waiting| (waiting.user, waiting.draft.key) == key)
    }

    fn waiting_mut(&mut self, key: (UserId, Uuid)) -> Option<&mut Waiting> {
        let flying = self
            .flight
            .iter_mut()
            .flat_map(|flight| &mut flight.items)
            .filter_map(|item| match item {
                Item::Message(waiting) => Some(waiting),
                Item::Fact(_) => None,
            });
        self.queue
            .iter_mut()
            .chain(flying)
            .find(|waiting| (waiting.user, waiting.draft.key) == key)
    }

    /// Answers what has waited past its deadline. What the log has not been asked for yet
    /// is dropped; what is on its way stays on its way.
    pub(in crate::realtime::room) fn expire(&mut self, now: Instant) {
        let (expired, waiting): (Vec<_>, Vec<_>) =
            self.queue.drain(..).partition(|waiting| waiting.deadline <= now);
        self.queue = waiting.into();
        for late in expired {
            self.keys.remove(&(late.user, late.draft.key));
            refuse(late.replies, &RoomError::Unavailable);
        }
        for item in self.flight.iter_mut().flat_map(|flight| &mut flight.items) {
            if let Item::Message(waiting) = item
                && waiting.deadline <= now
            {
                refuse(std::mem::take(&mut waiting.replies), &RoomError::Unavailable);
            }
        }
    }
}

enum Admission {
    New,
    Duplicate(u64, Micros),
    SameAsWaiting,
    Search(u64, u64),
}

/// Whether `entry` says this. An erased one can only be told by its key.
pub(super) fn same_message(entry: &Entry, body: &Bytes, reply_to: Option<u64>) -> bool {
    entry
        .body()
        .is_none_or(|said| said == body && entry.reply_to == reply_to)
}

pub(super) fn refuse(replies: Vec<ReplyTo>, error: &RoomError) {
    for reply in replies {
        crate::metrics::publish_refused(crate::error::Coded::code(error));
        reply.fail(error);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::same_message;
    use crate::domain::{
        chain::Tip,
        entry::{Draft, Kind},
        id::{RoomId, UserId},
        time::Micros,
    };

    #[test]
    fn of_an_erased_message_the_key_alone_decides() {
        let body = Bytes::from_static(b"{\"text\":\"once\"}");
        let draft = Draft {
            author: Some(UserId(1)),
            kind: Kind::Message,
            key: Uuid::from_u128(7),
            reply_to: Some(3),
            target: None,
            body: body.clone(),
        };
        let mut entry = Tip::empty(RoomId(Uuid::nil())).seal(draft, Micros(1), [0; 16]);
        assert!(same_message(&entry, &body, Some(3)));
        assert!(!same_message(&entry, &body, None));
        assert!(!same_message(&entry, &Bytes::from_static(b"{}"), Some(3)));
        entry.content = None;
        assert!(same_message(&entry, &body, None));
    }
}
