//! Joining, leaving, and taking over the sessions of a room that fell.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Attached, Join, JoinStep, OutboxRef, PARTICIPANTS_SHOWN, State, deliver::going};
use crate::{
    domain::{
        entry::{Entry, Head},
        event::Participant,
        fact::Fact,
        id::UserId,
        view,
    },
    i18n::{self, Language},
    realtime::{
        outbox::Outbox,
        protocol::{Wire, v2},
        room::RoomError,
        roster::SessionId,
    },
};

impl State {
    /// Attaches a session and tells it what it missed, in one turn.
    ///
    /// `known` says whether the log holds the client's hash at `since`, once that was looked up.
    pub(in crate::realtime::room) fn join(
        &mut self,
        join: &Join,
        known: Option<bool>,
    ) -> Result<JoinStep, RoomError> {
        self.check_participant(join.user)?;
        if let Some(told) = &join.told {
            self.join_version_1(join, told);
            return Ok(JoinStep::Done);
        }
        let head = self.tip.head;
        let (from, reset) = match join.since {
            None => (0, false),
            Some(since) if since.seq > head.seq => (0, true),
            Some(since) => {
                match known.or_else(|| self.tail.hash_at(since.seq).map(|hash| hash == since.hash)) {
                    None => return Ok(JoinStep::NeedHash(since.seq)),
                    Some(true) => (since.seq, false),
                    Some(false) => (0, true),
                }
            }
        };
        let newest = join.limit.unwrap_or(50).min(self.settings.history_page);
        let resumes = join.since.is_some() && !reset;
        let (entries, complete) = self.missed(
            join.user,
            join.language,
            from,
            if resumes { None } else { Some(newest) },
        );
        let name_of = |user| Some(self.shown_name(user, join.language));
        let joined = v2::Joined {
            room: self.event.id,
            head,
            msg_no: self.tip.msg_no,
            entries: &entries,
            complete,
            reset,
            participants: self
                .participants
                .iter()
                .take(PARTICIPANTS_SHOWN)
                .map(|participant| view::participant_view(participant, &name_of))
                .collect(),
            event: self.event_view(join.language),
        };
        let frame = v2::joined_push(Some(join.id).filter(|id| *id > 0), &joined);
        // A closed outbox means the session is going; its leave will follow.
        if join.outbox.0.try_push(frame).is_ok() {
            self.attach(
                join.session,
                join.user,
                join.outbox.0.clone(),
                join.language,
                head.seq,
            );
        }
        Ok(JoinStep::Done)
    }

    fn shown_name(&self, user: UserId, language: Language) -> String {
        i18n::name_or_unknown(language, self.people.get(&user).cloned())
    }

    pub(super) fn event_view(&self, language: Language) -> view::EventView {
        let name_of = |user| Some(self.shown_name(user, language));
        let shown: Vec<Participant> = self
            .participants
            .iter()
            .take(PARTICIPANTS_SHOWN)
            .cloned()
            .collect();
        view::event_view(&self.event, &shown, &name_of)
    }

    fn attach(&mut self, session: SessionId, user: UserId, outbox: Outbox, language: Language, sent: u64) {
        self.sessions.insert(
            session,
            Attached {
                user,
                outbox,
                language,
                wire: Wire::V2,
                sent,
            },
        );
    }

    /// What `user` may see behind `from`: everything when it fits, else the newest 50;
    /// with `newest` at most so many. And whether nothing was left out.
    fn missed(
        &self,
        user: UserId,
        language: Language,
        from: u64,
        newest: Option<usize>,
    ) -> (Vec<Box<RawValue>>, bool) {
        let Some(visible) = self.circle.visible(user) else {
            return (Vec::new(), true);
        };
        let head = self.tip.head.seq;
        let budget = self.settings.answer_bytes;
        if newest.is_none() && from + 1 >= self.tail.first_seq() {
            let (all, cut) = self.render(
                self.tail
                    .range(from + 1, head)
                    .rev()
                    .filter(|entry| visible.contains(entry.seq))
                    .cloned(),
                language,
                budget,
            );
            if !cut && all.len() <= 500 {
                return (all, true);
            }
        }
        let limit = newest.unwrap_or(50);
        let mut count = 0;
        let (entries, cut) = self.render(
            self.tail
                .range(from + 1, head)
                .rev()
                .filter(|entry| visible.contains(entry.seq))
                .take_while(|_| {
                    count += 1;
                    count <= limit
                })
                .cloned(),
            language,
            budget,
        );
        let complete = !cut && count <= limit && from + 1 >= self.tail.first_seq();
        (entries, complete)
    }

    /// Detaches a session.
    pub(in crate::realtime::room) fn leave(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Takes over the sessions of a room that panicked, each told up to its `sent`.
    pub(in crate::realtime::room) fn adopt(&mut self, survivors: Vec<(SessionId, Attached)>) {
        for (session, old) in survivors {
            if old.wire == Wire::V1 {
                self.adopt_version_1(session, old);
                continue;
            }
            let Some(visible) = self.circle.visible(old.user) else {
                continue;
            };
            let (head, stays) = (self.tip.head, visible.is_open());
            let until = visible
                .intervals()
                .last()
                .map_or(0, |(_, to)| to.unwrap_or(head.seq))
                .min(head.seq);
            let covered = old.sent + 1 >= self.tail.first_seq();
            if covered && (old.sent + 1..=until).all(|seq| visible.contains(seq)) {
                let missed: Vec<Arc<Entry>> = self.tail.range(old.sent + 1, until).cloned().collect();
                let mut frames = self.pushes(&missed, old.language);
                if !stays {
                    frames.push(v2::removed_push(self.event.id, self.reason_of_going(until)));
                }
                let alive = frames.into_iter().all(|frame| old.outbox.try_push(frame).is_ok());
                if alive && stays {
                    self.attach(session, old.user, old.outbox, old.language, head.seq);
                }
            } else if !stays {
                let _ = old
                    .outbox
                    .try_push(v2::removed_push(self.event.id, self.reason_of_going(until)));
            } else {
                // Too much was said meanwhile: a fresh `joined`, which tells that it is not complete.
                let join = Join {
                    session,
                    user: old.user,
                    outbox: OutboxRef(old.outbox),
                    language: old.language,
                    since: Some(Head {
                        seq: old.sent,
                        hash: head.hash,
                    }),
                    limit: None,
                    id: 0,
                    told: None,
                };
                let _ = self.join(&join, Some(true));
            }
        }
    }

    /// As what `removed` tells the fact at `seq`, which ended somebody's taking part.
    fn reason_of_going(&self, seq: u64) -> &'static str {
        let fact = self.tail.get(seq).and_then(|entry| Fact::of(entry));
        fact.map_or("removed", |fact| going(&fact.change))
    }

    /// The sessions, when the room ends without having been asked to.
    pub(in crate::realtime::room) fn take_sessions(&mut self) -> Vec<(SessionId, Attached)> {
        self.sessions.drain().collect()
    }

    /// Lets go of sessions whose socket is closed.
    pub(in crate::realtime::room) fn prune(&mut self) {
        self.sessions
            .retain(|_, attached| attached.outbox.closed().is_none());
    }

    /// Tells every session where the head is, so that a lost push is noticed.
    pub(in crate::realtime::room) fn push_head(&self) {
        let frame = v2::head_push(self.event.id, self.tip.head);
        for attached in self
            .sessions
            .values()
            .filter(|attached| attached.wire == Wire::V2)
        {
            let _ = attached.outbox.try_push(frame.clone());
        }
    }
}
