//! What comes from the server: pushes, replies, and the end.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use super::{About, Connection, Ended, Lost, PAGE, Update, outgoing::Outgoing};
use crate::{
    chat::{
        record::Step,
        wire::{self, Command, FromServer, JoinOutcome, Joined, Page, Push, Reply, WireError},
    },
    domain::id::EventId,
};

/// Joins in a row that gaps may cause on one socket before it is given up.
pub(super) const MAX_REJOINS: u32 = 5;

impl Connection {
    pub(super) async fn heard_from(
        &mut self,
        frame: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<(), Lost> {
        // Whatever comes shows that the server is there; pings are answered by the library.
        self.heard = Instant::now();
        match frame {
            Some(Ok(Message::Text(text))) => {
                let frame = wire::decode(&text).map_err(|_| Lost::ComeBack(None))?;
                self.received(frame).await
            }
            Some(Ok(Message::Close(frame))) => Err(self.closed(frame)),
            Some(Ok(Message::Binary(_)) | Err(_)) | None => Err(Lost::ComeBack(None)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
        }
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Lost {
        let code = frame.map_or(1006, |frame| u16::from(frame.code));
        match code {
            4500..=4999 => Lost::ForGood(Ended::Closed(code)),
            4005 => {
                self.credential.expired();
                Lost::ComeBack(None)
            }
            _ => Lost::ComeBack(None),
        }
    }

    async fn received(&mut self, frame: FromServer) -> Result<(), Lost> {
        match frame {
            FromServer::Push(push) => self.pushed(push).await,
            FromServer::Reply { id, reply } => {
                // A reply that nothing waits for, or to a frame the server could not read, tells nothing.
                let Some((about, _)) = id.and_then(|id| self.waiting.remove(&id)) else {
                    return Ok(());
                };
                match reply {
                    Ok(reply) => self.succeeded(about, reply).await,
                    Err(error) => self.failed(about, error).await,
                }
            }
        }
    }

    async fn pushed(&mut self, push: Push) -> Result<(), Lost> {
        match push {
            Push::Joined(joined) => self.joined(joined).await,
            Push::Entries { room, entries, head } => {
                let step = self
                    .rooms
                    .get_mut(&room)
                    .map(|record| record.entries(entries, head));
                self.follow(room, step).await
            }
            Push::Head { room, head } => {
                let step = self.rooms.get_mut(&room).map(|record| record.head(head));
                self.follow(room, step).await
            }
            Push::Removed { room, reason } => {
                self.rooms.remove(&room);
                self.drop_messages_to(room, "").await;
                self.tell(Update::Removed { room, reason }).await;
                Ok(())
            }
            Push::Shutdown { retry_after_ms } => {
                self.come_back_in = Some(Duration::from_millis(retry_after_ms).min(self.pace.longest));
                Ok(())
            }
            Push::Unknown => Ok(()),
        }
    }

    async fn joined(&mut self, mut joined: Joined) -> Result<(), Lost> {
        let room = joined.room;
        let Some(record) = self.rooms.get_mut(&room) else {
            return Ok(());
        };
        let is_first = record.since().is_none();
        let step = record.joined(&mut joined);
        for message in self.outgoing.iter_mut().filter(|message| message.room() == room) {
            message.not_after(joined.head.seq);
        }
        let (title, people) = (joined.event.title, joined.participants);
        self.tell(Update::Opened {
            room,
            title,
            people,
            is_first,
            reset: joined.reset,
        })
        .await;
        self.follow(room, Some(step)).await
    }

    /// Does what a record says has to be done.
    async fn follow(&mut self, room: EventId, step: Option<Step>) -> Result<(), Lost> {
        let entries = match step {
            None => return Ok(()),
            Some(Step::Show(entries)) => entries,
            Some(Step::ShowAndPage(entries, after)) => {
                let page = Command::History {
                    room,
                    before: None,
                    after: Some(after),
                    limit: PAGE,
                };
                self.wishes.push_back((page, About::Missed(room)));
                entries
            }
            Some(Step::Rejoin) => {
                self.rejoins += 1;
                return if self.rejoins > MAX_REJOINS {
                    Err(Lost::ComeBack(None))
                } else {
                    Ok(())
                };
            }
        };
        if !entries.is_empty() {
            self.rejoins = 0;
            self.tell(Update::Entries { room, entries }).await;
        }
        Ok(())
    }

    async fn succeeded(&mut self, about: About, reply: Reply) -> Result<(), Lost> {
        match (about, reply) {
            (About::Credential, Reply::Hello(hello)) => {
                self.credential.accepted();
                if self.hello.is_none() {
                    self.tell(Update::Online(hello.user.clone())).await;
                }
                self.hello = Some(hello);
                Ok(())
            }
            (About::Rooms(_), Reply::Join { rooms }) => {
                for JoinOutcome { room, error } in rooms {
                    if let Some(error) = error {
                        self.not_joined(room, error).await;
                    }
                }
                Ok(())
            }
            (About::Message, Reply::Publish {}) => {
                self.outgoing.pop_front();
                Ok(())
            }
            (About::Missed(room), Reply::History(page)) => {
                let step = self.rooms.get_mut(&room).map(|record| record.page(page));
                self.follow(room, step).await
            }
            (
                About::Older(room, _),
                Reply::History(Page {
                    entries, complete, ..
                }),
            ) => {
                self.tell(Update::Older {
                    room,
                    entries,
                    complete,
                })
                .await;
                Ok(())
            }
            (About::Leave, Reply::Leave {}) => Ok(()),
            // A reply of another name than its command: not a server of this protocol.
            _ => Err(Lost::ComeBack(None)),
        }
    }

    async fn failed(&mut self, about: About, error: WireError) -> Result<(), Lost> {
        match about {
            About::Credential if error.code == "TOO_MANY_SOCKETS" => {
                return Err(Lost::ForGood(Ended::Closed(4503)));
            }
            About::Credential if error.temporary => return Err(Lost::ComeBack(self.pause(&error))),
            About::Credential => return Err(self.credential.refused()),
            About::Rooms(rooms) => {
                for room in rooms {
                    self.not_joined(room, error.clone()).await;
                }
            }
            About::Message => self.message_failed(error).await,
            About::Missed(room) => {
                let pause = self.pause(&error).unwrap_or(self.pace.first);
                if let Some(record) = self.rooms.get_mut(&room) {
                    record.absent(Some(Instant::now() + pause));
                }
            }
            About::Older(..) => {
                self.tell(Update::Failed {
                    message: error.message,
                })
                .await;
            }
            About::Leave => {}
        }
        Ok(())
    }

    async fn not_joined(&mut self, room: EventId, error: WireError) {
        if error.temporary {
            let pause = self.pause(&error).unwrap_or(self.pace.first);
            if let Some(record) = self.rooms.get_mut(&room) {
                record.absent(Some(Instant::now() + pause));
            }
            return;
        }
        self.rooms.remove(&room);
        self.tell(Update::NotOpened {
            room,
            message: error.message.clone(),
        })
        .await;
        self.drop_messages_to(room, &error.message).await;
    }

    /// The server answered that the message at the front is not in the record, or not known to be.
    async fn message_failed(&mut self, error: WireError) {
        let pause = self.pause(&error).unwrap_or(self.pace.first);
        let Some(message) = self.outgoing.front_mut() else {
            return;
        };
        let not_before = Instant::now() + pause;
        match error.code.as_str() {
            // The same key and `after` again, once the room is joined (again).
            "NOT_JOINED" | "POSITION_UNKNOWN" => {
                message.repeat_at(not_before);
                if let Some(record) = self.rooms.get_mut(&message.room()) {
                    record.absent(None);
                }
            }
            // "Not known yet": it may stand in the record. The same key and `after` again.
            _ if error.temporary => {
                if message.repeat_at(not_before) {
                    self.tell(Update::StillTrying {
                        message: error.message,
                    })
                    .await;
                }
            }
            _ => self.refuse_message(error.message).await,
        }
    }

    pub(super) async fn refuse_message(&mut self, message: String) {
        if let Some(refused) = self.outgoing.pop_front() {
            self.tell(Update::NotPublished {
                text: refused.into_text(),
                message,
            })
            .await;
        }
    }

    pub(super) async fn drop_messages_to(&mut self, room: EventId, why: &str) {
        let (dropped, kept) = self
            .outgoing
            .drain(..)
            .partition::<VecDeque<_>, _>(|message| message.room() == room);
        self.outgoing = kept;
        for message in dropped {
            let (text, message) = (message.into_text(), why.to_owned());
            self.tell(Update::NotPublished { text, message }).await;
        }
        // The answer to one that was in flight is about nothing now.
        self.waiting.retain(|_, (about, _)| {
            !matches!(about, About::Message) || self.outgoing.front().is_some_and(Outgoing::is_in_flight)
        });
    }

    fn pause(&self, error: &WireError) -> Option<Duration> {
        error
            .retry_after_ms
            .map(|ms| Duration::from_millis(ms).min(self.pace.longest))
    }
}
