//! An appointment and the rules of its life.

use serde::{Deserialize, Serialize};

use super::{
    id::{EventId, RoomId, UserId},
    time::Micros,
};
use crate::error::{Coded, ErrorCode};

/// Where an event is in its life: `PROPOSED -> CONFIRMED -> DONE`, `CANCELED` from the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Who created it; counts as accepted.
    Host,
    /// Everyone else.
    Guest,
}

/// What a participant answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// Something a person may want to do to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See it.
    Read,
    /// Make or end an invite link.
    Invite,
    /// Come in by a link.
    Join,
    /// Go.
    Leave,
    /// Put somebody else out.
    Remove,
    /// Call it off.
    Cancel,
}

impl Action {
    /// Every action, for the tests.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Invite,
        Self::Join,
        Self::Leave,
        Self::Remove,
        Self::Cancel,
    ];
}

/// Why an action is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// To this person the event does not exist.
    #[error("the event does not exist for this user")]
    Unknown,
    /// Only the host may.
    #[error("only the host may do this")]
    HostOnly,
    /// The host cannot go: the event would have nobody who answers for it.
    #[error("the host cannot leave; the event can be canceled")]
    HostStays,
    /// Not in this state.
    #[error("the event is {}", .0.as_str())]
    State(EventStatus),
}

impl Coded for Denied {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::EventNotFound,
            Self::HostOnly | Self::HostStays => ErrorCode::Forbidden,
            Self::State(_) => ErrorCode::EventState,
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Unknown => "EVENT_NOT_FOUND",
            Self::HostOnly => "event-host-only",
            Self::HostStays => "event-host-stays",
            Self::State(_) => "EVENT_STATE",
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut details = serde_json::Map::new();
        if let Self::State(status) = self {
            details.insert("status".into(), status.as_str().into());
        }
        details
    }
}

/// Whether somebody who is `role` to an event in state `status` may do `action`.
///
/// The one table of rights: everything else asks here. Canceling what is
/// canceled is allowed and changes nothing, so that a repeated request succeeds.
///
/// # Errors
/// Why not.
pub fn may(role: Option<Role>, status: EventStatus, action: Action) -> Result<(), Denied> {
    let Some(role) = role else {
        return match action {
            Action::Join if status.is_final() => Err(Denied::State(status)),
            Action::Join => Ok(()),
            Action::Read | Action::Invite | Action::Leave | Action::Remove | Action::Cancel => {
                Err(Denied::Unknown)
            }
        };
    };
    match action {
        Action::Leave if role == Role::Host => Err(Denied::HostStays),
        Action::Invite | Action::Remove | Action::Cancel if role != Role::Host => Err(Denied::HostOnly),
        Action::Invite | Action::Remove if status.is_final() => Err(Denied::State(status)),
        Action::Cancel if status == EventStatus::Done => Err(Denied::State(status)),
        Action::Read | Action::Join | Action::Leave | Action::Invite | Action::Remove | Action::Cancel => {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Denied, EventStatus, Role, may};

    const STATES: [EventStatus; 4] = [
        EventStatus::Proposed,
        EventStatus::Confirmed,
        EventStatus::Canceled,
        EventStatus::Done,
    ];

    #[test]
    fn stranger_may_only_join_and_cannot_tell_the_event_exists() {
        for status in STATES {
            for action in Action::ALL {
                let expected = match action {
                    Action::Join if status.is_final() => Err(Denied::State(status)),
                    Action::Join => Ok(()),
                    _ => Err(Denied::Unknown),
                };
                assert_eq!(may(None, status, action), expected, "{status:?} {action:?}");
            }
        }
    }

    #[test]
    fn guest_may_read_and_leave_and_nothing_more() {
        for status in STATES {
            for action in [Action::Invite, Action::Remove, Action::Cancel] {
                assert_eq!(may(Some(Role::Guest), status, action), Err(Denied::HostOnly));
            }
            assert_eq!(may(Some(Role::Guest), status, Action::Leave), Ok(()));
        }
    }

    #[test]
    fn final_states_stay_final_and_canceling_twice_succeeds() {
        assert_eq!(
            may(Some(Role::Host), EventStatus::Canceled, Action::Cancel),
            Ok(())
        );
        assert_eq!(
            may(Some(Role::Host), EventStatus::Done, Action::Cancel),
            Err(Denied::State(EventStatus::Done))
        );
        assert_eq!(
            may(Some(Role::Host), EventStatus::Proposed, Action::Leave),
            Err(Denied::HostStays)
        );
    }
}
