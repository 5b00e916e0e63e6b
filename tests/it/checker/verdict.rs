//! What came of it: everything that was shown, promised, refused and answered against the logs.

use std::{collections::BTreeMap, time::Duration};

use timingle::adapters::cql_log::CqlLog;
use timingle::ports::RoomLog as _;
use tokio::time::{sleep, timeout};

use super::{Totals, World, journal::Journal, rows, speaker::Spoken};
use crate::{
    harness::PATIENCE,
    ledger::{Ledger, story::Story},
};

/// Violations of one rule that are told.
const EVIDENCE: usize = 4;

impl World {
    /// Compares everything; what is wrong, in words.
    pub(super) async fn check(&mut self, totals: &mut Totals) -> Vec<String> {
        let sql = self.stage.database.connect().await;
        let scylla = &self.stage.config(std::path::Path::new("unused")).scylla;
        let log = CqlLog::open(scylla, &tokio::runtime::Handle::current()).unwrap();
        let mut ledger = Ledger::default();
        let stories: Vec<&Story> = self
            .guests
            .iter()
            .map(|guest| &guest.story)
            .chain(self.answering.iter().map(|answering| &answering.story))
            .chain(self.makers.iter().flat_map(|maker| &maker.stories))
            .collect();
        let nowhere = uuid::Uuid::nil();
        let connected = timeout(PATIENCE, async {
            while log.tip(timingle::domain::id::RoomId(nowhere)).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        connected.await.expect("the log does not answer the checker");
        for event in rows::events(&sql).await {
            ledger.read_on(&log, event.id, event.room).await;
            ledger.compare_facts(&event, true);
            ledger.compare_state(&event);
            for story in stories.iter().filter(|story| story.event == event.id) {
                ledger.compare_story(&event, story, true);
            }
        }
        for story in &stories {
            if !ledger.knows(story.event) {
                ledger.wrong(
                    "an event stays",
                    format!("{} was answered and is gone", story.event),
                );
            }
        }
        for title in self.makers.iter().flat_map(|maker| &maker.titles) {
            let made = rows::titled(&sql, title).await;
            if made != 1 {
                ledger.wrong(
                    "one key makes one thing",
                    format!("{made} events are called {title}"),
                );
            }
        }
        let speakers =
            (self.speakers.iter_mut()).chain(self.guests.iter_mut().map(|guest| &mut guest.speaker));
        let (mut said, mut open) = (0, 0);
        let mut spoken: BTreeMap<i64, Vec<Spoken>> = BTreeMap::new();
        for speaker in speakers {
            let author = speaker.client.user.id;
            let words = &speaker.words;
            let acknowledged: Vec<_> = words
                .acknowledged
                .iter()
                .map(|spoken| spoken.said.clone())
                .collect();
            ledger.compare_acknowledged(author, &acknowledged);
            ledger.compare_refused(author, &words.refused);
            said += acknowledged.len();
            open += words.open.len();
            for one in &words.acknowledged {
                spoken.entry(one.said.room).or_default().push(one.clone());
            }
            totals.acknowledged += acknowledged.len();
            totals.refused += words.refused.len();
            totals.resent += words.resent;
            totals.known += words.known;
            totals.asked_again += words.asked_again;
        }
        ledger.compare_counts(said, open);
        for spoken in spoken.values_mut() {
            compare_times(&mut ledger, spoken);
            let pairs = spoken.windows(2);
            totals.handovers += pairs.filter(|pair| pair[0].node != pair[1].node).count();
        }
        ledger.verify_exports(&log).await;
        let listeners = self.listeners.iter_mut().map(|listener| (listener, true));
        let speakers = self
            .speakers
            .iter_mut()
            .map(|speaker| (&mut speaker.client, false));
        let guests = self
            .guests
            .iter_mut()
            .map(|guest| (&mut guest.speaker.client, false));
        for (client, whole) in listeners.chain(speakers).chain(guests) {
            let who = (client.user.name.as_str(), client.user.id);
            for (event, copy) in &mut client.copies {
                let compared = client.compared.entry(*event).or_insert(0);
                ledger.compare_copy(who, *event, copy, compared, whole);
            }
            totals.shown += client.shown;
            totals.sockets += client.attached;
        }
        let others = (self.guests.iter_mut())
            .flat_map(|guest| [&mut guest.host, &mut guest.mover, &mut guest.speaker.client])
            .chain(self.answering.iter_mut().map(|one| &mut one.client))
            .chain(self.makers.iter_mut().map(|one| &mut one.client))
            .chain(self.speakers.iter_mut().map(|one| &mut one.client))
            .chain(&mut self.listeners);
        for client in others {
            for complaint in client.complaints.drain(..) {
                ledger.wrong("clients are served", complaint);
            }
        }
        totals.entries += ledger.entries();
        totals.facts += ledger.facts();
        log.close().await;
        ledger.take_violations()
    }
}

/// Tells which rules do not hold, and the first evidence of each.
pub(super) fn report(violations: &[String], journal: &Journal) {
    let mut rules: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for violation in violations {
        let (rule, _) = violation.split_once(':').unwrap_or((violation, ""));
        rules.entry(rule).or_default().push(violation);
    }
    for (rule, violations) in rules {
        eprintln!("VIOLATED, {} times: {rule}", violations.len());
        for violation in violations.into_iter().take(EVIDENCE) {
            eprintln!("  {violation:.1000}");
            for line in journal.about(violation) {
                eprintln!("      {line}");
            }
        }
    }
}

/// What was acknowledged before something else was said stands before it.
fn compare_times(ledger: &mut Ledger, spoken: &mut [Spoken]) {
    spoken.sort_unstable_by_key(|spoken| std::cmp::Reverse(spoken.said.seq));
    let mut earliest: Option<&Spoken> = None;
    for one in &*spoken {
        if let Some(later) = earliest
            && later.acknowledged < Some(one.first_sent)
        {
            let (before, after) = (&later.said, &one.said);
            let what = format!(
                "room {}: {} was acknowledged at {} before {}, at {}, was said",
                before.room, before.key, before.seq, after.key, after.seq
            );
            ledger.wrong("the order is that of time", what);
        }
        if earliest.is_none_or(|earliest| one.acknowledged < earliest.acknowledged) {
            earliest = Some(one);
        }
    }
}
