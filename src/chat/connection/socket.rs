//! One socket: open it, authenticate, send what is due.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::{About, Connection, Ended, Lost, Socket, credential::RenewalError, older};
use crate::chat::wire::{self, Command, JoinRoom};

/// Bytes of a frame from the server that are taken; it promises far less.
const MAX_FRAME_BYTES: usize = 4 << 20;
/// Rooms that one `join` may name.
const ROOMS_PER_JOIN: usize = 100;

impl Connection {
    pub(super) async fn connect(&mut self) -> Result<Socket, Lost> {
        let renewed = self.credential.ensure_fresh(&self.api).await;
        renewed.map_err(|error| match error {
            RenewalError::SignedOut => Lost::ForGood(Ended::SignedOut),
            RenewalError::Temporary => Lost::ComeBack(None),
        })?;
        let mut upgrade = self
            .api
            .socket_url()
            .into_client_request()
            .map_err(|_| Lost::ForGood(Ended::Refused(0)))?;
        let headers = upgrade.headers_mut();
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("timingle.v2"),
        );
        headers.insert(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_static(self.api.language().as_str()),
        );
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let opening = connect_async_with_config(upgrade, Some(limits), true);
        let mut socket = match timeout(self.pace.answer, opening).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Http(response))) => return Err(refused(response.status().as_u16())),
            Ok(Err(_)) | Err(_) => return Err(Lost::ComeBack(None)),
        };
        // The credential goes into the first frame: never into a URL, which proxies write down.
        let access_token = self.credential.access_token();
        self.send(&mut socket, &Command::Auth { access_token }, About::Credential)
            .await?;
        while self.hello.is_none() {
            let deadline = self.next_look();
            tokio::select! {
                frame = socket.next() => self.heard_from(frame).await?,
                () = sleep_until(deadline) => {}
            }
            self.check_time(&mut socket).await?;
        }
        Ok(socket)
    }

    /// Nothing of a socket outlives it but rooms, positions, unanswered messages, and pages that the
    /// person still waits for.
    pub(super) fn forget_socket(&mut self) {
        let waiting = std::mem::take(&mut self.waiting)
            .into_values()
            .map(|(about, _)| about);
        let wished = std::mem::take(&mut self.wishes)
            .into_iter()
            .map(|(_, about)| about);
        self.wishes = waiting
            .chain(wished)
            .filter_map(|about| match about {
                About::Older(room, before) => Some(older(room, before)),
                About::Credential | About::Rooms(_) | About::Leave | About::Message | About::Missed(_) => {
                    None
                }
            })
            .collect();
        self.hello = None;
        self.rejoins = 0;
        for record in self.rooms.values_mut() {
            record.absent(None);
        }
        if let Some(message) = self.outgoing.front_mut() {
            message.unanswered();
        }
    }

    /// Sends all that can be sent now: joins, what the person wished, the oldest message.
    pub(super) async fn send_due(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        let now = Instant::now();
        let mut join = Vec::new();
        for (room, record) in &mut self.rooms {
            if join.len() < ROOMS_PER_JOIN && record.is_join_due(now) {
                join.push(JoinRoom {
                    room: *room,
                    since: record.since(),
                });
                record.joining();
            }
        }
        if !join.is_empty() {
            let rooms = join.iter().map(|wanted| wanted.room).collect();
            self.send(socket, &Command::Join { rooms: join }, About::Rooms(rooms))
                .await?;
        }
        while let Some((command, about)) = self.wishes.pop_front() {
            self.send(socket, &command, about).await?;
        }
        let frame_bytes = self.hello.as_ref().map_or(0, |hello| hello.limits.frame_bytes);
        while let Some(message) = self.outgoing.front_mut() {
            let Some(record) = self.rooms.get(&message.room()) else {
                break;
            };
            let Some(command) = message.due(record, now) else {
                break;
            };
            if wire::encode(u64::MAX, &command).is_ok_and(|frame| frame.len() <= frame_bytes) {
                return self.send(socket, &command, About::Message).await;
            }
            self.refuse_message("FRAME_TOO_BIG".to_owned()).await;
        }
        Ok(())
    }

    async fn send(&mut self, socket: &mut Socket, command: &Command, about: About) -> Result<(), Lost> {
        self.last_id += 1;
        let frame = wire::encode(self.last_id, command).map_err(|_| Lost::ComeBack(None))?;
        self.waiting
            .insert(self.last_id, (about, Instant::now() + self.pace.answer));
        match timeout(self.pace.answer, socket.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            // A close frame may be waiting to be read; it says more than this failure.
            Ok(Err(_)) => Err(self.last_words(socket).await),
            Err(_) => Err(Lost::ComeBack(None)),
        }
    }

    /// Reads what the server still had to say on a socket that takes nothing more.
    async fn last_words(&mut self, socket: &mut Socket) -> Lost {
        let reading = async {
            loop {
                let frame = socket.next().await;
                if let Err(lost) = self.heard_from(frame).await {
                    return lost;
                }
            }
        };
        timeout(Duration::from_secs(1), reading)
            .await
            .unwrap_or(Lost::ComeBack(None))
    }
}

/// A refusal of the upgrade: what the client did wrong will not go away by itself.
fn refused(status: u16) -> Lost {
    match status {
        408 | 429 | 500.. => Lost::ComeBack(None),
        _ => Lost::ForGood(Ended::Refused(status)),
    }
}
