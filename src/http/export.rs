//! The record of an event as a file that anybody can verify.

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, Data, Path},
};
use futures_util::stream;

use super::{auth::AuthUser, error::ApiError};
use crate::{
    domain::id::EventId,
    realtime::Registry,
    service::export::{ExportError, Exports, PersonalExport},
};

/// The record of an event, for whoever takes part or did. It is read while it is sent: what
/// breaks off has no last line, and no verifier takes it for a whole one.
pub(super) async fn download(
    event: Path<EventId>,
    user: AuthUser,
    exports: Data<Exports>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    exports.admit(user.id(), *event).await?;
    // After a restore the store may not know yet who went in the meantime.
    registry.before_change(*event).await;
    let mut export = begin(&exports, &registry, user, *event).await?;
    // What fails at once is still answered as an error.
    let first = export.next().await?;
    let rest = stream::unfold((Some(export), first), take);
    let name = format!("attachment; filename=\"timingle-event-{event}.jsonl\"");
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .insert_header((header::CONTENT_DISPOSITION, name))
        .streaming(rest))
}

async fn begin(
    exports: &Exports,
    registry: &Registry,
    user: AuthUser,
    event: EventId,
) -> Result<PersonalExport, ExportError> {
    match exports.begin(user.id(), event).await {
        Err(ExportError::Unsettled) => {
            if let Err(error) = registry.heal(event).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(event.id = %event, error, "an export waits for a fact of event {event}");
            }
            exports.begin(user.id(), event).await
        }
        begun => begun,
    }
}

type Pieces = (Option<PersonalExport>, Option<Bytes>);

/// The piece that is ready, while the next one is read only when it is asked for.
async fn take((export, ready): Pieces) -> Option<(Result<Bytes, ExportError>, Pieces)> {
    let mut export = export?;
    if let Some(ready) = ready {
        return Some((Ok(ready), (Some(export), None)));
    }
    match export.next().await {
        Ok(Some(piece)) => Some((Ok(piece), (Some(export), None))),
        Ok(None) => None,
        Err(error) => {
            let chain: &dyn std::error::Error = &error;
            tracing::error!(error = chain, "an export breaks off");
            Some((Err(error), (None, None)))
        }
    }
}
