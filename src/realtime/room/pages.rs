//! A page of the record for somebody who has no socket.

use std::{collections::HashMap, sync::Arc};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use tokio::{sync::oneshot, time::timeout};

use super::{PAGE, Room, RoomError, RoomHandle, state::PageRange};
use crate::{
    domain::{entry::Entry, id::UserId},
    realtime::protocol::v2::Window,
};

/// Entries of a room, with what is needed to show them.
#[derive(Debug, Clone)]
pub struct Page {
    /// The entries, ascending.
    pub entries: Vec<Entry>,
    /// Names of everyone whom they may name.
    pub names: Arc<HashMap<UserId, String>>,
    /// Whether nothing further lies in the direction of reading.
    pub complete: bool,
}

impl RoomHandle {
    /// A page of the record as `user` may see it; `limit` is 50 if none is given, and never
    /// more than the configured page.
    ///
    /// # Errors
    /// The user never took part; the log cannot be read; the room is too busy, or not there.
    pub(crate) async fn page(
        &self,
        user: UserId,
        window: Window,
        limit: Option<usize>,
    ) -> Result<Page, RoomError> {
        let (done, heard) = oneshot::channel();
        let ask = ReadPage {
            user,
            window,
            limit,
            done,
        };
        self.addr.try_send(ask).map_err(|_| RoomError::Unavailable)?;
        let heard = timeout(self.answer, heard).await;
        heard.ok().and_then(Result::ok).ok_or(RoomError::Unavailable)?
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct ReadPage {
    user: UserId,
    window: Window,
    limit: Option<usize>,
    done: oneshot::Sender<Result<Page, RoomError>>,
}

impl Handler<ReadPage> for Room {
    type Result = ();

    fn handle(&mut self, asked: ReadPage, ctx: &mut Context<Self>) {
        let ReadPage {
            user,
            window,
            limit,
            done,
        } = asked;
        self.busy_at = std::time::Instant::now();
        // Whoever asked may have gone: then nobody hears the answer.
        let range: PageRange = match self.state.page(user, window, limit) {
            Ok(range) => range,
            Err(error) => {
                let _ = done.send(Err(error));
                return;
            }
        };
        if let Some(entries) = self.state.page_in_memory(range) {
            let _ = done.send(Ok(self.page_of(entries, range)));
            return;
        }
        let (log, room, patience) = (self.ports.log.clone(), self.state.event().room, self.times.answer);
        let count = usize::try_from(range.to + 1 - range.from).unwrap_or(PAGE);
        let read = async move { timeout(patience, log.read(room, range.from, count)).await };
        ctx.spawn(read.into_actor(self).map(move |entries, room, _| {
            let page = match entries {
                Ok(Ok(entries)) => Ok(room.page_of(entries, range)),
                // Whoever asked waits no longer.
                Err(_) => Err(RoomError::Unavailable),
                Ok(Err(error)) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(event.id = %room.event, error, "a page of history cannot be read");
                    Err(RoomError::Unavailable)
                }
            };
            let _ = done.send(page);
        }));
    }
}

impl Room {
    fn page_of(&self, entries: Vec<Entry>, range: PageRange) -> Page {
        Page {
            entries,
            names: self.state.names(),
            complete: range.complete,
        }
    }
}
