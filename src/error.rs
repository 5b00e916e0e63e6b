//! The codes of errors a client can receive, over HTTP and over WebSocket alike.
//!
//! One table: a new failure does not compile until someone decides which code
//! its client sees ([`Coded`] is implemented next to each error, without `_`).

use serde::Serialize;
use serde_json::{Map, Value};

/// Stable, machine-readable error code. Renaming one breaks clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// Not JSON, wrong types, an unknown command, a malformed path or query.
    BadRequest,
    /// Well-formed, but a value breaks a rule; `details` name the field.
    ValidationError,
    /// A message body longer than the limit.
    BodyTooLong,
    /// No `Authorization` header, or none of the `Bearer` scheme.
    AuthTokenMissing,
    /// An access token past its `exp`, or a refresh token past its expiry.
    AuthTokenExpired,
    /// A token that is not ours, is damaged, or whose session was revoked.
    AuthTokenInvalid,
    /// A wrong one-time code.
    AuthPhoneCodeInvalid,
    /// A one-time code past its life, used up, or unknown.
    AuthPhoneCodeExpired,
    /// The phone number has to be proven with a one-time code first.
    AuthProofRequired,
    /// Known, but not allowed.
    Forbidden,
    /// No such thing at this path.
    NotFound,
    /// Known path, other method.
    MethodNotAllowed,
    /// No such event, or not for this user: the two cannot be told apart.
    EventNotFound,
    /// The user does not exist.
    UserNotFound,
    /// An invite link that is unknown, expired, used up or deactivated.
    InviteInvalid,
    /// The event's state does not allow this; `details` say the state.
    EventState,
    /// The event has as many participants as it may have.
    EventFull,
    /// The event changed since the state that `If-Match` names; `details` hold it as it is.
    PreconditionFailed,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused,
    /// Sign-in with Google is not set up on this server.
    GoogleNotConfigured,
    /// The user has not linked a calendar.
    CalendarNotLinked,
    /// The socket has not joined this room.
    NotJoined,
    /// The publish key was used before with another body.
    KeyConflict,
    /// The publish key is too far back to be checked exactly.
    KeyExpired,
    /// `after` or `since` lies beyond the log's head: join again.
    PositionUnknown,
    /// A frame or request body over the byte limit.
    FrameTooBig,
    /// Too many requests; `retry_after_ms` says when.
    RateLimitExceeded,
    /// Too many sockets of one user.
    TooManySockets,
    /// A dependency is away. Of a publish: not known yet, repeat the same key.
    Unavailable,
    /// A fault on our side.
    InternalError,
}

impl ErrorCode {
    /// Every code, for the tests that keep this table honest.
    pub const ALL: [Self; 30] = [
        Self::BadRequest,
        Self::ValidationError,
        Self::BodyTooLong,
        Self::AuthTokenMissing,
        Self::AuthTokenExpired,
        Self::AuthTokenInvalid,
        Self::AuthPhoneCodeInvalid,
        Self::AuthPhoneCodeExpired,
        Self::AuthProofRequired,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::EventNotFound,
        Self::UserNotFound,
        Self::InviteInvalid,
        Self::EventState,
        Self::EventFull,
        Self::PreconditionFailed,
        Self::IdempotencyKeyReused,
        Self::GoogleNotConfigured,
        Self::CalendarNotLinked,
        Self::NotJoined,
        Self::KeyConflict,
        Self::KeyExpired,
        Self::PositionUnknown,
        Self::FrameTooBig,
        Self::RateLimitExceeded,
        Self::TooManySockets,
        Self::Unavailable,
        Self::InternalError,
    ];

    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::ValidationError => "VALIDATION_ERROR",
            Self::BodyTooLong => "BODY_TOO_LONG",
            Self::AuthTokenMissing => "AUTH_TOKEN_MISSING",
            Self::AuthTokenExpired => "AUTH_TOKEN_EXPIRED",
            Self::AuthTokenInvalid => "AUTH_TOKEN_INVALID",
            Self::AuthPhoneCodeInvalid => "AUTH_PHONE_CODE_INVALID",
            Self::AuthPhoneCodeExpired => "AUTH_PHONE_CODE_EXPIRED",
            Self::AuthProofRequired => "AUTH_PROOF_REQUIRED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::EventNotFound => "EVENT_NOT_FOUND",
            Self::UserNotFound => "USER_NOT_FOUND",
            Self::InviteInvalid => "INVITE_INVALID",
            Self::EventState => "EVENT_STATE",
            Self::EventFull => "EVENT_FULL",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::GoogleNotConfigured => "GOOGLE_NOT_CONFIGURED",
            Self::CalendarNotLinked => "CALENDAR_NOT_LINKED",
            Self::NotJoined => "NOT_JOINED",
            Self::KeyConflict => "KEY_CONFLICT",
            Self::KeyExpired => "KEY_EXPIRED",
            Self::PositionUnknown => "POSITION_UNKNOWN",
            Self::FrameTooBig => "FRAME_TOO_BIG",
            Self::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Self::TooManySockets => "TOO_MANY_SOCKETS",
            Self::Unavailable => "UNAVAILABLE",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// The HTTP status this code travels with.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::AuthPhoneCodeInvalid
            | Self::AuthPhoneCodeExpired
            | Self::InviteInvalid => 400,
            Self::AuthTokenMissing
            | Self::AuthTokenExpired
            | Self::AuthTokenInvalid
            | Self::AuthProofRequired => 401,
            Self::Forbidden => 403,
            Self::NotFound | Self::EventNotFound | Self::UserNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::EventState
            | Self::EventFull
            | Self::CalendarNotLinked
            | Self::NotJoined
            | Self::KeyConflict
            | Self::KeyExpired
            | Self::PositionUnknown => 409,
            Self::PreconditionFailed => 412,
            Self::FrameTooBig => 413,
            Self::ValidationError | Self::BodyTooLong | Self::IdempotencyKeyReused => 422,
            Self::RateLimitExceeded | Self::TooManySockets => 429,
            Self::InternalError => 500,
            Self::Unavailable | Self::GoogleNotConfigured => 503,
        }
    }

    /// Whether the same request may succeed later without being changed.
    pub const fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::RateLimitExceeded | Self::TooManySockets | Self::Unavailable | Self::InternalError
        )
    }
}

/// An error that knows what a client may learn about it.
///
/// The client's text is not `Display` (that one is for the log): it comes from
/// the message files by [`Coded::text_key`] in the client's language.
pub trait Coded: std::error::Error + Send + Sync + 'static {
    /// The code a client sees.
    fn code(&self) -> ErrorCode;

    /// Key of the text in `locales/*.ftl`; by default the code's own text.
    fn text_key(&self) -> &'static str {
        self.code().as_str()
    }

    /// Machine-readable particulars, the `details` of the answer.
    fn details(&self) -> Map<String, Value> {
        Map::new()
    }

    /// When a repetition may succeed, in milliseconds.
    fn retry_after_ms(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn wire_form_is_the_serialised_form() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
