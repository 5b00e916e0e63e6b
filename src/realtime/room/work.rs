//! What a room does beside its appends: marks, loading facts, looking for keys.

use std::time::Instant;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use tokio::time::timeout_at;

use super::{FACT_PAGE, Loading, MAX_SEARCHES, PAGE, Room, RoomError, state::Search};
use crate::{
    domain::{
        entry::{Entry, Kind},
        id::RoomId,
    },
    ports::{FactPage, ReadError, RoomLog, SourceError},
};

impl Room {
    pub(super) fn mark_places(&mut self, ctx: &mut Context<Self>) {
        let places = self.state.take_places();
        if places.is_empty() {
            return;
        }
        crate::metrics::facts_appended(places.len() as u64);
        let (facts, event) = (self.ports.facts.clone(), self.event);
        let mark = async move {
            if let Err(error) = facts.mark(event, &places).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(event.id = %event, error, "facts are in the log but not marked, the sweeper will mark them");
            }
        };
        ctx.spawn(mark.into_actor(self));
    }

    /// Loads facts that the store has and the room has not.
    pub(super) fn load_facts(&mut self, ctx: &mut Context<Self>) {
        if self.loading != Loading::No {
            self.loading = Loading::Again;
            return;
        }
        self.loading = Loading::Yes;
        let (facts, event, after) = (self.ports.facts.clone(), self.event, self.state.last_known_fact());
        let load = async move { facts.facts(event, after, FACT_PAGE).await };
        ctx.spawn(
            load.into_actor(self)
                .map(|page: Result<FactPage, SourceError>, room, ctx| {
                    let asked_again = room.loading == Loading::Again;
                    room.loading = Loading::No;
                    match page {
                        Ok(page) => {
                            let again = asked_again || page.facts.len() == FACT_PAGE;
                            room.state.queue_facts(page);
                            if again {
                                room.load_facts(ctx);
                            }
                            room.pump(ctx);
                        }
                        Err(error) => {
                            let error: &dyn std::error::Error = &error;
                            tracing::warn!(event.id = %room.event, error, "facts cannot be loaded");
                            for (_, done) in room.recording.drain(..) {
                                let _ = done.send(Err(RoomError::Unavailable));
                            }
                        }
                    }
                }),
        );
    }

    pub(super) fn take(&mut self, search: Option<Search>, ctx: &mut Context<Self>) {
        if let Some(search) = search {
            if self.searches.len() >= MAX_SEARCHES {
                self.state.search_failed(search);
            } else {
                self.searches.push_back(search);
            }
        }
        self.search_next(ctx);
    }

    /// Answers the searches that have waited for their turn past their deadline.
    pub(super) fn expire_searches(&mut self, now: Instant) {
        let (late, waiting): (Vec<_>, Vec<_>) = self
            .searches
            .drain(..)
            .partition(|search| search.publish.deadline <= now);
        self.searches = waiting.into();
        for search in late {
            self.state.search_failed(search);
        }
    }

    /// Looks for the next key in the log.
    fn search_next(&mut self, ctx: &mut Context<Self>) {
        if self.searching {
            return;
        }
        let Some(search) = self.searches.pop_front() else {
            return;
        };
        self.searching = true;
        let (log, room) = (self.ports.log.clone(), self.state.event().room);
        let look = async move {
            let deadline = search.publish.deadline.into();
            let found = timeout_at(deadline, find(&*log, room, &search)).await;
            let found = found.unwrap_or_else(|late| Err(ReadError::Unavailable(Box::new(late))));
            (search, found)
        };
        ctx.spawn(look.into_actor(self).map(
            |(search, found): (Search, Result<Option<Entry>, ReadError>), room, ctx| {
                room.searching = false;
                let again = match found {
                    Ok(found) => room.state.searched(search, found.as_ref()),
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(event.id = %room.event, error, "a key cannot be looked for");
                        room.state.search_failed(search);
                        None
                    }
                };
                room.take(again, ctx);
                room.pump(ctx);
            },
        ));
    }
}

/// The message whose author and key `search` is for, if the log has it where it may stand.
async fn find(log: &dyn RoomLog, room: RoomId, search: &Search) -> Result<Option<Entry>, ReadError> {
    let (author, key) = (search.publish.user, search.publish.key);
    let is_it =
        |entry: &Entry| entry.kind == Kind::Message && entry.author == Some(author) && entry.key == key;
    let mut from = search.from;
    while from <= search.to {
        let page = log.read(room, from, PAGE).await?;
        let Some(last) = page.last().map(|last| last.seq) else {
            break;
        };
        if let Some(found) = page.into_iter().find(is_it) {
            return Ok(Some(found));
        }
        from = last + 1;
    }
    Ok(None)
}
