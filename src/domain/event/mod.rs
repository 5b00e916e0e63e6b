//! An appointment and the rules of its life.
//!
//! - here: what an event and its participants are.
//! - [`rights`]: the table of who may do what in which state.
//! - [`life`]: the one state machine; everything that changes an event goes through [`life::step`].

pub mod life;
pub mod rights;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    id::{EventId, RoomId, UserId},
    time::Micros,
};

pub use self::rights::{Action, Denied, may};

/// Where an event is in its life: `PROPOSED -> CONFIRMED -> DONE`, `CANCELED` from the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventStatus {
    /// Not everyone who must has said yes.
    Proposed,
    /// The event's rule is met.
    Confirmed,
    /// It will not take place.
    Canceled,
    /// It took place.
    Done,
}

impl EventStatus {
    /// The state as it stands on the wire and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "PROPOSED",
            Self::Confirmed => "CONFIRMED",
            Self::Canceled => "CANCELED",
            Self::Done => "DONE",
        }
    }

    /// Whether nothing about the event may change any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Canceled | Self::Done)
    }
}

/// What a participant is to the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ParticipantRole)]
pub enum Role {
    /// Who created it; counts as accepted.
    Host,
    /// Everyone else.
    Guest,
}

/// What a participant answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing yet.
    Pending,
    /// Yes.
    Accepted,
    /// No.
    Declined,
}

/// An event as the relational store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// The name of its room's log.
    pub room: RoomId,
    /// 1-200 characters.
    pub title: String,
    /// What it is about, at most 4,000 characters.
    pub description: Option<String>,
    /// Where, at most 200 characters.
    pub location: Option<String>,
    /// When it begins.
    pub start_time: Micros,
    /// When it ends; never before it begins.
    pub end_time: Micros,
    /// IANA name of the zone its times are meant in.
    pub timezone: String,
    /// Where it is in its life.
    pub status: EventStatus,
    /// Its host.
    pub creator: UserId,
    /// What confirms it, and by when.
    pub rule: Rule,
    /// What has become of it so far.
    pub course: Course,
    /// How many facts it has.
    pub fact_no: u64,
    /// When it came to be.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

/// Somebody who takes part in an event now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Who.
    pub user: UserId,
    /// What to the event.
    pub role: Role,
    /// With which answer.
    pub answer: Answer,
    /// When the answer was given.
    pub answered_at: Option<Micros>,
    /// Why, in the participant's own words; at most [`REASON_CHARS`] characters.
    pub reason: Option<String>,
    /// Up to where the participant has read the record.
    pub read: ReadMark,
}

impl Participant {
    /// Who has just come in and has not answered.
    pub fn invited(user: UserId) -> Self {
        Self {
            user,
            role: Role::Guest,
            answer: Answer::Pending,
            answered_at: None,
            reason: None,
            read: ReadMark::default(),
        }
    }

    /// Who has just made the event `at` that moment: a host counts as accepted.
    pub fn host(user: UserId, at: Micros) -> Self {
        Self {
            role: Role::Host,
            answer: Answer::Accepted,
            answered_at: Some(at),
            ..Self::invited(user)
        }
    }
}

/// Up to where somebody has read a record. Never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadMark {
    /// The last entry read; 0 is none.
    pub seq: u64,
    /// Messages up to that entry, so that what is unread is a difference.
    pub msg_no: u64,
    /// When it was read.
    pub at: Option<Micros>,
}

/// The longest reason of an answer or a cancellation, in characters.
pub const REASON_CHARS: usize = 1_000;

/// What confirms an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmRule {
    /// Everyone who takes part has accepted, and the host is not alone.
    #[default]
    Everyone,
    /// So many have accepted, the host counted; at least 2.
    Quorum(u32),
}

/// What becomes of a proposed event whose time to answer ran out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// It stays proposed, and the record names who has not answered.
    #[default]
    Stay,
    /// It is canceled.
    Cancel,
}

/// By which rule an event is confirmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rule {
    /// What confirms it.
    pub confirm: ConfirmRule,
    /// Until when that has to have happened.
    pub confirm_by: Option<Micros>,
    /// What becomes of it otherwise.
    pub on_deadline: OnDeadline,
    /// How many material changes it may have once it was confirmed; `None` is no limit.
    pub change_limit: Option<u32>,
}

/// What has become of an event so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Course {
    /// Since when it is confirmed; also kept by an event that is done.
    pub confirmed_at: Option<Micros>,
    /// Whether it ever was confirmed: from then on material changes count.
    pub was_confirmed: bool,
    /// Material changes since it was first confirmed.
    pub changes_used: u32,
    /// Whether the time to answer ran out, or counts no more.
    pub deadline_spent: bool,
    /// When it was canceled or done.
    pub ended_at: Option<Micros>,
}

impl Event {
    /// When the next thing happens to it by itself.
    ///
    /// An event that was confirmed only after its end does not become done by itself.
    pub fn due_at(&self) -> Option<Micros> {
        match self.status {
            EventStatus::Proposed if !self.course.deadline_spent => self.rule.confirm_by,
            EventStatus::Confirmed if self.course.confirmed_at.is_some_and(|at| at < self.end_time) => {
                Some(self.end_time)
            }
            EventStatus::Proposed | EventStatus::Confirmed | EventStatus::Canceled | EventStatus::Done => {
                None
            }
        }
    }

    /// From when on its room takes no more messages, `after` an ended event's end; `None`
    /// while it has not ended. What was canceled ended then, what is done not before its time.
    pub fn chat_closes_at(&self, after: Duration) -> Option<Micros> {
        let ended_at = self.course.ended_at.unwrap_or(self.end_time);
        match self.status {
            EventStatus::Proposed | EventStatus::Confirmed => None,
            EventStatus::Canceled => Some(ended_at.plus(after)),
            EventStatus::Done => Some(ended_at.max(self.end_time).plus(after)),
        }
    }

    /// How many material changes it may still have; `None` is no limit.
    pub fn changes_left(&self) -> Option<u32> {
        let limit = self.rule.change_limit?;
        Some(limit.saturating_sub(self.course.changes_used))
    }
}
