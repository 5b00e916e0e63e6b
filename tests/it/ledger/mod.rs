//! What must be true of rooms' logs after everything that was done to their servers.
//!
//! - [`Ledger`]: all that the logs hold, and the comparison of what was shown, promised and answered with it.
//! - [`events`]: events as the relational store has them; [`story`]: as those know them who changed them.

pub(crate) mod events;
mod rendered;
pub(crate) mod story;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::BufReader,
};

use serde_json::{Value, json};
use timingle::{
    domain::{
        chain::Tip,
        entry::{Entry, Kind},
        fact::{Fact, Membership},
        id::{EventId, RoomId, UserId},
        visibility::{Circle, Visible},
    },
    ports::RoomLog,
    service::export::{export, verify},
};
use uuid::Uuid;

use self::{events::Event, story::Story};
use crate::harness::Copy;

/// Entries read in one go.
const PAGE: usize = 500;

/// Something said, with the position of its first try.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) room: i64,
    pub(crate) key: Uuid,
    pub(crate) after: u64,
    pub(crate) text: String,
    /// As acknowledged; 0 before.
    pub(crate) seq: u64,
    /// Whether the server may have it although its first try was not acknowledged.
    pub(crate) again: bool,
}

/// All that the logs were seen to hold, look after look.
#[derive(Default)]
pub(crate) struct Ledger {
    books: BTreeMap<i64, Book>,
    violations: Vec<String>,
}

/// One room's log.
struct Book {
    room: RoomId,
    tip: Tip,
    entries: Vec<Entry>,
    circle: Circle,
    /// Where each author's key stands.
    places: HashMap<(UserId, Uuid), u64>,
    /// Facts as the first observer saw them.
    shown: HashMap<u64, Value>,
}

impl Book {
    fn facts(&self) -> Vec<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.kind == Kind::Fact)
            .collect()
    }
}

impl Ledger {
    /// Notes that `rule` does not hold.
    pub(crate) fn wrong(&mut self, rule: &str, what: impl std::fmt::Display) {
        self.violations.push(format!("{rule}: {what}"));
    }

    /// What was found since this was asked last.
    pub(crate) fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// Whether this event's log was looked at.
    pub(crate) fn knows(&self, event: i64) -> bool {
        self.books.contains_key(&event)
    }

    /// Reads what was appended since the last look, and that what was there then still is.
    pub(crate) async fn read_on(&mut self, log: &dyn RoomLog, event: i64, room: RoomId) {
        let book = self.books.entry(event).or_insert_with(|| Book {
            room,
            tip: Tip::empty(room),
            entries: Vec::new(),
            circle: Circle::default(),
            places: HashMap::new(),
            shown: HashMap::new(),
        });
        let wrong = |rule: &str, what: String| format!("{rule}: event {event}: {what}");
        if let Some(last) = book.entries.last() {
            match log.read(room, last.seq, 1).await {
                Ok(page) if page.first() == Some(last) => {}
                other => {
                    let what = format!("seq {} was in the log and is now {other:?}", last.seq);
                    return self.violations.push(wrong("what is in the log stays", what));
                }
            }
        }
        loop {
            let page = match log.read(room, book.tip.head.seq + 1, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    let what = format!("{error:?}");
                    return self.violations.push(wrong("the log can be read", what));
                }
            };
            let whole = page.len() == PAGE;
            for entry in page {
                if let Err(fault) = book.tip.follow(&entry) {
                    let what = format!("seq {}: {fault}", book.tip.head.seq + 1);
                    return self.violations.push(wrong("the chain is valid", what));
                }
                if let Some(membership) = Fact::of(&entry).and_then(|fact| fact.change.membership(fact.actor))
                {
                    book.circle.apply(&membership, entry.seq);
                }
                if entry.kind == Kind::Message
                    && let Some(author) = entry.author
                {
                    if !book.circle.has(author) {
                        let what = format!("{author} took no part and said seq {}", entry.seq);
                        self.violations.push(wrong("nobody outside is heard", what));
                    }
                    if let Some(before) = book.places.insert((author, entry.key), entry.seq) {
                        let what = format!("{} stands at {before} and again at {}", entry.key, entry.seq);
                        self.violations.push(wrong("a key stands once", what));
                    }
                }
                book.entries.push(entry);
            }
            if !whole {
                return;
            }
        }
    }

    /// The facts of the log are those of the history, from the first on, each once and in order.
    pub(crate) fn compare_facts(&mut self, event: &Event, at_rest: bool) {
        let rows = &event.history;
        let mut wrong = |what: String| {
            self.violations.push(format!(
                "facts stand once, in commit order: event {}: {what}",
                event.id
            ));
        };
        if !rows.iter().map(|row| row.no).eq(1..=event.fact_no) {
            let numbers: Vec<u64> = rows.iter().map(|row| row.no).collect();
            wrong(format!(
                "the history has {numbers:?}, the event {} facts",
                event.fact_no
            ));
        }
        let entries = self.books[&event.id].facts();
        let (held, written) = (entries.len(), rows.len());
        if held > written || (at_rest && held != written) {
            wrong(format!("the log has {held} facts, the history {written}"));
        }
        for (row, entry) in rows.iter().zip(entries) {
            let same = Fact::of(entry).is_some_and(|fact| {
                (fact.no, fact.id, fact.actor.map(|user| user.0)) == (row.no, row.id, row.actor)
                    && fact.change == row.change
            });
            if !same {
                wrong(format!("fact {} is not the one at seq {}", row.no, entry.seq));
            }
            if row.seq.is_some_and(|seq| seq != entry.seq) || (at_rest && row.seq.is_none()) {
                wrong(format!(
                    "fact {} is at seq {} and marked {:?}",
                    row.no, entry.seq, row.seq
                ));
            }
        }
        let marked = rows.iter().filter(|row| row.seq.is_some()).count();
        if marked > held {
            wrong(format!("{marked} facts are marked, the log has {held}"));
        }
    }

    /// The event is what its history makes of it: no change without its fact, no fact without its change.
    pub(crate) fn compare_state(&mut self, event: &Event) {
        let (mut participants, mut status) = (BTreeSet::new(), "PROPOSED");
        for row in &event.history {
            match row.change.membership(row.actor.map(UserId)) {
                Some(Membership::Enters(user)) => drop(participants.insert(user.0)),
                Some(Membership::Leaves(user)) => drop(participants.remove(&user.0)),
                Some(Membership::Are(users)) => participants = users.iter().map(|user| user.0).collect(),
                None => {}
            }
            match row.change.name() {
                "canceled" => status = "CANCELED",
                "confirmed" => status = "CONFIRMED",
                "unconfirmed" => status = "PROPOSED",
                _ => {}
            }
        }
        if (&participants, status) != (&event.participants, &event.status) {
            let what = format!(
                "event {} is {} with {:?}; its history says {status} with {participants:?}",
                event.id, event.status, event.participants
            );
            self.wrong("an event is what its history says", what);
        }
    }

    /// Each change that was answered is in the history once, in the order of the answers, and
    /// in the log if the answer said so; beside them at most one that was not answered.
    pub(crate) fn compare_story(&mut self, event: &Event, story: &Story, at_rest: bool) {
        let mut wrong = |what: String| {
            self.violations.push(format!(
                "what was answered was done, once, in that order: event {}: {what}",
                event.id
            ));
        };
        let mut told = story.told(&event.history);
        if told.len() > story.committed.len() && story.open == told.last().copied() {
            told.pop();
        }
        if told != story.committed {
            wrong(format!(
                "the history tells {told:?}, its clients {:?}",
                story.committed
            ));
        }
        let held = self.books[&event.id].facts();
        let held = held.iter().filter_map(|entry| Fact::of(entry));
        let held = held.filter(|fact| story.tells(&fact.change, fact.actor.map(|user| user.0)));
        let held = held.count();
        if held < story.recorded {
            wrong(format!(
                "{} facts were answered as recorded, the log has {held}",
                story.recorded
            ));
        }
        if at_rest && story.open.is_some() {
            wrong("a change is still open".into());
        }
    }

    /// Everything that `user` was shown of `event` is in the log, as it was shown, and was for this user's
    /// eyes. Copies are compared from `compared` on, which moves with them; what was compared is dropped.
    /// With `whole`, nothing may be missing.
    pub(crate) fn compare_copy(
        &mut self,
        (name, user): (&str, i64),
        event: i64,
        copy: &mut Copy,
        compared: &mut u64,
        whole: bool,
    ) {
        let Some(book) = self.books.get_mut(&event) else {
            return;
        };
        let mut wrong = |rule: &str, what: String| {
            self.violations
                .push(format!("{rule}: {name}, event {event}: {what}"));
        };
        let is_shown = "what is shown is in the log";
        let visible = book.circle.visible(UserId(user)).cloned().unwrap_or_default();
        if copy.seq > book.tip.head.seq {
            wrong(
                is_shown,
                format!("was told of {}, the log ends at {}", copy.seq, book.tip.head.seq),
            );
        } else if copy.seq > 0 && book.entries[index(copy.seq)].hash.to_string() != copy.hash {
            wrong(is_shown, format!("was told another hash of {}", copy.seq));
        }
        for (seq, shown) in &copy.entries {
            let Some(entry) = book.entries.get(index(*seq)) else {
                wrong(is_shown, format!("was shown {seq}, which is not there: {shown}"));
                continue;
            };
            if !rendered::is(entry, shown) {
                wrong(is_shown, format!("was shown {shown}, the log has {entry:?}"));
            }
            if entry.kind == Kind::Fact {
                let others = book.shown.entry(*seq).or_insert_with(|| shown.clone());
                if !rendered::same(others, shown) {
                    wrong(
                        "all are shown the same",
                        format!("was shown {shown}, others {others}"),
                    );
                }
            }
            if !visible.contains(*seq) {
                wrong(
                    "nothing is shown after removal",
                    format!("was shown {seq}, may see {:?}", visible.intervals()),
                );
            }
        }
        forget(copy, compared, &visible);
        let due = last_visible(&visible, book.tip.head.seq);
        if whole && *compared < due {
            let what = format!("was shown all up to {compared}, may see up to {due}");
            wrong("everybody is shown everything", what);
        }
    }

    /// Everything acknowledged to `author` is in the log, once, at its seq, with its words.
    pub(crate) fn compare_acknowledged(&mut self, author: i64, acknowledged: &[Said]) {
        for Said {
            room, key, text, seq, ..
        } in acknowledged
        {
            let book = &self.books[room];
            let found = book.places.get(&(UserId(author), *key));
            let body = json!({ "text": text }).to_string();
            let same = found == Some(seq)
                && book.entries[index(*seq)]
                    .body()
                    .is_some_and(|stored| stored.as_ref() == body.as_bytes());
            if !same {
                self.violations.push(format!(
                    "acknowledged is durable: event {room}: {key} was acknowledged at {seq} and is at {found:?}"
                ));
            }
        }
    }

    /// What was refused for good, or never promised, is not there.
    pub(crate) fn compare_refused(&mut self, author: i64, refused: &[Said]) {
        for Said { room, key, .. } in refused {
            if let Some(seq) = self.books[room].places.get(&(UserId(author), *key)) {
                self.violations.push(format!(
                    "refused is not written: event {room}: {key} was refused and is at {seq}"
                ));
            }
        }
    }

    /// Nothing is in the logs that nobody said.
    pub(crate) fn compare_counts(&mut self, said: usize, open: usize) {
        let held: usize = self.books.values().map(|book| book.places.len()).sum();
        if (said, 0) != (held, open) {
            let what = format!("{said} messages were acknowledged, {open} not; the log has {held}");
            self.wrong("only what was said is in the log", what);
        }
    }

    /// Every log can be exported, and the export verifies by itself.
    pub(crate) async fn verify_exports(&mut self, log: &dyn RoomLog) {
        for (event, book) in &self.books {
            let mut file = Vec::new();
            let exported = export(log, EventId(*event), book.room, &mut file).await;
            let verified = verify(BufReader::new(&file[..]), Some(book.room), Some(book.tip.head));
            if !matches!((&exported, &verified), (Ok(out), Ok(back)) if out.head == book.tip.head && back.head == out.head)
            {
                self.violations.push(format!(
                    "exports verify: event {event}: export {exported:?}, verified {verified:?}"
                ));
            }
        }
    }

    /// Entries in all logs.
    pub(crate) fn entries(&self) -> usize {
        self.books.values().map(|book| book.entries.len()).sum()
    }

    /// Facts among them.
    pub(crate) fn facts(&self) -> u64 {
        self.books.values().map(|book| book.tip.fact_no).sum()
    }
}

fn index(seq: u64) -> usize {
    usize::try_from(seq).unwrap().wrapping_sub(1)
}

/// The last entry before `head`, or at it, that may be seen.
fn last_visible(visible: &Visible, head: u64) -> u64 {
    let last = visible.intervals().last();
    last.map_or(0, |(_, to)| to.unwrap_or(head).min(head))
}

/// Drops what was compared, as far as nothing is missing that may be seen.
fn forget(copy: &mut Copy, compared: &mut u64, visible: &Visible) {
    while *compared < copy.seq
        && (copy.entries.contains_key(&(*compared + 1)) || !visible.contains(*compared + 1))
    {
        *compared += 1;
    }
    copy.entries = copy.entries.split_off(&(*compared + 1));
}
