//! What must be true of the data of a killed server.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::BufReader,
    path::Path,
};

use rusqlite::Connection;
use serde_json::{Value, json};
use timingle::{
    adapters::sqlite_log::SqliteLog,
    domain::{
        chain::Tip,
        entry::{Entry, Kind},
        fact::{Fact, Membership},
        id::{EventId, RoomId, UserId},
    },
    ports::RoomLog as _,
    service::export::{export, verify},
};
use uuid::Uuid;

use super::{
    rows::{self, Event},
    story::{Story, step_of},
    watcher::Watcher,
    writer::{Said, Writer},
};
use crate::harness::Copy;

/// Entries read in one go.
const PAGE: usize = 500;

/// All that the log was seen to hold, kill after kill.
#[derive(Default)]
pub(super) struct Ledger {
    books: BTreeMap<i64, Book>,
    /// By writer: so many acknowledgements were compared.
    compared: HashMap<i64, usize>,
    violations: Vec<String>,
}

/// One room's log.
struct Book {
    room: RoomId,
    tip: Tip,
    entries: Vec<Entry>,
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
    /// Compares everything anybody was shown, promised or answered with what the stopped
    /// server left in `data`. The files are copied first: the look heals nothing.
    pub(super) async fn check(
        &mut self,
        data: &Path,
        readers: &mut [Watcher],
        writers: &mut [Writer],
        stories: &[&Story],
        at_rest: bool,
    ) -> Vec<String> {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(data).unwrap() {
            let file = file.unwrap();
            let name = file.file_name();
            if name
                .to_str()
                .is_some_and(|name| name.contains(".db") && !name.ends_with("-shm"))
            {
                fs::copy(file.path(), copy.path().join(name)).unwrap();
            }
        }
        let log = SqliteLog::open_read_only(&copy.path().join("chat.db")).unwrap();
        let sql = Connection::open(copy.path().join("app.db")).unwrap();
        for event in rows::events(&sql) {
            self.read_on(&log, event.id, event.room).await;
            self.compare_facts(&event, at_rest);
            self.compare_state(&event);
            if let Some(story) = stories.iter().find(|story| story.event == event.id) {
                self.compare_story(&event, story, at_rest);
            }
        }
        for story in stories
            .iter()
            .filter(|story| !self.books.contains_key(&story.event))
        {
            self.violations
                .push(format!("event {} was answered and is gone", story.event));
        }
        for watcher in readers
            .iter_mut()
            .chain(writers.iter_mut().map(|writer| &mut writer.watcher))
        {
            self.violations.append(&mut watcher.complaints);
            self.compare_copies(watcher, at_rest);
        }
        for writer in &*writers {
            self.compare_acknowledged(writer, at_rest);
        }
        if at_rest {
            self.compare_counts(writers);
            self.verify_exports(&log).await;
        }
        std::mem::take(&mut self.violations)
    }

    /// Reads what was appended since the last look, and that what was there then still is.
    async fn read_on(&mut self, log: &SqliteLog, event: i64, room: RoomId) {
        let book = self.books.entry(event).or_insert_with(|| Book {
            room,
            tip: Tip::empty(room),
            entries: Vec::new(),
            places: HashMap::new(),
            shown: HashMap::new(),
        });
        let complain = |what: String| format!("event {event}: {what}");
        if let Some(last) = book.entries.last() {
            match log.read(room, last.seq, 1).await {
                Ok(page) if page.first() == Some(last) => {}
                other => {
                    self.violations.push(complain(format!(
                        "seq {} was in the log and is now {other:?}",
                        last.seq
                    )));
                    return;
                }
            }
        }
        loop {
            let page = match log.read(room, book.tip.head.seq + 1, PAGE).await {
                Ok(page) => page,
                Err(error) => return self.violations.push(complain(format!("{error:?}"))),
            };
            let whole = page.len() == PAGE;
            for entry in page {
                if let Err(fault) = book.tip.follow(&entry) {
                    return self
                        .violations
                        .push(complain(format!("seq {}: {fault}", book.tip.head.seq + 1)));
                }
                if entry.kind == Kind::Message
                    && let Some(author) = entry.author
                    && let Some(before) = book.places.insert((author, entry.key), entry.seq)
                {
                    let (key, seq) = (entry.key, entry.seq);
                    self.violations.push(complain(format!(
                        "key {key} stands at {before} and again at {seq}"
                    )));
                }
                book.entries.push(entry);
            }
            if !whole {
                return;
            }
        }
    }

    /// The facts of the log are those of the history, from the first on, each once and in order.
    fn compare_facts(&mut self, event: &Event, at_rest: bool) {
        let rows = &event.history;
        let mut wrong = |what: String| self.violations.push(format!("event {}: {what}", event.id));
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
    fn compare_state(&mut self, event: &Event) {
        let (mut participants, mut status) = (BTreeSet::new(), "PROPOSED");
        for row in &event.history {
            match row.change.membership(row.actor.map(UserId)) {
                Some(Membership::Enters(user)) => drop(participants.insert(user.0)),
                Some(Membership::Leaves(user)) => drop(participants.remove(&user.0)),
                Some(Membership::Are(users)) => participants = users.iter().map(|user| user.0).collect(),
                None => {}
            }
            if row.change.name() == "canceled" {
                status = "CANCELED";
            }
        }
        if (&participants, status) != (&event.participants, &event.status) {
            self.violations.push(format!(
                "event {} is {} with {:?}; its history says {status} with {participants:?}",
                event.id, event.status, event.participants
            ));
        }
    }

    /// Each change that was answered is in the history once, in the order of the answers, and
    /// in the log if the answer said so; beside them at most one that was not answered.
    fn compare_story(&mut self, event: &Event, story: &Story, at_rest: bool) {
        let mut wrong = |what: String| self.violations.push(format!("event {}: {what}", event.id));
        let mut told: Vec<_> = event.history.iter().map(|row| step_of(&row.change)).collect();
        if told.len() > story.committed.len() && story.open == told.last().copied() {
            told.pop();
        }
        if told != story.committed {
            wrong(format!(
                "the history tells {told:?}, its clients {:?}",
                story.committed
            ));
        }
        let held = self.books[&event.id].facts().len();
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

    /// Everything shown to `watcher` is in the log, as it was shown.
    fn compare_copies(&mut self, watcher: &mut Watcher, at_rest: bool) {
        for (event, copy) in &mut watcher.copies {
            let Some(book) = self.books.get_mut(event) else {
                continue;
            };
            let compared = watcher.compared.entry(*event).or_insert(0);
            let mut wrong = |what| {
                self.violations
                    .push(format!("{}, event {event}: {what}", watcher.user.name));
            };
            if copy.seq > book.tip.head.seq {
                wrong(format!(
                    "was told of {}, the log ends at {}",
                    copy.seq, book.tip.head.seq
                ));
            } else if copy.seq > 0 && book.entries[index(copy.seq)].hash.to_string() != copy.hash {
                wrong(format!("was told another hash of {}", copy.seq));
            }
            for (seq, shown) in &copy.entries {
                let Some(entry) = book.entries.get(index(*seq)) else {
                    wrong(format!("was shown {seq}, which is not in the log: {shown}"));
                    continue;
                };
                if bare(shown) != stored(entry) {
                    wrong(format!("was shown {shown}, the log has {entry:?}"));
                }
                if entry.kind == Kind::Fact
                    && book.shown.entry(*seq).or_insert_with(|| shown.clone()) != shown
                {
                    wrong(format!("was shown {shown}, others {}", book.shown[seq]));
                }
            }
            forget(copy, compared);
            if at_rest && *compared != book.tip.head.seq {
                wrong(format!(
                    "was shown all up to {compared}, the log ends at {}",
                    book.tip.head.seq
                ));
            }
        }
    }

    /// Everything acknowledged to `writer` is in the log, once, at its seq, with its words.
    fn compare_acknowledged(&mut self, writer: &Writer, at_rest: bool) {
        let author = writer.watcher.user.id;
        let compared = self.compared.entry(author).or_insert(0);
        let from = if at_rest { 0 } else { *compared };
        for Said {
            room, key, text, seq, ..
        } in &writer.acknowledged[from..]
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
                    "event {room}: {key} was acknowledged at {seq} and is at {found:?}"
                ));
            }
        }
        *compared = writer.acknowledged.len();
    }

    /// Nothing is in the log that nobody said.
    fn compare_counts(&mut self, writers: &[Writer]) {
        let said: usize = writers.iter().map(|writer| writer.acknowledged.len()).sum();
        let held: usize = self.books.values().map(|book| book.places.len()).sum();
        let open: usize = writers.iter().map(|writer| writer.open.len()).sum();
        if (said, 0) != (held, open) {
            self.violations.push(format!(
                "{said} messages were acknowledged, {open} not; the log has {held}"
            ));
        }
    }

    async fn verify_exports(&mut self, log: &SqliteLog) {
        for (event, book) in &self.books {
            let mut file = Vec::new();
            let exported = export(log, EventId(*event), book.room, &mut file).await;
            let verified = verify(BufReader::new(&file[..]), Some(book.room), Some(book.tip.head));
            if !matches!((&exported, &verified), (Ok(out), Ok(back)) if out.head == book.tip.head && back.head == out.head)
            {
                self.violations.push(format!(
                    "event {event}: export {exported:?}, verified {verified:?}"
                ));
            }
        }
    }

    /// Entries in all logs.
    pub(super) fn entries(&self) -> usize {
        self.books.values().map(|book| book.entries.len()).sum()
    }

    /// Facts among them.
    pub(super) fn facts(&self) -> u64 {
        self.books.values().map(|book| book.tip.fact_no).sum()
    }
}

fn index(seq: u64) -> usize {
    usize::try_from(seq).unwrap().wrapping_sub(1)
}

/// Drops what was compared, as far as nothing is missing.
fn forget(copy: &mut Copy, compared: &mut u64) {
    while *compared < copy.seq && copy.entries.contains_key(&(*compared + 1)) {
        *compared += 1;
    }
    copy.entries = copy.entries.split_off(&(*compared + 1));
}

/// `entry` as a client must be shown it, without what is joined to it then.
fn stored(entry: &Entry) -> Value {
    let body: Value = serde_json::from_slice(entry.body().unwrap()).unwrap();
    let mut shown = json!({
        "seq": entry.seq,
        "at": entry.at,
        "author": entry.author,
        "kind": entry.kind,
        "key": entry.key,
    });
    shown[if entry.kind == Kind::Fact { "fact" } else { "body" }] = body;
    if let Some(reply_to) = entry.reply_to {
        shown["reply_to"] = reply_to.into();
    }
    shown
}

/// What was shown, without the text of a fact and the names in it.
fn bare(shown: &Value) -> Value {
    let mut bare = shown.clone();
    if let Some(fact) = bare.get_mut("fact").and_then(Value::as_object_mut) {
        fact.remove("text");
        if let Some(id) = fact.get("user").map(|user| user["id"].clone()) {
            fact.insert("user".into(), id);
        }
    }
    bare
}
