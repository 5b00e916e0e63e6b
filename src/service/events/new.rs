//! What a client sends to make an event, and the rules it has to keep.

use std::collections::BTreeSet;

use serde::Deserialize;
use uuid::Uuid;

use super::{
    super::problems::Problems,
    fields::{self, MAX_DESCRIPTION_CHARS, MAX_LOCATION_CHARS, MAX_TITLE_CHARS},
};
use crate::{
    adapters::sql::events::NewEvent,
    domain::{
        event::{ConfirmRule, Rule},
        id::{RoomId, UserId},
        time::Micros,
    },
};

/// A request for an event. `null` is the same as absent; other fields are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct CreateEvent {
    /// 1-200 characters.
    #[schema(required = true, nullable = false, max_length = 200)]
    pub title: Option<String>,
    /// At most 4,000 characters.
    pub description: Option<String>,
    /// At most 200 characters.
    pub location: Option<String>,
    /// RFC 3339 with a zone.
    #[schema(required = true, nullable = false, format = DateTime)]
    pub start_time: Option<String>,
    /// RFC 3339 with a zone, not before `start_time`.
    #[schema(required = true, nullable = false, format = DateTime)]
    pub end_time: Option<String>,
    /// IANA name; by default the host's zone.
    pub timezone: Option<String>,
    /// `everyone`, which is the default, or `quorum`.
    pub confirm_rule: Option<String>,
    /// How many have to accept, the host counted; at least 2.
    pub quorum: Option<i64>,
    /// Until when, RFC 3339 with a zone; in the future and not after `end_time`.
    pub confirm_by: Option<String>,
    /// `stay`, which is the default, or `cancel`.
    pub on_deadline: Option<String>,
    /// How often time or place may change once it was confirmed, 0-100; by default without limit.
    pub change_limit: Option<i64>,
    /// Who is to take part beside the host: people with whom the host has shared an event.
    pub participant_ids: Option<Vec<UserId>>,
}

/// A request that keeps the rules.
#[derive(Clone)]
pub(super) struct ValidEvent {
    title: String,
    description: Option<String>,
    location: Option<String>,
    start_time: Micros,
    end_time: Micros,
    timezone: Option<String>,
    rule: Rule,
    /// Who is to take part beside the host, each once; perhaps the host too.
    pub(super) invited: BTreeSet<UserId>,
}

impl CreateEvent {
    /// Checks every rule that needs no store. An event has at most `participants`, the host
    /// included.
    pub(super) fn validate(self, participants: i64, now: Micros) -> Result<ValidEvent, Problems> {
        let mut problems = Problems::default();
        let title = problems.text("/title", self.title, MAX_TITLE_CHARS, false);
        if title.is_none() {
            problems.note("/title", "at least one visible character");
        }
        let description = problems.text("/description", self.description, MAX_DESCRIPTION_CHARS, true);
        let location = problems.text("/location", self.location, MAX_LOCATION_CHARS, false);
        let start_time = fields::instant(&mut problems, "/start_time", self.start_time.as_deref());
        let end_time = fields::instant(&mut problems, "/end_time", self.end_time.as_deref());
        if let (Some(start_time), Some(end_time)) = (start_time, end_time)
            && end_time < start_time
        {
            problems.note("/end_time", "not before start_time");
        }
        let timezone = fields::zone(&mut problems, self.timezone);
        let confirm = fields::confirm_rule(
            &mut problems,
            self.confirm_rule.as_deref(),
            self.quorum,
            ConfirmRule::Everyone,
            participants,
        );
        let rule = Rule {
            confirm: confirm.unwrap_or_default(),
            confirm_by: fields::confirm_by(&mut problems, self.confirm_by.as_deref(), end_time, None, now),
            on_deadline: fields::on_deadline(&mut problems, self.on_deadline.as_deref()).unwrap_or_default(),
            change_limit: fields::change_limit(&mut problems, self.change_limit),
        };
        let invited = BTreeSet::from_iter(self.participant_ids.unwrap_or_default());
        let most = usize::try_from(participants.saturating_sub(1)).unwrap_or(0);
        if invited.len() > most {
            problems.note("/participant_ids", format!("at most {most}"));
        }
        let (Some(title), Some(start_time), Some(end_time)) = (title, start_time, end_time) else {
            return Err(problems);
        };
        problems.or(ValidEvent {
            title,
            description,
            location,
            start_time,
            end_time,
            timezone,
            rule,
            invited,
        })
    }
}

impl ValidEvent {
    /// The row, with a room of its own.
    pub(super) fn into_new(self, creator: UserId, zone: String) -> NewEvent {
        NewEvent {
            room: RoomId(Uuid::new_v4()),
            title: self.title,
            description: self.description,
            location: self.location,
            start_time: self.start_time,
            end_time: self.end_time,
            timezone: self.timezone.unwrap_or(zone),
            creator,
            rule: self.rule,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CreateEvent;
    use crate::domain::{
        event::{ConfirmRule, OnDeadline, Rule},
        id::UserId,
        time::Micros,
    };

    /// What a test changes of a request that is right.
    type Change = fn(&mut CreateEvent);

    const PARTICIPANTS: i64 = 5;
    /// 2026-01-01T00:00:00Z
    const NOW: Micros = Micros(1_767_225_600_000_000);

    fn valid() -> CreateEvent {
        CreateEvent {
            title: Some("  저녁 ".into()),
            start_time: Some("2026-01-15T19:00:00+09:00".into()),
            end_time: Some("2026-01-15T10:00:00.000Z".into()),
            ..CreateEvent::default()
        }
    }

    fn pointers(request: CreateEvent) -> Vec<&'static str> {
        match request.validate(PARTICIPANTS, NOW) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.list().iter().map(|problem| problem.pointer).collect(),
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let request = CreateEvent {
            title: Some(" \n ".into()),
            description: Some("가".repeat(4_001)),
            location: Some("a\u{0}".into()),
            start_time: Some("2026-01-15T10:00:00".into()),
            end_time: None,
            timezone: Some("Mars/Olympus".into()),
            confirm_rule: Some("nobody".into()),
            quorum: Some(3),
            confirm_by: Some("tomorrow".into()),
            on_deadline: Some("explode".into()),
            change_limit: Some(101),
            participant_ids: Some((1..=5).map(UserId).collect()),
        };
        assert_eq!(
            pointers(request),
            [
                "/title",
                "/description",
                "/location",
                "/start_time",
                "/end_time",
                "/timezone",
                "/confirm_rule",
                "/confirm_by",
                "/on_deadline",
                "/change_limit",
                "/participant_ids"
            ]
        );
    }

    #[test]
    fn limits_are_characters_and_times_may_be_equal_and_past() {
        assert_eq!(pointers(valid()), [""; 0]);
        let mut request = valid();
        request.title = Some("가".repeat(200));
        assert_eq!(pointers(request.clone()), [""; 0]);
        request.title = Some("가".repeat(201));
        assert_eq!(pointers(request), ["/title"]);
        let mut request = valid();
        request.end_time = Some("2026-01-15T09:59:59.999999Z".into());
        assert_eq!(pointers(request), ["/end_time"]);
        let mut request = valid();
        request.title = Some("a\u{0}b".into());
        assert_eq!(pointers(request), ["/title"]);
    }

    #[test]
    fn rule_is_what_was_asked_for_or_refused() {
        let with = |change: Change| {
            let mut request = valid();
            change(&mut request);
            request
        };
        let rule = |request: CreateEvent| request.validate(PARTICIPANTS, NOW).map(|valid| valid.rule).ok();
        assert_eq!(rule(valid()), Some(Rule::default()));
        let asked = with(|request| {
            request.confirm_rule = Some("quorum".into());
            request.quorum = Some(5);
            request.confirm_by = Some("2026-01-15T10:00:00Z".into());
            request.on_deadline = Some("cancel".into());
            request.change_limit = Some(0);
        });
        let expected = Rule {
            confirm: ConfirmRule::Quorum(5),
            confirm_by: Some(Micros(1_768_471_200_000_000)),
            on_deadline: OnDeadline::Cancel,
            change_limit: Some(0),
        };
        assert_eq!(rule(asked), Some(expected));
        let alone = rule(with(|request| request.quorum = Some(2))).unwrap();
        assert_eq!(alone.confirm, ConfirmRule::Quorum(2));

        let refused: [(Change, &str); 7] = [
            (|request| request.quorum = Some(1), "/quorum"),
            (|request| request.quorum = Some(6), "/quorum"),
            (|request| request.confirm_rule = Some("quorum".into()), "/quorum"),
            (
                |request| (request.confirm_rule, request.quorum) = (Some("everyone".into()), Some(2)),
                "/quorum",
            ),
            (|request| request.change_limit = Some(-1), "/change_limit"),
            (
                |request| request.confirm_by = Some("2026-01-01T00:00:00Z".into()),
                "/confirm_by",
            ),
            (
                |request| request.confirm_by = Some("2026-01-15T10:00:00.000001Z".into()),
                "/confirm_by",
            ),
        ];
        for (change, pointer) in refused {
            assert_eq!(pointers(with(change)), [pointer]);
        }
    }

    #[test]
    fn null_is_absent_and_unknown_fields_are_ignored() {
        let text = r#"{"title":"a","description":null,"participant_ids":[1],"x":{}}"#;
        let request: CreateEvent = serde_json::from_str(text).unwrap();
        assert_eq!(request.title.as_deref(), Some("a"));
        assert_eq!(request.description, None);
    }
}
