//! What a client sends to make an event, and the rules it has to keep.

use chrono::{DateTime, Datelike};
use serde::Deserialize;
use uuid::Uuid;

use super::super::problems::Problems;
use crate::{
    adapters::sql::events::NewEvent,
    domain::{
        event::Rule,
        id::{RoomId, UserId},
        time::Micros,
    },
};

const MAX_TITLE_CHARS: usize = 200;
const MAX_DESCRIPTION_CHARS: usize = 4_000;
const MAX_LOCATION_CHARS: usize = 200;

/// A request for an event. `null` is the same as absent; other fields are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CreateEvent {
    /// 1-200 characters.
    pub title: Option<String>,
    /// At most 4,000 characters.
    pub description: Option<String>,
    /// At most 200 characters.
    pub location: Option<String>,
    /// RFC 3339 with a zone.
    pub start_time: Option<String>,
    /// RFC 3339 with a zone, not before `start_time`.
    pub end_time: Option<String>,
    /// IANA name; by default the host's zone.
    pub timezone: Option<String>,
}

/// A request that keeps the rules.
pub(super) struct ValidEvent {
    title: String,
    description: Option<String>,
    location: Option<String>,
    start_time: Micros,
    end_time: Micros,
    timezone: Option<String>,
}

impl CreateEvent {
    /// Checks every rule.
    pub(super) fn validate(self) -> Result<ValidEvent, Problems> {
        let mut problems = Problems::default();
        let title = problems.text("/title", self.title, MAX_TITLE_CHARS, false);
        if title.is_none() {
            problems.note("/title", "at least one visible character");
        }
        let description = problems.text("/description", self.description, MAX_DESCRIPTION_CHARS, true);
        let location = problems.text("/location", self.location, MAX_LOCATION_CHARS, false);
        let start_time = instant(&mut problems, "/start_time", self.start_time.as_deref());
        let end_time = instant(&mut problems, "/end_time", self.end_time.as_deref());
        if let (Some(start_time), Some(end_time)) = (start_time, end_time)
            && end_time < start_time
        {
            problems.note("/end_time", "not before start_time");
        }
        let timezone = self.timezone.filter(|zone| !zone.is_empty());
        if let Some(zone) = &timezone
            && zone.parse::<chrono_tz::Tz>().is_err()
        {
            problems.note("/timezone", "the IANA name of a time zone, as Asia/Seoul");
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
            rule: Rule::default(),
        }
    }
}

fn instant(problems: &mut Problems, pointer: &'static str, text: Option<&str>) -> Option<Micros> {
    let time = text
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.to_utc())
        // Years beyond these do not come back in four digits.
        .filter(|time| (1..=9999).contains(&time.year()));
    if time.is_none() {
        problems.note(pointer, "RFC 3339 with a zone, as 2026-11-24T06:52:31Z");
    }
    time.map(Micros::from)
}

#[cfg(test)]
mod tests {
    use super::CreateEvent;

    fn valid() -> CreateEvent {
        CreateEvent {
            title: Some("  저녁 ".into()),
            start_time: Some("2026-01-15T19:00:00+09:00".into()),
            end_time: Some("2026-01-15T10:00:00.000Z".into()),
            ..CreateEvent::default()
        }
    }

    fn pointers(request: CreateEvent) -> Vec<&'static str> {
        match request.validate() {
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
        };
        assert_eq!(
            pointers(request),
            [
                "/title",
                "/description",
                "/location",
                "/start_time",
                "/end_time",
                "/timezone"
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
    fn null_is_absent_and_unknown_fields_are_ignored() {
        let text = r#"{"title":"a","description":null,"participant_ids":[1],"x":{}}"#;
        let request: CreateEvent = serde_json::from_str(text).unwrap();
        assert_eq!(request.title.as_deref(), Some("a"));
        assert_eq!(request.description, None);
    }
}
