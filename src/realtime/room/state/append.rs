//! What goes to the log next, and what comes of it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    Flight, Item, Place, State, View,
    deliver::going,
    key_of,
    publish::{refuse, same_message},
};
use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Head, Kind},
        fact::{Fact, Membership},
        id::UserId,
        time::Micros,
    },
    ports::{FactPage, FactPlace, Person},
    realtime::room::{ReplyTo, RoomError},
};

/// Who waited for a message that turned out to stand in the log, where it stands, and
/// whether it says the same there.
type Twin = (Vec<ReplyTo>, (u64, Micros), bool);

impl State {
    /// Takes in facts that the relational store committed.
    pub(in crate::realtime::room) fn queue_facts(&mut self, page: FactPage) {
        self.learn(page.people);
        let last = page.facts.last().map_or(0, |fact| fact.no);
        for fact in page.facts {
            if fact.no == self.last_known_fact() + 1 {
                self.facts.push_back(fact);
            }
        }
        if page.event.fact_no == self.tip.fact_no || last == page.event.fact_no {
            self.views.push_back(View {
                fact_no: page.event.fact_no,
                event: page.event,
                participants: page.participants,
            });
        }
        self.show_view();
    }

    pub(super) fn learn(&mut self, people: Vec<Person>) {
        for Person { id, name } in people {
            match self.people.get(&id) {
                // Gone, whatever a page says that was read before that.
                Some(known) if known.is_empty() => {}
                Some(known) if *known == name => {}
                _ => {
                    Arc::make_mut(&mut self.people).insert(id, name);
                }
            }
        }
    }

    /// Shows `user` by another name from now on; without one, by none ever again. Somebody
    /// whom the room does not know stays unknown to it.
    pub(in crate::realtime::room) fn rename(&mut self, user: UserId, name: Option<String>) {
        if self.people.contains_key(&user) {
            Arc::make_mut(&mut self.people).insert(user, name.unwrap_or_default());
        }
    }

    /// Shows the event as it was at the last fact that is in the log.
    fn show_view(&mut self) {
        while self
            .views
            .front()
            .is_some_and(|view| view.fact_no <= self.tip.fact_no)
            && let Some(view) = self.views.pop_front()
        {
            self.event = view.event;
            self.participants = view.participants;
            self.merge_marks();
        }
    }

    // ---- the log

    /// What to append next, and behind which head; `None` when there is nothing or something is on its way.
    ///
    /// Facts go before messages, and a batch ends behind a fact that changes who takes
    /// part: whoever is removed is in no batch after it.
    pub(in crate::realtime::room) fn next_batch(
        &mut self,
        now: Micros,
        mut salt: impl FnMut() -> [u8; 16],
    ) -> Option<(Head, Arc<[Entry]>)> {
        if self.flight.is_some() {
            return None;
        }
        let expected = self.tip.head;
        let mut tip = self.tip;
        let (mut items, mut entries, mut bytes): (Vec<Item>, Vec<Entry>, usize) = (Vec::new(), Vec::new(), 0);
        let mut cut = false;
        while !cut
            && entries.len() < self.settings.append_entries
            && let Some(fact) = self.facts.pop_front()
        {
            if fact.no <= tip.fact_no {
                continue;
            }
            cut = fact.change.membership(fact.actor).is_some();
            entries.push(tip.seal(fact.draft(), now, salt()));
            items.push(Item::Fact(fact));
        }
        if !cut && self.facts.is_empty() {
            while let Some(waiting) = self.queue.front() {
                bytes += waiting.draft.body.len() + 256;
                let full =
                    entries.len() >= self.settings.append_entries || bytes > self.settings.append_bytes;
                if full && !entries.is_empty() {
                    break;
                }
                let Some(waiting) = self.queue.pop_front() else {
                    break;
                };
                let may = self
                    .check_participant(waiting.user)
                    .and_then(|()| self.check_open(now));
                if let Err(error) = may {
                    self.keys.remove(&(waiting.user, waiting.draft.key));
                    refuse(waiting.replies, &error);
                    continue;
                }
                entries.push(tip.seal(waiting.draft.clone(), now, salt()));
                items.push(Item::Message(waiting));
            }
        }
        if entries.is_empty() {
            return None;
        }
        let entries: Arc<[Entry]> = entries.into();
        self.flight = Some(Flight {
            entries: Arc::clone(&entries),
            items,
        });
        Some((expected, entries))
    }

    /// The log has the first `taken` entries on disk: tells everyone, then those who wait.
    pub(in crate::realtime::room) fn appended(&mut self, taken: usize, now: Instant) {
        let Some(Flight { entries, items }) = self.flight.take() else {
            return;
        };
        let taken = taken.min(entries.len());
        let mut items = items.into_iter();
        let done: Vec<Item> = items.by_ref().take(taken).collect();
        self.requeue(items.collect());
        self.take_in(entries.iter().take(taken).cloned().map(Arc::new).collect(), true);
        for (entry, item) in entries.iter().zip(done) {
            if let Item::Message(waiting) = item {
                crate::metrics::message_published(now.saturating_duration_since(waiting.arrived));
                for reply in waiting.replies {
                    reply.published(self.event.id, entry.seq, entry.at, false);
                }
            }
        }
    }

    /// Somebody else appended: what was on its way waits again, to be checked again
    /// against `others`, the entries that the log has behind our tip.
    pub(in crate::realtime::room) fn conflicted(&mut self, others: Vec<Entry>) {
        if let Some(flight) = self.flight.take() {
            self.requeue(flight.items);
            // Who won the race may have died of it: where its facts stand is written down here too.
            let facts = others.iter().filter(|entry| entry.kind == Kind::Fact);
            self.places.extend(facts.map(|entry| FactPlace {
                no: entry.fact_no,
                seq: entry.seq,
            }));
        }
        let twins = self.take_twins(&others);
        self.take_in(others.into_iter().map(Arc::new).collect(), false);
        for (replies, (seq, at), same) in twins {
            for reply in replies {
                if same {
                    reply.published(self.event.id, seq, at, true);
                } else {
                    reply.fail(&RoomError::KeyConflict);
                }
            }
        }
    }

    fn requeue(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            match item {
                Item::Fact(fact) => self.facts.push_front(fact),
                Item::Message(waiting) => self.queue.push_front(waiting),
            }
        }
    }

    /// Takes out of the queue whatever is among `others` already: another node has put it there.
    ///
    /// Before those are taken in: there may be more of them than the tail holds.
    fn take_twins(&mut self, others: &[Entry]) -> Vec<Twin> {
        let by_key: HashMap<_, _> = others
            .iter()
            .filter_map(|entry| Some((key_of(entry)?, entry)))
            .collect();
        let mut twins = Vec::new();
        self.queue = std::mem::take(&mut self.queue)
            .into_iter()
            .filter_map(|waiting| match by_key.get(&(waiting.user, waiting.draft.key)) {
                None => Some(waiting),
                Some(entry) => {
                    let same = same_message(entry, &waiting.draft.body, waiting.draft.reply_to);
                    twins.push((waiting.replies, (entry.seq, entry.at), same));
                    None
                }
            })
            .collect();
        twins
    }

    /// Moves the room behind `entries`, which the log holds, and tells the sessions. Of what is
    /// not its `own`, whoever appended it writes down what follows and tells other nodes.
    fn take_in(&mut self, entries: Vec<Arc<Entry>>, own: bool) {
        let mut run: Vec<Arc<Entry>> = Vec::new();
        for entry in entries {
            self.tip = Tip::of(&entry);
            if let Some(key) = key_of(&entry) {
                self.keys.insert(key, Place::At(entry.seq));
            }
            let keys = &mut self.keys;
            self.tail.push(Arc::clone(&entry), |old| {
                if let Some(key) = key_of(old)
                    && keys.get(&key) == Some(&Place::At(old.seq))
                {
                    keys.remove(&key);
                }
            });
            run.push(Arc::clone(&entry));
            self.note_for_feed(&entry, own);
            self.read_own(&entry, own);
            let Some(fact) = Fact::of(&entry) else { continue };
            if own {
                self.places.push(FactPlace {
                    no: entry.fact_no,
                    seq: entry.seq,
                });
            }
            if let Some(membership) = fact.change.membership(fact.actor) {
                self.deliver(&std::mem::take(&mut run));
                let came = self.coming(&membership);
                let gone = self.circle.apply(&membership, entry.seq);
                self.circle_no += 1;
                self.note_circle_for_feed(&fact.change, &came, &gone, own);
                for user in came {
                    self.begin_reading(user, &entry, own);
                }
                for user in &gone {
                    self.end_reading(*user);
                }
                self.dismiss(&gone, going(&fact.change));
            }
        }
        self.deliver(&run);
        self.show_view();
        self.post_tip();
    }

    /// Who takes part once `membership` is taken in, and does not yet.
    fn coming(&self, membership: &Membership) -> Vec<UserId> {
        let users = match membership {
            Membership::Enters(user) => std::slice::from_ref(user),
            Membership::Are(users) => users,
            Membership::Leaves(_) => &[],
        };
        users
            .iter()
            .filter(|user| !self.circle.has(**user))
            .copied()
            .collect()
    }
}
