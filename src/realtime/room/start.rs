//! Loads a room.

use std::collections::HashMap;

use super::state::{Settings, State};
use crate::{
    domain::{
        entry::Entry,
        fact::Membership,
        id::{EventId, RoomId, UserId},
        visibility::Circle,
    },
    ports::{ReadError, RoomLog, RoomSnapshot},
    realtime::heal::{HealError, Ports, settle},
};

/// Entries looked up in the log at the same time.
const LOOK_UPS_AT_ONCE: usize = 16;

/// Loads the room of `event` with its log and its store in one state; how many facts the log lacked.
pub(super) async fn prepare(
    ports: &Ports,
    event: EventId,
    settings: &Settings,
) -> Result<(State, u64), HealError> {
    let (snapshot, tip, healed) = settle(ports, event).await?;
    let room = snapshot.event.room;
    let newest = ports
        .log
        .read_back(room, tip.head.seq + 1, settings.tail_entries)
        .await?;
    let newest: Vec<Entry> = newest
        .into_iter()
        .filter(|entry| entry.seq <= tip.head.seq)
        .collect();
    let mut circle = Circle::default();
    for (_, membership, seq) in &snapshot.memberships {
        circle.apply(membership, seq.unwrap_or(tip.head.seq));
    }
    let came_in = came_in(&*ports.log, room, &snapshot, &newest).await?;
    let mut state = State::new(
        settings.clone(),
        snapshot.event,
        snapshot.participants,
        snapshot.people,
        circle,
        tip,
        newest,
    );
    state.recover_marks(&came_in);
    state.note_appended_before(healed.appended);
    Ok((state, healed.appended))
}

/// The entries at which those came in who, as far as the store knows, have not even read that:
/// the process died before it had written their marks down.
async fn came_in(
    log: &dyn RoomLog,
    room: RoomId,
    snapshot: &RoomSnapshot,
    newest: &[Entry],
) -> Result<Vec<(UserId, Entry)>, ReadError> {
    let mut entered: HashMap<UserId, u64> = HashMap::new();
    for (_, membership, seq) in &snapshot.memberships {
        if let (Membership::Enters(user), Some(seq)) = (membership, seq) {
            entered.insert(*user, *seq);
        }
    }
    let unread = snapshot.participants.iter().filter_map(|participant| {
        let seq = *entered.get(&participant.user)?;
        (participant.read.seq < seq).then_some((participant.user, seq))
    });
    let unread: Vec<(UserId, u64)> = unread.collect();
    let mut found = Vec::with_capacity(unread.len());
    for some in unread.chunks(LOOK_UPS_AT_ONCE) {
        let looks = some.iter().map(async |&(user, seq)| {
            if let Some(entry) = newest.iter().find(|entry| entry.seq == seq) {
                return Ok(Some((user, entry.clone())));
            }
            let page = log.read(room, seq, 1).await?;
            Ok(page.into_iter().next().map(|entry| (user, entry)))
        });
        for look in futures_util::future::join_all(looks).await {
            found.extend(look?);
        }
    }
    Ok(found)
}
