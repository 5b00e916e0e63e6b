//! How many messages of an event somebody has not read, without joining its room.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;

use super::registry::Registry;
use crate::domain::id::{EventId, UserId};

/// How long stores may take; what they have not said by then is left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Logs asked at the same time.
const LOGS_AT_ONCE: usize = 16;

/// Where an event's record ends, and how much of it somebody has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// The last entry.
    pub head_seq: u64,
    /// Messages behind the last entry read.
    pub messages: u64,
}

impl Registry {
    /// What `user` has not read of each of `events`. One in which the user does not take part,
    /// or of which nobody knows now, is left out: never an error, never long.
    ///
    /// Live rooms answer from memory, the others are looked up.
    pub async fn unread(&self, user: UserId, events: &[EventId]) -> HashMap<EventId, Unread> {
        let mut known = HashMap::with_capacity(events.len());
        let mut others = Vec::new();
        for event in events {
            let Some(room) = self.live(*event) else {
                others.push(*event);
                continue;
            };
            let board = room.board().lock();
            if let Some(mark) = board.marks.get(&user) {
                let unread = Unread {
                    head_seq: board.head_seq,
                    messages: board.msg_no.saturating_sub(mark.msg_no),
                };
                known.insert(*event, unread);
            }
        }
        if !others.is_empty() {
            self.look_up(user, &others, &mut known).await;
        }
        known
    }

    async fn look_up(&self, user: UserId, events: &[EventId], known: &mut HashMap<EventId, Unread>) {
        let ports = self.ports();
        let look_up = async {
            let readings = match ports.facts.readings(user, events).await {
                Ok(readings) => readings,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    return tracing::warn!(error, "read marks cannot be looked up");
                }
            };
            let mut tips = stream::iter(readings)
                .map(async |reading| (reading, ports.log.tip(reading.room).await))
                .buffer_unordered(LOGS_AT_ONCE);
            while let Some((reading, tip)) = tips.next().await {
                // Of a log that does not answer nothing is said.
                if let Ok(tip) = tip {
                    let unread = Unread {
                        head_seq: tip.head.seq,
                        messages: tip.msg_no.saturating_sub(reading.mark.msg_no),
                    };
                    known.insert(reading.event, unread);
                }
            }
        };
        // What came before it got late stands.
        let _ = timeout(PATIENCE, look_up).await;
    }
}
