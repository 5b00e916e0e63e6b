//! Answers that are put together in more than one place, as the description has them.

use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::{id::EventId, time::Micros},
    error::ErrorCode,
    http::admin::AccountView,
};

/// The one body of every refusal: version 1's `error` and `code`, and the members of RFC 9457.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct Problem {
    /// What went wrong, in the reader's language.
    error: String,
    /// What went wrong, for programs.
    code: ErrorCode,
    /// Particulars of this code.
    #[schema(value_type = Object)]
    details: Map<String, Value>,
    /// `about:blank`: the status says what kind of problem it is.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The same as `error`.
    detail: String,
    /// All values that break a rule.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldProblem>>,
    /// When a repetition may succeed, in milliseconds.
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// The request's id, which the log has too.
    #[schema(nullable = false)]
    request_id: Option<String>,
}

/// One value that breaks a rule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
struct FieldProblem {
    /// JSON pointer into the body, or the parameter's name behind a slash.
    pointer: String,
    /// What is wrong with it.
    detail: String,
}

/// The event's record is away; what was done follows there by itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct Pending {
    /// Always true.
    record_pending: bool,
}

/// A text about what was done.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct Done {
    /// In the reader's language.
    message: String,
}

/// How the server is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct State {
    /// In one word.
    status: String,
}

/// Whether the server can serve.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct Ready {
    /// Always `ready`.
    status: String,
    /// What does not answer and is not needed to serve: without it the server serves less well.
    #[schema(nullable = false)]
    failing: Option<Vec<String>>,
}

/// How the server is, as version 1's clients read it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct Health {
    /// Always `healthy`.
    status: String,
    /// Always `timingle-api`.
    service: String,
}

/// A one-time code is on its way.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct CodeSent {
    /// To be given back with the code.
    verification_id: uuid::Uuid,
    /// From when on the code counts no more.
    expires_at: Micros,
}

/// An account that was looked after.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct AccountAnswer {
    /// As it now is.
    user: AccountView,
}

/// Whether a calendar is linked.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct Calendar {
    /// Whether it is.
    has_calendar_access: bool,
}

/// A message, or a change of the event in words, as version 1 reads it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(super) struct ChatMessage {
    /// Names the entry of the record; a `UUIDv8`.
    message_id: uuid::Uuid,
    /// In which event.
    event_id: EventId,
    /// Who; 0 is the server itself.
    #[schema(minimum = 0)]
    sender_id: i64,
    /// The sender's display name.
    #[schema(min_length = 1)]
    sender_name: String,
    /// The words; empty where they were erased.
    message: String,
    /// What kind of message it is.
    message_type: MessageType,
    /// The `message_id` that it answers.
    #[schema(nullable = false)]
    reply_to: Option<uuid::Uuid>,
    /// Whether its words were erased.
    is_deleted: bool,
    /// When.
    created_at: Micros,
}

/// What kind of message it is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "its shape is what counts")]
enum MessageType {
    /// What somebody said.
    Text,
    /// What happened to the event.
    System,
}
