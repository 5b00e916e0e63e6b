//! Who talks: several messages on their way at a time, each kept until it is known what became of it.

use std::{collections::HashMap, time::Duration};

use rand::{Rng as _, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::client::{Client, Trouble, Until};
use crate::{harness::Socket, ledger::Said};

/// Messages of one speaker on their way at a time.
const IN_FLIGHT: usize = 4;

/// Of the messages that were acknowledged, so many of the last are asked for again now and then.
const RECENT: usize = 500;

/// So many messages somebody who was told to be out sends all the same.
const DEFIANT: usize = 2;

/// How long somebody who has nothing more to say asks one node for answers.
const STUBBORN: Duration = Duration::from_secs(20);

/// Something said, and when.
#[derive(Clone)]
pub(super) struct Spoken {
    pub(super) said: Said,
    pub(super) first_sent: Instant,
    pub(super) acknowledged: Option<Instant>,
    /// On which node it was tried last.
    pub(super) node: usize,
}

/// What came of a speaker's messages.
#[derive(Default)]
pub(super) struct Words {
    /// Not known.
    pub(super) open: Vec<Spoken>,
    /// Acknowledged, in the order of the acknowledgements.
    pub(super) acknowledged: Vec<Spoken>,
    /// Refused for good at the first try.
    pub(super) refused: Vec<Said>,
    /// Sent again because it was not known what had become of them ...
    pub(super) resent: u64,
    /// ... and of those, so many had been in the log already.
    pub(super) known: u64,
    /// Acknowledged ones that were asked for again.
    pub(super) asked_again: u64,
    count: u64,
}

/// A client that talks.
pub(super) struct Speaker {
    pub(super) client: Client,
    pub(super) words: Words,
}

/// Messages on their way, by the id of their command.
type Way = HashMap<u64, Spoken>;

impl Speaker {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            words: Words::default(),
        }
    }

    /// Talks until it is over, now on this node, now on another.
    pub(super) async fn talk(mut self) -> Self {
        while let Ok(mut socket) = self.client.attach(Until::Over).await {
            let stays = Instant::now() + Duration::from_millis(self.client.rng.random_range(200..5_000));
            self.session(&mut socket, |speaker| {
                Instant::now() < stays && !speaker.client.shared.is_over()
            })
            .await;
            self.client.detach(socket);
        }
        self
    }

    /// Asks for everything that is not known, until it is.
    pub(super) async fn settle(mut self, deadline: Instant) -> Self {
        let until = Until::Deadline(deadline);
        while !self.words.open.is_empty() {
            match self.client.attach(until).await {
                Ok(mut socket) => {
                    self.session(&mut socket, |_| false).await;
                    self.client.detach(socket);
                }
                Err(Trouble::Refused(code)) => {
                    self.client
                        .complain(&format!("was not let in at the end: {code}"));
                    break;
                }
                Err(_) => break,
            }
        }
        self
    }

    /// Asks for what is not known, then says new things while `goes_on`; what is on its way when it ends
    /// is not known.
    pub(super) async fn session(&mut self, socket: &mut Socket, goes_on: impl FnMut(&Self) -> bool) {
        let mut way = Way::new();
        let _ = self.exchange(socket, &mut way, goes_on).await;
        let mut left: Vec<(u64, Spoken)> = way.into_iter().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        for (_, mut spoken) in left {
            if spoken.said.seq == 0 {
                spoken.said.again = true;
                self.words.open.push(spoken);
            }
        }
    }

    async fn exchange(
        &mut self,
        socket: &mut Socket,
        way: &mut Way,
        mut goes_on: impl FnMut(&Self) -> bool,
    ) -> Result<(), Trouble> {
        // One that was acknowledged before, perhaps on another node, is where it was.
        let recent = &self.words.acknowledged[self.words.acknowledged.len().saturating_sub(RECENT)..];
        if let Some(old) = recent.choose(&mut self.client.rng).cloned() {
            self.words.asked_again += 1;
            self.send(socket, way, old).await?;
        }
        while !self.words.open.is_empty() {
            let spoken = self.words.open.remove(0);
            self.words.resent += 1;
            self.send(socket, way, spoken).await?;
        }
        // Some go without waiting for answers, or before the node can be thought dead.
        let waits = self.client.rng.random_ratio(2, 3);
        let patience = Duration::from_millis(self.client.rng.random_range(1_000..8_000));
        let (mut talked, mut put_out, mut defiant) = (false, false, DEFIANT);
        let mut silent_since = None;
        loop {
            while way.len() < IN_FLIGHT && if put_out { defiant > 0 } else { goes_on(self) } {
                if put_out {
                    defiant -= 1;
                } else {
                    sleep(Duration::from_millis(self.client.rng.random_range(0..20))).await;
                }
                talked = true;
                let spoken = self.something_new(socket);
                self.send(socket, way, spoken).await?;
            }
            let silent = way.len() < IN_FLIGHT || !goes_on(self);
            if way.is_empty() || (silent && talked && !waits && !put_out) {
                return Ok(());
            }
            // One that is refused for now, again and again, is not asked for ever.
            let since = *silent_since.get_or_insert_with(Instant::now);
            if !silent {
                silent_since = None;
            } else if since.elapsed() > STUBBORN {
                return Err(Trouble::Later);
            }
            let frame = self.client.next(socket, patience).await?;
            put_out |= frame["push"] == "removed";
            if let Some(id) = frame["id"].as_u64().filter(|_| frame.get("push").is_none())
                && let Some(spoken) = way.remove(&id)
            {
                self.answered(socket, way, spoken, &frame).await?;
            }
        }
    }

    async fn answered(
        &mut self,
        socket: &mut Socket,
        way: &mut Way,
        mut spoken: Spoken,
        frame: &Value,
    ) -> Result<(), Trouble> {
        let node = self.client.node;
        self.client.shared.journal.note(
            &self.client.user.name,
            format!(
                "{} on node {node} was answered {}{}",
                spoken.said.key, frame["publish"], frame["error"]["code"]
            ),
        );
        if let Some(seq) = frame["publish"]["seq"].as_u64() {
            self.heard(spoken, seq, frame["publish"]["duplicate"] == true);
            return Ok(());
        }
        if frame["error"]["temporary"] == true {
            spoken.said.again = true;
            sleep(Duration::from_millis(self.client.rng.random_range(10..200))).await;
            return self.send(socket, way, spoken).await;
        }
        let code = frame["error"]["code"].as_str().unwrap_or_default();
        // Somebody who was put out is told so, in one of these ways.
        let outside = matches!(code, "EVENT_NOT_FOUND" | "FORBIDDEN" | "NOT_JOINED");
        if outside && self.client.in_parts {
            if spoken.said.seq == 0 && spoken.said.again {
                self.words.open.push(spoken);
            } else if spoken.said.seq == 0 {
                self.words.refused.push(spoken.said);
            }
        } else {
            let key = spoken.said.key;
            self.client
                .complain(&format!("{key} on node {node} was answered {frame}"));
            if spoken.said.seq == 0 {
                spoken.said.again = true;
                self.words.open.push(spoken);
            }
        }
        Ok(())
    }

    /// Whatever becomes of it, what was tried stands in `way` until it is answered.
    async fn send(&mut self, socket: &mut Socket, way: &mut Way, spoken: Spoken) -> Result<(), Trouble> {
        let said = &spoken.said;
        let publish =
            json!({ "room": said.room, "key": said.key, "after": said.after, "body": { "text": said.text } });
        let node = self.client.node;
        self.client.shared.journal.note(
            &self.client.user.name,
            format!(
                "says {} after {} in room {} on node {node}",
                said.key, said.after, said.room
            ),
        );
        // An id that no frame has, if the socket does not take it.
        let id = self.client.post(socket, "publish", publish).await;
        let key = id.unwrap_or_else(|| u64::MAX - way.len() as u64);
        way.insert(key, spoken);
        id.map(|_| ()).ok_or(Trouble::Gone)
    }

    fn heard(&mut self, spoken: Spoken, seq: u64, duplicate: bool) {
        let said = &spoken.said;
        if said.seq != 0 {
            if said.seq != seq || !duplicate {
                let what = format!("{} was at {}, and now at {seq}", said.key, said.seq);
                self.client.complain(&what);
            }
            return;
        }
        if duplicate && !said.again {
            self.client
                .complain(&format!("{} was new and is called a duplicate", said.key));
        }
        self.words.known += u64::from(duplicate);
        self.words.acknowledged.push(Spoken {
            acknowledged: Some(Instant::now()),
            node: self.client.node,
            said: Said { seq, ..spoken.said },
            ..spoken
        });
    }

    fn something_new(&mut self, socket: &Socket) -> Spoken {
        self.words.count += 1;
        let rng = &mut self.client.rng;
        let room = *self.client.rooms.choose(rng).unwrap();
        let filler = "가나다 abc ".repeat(rng.random_range(0..20));
        let said = Said {
            room,
            key: Uuid::from_u128(rng.random()),
            after: socket.copies[&room].seq,
            text: format!("{} {} {filler}.", self.client.user.name, self.words.count),
            seq: 0,
            again: false,
        };
        Spoken {
            said,
            first_sent: Instant::now(),
            acknowledged: None,
            node: self.client.node,
        }
    }
}
