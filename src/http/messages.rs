//! The conversation of an event, as version 1's clients read it.

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{auth::AuthUser, error::ApiError, extract::Speaks};
use crate::{
    domain::{id::EventId, message_id::MessageId},
    realtime::{
        Registry, pages,
        protocol::{
            v1,
            v2::{EntryStyle, Window},
        },
    },
    service::problems::Problems,
};

/// Messages of a page when the request names no number.
const USUAL: i64 = 50;

/// Messages of a page at most.
const MOST: i64 = 100;

/// `GET /events/{event}/messages`
#[derive(Deserialize)]
pub(super) struct ReadMessages {
    limit: Option<i64>,
    /// Only what was said before this one: its seq, or its `message_id`.
    before: Option<String>,
    /// Only what was said after this one, from the first on.
    after: Option<String>,
    /// `desc`, the newest first, or `asc`.
    order: Option<String>,
}

/// What a request for messages asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    window: Window,
    limit: usize,
    newest_first: bool,
}

/// A page of the conversation, the newest message first, as a bare array.
///
/// What it gives counts as told: the caller's next socket of version 1 begins behind it.
pub(super) async fn list(
    event: Path<EventId>,
    query: Query<ReadMessages>,
    user: AuthUser,
    Speaks(language): Speaks,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    let event = *event;
    let Wanted {
        window,
        limit,
        newest_first,
    } = wanted(&query, event)?;
    let page = pages::page(&registry, event, user.id(), window, limit).await?;
    let style = EntryStyle {
        language,
        name_of: &|user| page.names.get(&user).cloned(),
    };
    let mut messages: Vec<Box<RawValue>> = page
        .entries
        .iter()
        .filter_map(|entry| v1::chat_message(event, entry, &style))
        .collect();
    if newest_first {
        messages.reverse();
    }
    if let Some(newest) = page.entries.last() {
        registry.told().of(user.0.session, event).reach(newest.seq);
        pages::read_up_to(&registry, event, user.id(), newest.seq);
    }
    Ok(HttpResponse::Ok().json(messages))
}

fn wanted(asked: &ReadMessages, event: EventId) -> Result<Wanted, Problems> {
    let mut problems = Problems::default();
    let limit = asked.limit.unwrap_or(USUAL).min(MOST);
    if limit < 1 {
        problems.note("/limit", "at least 1");
    }
    let newest_first = match asked.order.as_deref() {
        None => asked.after.is_none(),
        Some("desc") => true,
        Some("asc") => false,
        Some(_) => {
            problems.note("/order", "asc or desc");
            true
        }
    };
    let mut place = |pointer, text: &str| {
        let seq = place_of(text, event);
        if seq.is_none() {
            problems.note(pointer, "a seq, or a message_id of this event");
        }
        seq.unwrap_or_default()
    };
    let window = match (&asked.before, &asked.after) {
        (Some(before), None) => Window::Before(place("/before", before)),
        (None, Some(after)) => Window::After(place("/after", after)),
        (None, None) if newest_first => Window::Newest,
        (None, None) => Window::After(0),
        (Some(_), Some(_)) => {
            problems.note("/before", "not together with after");
            Window::Newest
        }
    };
    problems.or(Wanted {
        window,
        limit: usize::try_from(limit).unwrap_or_default(),
        newest_first,
    })
}

/// The seq that `text` names.
fn place_of(text: &str, event: EventId) -> Option<u64> {
    if let Ok(seq) = text.parse::<u64>() {
        return (seq < 1 << 53).then_some(seq);
    }
    let id: MessageId = text.parse().ok()?;
    (id.event == event).then_some(id.seq)
}

#[cfg(test)]
mod tests {
    use super::{ReadMessages, Wanted, wanted};
    use crate::{domain::id::EventId, realtime::protocol::v2::Window};

    fn asks(query: &str) -> Result<Wanted, Vec<&'static str>> {
        let asked = actix_web::web::Query::<ReadMessages>::from_query(query).unwrap();
        wanted(&asked, EventId(42))
            .map_err(|problems| problems.list().iter().map(|problem| problem.pointer).collect())
    }

    #[test]
    fn page_is_the_newest_fifty_unless_told_otherwise() {
        let expect = |window, limit, newest_first| {
            Ok(Wanted {
                window,
                limit,
                newest_first,
            })
        };
        assert_eq!(asks(""), expect(Window::Newest, 50, true));
        assert_eq!(asks("limit=1000&page=2"), expect(Window::Newest, 100, true));
        assert_eq!(asks("before=7&limit=5"), expect(Window::Before(7), 5, true));
        assert_eq!(
            asks("before=00000000-002a-8000-8000-000000000007"),
            expect(Window::Before(7), 50, true)
        );
        assert_eq!(asks("order=asc"), expect(Window::After(0), 50, false));
        assert_eq!(asks("order=asc&after=9"), expect(Window::After(9), 50, false));
        assert_eq!(asks("after=9"), expect(Window::After(9), 50, false));
        assert_eq!(asks("order=desc&after=9"), expect(Window::After(9), 50, true));
    }

    #[test]
    fn values_that_break_a_rule_are_named_all_at_once() {
        assert_eq!(asks("limit=0"), Err(vec!["/limit"]));
        assert_eq!(
            asks("limit=-5&order=up&before=x"),
            Err(vec!["/limit", "/order", "/before"])
        );
        assert_eq!(asks("before=3&after=1"), Err(vec!["/before"]));
        assert_eq!(asks("before=9007199254740992"), Err(vec!["/before"]));
        assert_eq!(
            asks("before=00000000-002b-8000-8000-000000000007"),
            Err(vec!["/before"]),
            "another event's"
        );
    }
}
