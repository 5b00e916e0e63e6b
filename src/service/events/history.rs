//! An event's history: its facts, for who may see them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Events, EventsError, pages::checked_limit};
use crate::{
    adapters::sql::{history, people},
    domain::{
        event::Denied,
        fact::{Change, Fact, FromTo},
        id::{EventId, UserId},
        time::Micros,
        view::PersonView,
        visibility::Circle,
    },
    i18n::{Language, fact_text, name_or_unknown},
    service::problems::Problems,
};

/// Which facts of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhichFacts {
    /// `desc`, the newest first, which is the default, or `asc`.
    pub order: Option<String>,
    /// Only facts behind the one with this number, in the direction of `order`; empty for
    /// the first page.
    pub cursor: Option<String>,
    /// Facts of a page, 1-100; by default 100.
    pub limit: Option<i64>,
}

/// A page of an event's history.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HistoryPage {
    /// The facts, in the order that was asked for.
    pub history: Vec<FactView>,
    /// Where the next page begins; none behind the last one.
    pub next_cursor: Option<String>,
}

/// A fact as a reader of the history sees it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = HistoryEntry)]
pub struct FactView {
    /// The fact's own id.
    pub change_id: Uuid,
    /// Of which event.
    pub event_id: EventId,
    /// 1, 2, 3, ... within the event.
    pub fact_no: u64,
    /// Where it stands in the room's record; null until that is known.
    pub seq: Option<u64>,
    /// Who did it; null for the server itself.
    pub actor: Option<PersonView>,
    /// The wire's name of the change.
    pub change_type: &'static str,
    /// What was before: of one changed field its value as text, of several an object.
    pub old_value: Value,
    /// What is now, likewise.
    pub new_value: Value,
    /// Fields that got other values, by name.
    pub changes: BTreeMap<String, FromTo>,
    /// What happened, in the reader's language.
    pub text: String,
    /// When.
    pub changed_at: Micros,
}

impl Events {
    /// A page of the history of `event`, in `language`, for `user`: for who left or was put
    /// out up to the fact that says so, without what lay between leaving and coming back.
    ///
    /// # Errors
    /// [`Denied::Unknown`] for who never took part, [`EventsError::Invalid`] with all
    /// problems, or the store failed.
    pub async fn history(
        &self,
        user: UserId,
        event: EventId,
        which: &WhichFacts,
        language: Language,
    ) -> Result<HistoryPage, EventsError> {
        self.sql
            .read(async |conn| {
                let mut circle = Circle::default();
                for (no, membership, _) in history::memberships(conn, event).await? {
                    circle.apply(&membership, no);
                }
                let visible = circle.visible(user).ok_or(Denied::Unknown)?;
                let Asked {
                    newest_first,
                    behind,
                    limit,
                } = which.checked()?;

                let mut spans = visible.intervals().to_vec();
                if newest_first {
                    spans.reverse();
                }
                let mut facts = Vec::new();
                for (from, to) in spans {
                    let to = to.unwrap_or(u64::MAX);
                    let span = match behind {
                        None => (from, to),
                        Some(no) if newest_first => (from, to.min(no.saturating_sub(1))),
                        Some(no) => (from.max(no.saturating_add(1)), to),
                    };
                    let missing = limit + 1 - facts.len();
                    if span.0 <= span.1 && missing > 0 {
                        facts.extend(history::between(conn, event, span, newest_first, missing).await?);
                    }
                }
                let more = facts.len() > limit;
                facts.truncate(limit);
                let last = facts.last().filter(|_| more);
                let next_cursor = last.map(|(fact, _)| fact.no.to_string());
                let names: HashMap<UserId, String> = people::people_of(conn, event)
                    .await?
                    .into_iter()
                    .map(|person| (person.id, person.name))
                    .collect();
                let show = |(fact, seq)| fact_view(event, fact, seq, &names, language);
                Ok(HistoryPage {
                    history: facts.into_iter().map(show).collect(),
                    next_cursor,
                })
            })
            .await
    }
}

/// What [`WhichFacts`] means.
struct Asked {
    newest_first: bool,
    behind: Option<u64>,
    limit: usize,
}

impl WhichFacts {
    fn checked(&self) -> Result<Asked, Problems> {
        let mut problems = Problems::default();
        let newest_first = match self.order.as_deref() {
            None | Some("" | "desc") => true,
            Some("asc") => false,
            Some(_) => {
                problems.note("/order", "asc or desc");
                true
            }
        };
        let cursor = self.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        let behind = cursor.and_then(|cursor| {
            let is_number = cursor.bytes().all(|byte| byte.is_ascii_digit());
            let no = cursor.parse().ok().filter(|_| is_number);
            if no.is_none() {
                problems.note("/cursor", "empty, or a next_cursor of the same list");
            }
            no
        });
        let limit = checked_limit(&mut problems, self.limit);
        problems.or(Asked {
            newest_first,
            behind,
            limit: usize::try_from(limit).unwrap_or(0),
        })
    }
}

fn fact_view(
    event: EventId,
    fact: Fact,
    seq: Option<u64>,
    names: &HashMap<UserId, String>,
    language: Language,
) -> FactView {
    let name_of = |user: UserId| names.get(&user).cloned();
    let text = fact_text(language, &fact, &name_of);
    let change_type = fact.change.name();
    let changes = if let Change::EventUpdated { changes, .. } = fact.change {
        changes
    } else {
        BTreeMap::new()
    };
    FactView {
        change_id: fact.id,
        event_id: event,
        fact_no: fact.no,
        seq,
        actor: fact.actor.map(|user| PersonView {
            id: user,
            name: name_or_unknown(language, name_of(user)),
        }),
        change_type,
        old_value: value_of(&changes, |change| &change.from),
        new_value: value_of(&changes, |change| &change.to),
        changes,
        text,
        changed_at: fact.at,
    }
}

/// One side of what changed.
fn value_of(changes: &BTreeMap<String, FromTo>, side: fn(&FromTo) -> &Value) -> Value {
    let mut all = changes.iter();
    match (all.next(), all.next()) {
        (None, _) => Value::Null,
        (Some((_, only)), None) => match side(only) {
            text @ (Value::Null | Value::String(_)) => text.clone(),
            other => Value::String(other.to_string()),
        },
        (Some(_), Some(_)) => changes
            .iter()
            .map(|(field, change)| (field.clone(), side(change).clone()))
            .collect::<serde_json::Map<String, Value>>()
            .into(),
    }
}
