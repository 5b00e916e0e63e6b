//! Who talks: several messages on their way at a time, each kept until it is acknowledged.

use std::collections::HashMap;

use rand::{Rng as _, rngs::StdRng};
use serde_json::json;
use uuid::Uuid;

use super::watcher::Watcher;
use crate::{
    harness::{Socket, socket::Ended},
    ledger::Said,
};

/// Messages of one writer on their way at a time.
const IN_FLIGHT: usize = 4;

/// A client that talks.
pub(super) struct Writer {
    pub(super) watcher: Watcher,
    /// Not acknowledged.
    pub(super) open: Vec<Said>,
    /// Acknowledged, in the order of the acknowledgements.
    pub(super) acknowledged: Vec<Said>,
    /// Sent again after a kill.
    pub(super) resent: u64,
    /// Of those, how many the log had already.
    pub(super) known: u64,
    said: u64,
    rng: StdRng,
}

impl Writer {
    pub(super) fn new(watcher: Watcher, rng: StdRng) -> Self {
        Self {
            watcher,
            open: Vec::new(),
            acknowledged: Vec::new(),
            resent: 0,
            known: 0,
            said: 0,
            rng,
        }
    }

    /// Resends what was not acknowledged, then talks until the server is gone; with `drain`
    /// it says nothing new and goes when all is acknowledged.
    pub(super) async fn talk(mut self, drain: bool) -> Self {
        let Some(mut socket) = self.watcher.attach().await else {
            return self;
        };
        let mut on_their_way = HashMap::new();
        self.exchange(&mut socket, &mut on_their_way, drain).await;
        let mut left: Vec<(u64, Said)> = on_their_way.into_iter().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        self.open.extend(
            left.into_iter()
                .map(|(_, said)| Said { again: true, ..said })
                .filter(|said| said.seq == 0),
        );
        self.watcher.detach(socket);
        self
    }

    /// Hears what it missed of the others, says nothing and goes.
    pub(super) async fn catch_up(mut self) -> Self {
        if let Some(socket) = self.watcher.attach().await {
            self.watcher.detach(socket);
        }
        self
    }

    /// `None` when the server is gone.
    async fn exchange(
        &mut self,
        socket: &mut Socket,
        way: &mut HashMap<u64, Said>,
        drain: bool,
    ) -> Option<()> {
        // One that was acknowledged long ago is asked for again: it is where it was.
        let old = self
            .acknowledged
            .len()
            .checked_sub(1)
            .map(|last| self.rng.random_range(0..=last));
        if let Some(old) = old.and_then(|index| self.acknowledged.get(index)).cloned() {
            self.send(socket, way, old).await?;
        }
        while !self.open.is_empty() {
            let said = self.open.remove(0);
            self.resent += 1;
            self.send(socket, way, said).await?;
        }
        loop {
            while !drain && way.len() < IN_FLIGHT {
                let said = self.something_new(socket);
                self.send(socket, way, said).await?;
            }
            if way.is_empty() {
                return Some(());
            }
            let frame = self.watcher.next(socket).await?;
            let Some(said) = frame["id"]
                .as_u64()
                .filter(|_| frame.get("push").is_none())
                .and_then(|id| way.remove(&id))
            else {
                continue;
            };
            if let Some(seq) = frame["publish"]["seq"].as_u64() {
                self.heard(said, seq, frame["publish"]["duplicate"] == true);
            } else if frame["error"]["code"] == "UNAVAILABLE" {
                self.send(socket, way, Said { again: true, ..said }).await?;
            } else {
                self.watcher
                    .complain(&format!("{} was answered {frame}", said.key));
            }
        }
    }

    /// Whatever becomes of it, what was tried stands in `way` until it is acknowledged.
    async fn send(&mut self, socket: &mut Socket, way: &mut HashMap<u64, Said>, said: Said) -> Option<()> {
        let publish =
            json!({ "room": said.room, "key": said.key, "after": said.after, "body": { "text": said.text } });
        let Some(id) = socket.try_post("publish", publish).await else {
            // An id that no frame has, below those that were sent after it.
            way.insert(0, said);
            self.watcher.cut(&Ended::Cut);
            return None;
        };
        way.insert(id, said);
        Some(())
    }

    fn heard(&mut self, said: Said, seq: u64, duplicate: bool) {
        self.watcher.acknowledged();
        if said.seq != 0 {
            if said.seq != seq || !duplicate {
                self.watcher
                    .complain(&format!("{} was at {}, and now at {seq}", said.key, said.seq));
            }
            return;
        }
        if duplicate && !said.again {
            self.watcher
                .complain(&format!("{} was new and is called a duplicate", said.key));
        }
        self.known += u64::from(duplicate);
        self.acknowledged.push(Said { seq, ..said });
    }

    fn something_new(&mut self, socket: &Socket) -> Said {
        self.said += 1;
        let rooms = &self.watcher.rooms;
        let room = rooms[self.rng.random_range(0..rooms.len())];
        let filler = "가나다 abc ".repeat(self.rng.random_range(0..30));
        Said {
            room,
            key: Uuid::from_u128(self.rng.random()),
            after: socket.copies[&room].seq,
            text: format!("{} {} {filler}.", self.watcher.user.name, self.said),
            seq: 0,
            again: false,
        }
    }
}
