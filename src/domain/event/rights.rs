//! Who may do what to an event in which state: the one table of rights.

use serde_json::{Map, Value, json};

use super::{EventStatus, Role};
use crate::{
    domain::id::UserId,
    error::{Coded, ErrorCode},
};

/// Something a person may want to do to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See it.
    Read,
    /// Say yes or no, or change that.
    Answer,
    /// Confirm it by hand.
    Confirm,
    /// Change its title, time, place or rule.
    Update,
    /// Make, see or end an invite link.
    Invite,
    /// Put somebody in.
    Add,
    /// Come in by a link.
    Join,
    /// Go.
    Leave,
    /// Put somebody else out.
    Remove,
    /// Call it off.
    Cancel,
    /// Say that it took place.
    Finish,
}

impl Action {
    /// Every action, for the tests.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Answer,
        Self::Confirm,
        Self::Update,
        Self::Invite,
        Self::Add,
        Self::Join,
        Self::Leave,
        Self::Remove,
        Self::Cancel,
        Self::Finish,
    ];

    /// Whether it is the host's alone.
    pub const fn is_hosts(self) -> bool {
        match self {
            Self::Confirm
            | Self::Update
            | Self::Invite
            | Self::Add
            | Self::Remove
            | Self::Cancel
            | Self::Finish => true,
            Self::Read | Self::Answer | Self::Join | Self::Leave => false,
        }
    }
}

/// Why something is not done to an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// To this person the event does not exist.
    #[error("the event does not exist for this user")]
    Unknown,
    /// Only the host may.
    #[error("only the host may do this")]
    HostOnly,
    /// The host cannot go or decline: the event would have nobody who answers for it.
    #[error("the host cannot leave or decline; the event can be canceled")]
    HostStays,
    /// Not in this state.
    #[error("the event is {}", .0.as_str())]
    State(EventStatus),
    /// Its time is over.
    #[error("the event's time is over")]
    Over,
    /// It has not begun.
    #[error("the event has not begun")]
    NotBegun,
    /// The rule is not met: these people have not accepted, and so many are needed.
    #[error("{} people have not accepted", missing.len())]
    Missing {
        /// Who has not accepted, in the order in which they came.
        missing: Vec<UserId>,
        /// How many acceptances the rule still needs.
        needed: u32,
    },
    /// It was changed as often as its rule lets it be.
    #[error("the event was changed as often as it may be")]
    NoChangesLeft {
        /// How many changes its rule allows.
        limit: u32,
    },
    /// The limit of changes stands once the event was confirmed.
    #[error("the limit of changes stands once the event was confirmed")]
    LimitStands,
    /// Who is to be removed does not take part.
    #[error("the user does not take part")]
    NotParticipant,
}

impl Coded for Denied {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::EventNotFound,
            Self::HostOnly | Self::HostStays => ErrorCode::Forbidden,
            Self::State(_)
            | Self::Over
            | Self::NotBegun
            | Self::Missing { .. }
            | Self::NoChangesLeft { .. }
            | Self::LimitStands => ErrorCode::EventState,
            Self::NotParticipant => ErrorCode::UserNotFound,
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::HostOnly => "event-host-only",
            Self::HostStays => "event-host-stays",
            Self::Over => "event-over",
            Self::NotBegun => "event-not-begun",
            Self::Missing { .. } => "event-missing",
            Self::NoChangesLeft { .. } => "event-no-changes-left",
            Self::LimitStands => "event-limit-stands",
            Self::Unknown | Self::State(_) | Self::NotParticipant => self.code().as_str(),
        }
    }

    fn details(&self) -> Map<String, Value> {
        let details = match self {
            Self::State(status) => json!({ "status": status.as_str() }),
            Self::Missing { missing, needed } => json!({ "missing": missing, "needed": needed }),
            Self::NoChangesLeft { limit } => json!({ "limit": limit }),
            Self::Unknown
            | Self::HostOnly
            | Self::HostStays
            | Self::Over
            | Self::NotBegun
            | Self::LimitStands
            | Self::NotParticipant => json!({}),
        };
        match details {
            Value::Object(details) => details,
            _ => Map::new(),
        }
    }
}

/// Whether somebody who is `role` to an event in state `status` may do `action`.
///
/// The one table of rights: everything else asks here. What is already so (canceling what
/// is canceled, confirming what is confirmed) is allowed and changes nothing, so that a
/// repeated request succeeds.
///
/// # Errors
/// Why not.
pub fn may(role: Option<Role>, status: EventStatus, action: Action) -> Result<(), Denied> {
    use EventStatus::{Canceled, Confirmed, Done, Proposed};
    match (role, action) {
        (None, Action::Join) => {}
        (None, _) => return Err(Denied::Unknown),
        (Some(Role::Guest), action) if action.is_hosts() => return Err(Denied::HostOnly),
        (Some(Role::Host), Action::Leave) => return Err(Denied::HostStays),
        (Some(_), _) => {}
    }
    let allowed = match action {
        Action::Read | Action::Leave => true,
        // Who takes part already has nothing to join.
        Action::Join => role.is_some() || matches!(status, Proposed | Confirmed),
        Action::Answer | Action::Confirm | Action::Update | Action::Invite | Action::Add | Action::Remove => {
            matches!(status, Proposed | Confirmed)
        }
        Action::Cancel => matches!(status, Proposed | Confirmed | Canceled),
        Action::Finish => matches!(status, Confirmed | Done),
    };
    if allowed {
        Ok(())
    } else {
        Err(Denied::State(status))
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
    fn guest_may_read_answer_and_leave_and_nothing_more() {
        for status in STATES {
            for action in Action::ALL {
                let expected = match action {
                    Action::Answer if status.is_final() => Err(Denied::State(status)),
                    Action::Read | Action::Leave | Action::Join | Action::Answer => Ok(()),
                    _ => Err(Denied::HostOnly),
                };
                assert_eq!(
                    may(Some(Role::Guest), status, action),
                    expected,
                    "{status:?} {action:?}"
                );
            }
        }
    }

    #[test]
    fn final_states_stay_final_and_what_is_so_already_succeeds() {
        use EventStatus::{Canceled, Confirmed, Done, Proposed};
        let host = |status, action| may(Some(Role::Host), status, action).is_ok();
        for action in [
            Action::Answer,
            Action::Confirm,
            Action::Update,
            Action::Invite,
            Action::Add,
            Action::Remove,
        ] {
            assert!(host(Proposed, action) && host(Confirmed, action), "{action:?}");
            assert!(!host(Canceled, action) && !host(Done, action), "{action:?}");
        }
        assert!(host(Canceled, Action::Cancel) && !host(Done, Action::Cancel));
        assert!(host(Done, Action::Finish) && host(Confirmed, Action::Finish));
        assert!(!host(Proposed, Action::Finish) && !host(Canceled, Action::Finish));
        assert_eq!(
            may(Some(Role::Host), Proposed, Action::Leave),
            Err(Denied::HostStays)
        );
    }
}
