//! Entity tags of events: which state a client has seen, and for which one its change is meant.
//!
//! An event's tag is `"<number>-<facts>"`: each change of the event gives it another one.

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{self, EntityTag, Header as _, IfMatch, IfNoneMatch},
    web::Data,
};
use futures_util::future::{Ready, ready};

use super::error::{ApiError, RequestError};
use crate::{
    domain::id::EventId,
    service::events::{Events, Expected},
};

/// The tag of `event` after `fact_no` facts.
pub(super) fn tag_of(event: EventId, fact_no: u64) -> EntityTag {
    EntityTag::new_strong(format!("{event}-{fact_no}"))
}

/// The service as a handler needs it that changes the event in its path: it changes that
/// event only if it is in a state that `If-Match` names; without the header in any.
#[derive(Debug)]
pub(super) struct OnlyIf(pub(super) Events);

impl FromRequest for OnlyIf {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let event = request.match_info().get("event");
        let event = event.and_then(|event| event.parse().ok().map(EventId));
        let (Some(event), Some(events)) = (event, request.app_data::<Data<Events>>()) else {
            return ready(Err(RequestError::Path.into()));
        };
        ready(Ok(Self(events.only_if(expected(request, event)))))
    }
}

/// RFC 9110, section 13.1.1: strong comparison, so a weak tag names no state, and neither
/// does one that cannot be read.
fn expected(request: &impl HttpMessage, event: EventId) -> Expected {
    if !request.headers().contains_key(header::IF_MATCH) {
        return Expected::any();
    }
    match IfMatch::parse(request) {
        Ok(IfMatch::Any) => Expected::any(),
        Ok(IfMatch::Items(tags)) => {
            let named = tags.iter().filter_map(|tag| fact_no_of(tag, event));
            Expected::one_of(named.collect())
        }
        Err(_) => Expected::one_of(Vec::new()),
    }
}

/// Which state of `event` a tag names.
fn fact_no_of(tag: &EntityTag, event: EventId) -> Option<u64> {
    let (_, fact_no) = tag.tag().split_once('-')?;
    let fact_no = fact_no.parse().ok()?;
    tag.strong_eq(&tag_of(event, fact_no)).then_some(fact_no)
}

/// Whether the client said by `If-None-Match` that it has the event in this state
/// (RFC 9110, section 13.1.2: weak comparison).
pub(super) fn is_known(request: &impl HttpMessage, tag: &EntityTag) -> bool {
    if !request.headers().contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

/// The tag of the event that an answer's `details` hold, if they hold one.
pub(super) fn tag_in(details: &serde_json::Map<String, serde_json::Value>) -> Option<EntityTag> {
    let event = details.get("event")?;
    Some(tag_of(
        EventId(event.get("id")?.as_i64()?),
        event.get("fact_no")?.as_u64()?,
    ))
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header, test::TestRequest};

    use super::{expected, is_known, tag_of};
    use crate::{domain::id::EventId, service::events::Expected};

    #[test]
    fn if_match_names_states_of_this_event_by_strong_tags_only() {
        let named = |values: &[&str]| {
            let request = values.iter().fold(TestRequest::default(), |request, value| {
                request.append_header((header::IF_MATCH, *value))
            });
            expected(&request.to_http_request(), EventId(42))
        };
        let only = |fact_nos: &[u64]| Expected::one_of(fact_nos.to_vec());
        assert_eq!(named(&[]), Expected::any());
        assert_eq!(named(&["*"]), Expected::any());
        assert_eq!(named(&["\"42-3\""]), only(&[3]));
        assert_eq!(
            named(&["\"42-3\", \"41-9\" , \"42-5\"", "\"42-8\""]),
            only(&[3, 5, 8])
        );
        for unmatched in [
            "W/\"42-3\"",
            "42-3",
            "\"42\"",
            "\"42-03\"",
            "\"42-+3\"",
            "\"042-3\"",
            "\"\"",
            "",
            "\"42-99999999999999999999\"",
        ] {
            assert_eq!(named(&[unmatched]), only(&[]), "{unmatched}");
        }
    }

    #[test]
    fn if_none_match_knows_a_state_also_by_a_weak_tag() {
        let tag = tag_of(EventId(42), 3);
        let known = |value: &str| {
            let request = TestRequest::default().append_header((header::IF_NONE_MATCH, value));
            is_known(&request.to_http_request(), &tag)
        };
        assert!(!is_known(&TestRequest::default().to_http_request(), &tag));
        assert!(known("*") && known("\"42-3\"") && known("W/\"42-3\"") && known("\"1-1\", \"42-3\""));
        assert!(!known("\"42-4\"") && !known("42-3") && !known(""));
    }
}
