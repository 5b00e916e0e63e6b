//! Loads a room.

use super::state::{Settings, State};
use crate::{
    domain::{entry::Entry, id::EventId, visibility::Circle},
    realtime::heal::{HealError, Ports, settle},
};

/// Loads the room of `event` with its log and its store in one state.
pub(super) async fn prepare(ports: &Ports, event: EventId, settings: &Settings) -> Result<State, HealError> {
    let (snapshot, tip, _) = settle(ports, event).await?;
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
    Ok(State::new(
        settings.clone(),
        snapshot.event,
        snapshot.participants,
        snapshot.people,
        circle,
        tip,
        newest,
    ))
}
