//! What must be true of the data of a killed server.

use std::{collections::HashMap, fs, path::Path};

use rusqlite::Connection;
use timingle::{adapters::sqlite_log::SqliteLog, ports::RoomLog};

use super::{rows, watcher::Watcher, writer::Writer};
use crate::ledger::{self, story::Story};

/// All that the logs of one data directory were seen to hold, kill after kill.
#[derive(Default)]
pub(super) struct Ledger {
    ledger: ledger::Ledger,
    /// By writer: so many acknowledgements were compared.
    compared: HashMap<i64, usize>,
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
        let log: &dyn RoomLog = &log;
        let sql = Connection::open(copy.path().join("app.db")).unwrap();
        let ledger = &mut self.ledger;
        for event in rows::events(&sql) {
            ledger.read_on(log, event.id, event.room).await;
            ledger.compare_facts(&event, at_rest);
            ledger.compare_state(&event);
            if let Some(story) = stories.iter().find(|story| story.event == event.id) {
                ledger.compare_story(&event, story, at_rest);
            }
        }
        for story in stories {
            if !ledger.knows(story.event) {
                ledger.wrong(
                    "an event stays",
                    format!("{} was answered and is gone", story.event),
                );
            }
        }
        for watcher in readers
            .iter_mut()
            .chain(writers.iter_mut().map(|writer| &mut writer.watcher))
        {
            for complaint in watcher.complaints.drain(..) {
                ledger.wrong("clients are served", complaint);
            }
            let who = (watcher.user.name.as_str(), watcher.user.id);
            for (event, copy) in &mut watcher.copies {
                let compared = watcher.compared.entry(*event).or_insert(0);
                ledger.compare_copy(who, *event, copy, compared, at_rest);
            }
        }
        for writer in &*writers {
            let author = writer.watcher.user.id;
            let compared = self.compared.entry(author).or_insert(0);
            let from = if at_rest { 0 } else { *compared };
            ledger.compare_acknowledged(author, &writer.acknowledged[from..]);
            *compared = writer.acknowledged.len();
        }
        if at_rest {
            let said = writers.iter().map(|writer| writer.acknowledged.len()).sum();
            let open = writers.iter().map(|writer| writer.open.len()).sum();
            ledger.compare_counts(said, open);
            ledger.verify_exports(log).await;
        }
        ledger.take_violations()
    }

    /// Entries in all logs.
    pub(super) fn entries(&self) -> usize {
        self.ledger.entries()
    }

    /// Facts among them.
    pub(super) fn facts(&self) -> u64 {
        self.ledger.facts()
    }
}
