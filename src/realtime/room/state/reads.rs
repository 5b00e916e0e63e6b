//! Up to where everyone has read, who is writing, and who of them is told.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{PARTICIPANTS_SHOWN, State};
use crate::{
    domain::{
        entry::{Entry, Kind},
        event::ReadMark,
        id::UserId,
        time::Micros,
    },
    i18n::Language,
    realtime::{
        feed::Feed,
        protocol::{
            Wire,
            v2::{self, Here},
        },
        room::{ReplyTo, RoomError},
        roster::SessionId,
    },
};

/// Rooms with more participants tell their sockets of no marks, no typing and no presence:
/// each of them would be told to everybody.
pub(in crate::realtime::room) const LIVELY: usize = 200;

/// How long somebody counts as writing.
const TYPING_LASTS: Duration = Duration::from_secs(6);

/// How often that is told of one user.
const TYPING_PAUSE: Duration = Duration::from_secs(2);

/// Askers waiting for their marks to be written; more are told to come back.
const MAX_READERS: usize = 4_096;

/// What others look up about a live room without asking its actor.
#[derive(Debug, Default)]
pub(in crate::realtime) struct Board {
    /// The last entry of its record.
    pub(in crate::realtime) head_seq: u64,
    /// Messages up to there.
    pub(in crate::realtime) msg_no: u64,
    /// Up to where everyone who takes part has read.
    pub(in crate::realtime) marks: HashMap<UserId, ReadMark>,
    /// Where its record ended when it started: of what follows it tells the feeds itself.
    pub(in crate::realtime) began_at: u64,
}

/// Somebody says up to where the record was read.
#[derive(Debug)]
pub(in crate::realtime::room) struct Read {
    pub(in crate::realtime::room) user: UserId,
    /// The socket that said so, which is not told.
    pub(in crate::realtime::room) session: Option<SessionId>,
    pub(in crate::realtime::room) seq: u64,
    /// Whoever wants to know; nobody does for a reading that is noticed by the way.
    pub(in crate::realtime::room) reply: Option<ReplyTo>,
}

/// Marks that moved.
#[derive(Debug, Clone, Copy)]
struct Moved {
    mark: ReadMark,
    /// Whether others are told; they can tell by themselves that an author has read what he wrote.
    told: bool,
}

/// What a room has to write down of reading, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Reads {
    board: Arc<Mutex<Board>>,
    /// Not written yet.
    moved: HashMap<UserId, Moved>,
    /// Being written.
    flight: Option<Vec<(UserId, Moved)>>,
    waiting: Vec<Read>,
    typing: HashMap<UserId, Instant>,
}

impl State {
    /// What others look up about this room.
    pub(in crate::realtime::room) fn board(&self) -> Arc<Mutex<Board>> {
        Arc::clone(&self.reads.board)
    }

    /// How many messages `user` has not read.
    pub(super) fn unread(&self, user: UserId) -> u64 {
        let board = self.reads.board.lock();
        let read = board.marks.get(&user).map_or(0, |mark| mark.msg_no);
        self.tip.msg_no.saturating_sub(read)
    }

    // ---- marks

    /// Takes in up to where somebody has read. Hands it back when the log must first say how
    /// many messages there are up to that entry.
    pub(in crate::realtime::room) fn read(
        &mut self,
        read: Read,
        known: Option<&Entry>,
        now: Micros,
    ) -> Option<Read> {
        let head = self.tip.head.seq;
        let refusal = match self.check_participant(read.user) {
            Err(error) => Some(error),
            Ok(()) if read.seq > head && read.reply.is_some() => Some(RoomError::PositionUnknown { head }),
            Ok(()) if self.reads.waiting.len() >= MAX_READERS => Some(RoomError::Busy),
            Ok(()) => None,
        };
        if let Some(error) = refusal {
            if let Some(reply) = read.reply {
                reply.fail(&error);
            }
            return None;
        }
        let seq = read.seq.min(head);
        if seq <= self.mark_of(read.user).seq {
            self.wait_for_mark(read);
            return None;
        }
        let msg_no = if seq == head {
            Some(self.tip.msg_no)
        } else {
            let entry = self.tail.get(seq).map(|entry| &**entry).or(known);
            entry.filter(|entry| entry.seq == seq).map(|entry| entry.msg_no)
        };
        let Some(msg_no) = msg_no else {
            return Some(Read { seq, ..read });
        };
        let at = Some(now);
        self.move_mark(read.user, ReadMark { seq, msg_no, at }, true);
        self.wait_for_mark(read);
        None
    }

    fn wait_for_mark(&mut self, read: Read) {
        let written = !self.reads.moved.contains_key(&read.user)
            && !self
                .reads
                .flight
                .iter()
                .flatten()
                .any(|(user, _)| *user == read.user);
        if !written {
            if read.reply.is_some() {
                self.reads.waiting.push(read);
            }
        } else if let Some(reply) = read.reply {
            let frame = v2::read_reply(reply.id(), self.event.id, self.mark_of(read.user).seq);
            reply.send(frame);
        }
    }

    fn mark_of(&self, user: UserId) -> ReadMark {
        let board = self.reads.board.lock();
        board.marks.get(&user).copied().unwrap_or_default()
    }

    fn move_mark(&mut self, user: UserId, mark: ReadMark, told: bool) {
        let told = told || self.reads.moved.get(&user).is_some_and(|moved| moved.told);
        self.reads.moved.insert(user, Moved { mark, told });
        self.show_mark(user, mark);
    }

    fn show_mark(&mut self, user: UserId, mark: ReadMark) {
        self.reads.board.lock().marks.insert(user, mark);
        // The others are shown to nobody; this is done for every message.
        if let Some(participant) = self
            .participants
            .iter_mut()
            .take(PARTICIPANTS_SHOWN)
            .find(|participant| participant.user == user)
        {
            participant.read = mark;
        }
    }

    /// Who has just come in begins to read at the entry that says so. If that is not this
    /// room's `own`, another one writes the mark down.
    pub(super) fn begin_reading(&mut self, user: UserId, entry: &Entry, own: bool) {
        let mark = ReadMark {
            seq: entry.seq,
            msg_no: entry.msg_no,
            at: Some(entry.at),
        };
        if own {
            self.move_mark(user, mark, false);
        } else {
            self.show_mark(user, mark);
        }
    }

    /// Of who takes part no longer no mark is kept, and who waited for one is told why.
    pub(super) fn end_reading(&mut self, user: UserId) {
        self.reads.board.lock().marks.remove(&user);
        self.reads.moved.remove(&user);
        self.reads.typing.remove(&user);
        let waiting = self.reads.waiting.extract_if(.., |read| read.user == user);
        for reply in waiting.filter_map(|read| read.reply) {
            reply.fail(&RoomError::Gone);
        }
    }

    /// Moves the mark of an author who had read everything that was said before this message.
    /// Facts in between do not hinder it: the author's socket was told of them.
    pub(super) fn read_own(&mut self, entry: &Entry, own: bool) {
        if entry.kind != Kind::Message {
            return;
        }
        if let Some(author) = entry.author
            && self.circle.has(author)
            && self.mark_of(author).msg_no + 1 == entry.msg_no
        {
            self.begin_reading(author, entry, own);
        }
    }

    /// Brings the marks of participants, as the store had them, and those of the room together:
    /// whichever is further stands.
    pub(super) fn merge_marks(&mut self) {
        let mut board = self.reads.board.lock();
        for participant in &mut self.participants {
            // The store told of them before the fact that put this one out.
            if !self.circle.has(participant.user) {
                continue;
            }
            let mark = board.marks.entry(participant.user).or_default();
            if participant.read.seq > mark.seq {
                *mark = participant.read;
            } else {
                participant.read = *mark;
            }
        }
    }

    /// Moves marks that a process which died did not write down: of who came in at one of
    /// `entries`, and of authors who had read everything before theirs.
    pub(in crate::realtime::room) fn recover_marks(&mut self, came_in: &[(UserId, Entry)]) {
        for (user, entry) in came_in {
            if self.circle.has(*user) && self.mark_of(*user).seq < entry.seq {
                self.begin_reading(*user, entry, true);
            }
        }
        let tail: Vec<Arc<Entry>> = self
            .tail
            .range(self.tail.first_seq(), self.tip.head.seq)
            .cloned()
            .collect();
        for entry in tail {
            self.read_own(&entry, true);
        }
    }

    /// Shows others where the record ends.
    pub(super) fn post_tip(&self) {
        let mut board = self.reads.board.lock();
        board.head_seq = self.tip.head.seq;
        board.msg_no = self.tip.msg_no;
    }

    // ---- writing them down

    /// Whether every mark is written down.
    pub(in crate::realtime::room) fn marks_are_written(&self) -> bool {
        self.reads.moved.is_empty() && self.reads.flight.is_none()
    }

    /// Whether somebody waits for a mark to be written down.
    pub(in crate::realtime::room) fn readers_wait(&self) -> bool {
        !self.reads.waiting.is_empty() || self.reads.moved.values().any(|moved| moved.told)
    }

    /// The marks to write down next; `None` when there are none, or some are on their way.
    pub(in crate::realtime::room) fn next_marks(&mut self) -> Option<Vec<(UserId, ReadMark)>> {
        if self.reads.flight.is_some() || self.reads.moved.is_empty() {
            return None;
        }
        let flight: Vec<(UserId, Moved)> = self.reads.moved.drain().collect();
        let marks = flight.iter().map(|(user, moved)| (*user, moved.mark)).collect();
        self.reads.flight = Some(flight);
        Some(marks)
    }

    /// The marks last asked for are written down, or that `failed`: then they are given again.
    pub(in crate::realtime::room) fn marks_written(&mut self, failed: bool, feed: &Feed) {
        let Some(flight) = self.reads.flight.take() else {
            return;
        };
        let written: HashMap<UserId, u64> = flight
            .iter()
            .map(|(user, moved)| (*user, moved.mark.seq))
            .collect();
        // Whose mark moved on while this was written waits for the next writing.
        let (answered, later): (Vec<Read>, Vec<Read>) = std::mem::take(&mut self.reads.waiting)
            .into_iter()
            .partition(|read| {
                written
                    .get(&read.user)
                    .is_some_and(|seq| failed || read.seq <= *seq)
            });
        self.reads.waiting = later;
        if failed {
            for (user, moved) in flight {
                if self.circle.has(user) {
                    let newer = self.reads.moved.entry(user).or_insert(moved);
                    newer.told |= moved.told;
                }
            }
            for reply in answered.into_iter().filter_map(|read| read.reply) {
                reply.fail(&RoomError::Unavailable);
            }
            return;
        }
        for (user, Moved { mark, told }) in flight {
            if told && self.circle.has(user) {
                let asked = answered
                    .iter()
                    .filter(|read| read.user == user && read.seq == mark.seq);
                let asked: Vec<SessionId> = asked.filter_map(|read| read.session).collect();
                self.tell_mark(user, mark, &asked, feed);
            }
        }
        for read in answered {
            let Some(reply) = read.reply else { continue };
            match self.check_participant(read.user) {
                Ok(()) => {
                    let seq = written.get(&read.user).copied().unwrap_or_default();
                    let frame = v2::read_reply(reply.id(), self.event.id, seq);
                    reply.send(frame);
                }
                Err(error) => reply.fail(&error),
            }
        }
    }

    fn tell_mark(&self, user: UserId, mark: ReadMark, without: &[SessionId], feed: &Feed) {
        let own = v2::read_push(self.event.id, user, mark, Some(self.unread(user)));
        feed.push(user, &own, without);
        feed.bridge().read(self.event.id, user, mark, self.unread(user));
        if self.is_lively() {
            let frame = v2::read_push(self.event.id, user, mark, None);
            self.tell_others(user, &frame);
        }
    }

    /// Takes in up to where somebody has read, as another node wrote it down.
    pub(in crate::realtime::room) fn hear_mark(&mut self, user: UserId, mark: ReadMark) {
        if !self.circle.has(user) || mark.seq <= self.mark_of(user).seq {
            return;
        }
        self.show_mark(user, mark);
        if self.is_lively() {
            let frame = v2::read_push(self.event.id, user, mark, None);
            self.tell_others(user, &frame);
        }
    }

    // ---- typing and presence

    /// Whether what somebody does in passing is told to the others.
    pub(in crate::realtime::room) fn is_lively(&self) -> bool {
        self.participants.len() <= LIVELY
    }

    /// Tells the others that `user` is writing, unless they have just been told; whether they
    /// were not.
    pub(in crate::realtime::room) fn typing(
        &mut self,
        user: UserId,
        now: Instant,
        wall: Micros,
    ) -> Result<bool, RoomError> {
        self.check_participant(user)?;
        self.check_open(wall)?;
        let told = self.reads.typing.get(&user);
        if self.is_lively() && told.is_none_or(|told| now.duration_since(*told) >= TYPING_PAUSE) {
            self.reads.typing.insert(user, now);
            let frame = v2::typing_push(self.event.id, user, wall.plus(TYPING_LASTS));
            self.tell_others(user, &frame);
            return Ok(true);
        }
        Ok(false)
    }

    /// Forgets who was told as writing long ago.
    pub(in crate::realtime::room) fn forget_typing(&mut self, now: Instant) {
        self.reads
            .typing
            .retain(|_, told| now.duration_since(*told) < TYPING_PAUSE);
    }

    /// Tells the others that somebody came or went.
    pub(in crate::realtime::room) fn tell_presence(&self, here: Here) {
        if self.circle.has(here.id) && self.is_lively() {
            self.tell_others(here.id, &v2::presence_push(self.event.id, here));
        }
    }

    /// The first of those who take part, for `user`, who must be one of them.
    pub(in crate::realtime::room) fn company_of(&self, user: UserId) -> Result<Vec<UserId>, RoomError> {
        self.check_participant(user)?;
        // What is shown may lag behind a removal; the circle does not.
        let here = self.participants.iter().map(|participant| participant.user);
        Ok(here.filter(|user| self.circle.has(*user)).take(LIVELY).collect())
    }

    /// Whose coming and going the room's sockets are told of.
    pub(in crate::realtime::room) fn watched(&self) -> Vec<UserId> {
        if self.watch_key().0 && self.is_lively() {
            self.circle.taking_part().collect()
        } else {
            Vec::new()
        }
    }

    /// What [`State::watched`] depends on.
    pub(in crate::realtime::room) fn watch_key(&self) -> (bool, u64) {
        let listened = self.sessions.values().any(|attached| attached.wire == Wire::V2);
        (listened, self.circle_no)
    }

    /// A session reads texts in another language from now on.
    pub(in crate::realtime::room) fn speak(&mut self, session: SessionId, language: Language) {
        if let Some(attached) = self.sessions.get_mut(&session) {
            attached.language = language;
        }
    }

    fn tell_others(&self, user: UserId, frame: &bytes::Bytes) {
        let others = self
            .sessions
            .values()
            .filter(|attached| attached.wire == Wire::V2 && attached.user != user);
        for attached in others {
            // A closed outbox has nobody behind it to tell.
            let _ = attached.outbox.try_push(frame.clone());
        }
    }
}
