//! Sign-in, one's own account, and what version 1 asks about Google.

use utoipa::openapi::{HttpMethod, ObjectBuilder, Type, schema::SchemaFormat};

use super::{
    op::Op,
    parts::{AccountAnswer, Calendar, CodeSent, Done},
};
use crate::{
    error::ErrorCode::{
        AuthPhoneCodeExpired, AuthPhoneCodeInvalid, AuthProofRequired, AuthTokenExpired, AuthTokenInvalid,
        BadRequest, CalendarNotLinked, EventNotFound, Forbidden, GoogleNotConfigured, NotFound,
        RateLimitExceeded, Unavailable, UserNotFound, ValidationError,
    },
    http::{
        admin::SetStatus,
        auth::{Login, Refresh, Register, SendCode, SignedInView, UserView, VerifyCode},
        google::GoogleSignIn,
        users::SignInView,
    },
    service::account::ChangeProfile,
};

/// A sign-in, which is open to everybody and limited by address and number.
fn sign_in(path: &'static str, name: &str, summary: &str) -> Op {
    Op::new(HttpMethod::Post, path, name, summary)
        .tag("sign-in")
        .refuses(&[RateLimitExceeded, Unavailable, ValidationError])
}

fn account(method: HttpMethod, path: &'static str, name: &str, summary: &str) -> Op {
    Op::new(method, path, name, summary).tag("account").signed_in()
}

#[expect(clippy::too_many_lines, reason = "a list, with an entry for each operation")]
pub(super) fn operations() -> Vec<Op> {
    let time = || {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("date-time".to_owned())))
    };
    let change = |method, name| {
        account(method, "/api/v1/users/me", name, "Changes one's own account")
            .about("What is missing or null stays as it is. `PUT` and `PATCH` mean the same.")
            .body::<ChangeProfile>()
            .answers::<UserView>(200, "The account as it now is.")
            .refuses(&[ValidationError])
    };
    let me = |path, name| {
        account(HttpMethod::Get, path, name, "One's own account")
            .answers::<UserView>(200, "The signed-in user.")
    };
    let google = |path, name| {
        Op::new(
            HttpMethod::Post,
            path,
            name,
            "Sign-in with Google, which this server does not have",
        )
        .tag("google")
        .about("Kept for clients of version 1.")
        .body::<GoogleSignIn>()
        .refuses(&[BadRequest, GoogleNotConfigured])
    };
    vec![
        sign_in("/api/v1/auth/phone/send", "sendCode", "Sends a one-time code to a phone")
            .body::<SendCode>()
            .answers::<CodeSent>(200, "The code is on its way."),
        sign_in("/api/v1/auth/phone/verify", "verifyCode", "Signs in whoever has the code")
            .about("Makes an account for a number that has none.")
            .body::<VerifyCode>()
            .answers::<SignedInView>(200, "Signed in.")
            .answers::<SignedInView>(201, "Signed in with a new account.")
            .refuses(&[AuthPhoneCodeInvalid, AuthPhoneCodeExpired, Forbidden]),
        sign_in("/api/v1/auth/register", "register", "Signs in without proof of the number, where that is allowed")
            .about(
                "For clients of version 1. A server that wants proof answers `AUTH_PROOF_REQUIRED`. The user's \
                 fields stand beside the tokens and under `user`. The access token lives longer than others.",
            )
            .body::<Register>()
            .answers::<SignedInView>(200, "Signed in; the number was known.")
            .answers::<SignedInView>(201, "Signed in with a new account.")
            .refuses(&[AuthProofRequired, Forbidden]),
        sign_in("/api/v1/auth/login", "login", "Signs in a known number without proof, where that is allowed")
            .body::<Login>()
            .answers::<SignedInView>(200, "Signed in.")
            .refuses(&[AuthProofRequired, AuthTokenInvalid, Forbidden]),
        sign_in("/api/v1/auth/refresh", "refresh", "Gives a new access token")
            .about(
                "The refresh token stays the same and its end moves on. With `rotate` another takes its place: the \
                 old one then counts for 10 more seconds, for requests that were on their way, and its use after \
                 that ends the whole sign-in.",
            )
            .body::<Refresh>()
            .answers::<SignedInView>(200, "A new access token.")
            .refuses(&[AuthTokenInvalid, AuthTokenExpired, Forbidden]),
        account(HttpMethod::Post, "/api/v1/auth/logout", "logout", "Ends the sign-in of the access token")
            .about("A body is not looked at. The access token itself counts for one more minute.")
            .answers::<Done>(200, "Signed out."),
        account(HttpMethod::Get, "/api/v1/auth/sessions", "listSignIns", "Where the user is signed in")
            .answers_list::<SignInView>("The sign-ins, the last used first."),
        account(
            HttpMethod::Delete,
            "/api/v1/auth/sessions/{session}",
            "endSignIn",
            "Signs another device out, or this one",
        )
        .answers::<Done>(200, "Signed out; its sockets are closed.")
        .refuses(&[NotFound]),
        me("/api/v1/auth/me", "me"),
        me("/api/v1/users/me", "readAccount"),
        change(HttpMethod::Put, "replaceAccount"),
        change(HttpMethod::Patch, "changeAccount"),
        account(HttpMethod::Delete, "/api/v1/users/me", "deleteAccount", "Deletes one's own account")
            .about(
                "The name and the number are gone everywhere at once. What was said stays in the records, by somebody \
                 unknown. Events that the user hosts are canceled, the user leaves all others.",
            )
            .answers::<Done>(200, "Deleted."),
        Op::new(
            HttpMethod::Patch,
            "/api/v1/admin/users/{user}/status",
            "setUserStatus",
            "Suspends an account or lets it back",
        )
        .tag("administration")
        .signed_in()
        .about("For roles `ADMIN` and `SUPER_ADMIN`; only the latter touches administrators.")
        .body::<SetStatus>()
        .answers::<AccountAnswer>(200, "The account as it now is.")
        .refuses(&[Forbidden, UserNotFound, ValidationError]),
        google("/api/v1/auth/google", "googleSignIn"),
        google("/api/v1/auth/google/calendar", "googleCalendarSignIn"),
        Op::new(HttpMethod::Get, "/api/v1/calendar/status", "calendarStatus", "Whether a calendar is linked")
            .tag("google")
            .signed_in()
            .answers::<Calendar>(200, "Never, on this server."),
        Op::new(HttpMethod::Get, "/api/v1/calendar/events", "calendarEvents", "Events of the linked calendar")
            .tag("google")
            .signed_in()
            .query("start_time", "From when on, RFC 3339.", time())
            .query("end_time", "Until when, RFC 3339.", time())
            .refuses(&[CalendarNotLinked]),
        Op::new(
            HttpMethod::Post,
            "/api/v1/calendar/sync/{event}",
            "calendarSync",
            "Puts an event into the linked calendar",
        )
        .tag("google")
        .signed_in()
        .refuses(&[CalendarNotLinked, EventNotFound]),
    ]
}
