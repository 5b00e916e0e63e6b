//! A page of the record.

use super::{PageRange, State};
use crate::{
    domain::{entry::Entry, id::UserId},
    realtime::{
        protocol::v2,
        room::{ReplyTo, RoomError},
    },
};

impl State {
    /// Which entries a page holds; it never reaches over what the user may not see.
    pub(in crate::realtime::room) fn page(
        &self,
        user: UserId,
        window: v2::Window,
        limit: Option<usize>,
    ) -> Result<PageRange, RoomError> {
        let visible = self.circle.visible(user).ok_or(RoomError::Unknown)?;
        let head = self.tip.head.seq;
        let limit = limit.unwrap_or(50).min(self.settings.history_page) as u64;
        let spans: Vec<(u64, u64)> = visible
            .intervals()
            .iter()
            .map(|&(from, to)| (from, to.map_or(head, |to| to.min(head))))
            .filter(|(from, to)| from <= to)
            .collect();
        let as_of = spans.last().map_or(0, |(_, last)| *last);
        let empty = PageRange {
            from: 1,
            to: 0,
            complete: true,
            backwards: true,
            as_of,
        };
        let range = match window {
            v2::Window::After(after) => spans.iter().find(|(_, to)| *to > after).map(|&(start, end)| {
                let from = start.max(after + 1);
                let to = end.min(from + limit - 1);
                let complete = spans.last().is_some_and(|(_, last)| to == *last);
                PageRange {
                    from,
                    to,
                    complete,
                    backwards: false,
                    as_of,
                }
            }),
            v2::Window::Newest | v2::Window::Before(_) => {
                let before = if let v2::Window::Before(before) = window {
                    before
                } else {
                    head + 1
                };
                spans
                    .iter()
                    .rev()
                    .find(|(from, _)| *from < before)
                    .map(|&(start, end)| {
                        let to = end.min(before - 1);
                        let from = start.max((to + 1).saturating_sub(limit));
                        let complete = spans.first().is_some_and(|(first, _)| from == *first);
                        PageRange {
                            from,
                            to,
                            complete,
                            backwards: true,
                            as_of,
                        }
                    })
            }
        };
        Ok(range.unwrap_or(empty))
    }

    /// The entries of `range` if all of them are in memory.
    pub(in crate::realtime::room) fn page_in_memory(&self, range: PageRange) -> Option<Vec<Entry>> {
        if range.from > range.to {
            return Some(Vec::new());
        }
        (range.from >= self.tail.first_seq()).then(|| {
            self.tail
                .range(range.from, range.to)
                .map(|entry| Entry::clone(entry))
                .collect()
        })
    }

    /// Answers a page of history.
    pub(in crate::realtime::room) fn answer_page(&self, reply: ReplyTo, entries: &[Entry], range: PageRange) {
        let (mut shown, mut bytes, mut cut) = (Vec::new(), 0, false);
        let mut add = |entry: &Entry| {
            let text = self.show(entry, reply.language());
            bytes += text.get().len() + 1;
            cut = bytes > self.settings.answer_bytes && !shown.is_empty();
            if !cut {
                shown.push(text);
            }
            !cut
        };
        if range.backwards {
            let _ = entries.iter().rev().all(&mut add);
            shown.reverse();
        } else {
            let _ = entries.iter().all(&mut add);
        }
        let complete = range.complete && !cut;
        let frame = v2::history_reply(reply.id(), self.event.id, &shown, range.as_of, complete);
        reply.send(frame);
    }
}
