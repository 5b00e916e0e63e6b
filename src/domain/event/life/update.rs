//! New values of an event, and what they do to its answers and its confirmation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Step;
use crate::domain::{
    event::{Answer, ConfirmRule, Denied, Event, EventStatus, OnDeadline, Role},
    fact::{Change, FromTo, UnconfirmCause},
    id::UserId,
    time::Micros,
};

/// New values of an event; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// 1-200 characters.
    pub title: Option<String>,
    /// `Some(None)` takes it away.
    pub description: Option<Option<String>>,
    /// `Some(None)` takes it away.
    pub location: Option<Option<String>>,
    /// When it begins.
    pub start_time: Option<Micros>,
    /// When it ends; not before it begins.
    pub end_time: Option<Micros>,
    /// IANA name of the zone its times are meant in.
    pub timezone: Option<String>,
    /// What confirms it.
    pub confirm: Option<ConfirmRule>,
    /// By when; `Some(None)` takes it away.
    pub confirm_by: Option<Option<Micros>>,
    /// What becomes of it otherwise.
    pub on_deadline: Option<OnDeadline>,
    /// How many changes it may have once confirmed; `Some(None)` takes the limit away.
    pub change_limit: Option<Option<u32>>,
}

impl Step {
    pub(super) fn update(
        &mut self,
        actor: Option<UserId>,
        update: Update,
        now: Micros,
    ) -> Result<(), Denied> {
        let old = self.event.clone();
        if update
            .change_limit
            .is_some_and(|limit| limit != old.rule.change_limit)
            && old.course.was_confirmed
        {
            return Err(Denied::LimitStands);
        }
        let event = &mut self.event;
        set(&mut event.title, update.title);
        set(&mut event.description, update.description);
        set(&mut event.location, update.location);
        set(&mut event.start_time, update.start_time);
        set(&mut event.end_time, update.end_time);
        set(&mut event.timezone, update.timezone);
        set(&mut event.rule.confirm, update.confirm);
        set(&mut event.rule.confirm_by, update.confirm_by);
        set(&mut event.rule.on_deadline, update.on_deadline);
        set(&mut event.rule.change_limit, update.change_limit);
        if event.rule.confirm_by != old.rule.confirm_by {
            event.course.deadline_spent = event.rule.confirm_by.is_some_and(|by| by <= now);
        }
        let changes = differences(&old, event);
        if changes.is_empty() {
            return Ok(());
        }
        let asks_again = ["start_time", "end_time", "location"]
            .iter()
            .any(|field| changes.contains_key(*field));
        if asks_again && old.course.was_confirmed {
            if let (Some(0), Some(limit)) = (old.changes_left(), old.rule.change_limit) {
                return Err(Denied::NoChangesLeft { limit });
            }
            event.course.changes_used = event.course.changes_used.saturating_add(1);
        }
        self.note(actor, Change::EventUpdated { changes, asks_again });
        if asks_again {
            for guest in self.participants.iter_mut().filter(|one| one.role == Role::Guest) {
                guest.answer = Answer::Pending;
                guest.answered_at = None;
                guest.reason = None;
            }
            if self.event.status == EventStatus::Confirmed {
                self.unconfirm(UnconfirmCause::Changed, now);
            }
        }
        self.settle(now);
        Ok(())
    }
}

fn set<T>(field: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *field = new;
    }
}

/// The fields in which two states of one event differ, with both values.
fn differences(old: &Event, new: &Event) -> BTreeMap<String, FromTo> {
    let fields = |event: &Event| {
        let (confirm_rule, quorum) = match event.rule.confirm {
            ConfirmRule::Everyone => ("everyone", None),
            ConfirmRule::Quorum(quorum) => ("quorum", Some(quorum)),
        };
        [
            ("title", json!(event.title)),
            ("description", json!(event.description)),
            ("location", json!(event.location)),
            ("start_time", json!(event.start_time)),
            ("end_time", json!(event.end_time)),
            ("timezone", json!(event.timezone)),
            ("confirm_rule", json!(confirm_rule)),
            ("quorum", json!(quorum)),
            ("confirm_by", json!(event.rule.confirm_by)),
            ("on_deadline", json!(event.rule.on_deadline)),
            ("change_limit", json!(event.rule.change_limit)),
        ]
    };
    let both = fields(old).into_iter().zip(fields(new));
    both.filter(|((_, from), (_, to))| from != to)
        .map(|((name, from), (_, to)): ((&str, Value), (&str, Value))| (name.to_owned(), FromTo { from, to }))
        .collect()
}
