//! Answers after a change of an event: only once its room has the fact in its log,
//! or saying plainly that this is still to come.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;

use super::etag::tag_of;
use crate::{domain::id::EventId, error::Coded as _, realtime::Registry};

/// How long an answer waits for the log. The change itself is committed by then, and
/// the sweeper records what this could not.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Recorded<T> {
    #[serde(flatten)]
    body: T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    record_pending: bool,
}

/// `body` with `status` once the fact `fact_no` of `event` is in the log; with 202 and
/// `record_pending` when the log is away. It carries the tag of the event as it now is.
pub(super) async fn recorded(
    registry: &Registry,
    event: EventId,
    fact_no: u64,
    status: StatusCode,
    body: impl Serialize,
) -> HttpResponse {
    let record_pending = match tokio::time::timeout(RECORD_TIMEOUT, registry.record(event, fact_no)).await {
        Ok(Ok(())) => false,
        Ok(Err(error)) => {
            tracing::warn!(
                event.id = event.0,
                error.code = error.code().as_str(),
                error = &error as &dyn std::error::Error,
                "a fact of event {event} waits for the log"
            );
            true
        }
        Err(_) => {
            tracing::warn!(event.id = event.0, "a fact of event {event} waits for the log");
            true
        }
    };
    let status = if record_pending {
        StatusCode::ACCEPTED
    } else {
        status
    };
    HttpResponse::build(status)
        .insert_header((header::ETAG, tag_of(event, fact_no)))
        .json(Recorded { body, record_pending })
}
