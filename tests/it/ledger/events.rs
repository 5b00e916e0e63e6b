//! An event as the relational store holds it.

use std::collections::BTreeSet;

use timingle::domain::{fact::Change, id::RoomId};
use uuid::Uuid;

/// An event, with its history and who takes part.
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) room: RoomId,
    pub(crate) fact_no: u64,
    pub(crate) status: String,
    pub(crate) history: Vec<Row>,
    pub(crate) participants: BTreeSet<i64>,
}

/// A row of `event_history`.
pub(crate) struct Row {
    pub(crate) no: u64,
    pub(crate) id: Uuid,
    pub(crate) actor: Option<i64>,
    pub(crate) change: Change,
    pub(crate) seq: Option<u64>,
}
