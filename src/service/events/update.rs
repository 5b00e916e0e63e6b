//! What a client sends to change an event, and the rules it has to keep.

use serde::Deserialize;

use super::{
    super::problems::Problems,
    Changed, Events, EventsError, apply, changed, expected,
    fields::{self, MAX_DESCRIPTION_CHARS, MAX_LOCATION_CHARS, MAX_TITLE_CHARS},
};
use crate::{
    adapters::sql::{self, participants},
    domain::{
        event::{
            Action, Denied, Event,
            life::{Ask, Update},
            may,
        },
        id::{EventId, UserId},
        time::Micros,
    },
};

/// New values of an event. What is absent or `null` stays as it is, other fields are ignored;
/// the state changes by its own requests only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct UpdateEvent {
    /// 1-200 characters.
    pub title: Option<String>,
    /// At most 4,000 characters; an empty text takes it away.
    pub description: Option<String>,
    /// At most 200 characters; an empty text takes it away.
    pub location: Option<String>,
    /// RFC 3339 with a zone.
    pub start_time: Option<String>,
    /// RFC 3339 with a zone, not before the start.
    pub end_time: Option<String>,
    /// IANA name.
    pub timezone: Option<String>,
    /// `everyone` or `quorum`.
    pub confirm_rule: Option<String>,
    /// How many have to accept, the host counted; at least 2.
    pub quorum: Option<i64>,
    /// Until when, RFC 3339 with a zone; in the future and not after the end.
    pub confirm_by: Option<String>,
    /// `stay` or `cancel`.
    pub on_deadline: Option<String>,
    /// How often time or place may change once it was confirmed, 0-100.
    pub change_limit: Option<i64>,
    /// Names of fields to take away: `description`, `location`, `confirm_by`, `change_limit`.
    pub clear: Option<Vec<String>>,
}

/// The fields that can be taken away.
const CLEARABLE: [&str; 4] = ["description", "location", "confirm_by", "change_limit"];

/// What becomes of a field that can be taken away.
#[expect(clippy::option_option, reason = "a change of what may be absent")]
fn new_value<T>(problems: &mut Problems, is_cleared: bool, given: Option<T>) -> Option<Option<T>> {
    if is_cleared && given.is_some() {
        problems.note("/clear", "no field that is given a value");
    }
    match given {
        Some(value) => Some(Some(value)),
        None => is_cleared.then_some(None),
    }
}

impl UpdateEvent {
    /// Checks every rule against what `event` is now. An event has at most `participants`.
    fn validate(self, event: &Event, participants: i64, now: Micros) -> Result<Update, Problems> {
        let mut problems = Problems::default();
        let clear = self.clear.unwrap_or_default();
        if !clear.iter().all(|name| CLEARABLE.contains(&name.as_str())) {
            problems.note("/clear", format!("only {}", CLEARABLE.join(", ")));
        }
        let is_cleared = |field: &str| clear.iter().any(|name| name == field);
        let title = self.title.map(|title| {
            let title = problems.text("/title", Some(title), MAX_TITLE_CHARS, false);
            if title.is_none() {
                problems.note("/title", "at least one visible character");
            }
            title
        });
        let mut text = |pointer, text: Option<String>, is_cleared, max_chars, lines| {
            let is_emptied = text.as_deref().is_some_and(|text| text.trim().is_empty());
            let text = problems.text(pointer, text, max_chars, lines);
            new_value(&mut problems, is_cleared || is_emptied, text)
        };
        let description = text(
            "/description",
            self.description,
            is_cleared("description"),
            MAX_DESCRIPTION_CHARS,
            true,
        );
        let location = text(
            "/location",
            self.location,
            is_cleared("location"),
            MAX_LOCATION_CHARS,
            false,
        );
        let time = |problems: &mut Problems, pointer, text: Option<String>| {
            text.and_then(|text| fields::instant(problems, pointer, Some(&text)))
        };
        let start_time = time(&mut problems, "/start_time", self.start_time);
        let end_time = time(&mut problems, "/end_time", self.end_time);
        let ends = end_time.unwrap_or(event.end_time);
        if ends < start_time.unwrap_or(event.start_time) {
            let pointer = if end_time.is_some() {
                "/end_time"
            } else {
                "/start_time"
            };
            problems.note(pointer, "the end not before the start");
        }
        let confirm_by = fields::confirm_by(
            &mut problems,
            self.confirm_by.as_deref(),
            Some(ends),
            event.rule.confirm_by,
            now,
        );
        let confirm_by = new_value(&mut problems, is_cleared("confirm_by"), confirm_by);
        let is_late = event.rule.confirm_by.is_some_and(|by| by > ends);
        if end_time.is_some() && confirm_by.is_none() && is_late {
            problems.note("/end_time", "not before confirm_by");
        }
        let limit = fields::change_limit(&mut problems, self.change_limit);
        let update = Update {
            title: title.flatten(),
            description,
            location,
            start_time,
            end_time,
            timezone: fields::zone(&mut problems, self.timezone),
            confirm: fields::confirm_rule(
                &mut problems,
                self.confirm_rule.as_deref(),
                self.quorum,
                event.rule.confirm,
                participants,
            ),
            confirm_by,
            on_deadline: fields::on_deadline(&mut problems, self.on_deadline.as_deref()),
            change_limit: new_value(&mut problems, is_cleared("change_limit"), limit),
        };
        problems.or(update)
    }
}

impl Events {
    /// Gives the event new values. Another time or place asks everybody again.
    ///
    /// # Errors
    /// Not allowed, [`EventsError::Invalid`] with all problems, not as it was expected, or the
    /// store failed.
    pub async fn update(
        &self,
        actor: UserId,
        event: EventId,
        request: UpdateEvent,
    ) -> Result<Changed, EventsError> {
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                // Locked before it is looked at: the values are checked against what stays.
                let stored = sql::events::lock(conn, event).await?.ok_or(Denied::Unknown)?;
                may(
                    participants::role_of(conn, event, actor).await?,
                    stored.status,
                    Action::Update,
                )?;
                expected::check::<EventsError>(conn, event, actor, &self.expected).await?;
                let update = request.clone().validate(&stored, self.participants, now)?;
                let ask = Ask::Update(Box::new(update));
                let outcome = apply::<EventsError>(conn, event, Some(actor), ask, now).await?;
                Ok(changed(conn, &outcome.event).await?)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::UpdateEvent;
    use crate::{
        adapters::sql::{self, fixture::TestDb},
        domain::{
            event::{ConfirmRule, Denied, Event, life::Update},
            fact::Change,
            time::Micros,
        },
        error::{Coded as _, ErrorCode},
        service::events::{
            CreateEvent, Events, EventsError,
            tests::{dinner, facts_of, join, ticking},
        },
    };

    /// 2026-11-01T00:00:00Z
    const NOW: Micros = Micros(1_793_491_200_000_000);

    /// The dinner with a quorum of 3 and until a week before it to answer.
    async fn stored() -> Event {
        let db = TestDb::open().await;
        let host = db.user("미나").await;
        let request = CreateEvent {
            quorum: Some(3),
            confirm_by: Some("2026-11-24T10:00:00Z".into()),
            ..dinner()
        };
        let events = Events::new(db.sql.clone(), ticking());
        let made = events.create(host, request).await.unwrap().event.id;
        let mut conn = db.sql.get().await.unwrap();
        sql::events::find(&mut conn, made).await.unwrap().unwrap()
    }

    fn asked(json: serde_json::Value, event: &Event) -> Result<Update, Vec<&'static str>> {
        let request: UpdateEvent = serde_json::from_value(json).unwrap();
        let problems = |problems: crate::service::problems::Problems| {
            problems.list().iter().map(|problem| problem.pointer).collect()
        };
        request.validate(event, 5, NOW).map_err(problems)
    }

    #[tokio::test]
    async fn absent_and_null_change_nothing_and_the_state_is_not_a_field() {
        let event = stored().await;
        let nothing = serde_json::json!({
            "title": null, "description": null, "location": null, "start_time": null,
            "end_time": null, "timezone": null, "confirm_rule": null, "quorum": null,
            "confirm_by": null, "on_deadline": null, "change_limit": null, "clear": null,
            "status": "CONFIRMED", "creator_id": 7,
        });
        assert_eq!(asked(nothing, &event), Ok(Update::default()));
    }

    #[tokio::test]
    async fn fields_are_taken_away_by_name_and_texts_by_an_empty_text() {
        let event = stored().await;
        let all = serde_json::json!({ "clear": ["description", "location", "confirm_by", "change_limit"] });
        let update = asked(all, &event).unwrap();
        assert_eq!(update.description, Some(None));
        assert_eq!(update.location, Some(None));
        assert_eq!(update.confirm_by, Some(None));
        assert_eq!(update.change_limit, Some(None));
        let emptied = asked(serde_json::json!({ "location": " ", "description": "" }), &event).unwrap();
        assert_eq!((emptied.location, emptied.description), (Some(None), Some(None)));
        for wrong in [
            serde_json::json!({ "clear": ["title"] }),
            serde_json::json!({ "clear": ["location"], "location": "서울역" }),
        ] {
            assert_eq!(asked(wrong, &event), Err(vec!["/clear"]));
        }
    }

    #[tokio::test]
    async fn times_are_checked_together_with_those_that_stay() {
        let event = stored().await;
        for (json, pointer) in [
            (serde_json::json!({ "title": " " }), "/title"),
            (
                serde_json::json!({ "start_time": "2026-12-01T12:00:01Z" }),
                "/start_time",
            ),
            (
                serde_json::json!({ "end_time": "2026-12-01T09:59:59Z" }),
                "/end_time",
            ),
            (serde_json::json!({ "end_time": "2026-12-01" }), "/end_time"),
            (
                serde_json::json!({ "start_time": "2026-11-20T10:00:00Z", "end_time": "2026-11-20T11:00:00Z" }),
                "/end_time",
            ),
            (
                serde_json::json!({ "confirm_by": "2026-12-01T12:00:01Z" }),
                "/confirm_by",
            ),
            (
                serde_json::json!({ "confirm_by": "2026-10-31T23:59:59Z" }),
                "/confirm_by",
            ),
            (serde_json::json!({ "quorum": 6 }), "/quorum"),
            (serde_json::json!({ "change_limit": 101 }), "/change_limit"),
            (serde_json::json!({ "timezone": "Mars" }), "/timezone"),
        ] {
            assert_eq!(asked(json.clone(), &event), Err(vec![pointer]), "{json}");
        }
        let earlier = serde_json::json!({
            "start_time": "2026-11-20T10:00:00Z", "end_time": "2026-11-20T11:00:00Z",
            "clear": ["confirm_by"],
        });
        assert_eq!(asked(earlier, &event).unwrap().confirm_by, Some(None));
        let word = asked(serde_json::json!({ "confirm_rule": "quorum" }), &event).unwrap();
        assert_eq!(
            word.confirm,
            Some(ConfirmRule::Quorum(3)),
            "the number that stands"
        );
    }

    #[tokio::test]
    async fn rights_come_before_rules_and_a_refused_update_leaves_no_fact() {
        let db = TestDb::open().await;
        let events = Events::new(db.sql.clone(), ticking());
        let (host, guest) = (db.user("미나").await, db.user("준").await);
        let stranger = db.user("낯선이").await;
        let event = events.create(host, dinner()).await.unwrap().event.id;
        join(&db, host, event, guest).await;
        let broken = UpdateEvent {
            end_time: Some("2026-12-01T09:00:00Z".into()),
            ..UpdateEvent::default()
        };
        let refused = events.update(stranger, event, broken.clone()).await;
        assert!(matches!(refused, Err(EventsError::Denied(Denied::Unknown))));
        let refused = events.update(guest, event, broken.clone()).await;
        assert!(matches!(refused, Err(EventsError::Denied(Denied::HostOnly))));
        let refused = events.update(host, event, broken).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::ValidationError);
        assert_eq!(facts_of(&db.sql, event).await.len(), 2);

        let title = UpdateEvent {
            title: Some("점심".into()),
            ..UpdateEvent::default()
        };
        let changed = events.update(host, event, title.clone()).await.unwrap();
        assert_eq!((changed.event.title.as_str(), changed.fact_no), ("점심", 3));
        assert_eq!(events.update(host, event, title).await.unwrap().fact_no, 3);
        let fact = facts_of(&db.sql, event).await.pop().unwrap();
        let Change::EventUpdated { changes, asks_again } = fact.change else {
            panic!("{fact:?}");
        };
        assert_eq!(
            (changes["title"].from.as_str(), asks_again),
            (Some("저녁"), false)
        );
    }
}
