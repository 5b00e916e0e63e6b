//! How the domain's closed lists stand in tables; the tables' checks say the same.

use super::SqlError;
use crate::domain::event::{Answer, EventStatus, OnDeadline, Role};

pub(super) fn status(text: &str) -> Result<EventStatus, SqlError> {
    Ok(match text {
        "PROPOSED" => EventStatus::Proposed,
        "CONFIRMED" => EventStatus::Confirmed,
        "CANCELED" => EventStatus::Canceled,
        "DONE" => EventStatus::Done,
        _ => return Err(SqlError::corrupt("an unknown status of an event")),
    })
}

pub(super) const fn role_text(role: Role) -> &'static str {
    match role {
        Role::Host => "host",
        Role::Guest => "guest",
    }
}

pub(super) fn role(text: &str) -> Result<Role, SqlError> {
    Ok(match text {
        "host" => Role::Host,
        "guest" => Role::Guest,
        _ => return Err(SqlError::corrupt("an unknown role of a participant")),
    })
}

pub(super) const fn answer_text(answer: Answer) -> &'static str {
    match answer {
        Answer::Pending => "pending",
        Answer::Accepted => "accepted",
        Answer::Declined => "declined",
    }
}

pub(super) fn answer(text: &str) -> Result<Answer, SqlError> {
    Ok(match text {
        "pending" => Answer::Pending,
        "accepted" => Answer::Accepted,
        "declined" => Answer::Declined,
        _ => return Err(SqlError::corrupt("an unknown answer of a participant")),
    })
}

pub(super) const fn on_deadline_text(what: OnDeadline) -> &'static str {
    match what {
        OnDeadline::Stay => "stay",
        OnDeadline::Cancel => "cancel",
    }
}

pub(super) fn on_deadline(text: &str) -> Result<OnDeadline, SqlError> {
    Ok(match text {
        "stay" => OnDeadline::Stay,
        "cancel" => OnDeadline::Cancel,
        _ => return Err(SqlError::corrupt("an unknown end of an event's deadline")),
    })
}

/// A small count, as the domain has it.
pub(super) fn small(number: i64) -> Result<u32, SqlError> {
    u32::try_from(number).map_err(SqlError::corrupt)
}

/// A count or number that is never negative, as the domain has it.
pub(super) fn unsigned(number: i64) -> Result<u64, SqlError> {
    u64::try_from(number).map_err(SqlError::corrupt)
}

/// The same number as a column has it; none of ours comes near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
