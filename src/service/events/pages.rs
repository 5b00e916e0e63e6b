//! Lists of any length, page by page: a page begins behind the place where the one before
//! it ended, so that what comes or goes meanwhile makes nobody appear twice or be left out.

use serde::Serialize;

use super::{Events, EventsError, ListEvents, MAX_PAGE, fields, status_of, view_in};
use crate::{
    adapters::sql::{
        self,
        events::{Filter, Start},
        participants,
    },
    domain::{
        event::{Action, Denied, may},
        id::{EventId, UserId},
        time::Micros,
        view::{EventView, ParticipantView, participant_view},
    },
    service::{cursor, problems::Problems},
};

impl ListEvents {
    /// Notes a limit out of range, and instants that are none. The limit, and the filter
    /// unless nothing can pass it.
    pub(super) fn checked(&self, problems: &mut Problems) -> (i64, Option<Filter>) {
        let limit = checked_limit(problems, self.limit);
        let mut instant = |pointer, text: Option<&str>| {
            let text = text.filter(|text| !text.is_empty())?;
            fields::instant(problems, pointer, Some(text))
        };
        let from = instant("/from", self.from.as_deref());
        let until = instant("/until", self.until.as_deref());
        let words = self
            .status
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .map(str::trim);
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let statuses: Vec<_> = words.iter().filter_map(|word| status_of(word)).collect();
        let finds_nothing = statuses.is_empty() && !words.is_empty();
        let filter = Filter {
            statuses,
            from,
            until,
        };
        (limit, (!finds_nothing).then_some(filter))
    }
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EventsPage {
    /// Those that begin last first, of equal ones the newest first.
    pub events: Vec<EventView>,
    /// Where the next page begins; none behind the last one.
    pub next_cursor: Option<String>,
}

/// A page of those who take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ParticipantsPage {
    /// The host too, in the order in which they came.
    pub participants: Vec<ParticipantView>,
    /// Where the next page begins; none behind the last one.
    pub next_cursor: Option<String>,
}

/// Where a page ended: the moment by which its rows are ordered, and the number.
type Place = (i64, i64);

/// Notes a limit out of range.
pub(super) fn checked_limit(problems: &mut Problems, limit: Option<i64>) -> i64 {
    let limit = limit.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        problems.note("/limit", format!("a number from 1 to {MAX_PAGE}"));
    }
    limit
}

/// Takes away what was read beyond `limit` to know whether there is more. The last row
/// that stays if there is.
fn cut<T>(rows: &mut Vec<T>, limit: i64) -> Option<&T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    if more { rows.last() } else { None }
}

impl Events {
    /// As [`Events::list`], but from where `cursor` says, whatever `request.page` is; an
    /// empty one means from the beginning.
    ///
    /// # Errors
    /// [`EventsError::Invalid`] with all problems, or the store failed.
    pub async fn page(
        &self,
        user: UserId,
        request: &ListEvents,
        cursor: &str,
    ) -> Result<EventsPage, EventsError> {
        let mut problems = Problems::default();
        let (limit, filter) = request.checked(&mut problems);
        let behind: Option<Place> = cursor::decode(&mut problems, cursor);
        problems.or(())?;
        let Some(filter) = filter else {
            return Ok(EventsPage {
                events: Vec::new(),
                next_cursor: None,
            });
        };
        let start = behind.map_or(Start::Offset(0), |(start_time, id)| {
            Start::Behind(Micros(start_time), EventId(id))
        });
        self.sql
            .read(async |conn| {
                let mut events = sql::events::page_of(conn, user, &filter, start, limit + 1).await?;
                let next_cursor =
                    cut(&mut events, limit).and_then(|last| cursor::encode(&(last.start_time.0, last.id.0)));
                let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
                let taking_part = participants::of_events(conn, &ids).await?;
                Ok(EventsPage {
                    events: events.iter().map(|event| view_in(&taking_part, event)).collect(),
                    next_cursor,
                })
            })
            .await
    }

    /// A page of those who take part in `event`, the host too, at most `limit` (1-100, by
    /// default 100), from where `cursor` says; empty means from the beginning.
    ///
    /// # Errors
    /// [`Denied::Unknown`] for who does not take part, [`EventsError::Invalid`] with all
    /// problems, or the store failed.
    pub async fn participants(
        &self,
        user: UserId,
        event: EventId,
        cursor: &str,
        limit: Option<i64>,
    ) -> Result<ParticipantsPage, EventsError> {
        self.sql
            .read(async |conn| {
                let found = sql::events::find(conn, event).await?.ok_or(Denied::Unknown)?;
                may(
                    participants::role_of(conn, event, user).await?,
                    found.status,
                    Action::Read,
                )?;
                let mut problems = Problems::default();
                let limit = checked_limit(&mut problems, limit);
                let after: Option<Place> = cursor::decode(&mut problems, cursor);
                problems.or(())?;
                let after = after.map(|(joined_at, id)| (Micros(joined_at), UserId(id)));
                let mut those = participants::page_of(conn, event, after, limit + 1).await?;
                let next_cursor = cut(&mut those, limit)
                    .and_then(|last| cursor::encode(&(last.joined_at.0, last.participant.user.0)));
                Ok(ParticipantsPage {
                    participants: those
                        .iter()
                        .map(|one| participant_view(&one.participant, &|_| one.name.clone()))
                        .collect(),
                    next_cursor,
                })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        adapters::sql::fixture::TestDb,
        domain::id::UserId,
        service::events::{
            CreateEvent, Events,
            tests::{dinner, join, ticking},
        },
    };

    #[tokio::test]
    async fn participants_who_came_at_one_moment_are_paged_by_number() {
        let db = TestDb::open().await;
        let events = Events::new(db.sql.clone(), ticking());
        let host = db.user("미나").await;
        let shared = events.create(host, dinner()).await.unwrap().event.id;
        let mut expected = vec![host];
        for n in 0..7 {
            let guest = db.user(&n.to_string()).await;
            join(&db, host, shared, guest).await;
            expected.push(guest);
        }
        let with_all = CreateEvent {
            participant_ids: Some(expected[1..].to_vec()),
            ..dinner()
        };
        let event = events.create(host, with_all).await.unwrap().event.id;
        let (mut seen, mut cursor): (Vec<UserId>, _) = (Vec::new(), String::new());
        loop {
            let page = events.participants(host, event, &cursor, Some(2)).await.unwrap();
            seen.extend(page.participants.iter().map(|one| one.person.id));
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen, expected);
    }
}
