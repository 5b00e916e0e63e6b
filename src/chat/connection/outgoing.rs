//! One message on its way to the record.

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    chat::{
        record::Record,
        wire::{Command, Text},
    },
    domain::id::EventId,
};

/// A message that is not acknowledged. Its key is made once, and `after` is set
/// once, at the first try: together they let the server find that try again.
#[derive(Debug)]
pub(super) struct Outgoing {
    room: EventId,
    key: Uuid,
    after: Option<u64>,
    text: String,
    is_in_flight: bool,
    not_before: Option<Instant>,
    was_repeated: bool,
}

impl Outgoing {
    pub(super) fn new(room: EventId, text: String) -> Self {
        Self {
            room,
            key: Uuid::new_v4(),
            after: None,
            text,
            is_in_flight: false,
            not_before: None,
            was_repeated: false,
        }
    }

    pub(super) fn room(&self) -> EventId {
        self.room
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.is_in_flight
    }

    /// Until when it has to wait; `None` when it need not or is in flight.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.is_in_flight)
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The command, if it is to be sent now; from then on it is in flight.
    pub(super) fn due(&mut self, record: &Record, now: Instant) -> Option<Command> {
        if self.is_in_flight || !record.is_joined() || self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        self.is_in_flight = true;
        self.not_before = None;
        Some(Command::Publish {
            room: self.room,
            key: self.key,
            after: *self.after.get_or_insert_with(|| record.seen()),
            body: Text {
                text: self.text.clone(),
            },
        })
    }

    /// The socket went without an answer: to be repeated on the next one.
    pub(super) fn unanswered(&mut self) {
        self.is_in_flight = false;
    }

    /// It is to be repeated, not before `at`. Whether that is so for the first time.
    pub(super) fn repeat_at(&mut self, at: Instant) -> bool {
        self.is_in_flight = false;
        self.not_before = Some(at);
        !std::mem::replace(&mut self.was_repeated, true)
    }

    /// The record was found to end at `seq`, and an `after` beyond it is refused. A
    /// smaller one is always safe: the server then looks through more of the record.
    pub(super) fn not_after(&mut self, seq: u64) {
        self.after = self.after.map(|after| after.min(seq));
    }
}
