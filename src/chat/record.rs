//! Where a client stands in one room: what it has shown, and what must come next.
//!
//! The server promises that pushes follow each other without a gap. This is where
//! a client holds it to that: whatever does not continue what is already there
//! leads to joining again from the last position that is certain.

use tokio::time::Instant;

use super::wire::{Entry, Joined, Page};
use crate::domain::entry::Head;

/// A client's copy of a room's record, as far as positions go.
#[derive(Debug)]
pub(super) struct Record {
    state: State,
    /// Everything up to here was shown, and the server can check the hash: where to resume.
    position: Option<Head>,
    /// Up to where the server's pushes are known to be without a gap.
    latest: Option<Head>,
    /// The highest seq that was shown; never twice.
    shown: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not joined on this socket; to be joined, but not before the time given.
    Absent(Option<Instant>),
    /// A join is on its way; what comes before its answer is of no use.
    Joining,
    /// Joined, but part of what was missed has to be fetched page by page.
    CatchingUp,
    /// Joined, and everything is shown.
    Live,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Show these entries, which may be none.
    Show(Vec<Entry>),
    /// Show these entries and ask for those after this seq.
    ShowAndPage(Vec<Entry>, u64),
    /// Something is missing: join again.
    Rejoin,
}

impl Record {
    /// A room that nothing is known of.
    pub(super) fn new() -> Self {
        Self {
            state: State::Absent(None),
            position: None,
            latest: None,
            shown: 0,
        }
    }

    /// Where to resume; `None`: from the newest entries.
    pub(super) fn since(&self) -> Option<Head> {
        self.position
    }

    /// The highest seq that the server has told of: `after` of a publish.
    pub(super) fn seen(&self) -> u64 {
        self.latest.map_or(self.shown, |head| head.seq)
    }

    /// Whether a publish would be accepted.
    pub(super) fn is_joined(&self) -> bool {
        matches!(self.state, State::CatchingUp | State::Live)
    }

    /// Whether everything the server has told of is shown.
    pub(super) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether a join is to be sent.
    pub(super) fn is_join_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Absent(not_before) if not_before.is_none_or(|at| at <= now))
    }

    /// Until when a join has to wait; `None` when it need not or was sent.
    pub(super) fn join_at(&self) -> Option<Instant> {
        match self.state {
            State::Absent(not_before) => not_before,
            State::Joining | State::CatchingUp | State::Live => None,
        }
    }

    /// A join was sent.
    pub(super) fn joining(&mut self) {
        self.state = State::Joining;
    }

    /// The socket is gone, or the room has to be joined again, not before the time given.
    pub(super) fn absent(&mut self, not_before: Option<Instant>) {
        self.state = State::Absent(not_before);
    }

    /// Takes in the answer to a join.
    pub(super) fn joined(&mut self, joined: &mut Joined) -> Step {
        let entries = std::mem::take(&mut joined.entries);
        let ascends = entries.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        if !ascends || entries.last().is_some_and(|last| last.seq > joined.head.seq) {
            return self.rejoin();
        }
        if joined.reset {
            (self.position, self.shown) = (None, 0);
        }
        let is_new = self.position.is_none();
        let entries = self.unseen(entries);
        self.latest = Some(joined.head);
        let continues = entries.first().is_some_and(|first| first.seq == self.shown + 1);
        if is_new || joined.complete || continues || joined.head.seq <= self.shown {
            self.arrived(joined.head);
            return Step::Show(entries);
        }
        // More was missed than a join tells: from the old position on, page by page.
        self.state = State::CatchingUp;
        Step::ShowAndPage(Vec::new(), self.shown)
    }

    /// Takes in new entries, which must continue what was there.
    pub(super) fn entries(&mut self, entries: Vec<Entry>, head: Head) -> Step {
        if !self.is_joined() {
            return Step::Show(Vec::new());
        }
        let last = self.latest.map_or(0, |latest| latest.seq);
        let continues = entries
            .iter()
            .zip(last + 1..)
            .all(|(entry, seq)| entry.seq == seq);
        if !continues || entries.last().is_none_or(|entry| entry.seq != head.seq) {
            return self.rejoin();
        }
        self.latest = Some(head);
        if self.state == State::CatchingUp {
            // They come with the pages, in their place.
            return Step::Show(Vec::new());
        }
        let entries = self.unseen(entries);
        self.arrived(head);
        Step::Show(entries)
    }

    /// Compares the server's head with what was told.
    pub(super) fn head(&mut self, head: Head) -> Step {
        if self.is_joined() && self.latest != Some(head) {
            self.rejoin()
        } else {
            Step::Show(Vec::new())
        }
    }

    /// Takes in a page of what was missed.
    pub(super) fn page(&mut self, page: Page) -> Step {
        let (State::CatchingUp, Some(latest)) = (self.state, self.latest) else {
            return Step::Show(Vec::new());
        };
        let is_empty = page.entries.is_empty();
        let entries = self.unseen(page.entries);
        if let Some(last) = entries.last() {
            self.shown = last.seq;
        }
        if page.complete {
            // Entries that this reader may not see are left out; the end counts as shown.
            self.shown = self.shown.max(page.as_of);
        }
        if self.shown >= latest.seq {
            self.arrived(latest);
            Step::Show(entries)
        } else if is_empty {
            // Nothing, and yet not the end: asking again would go on for ever.
            self.rejoin()
        } else if entries.is_empty() {
            // The answer to a page asked for before a rejoin; the one that matters is on its way.
            Step::Show(entries)
        } else {
            Step::ShowAndPage(entries, self.shown)
        }
    }

    fn arrived(&mut self, head: Head) {
        self.state = State::Live;
        self.position = Some(head);
        self.shown = self.shown.max(head.seq);
    }

    fn rejoin(&mut self) -> Step {
        self.state = State::Absent(None);
        Step::Rejoin
    }

    fn unseen(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.retain(|entry| entry.seq > self.shown);
        entries
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{Record, Step};
    use crate::{
        chat::wire::{Entry, Joined, Page, Title},
        domain::{
            entry::{Hash, Head},
            id::EventId,
            time::Micros,
        },
    };

    fn entries(seqs: impl IntoIterator<Item = u64>) -> Vec<Entry> {
        seqs.into_iter()
            .map(|seq| Entry {
                seq,
                at: Micros(0),
                author: None,
                kind: "message".into(),
                body: None,
                fact: None,
                reply_to: None,
                erased: false,
            })
            .collect()
    }

    fn head(seq: u64) -> Head {
        Head {
            seq,
            hash: Hash([u8::try_from(seq % 251).unwrap(); 32]),
        }
    }

    fn joined(seqs: impl IntoIterator<Item = u64>, end: u64, complete: bool) -> Joined {
        Joined {
            room: EventId(1),
            head: head(end),
            entries: entries(seqs),
            complete,
            reset: false,
            participants: Vec::new(),
            event: Title { title: String::new() },
        }
    }

    fn shown(step: Step) -> Vec<u64> {
        match step {
            Step::Show(entries) | Step::ShowAndPage(entries, _) => {
                entries.iter().map(|entry| entry.seq).collect()
            }
            Step::Rejoin => panic!("rejoins"),
        }
    }

    fn live(end: u64) -> Record {
        let mut record = Record::new();
        record.joining();
        assert_eq!(
            shown(record.joined(&mut joined(1..=end, end, true))).len() as u64,
            end
        );
        assert!(record.is_live());
        record
    }

    #[test]
    fn pushes_that_continue_are_shown_and_move_the_position() {
        let mut record = live(3);
        assert_eq!(shown(record.entries(entries(4..=6), head(6))), [4, 5, 6]);
        assert_eq!(record.since(), Some(head(6)));
        assert_eq!(record.seen(), 6);
        assert_eq!(shown(record.head(head(6))), [0; 0]);
    }

    #[test]
    fn whatever_does_not_continue_leads_to_a_rejoin_from_the_last_certain_position() {
        let other_hash = Head {
            hash: Hash([255; 32]),
            ..head(3)
        };
        let broken: [fn(&mut Record) -> Step; 7] = [
            |record| record.entries(entries([5]), head(5)),
            |record| record.entries(entries([3, 4]), head(4)),
            |record| record.entries(entries([4, 6]), head(6)),
            |record| record.entries(entries([4]), head(5)),
            |record| record.entries(entries([]), head(4)),
            |record| record.head(head(4)),
            |record| record.head(head(2)),
        ];
        for (number, step) in broken.iter().enumerate() {
            let mut record = live(3);
            assert_eq!(step(&mut record), Step::Rejoin, "{number}");
            assert_eq!(record.since(), Some(head(3)), "{number}");
            assert!(record.is_join_due(Instant::now()) && !record.is_joined());
        }
        assert_eq!(live(3).head(other_hash), Step::Rejoin);
    }

    #[test]
    fn what_comes_while_a_join_is_on_its_way_is_left_to_its_answer() {
        let mut record = live(3);
        record.absent(None);
        record.joining();
        assert_eq!(shown(record.entries(entries([9]), head(9))), [0; 0]);
        assert_eq!(
            shown(record.joined(&mut joined(4..=9, 9, true))),
            (4..=9).collect::<Vec<_>>()
        );
        assert_eq!(record.since(), Some(head(9)));
    }

    #[test]
    fn what_a_join_does_not_tell_is_paged_while_pushes_go_on() {
        let mut record = live(3);
        record.absent(None);
        record.joining();
        let step = record.joined(&mut joined(951..=1_000, 1_000, false));
        assert_eq!(step, Step::ShowAndPage(Vec::new(), 3));
        assert!(record.is_joined() && !record.is_live());
        let page = |seqs, complete| Page {
            entries: entries(seqs),
            as_of: 1_001,
            complete,
        };
        let step = record.page(page(4..=500, false));
        assert!(matches!(&step, Step::ShowAndPage(_, 500)));
        assert_eq!(shown(record.entries(entries([1_001]), head(1_001))), [0; 0]);
        // A loss in between resumes from the old position but shows nothing twice.
        assert_eq!(record.since(), Some(head(3)));
        record.absent(None);
        record.joining();
        let step = record.joined(&mut joined(951..=1_001, 1_001, false));
        assert_eq!(step, Step::ShowAndPage(Vec::new(), 500));
        assert_eq!(shown(record.page(page(4..=502, false))), [501, 502]);
        assert_eq!(shown(record.page(page(503..=1_001, true))).last(), Some(&1_001));
        assert!(record.is_live());
        assert_eq!(record.since(), Some(head(1_001)));
        assert_eq!(shown(record.entries(entries([1_002]), head(1_002))), [1_002]);
    }

    #[test]
    fn page_without_progress_does_not_loop() {
        let mut record = live(3);
        record.joining();
        record.joined(&mut joined(951..=1_000, 1_000, false));
        let step = record.page(Page {
            entries: Vec::new(),
            as_of: 1_000,
            complete: false,
        });
        assert_eq!(step, Step::Rejoin);
    }

    #[test]
    fn part_that_a_reader_may_not_see_is_not_a_gap() {
        let mut record = live(3);
        record.joining();
        assert_eq!(shown(record.joined(&mut joined([20, 21], 21, true))), [20, 21]);
        assert!(record.is_live());
    }

    #[test]
    fn reset_throws_the_copy_away() {
        let mut record = live(30);
        record.joining();
        let mut answer = joined(1..=5, 5, true);
        answer.reset = true;
        assert_eq!(shown(record.joined(&mut answer)), [1, 2, 3, 4, 5]);
        assert_eq!(record.since(), Some(head(5)));
        assert_eq!(shown(record.entries(entries([6]), head(6))), [6]);
    }
}
