//! The changes of an event as those know them who made them.

use reqwest::StatusCode;
use serde_json::Value;
use timingle::domain::fact::Change;

use super::events::Row;

/// A change by its name and whom it is about.
pub(crate) type Step = (&'static str, Option<i64>);

/// Whose changes a story tells.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// All of the event's.
    Everything,
    /// Who comes and goes, and what the host writes.
    Circle,
    /// What this user answers.
    Answers(i64),
}

/// Changes of an event, made one after the other: each is repeated until it is known what became of it.
#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) event: i64,
    pub(crate) scope: Scope,
    /// Committed, in order.
    pub(crate) committed: Vec<Step>,
    /// How many of them were answered as recorded: the room's log has them.
    pub(crate) recorded: usize,
    /// Asked for, and perhaps committed.
    pub(crate) open: Option<Step>,
}

impl Story {
    /// Of all that happens to an event that was just made.
    pub(crate) fn new(event: i64) -> Self {
        Self {
            event,
            scope: Scope::Everything,
            committed: vec![("event_created", None)],
            recorded: 1,
            open: None,
        }
    }

    /// Of a part of what happens to `event`, from now on.
    pub(crate) fn of(event: i64, scope: Scope) -> Self {
        Self {
            event,
            scope,
            committed: Vec::new(),
            recorded: 0,
            open: None,
        }
    }

    /// Takes note of a change that was answered.
    pub(crate) fn add(&mut self, step: Step, recorded: bool) {
        self.open = None;
        self.committed.push(step);
        if recorded {
            self.recorded = self.committed.len();
        }
    }

    /// Whether the story tells this change.
    pub(crate) fn tells(&self, change: &Change, actor: Option<i64>) -> bool {
        let of_answers = matches!(change, Change::Accepted { .. } | Change::Declined { .. });
        match self.scope {
            Scope::Everything => true,
            Scope::Circle => {
                change.membership(None).is_some() || matches!(change, Change::EventUpdated { .. })
            }
            Scope::Answers(user) => of_answers && actor == Some(user),
        }
    }

    /// What `rows` tell of it.
    pub(crate) fn told(&self, rows: &[Row]) -> Vec<Step> {
        rows.iter()
            .filter(|row| self.tells(&row.change, row.actor))
            .map(|row| step_of(&row.change))
            .collect()
    }
}

/// The step that `change` is.
pub(crate) fn step_of(change: &Change) -> Step {
    let user = match change {
        Change::ParticipantAdded { user }
        | Change::ParticipantJoined { user }
        | Change::ParticipantLeft { user }
        | Change::ParticipantRemoved { user }
        | Change::Accepted { user, .. }
        | Change::Declined { user, .. } => Some(user.0),
        _ => None,
    };
    (change.name(), user)
}

/// What an answer says about a change.
pub(crate) enum Answer {
    /// It is committed now, and perhaps recorded.
    Done { recorded: bool },
    /// It had been committed by an earlier try.
    Before,
    /// Not known.
    Open,
}

/// What an answer says about a change, asked for `again` or the first time; `None` if it may not be given.
pub(crate) fn answer(status: StatusCode, body: &Value, again: bool) -> Option<Answer> {
    let was_in = body["already_joined"] == true;
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Some(Answer::Open),
        StatusCode::NOT_FOUND if again => Some(Answer::Before),
        status if status.is_success() && (again || !was_in) => Some(Answer::Done {
            recorded: status != StatusCode::ACCEPTED,
        }),
        _ => None,
    }
}
