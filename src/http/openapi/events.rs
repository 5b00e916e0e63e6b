//! Events, who takes part in them, and their records.

use utoipa::openapi::{
    HttpMethod, ObjectBuilder, Type,
    schema::{ArrayBuilder, KnownFormat, SchemaFormat},
};

use super::{
    op::Op,
    parts::{ChatMessage, Done},
};
use crate::{
    domain::{event::EventStatus, view::EventView},
    error::ErrorCode::{
        EventFull, EventNotFound, EventState, Forbidden, InviteInvalid, NotFound, RateLimitExceeded,
        UserNotFound, ValidationError,
    },
    http::{
        events::{AnswerEvent, CancelEvent, EventWithMessage},
        invites::{AddParticipant, JoinedView},
    },
    service::{
        events::{CreateEvent, EventsPage, HistoryPage, ParticipantsPage, UpdateEvent},
        invites::{CreateLink, InviteInfo, Link, LinkView},
    },
};

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn time() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

fn number() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

fn one_of<const N: usize>(words: [&str; N]) -> ObjectBuilder {
    text().enum_values(Some(words))
}

/// Of one event, for who takes part in it; nobody else learns that it is there.
fn of_event(method: HttpMethod, path: &'static str, name: &str, summary: &str) -> Op {
    Op::new(method, path, name, summary)
        .tag("events")
        .signed_in()
        .refuses(&[EventNotFound])
}

/// A change of one event that ends in the event as it then is.
fn change(method: HttpMethod, path: &'static str, name: &str, summary: &str) -> Op {
    of_event(method, path, name, summary)
        .only_if()
        .records::<EventWithMessage>(200, "The event as it now is.")
        .refuses(&[Forbidden, EventState, ValidationError])
}

fn paged(op: Op, most: &str) -> Op {
    op.query("limit", most, number())
        .query(
            "cursor",
            "Where the page begins: `next_cursor` of the one before it.",
            text(),
        )
        .refuses(&[ValidationError])
}

pub(super) fn operations() -> Vec<Op> {
    let mut operations = life();
    operations.extend(people());
    operations.extend(records());
    operations
}

#[expect(clippy::too_many_lines, reason = "a list, with an entry for each operation")]
fn life() -> Vec<Op> {
    let statuses = ArrayBuilder::new().items(<EventStatus as utoipa::PartialSchema>::schema());
    let list = Op::new(
        HttpMethod::Get,
        "/api/v1/events",
        "listEvents",
        "The user's events",
    )
    .tag("events")
    .signed_in()
    .about("Newest start first, in a bare array; with `cursor` (empty for the first page) in pages instead.")
    .query("page", "Of the array: 1, 2, 3, ...", number())
    .query(
        "status",
        "Only these; may be repeated or separated by commas.",
        statuses,
    )
    .query("from", "Only those that start then or later, RFC 3339.", time())
    .query("until", "Only those that start before, RFC 3339.", time());
    let update = |method, name| {
        change(method, "/api/v1/events/{event}", name, "Changes an event")
            .about(
                "For its host. What is missing or null stays as it is; `clear` names what is to be taken away. Another \
                 time or place sets a confirmed event back to `PROPOSED` and asks everybody again. `PUT` and `PATCH` \
                 mean the same.",
            )
            .body::<UpdateEvent>()
    };
    vec![
        paged(list, "1-100, default 100.").answers_list_or::<EventView, EventsPage>("The events."),
        Op::new(
            HttpMethod::Post,
            "/api/v1/events",
            "createEvent",
            "Makes an event whose host is the user",
        )
        .tag("events")
        .signed_in()
        .body::<CreateEvent>()
        .keyed()
        .records::<EventView>(201, "The new event."),
        of_event(HttpMethod::Get, "/api/v1/events/{event}", "readEvent", "An event")
            .answers::<EventView>(200, "The event.")
            .tagged(200)
            .if_none_match(),
        update(HttpMethod::Put, "replaceEvent"),
        update(HttpMethod::Patch, "changeEvent"),
        change(
            HttpMethod::Delete,
            "/api/v1/events/{event}",
            "deleteEvent",
            "Cancels an event, as version 1 asks for it",
        )
        .about("Nothing is deleted: the same as `cancelEvent`.")
        .optional_body::<CancelEvent>(),
        change(
            HttpMethod::Post,
            "/api/v1/events/{event}/cancel",
            "cancelEvent",
            "Cancels an event",
        )
        .about("For its host. A repetition succeeds.")
        .optional_body::<CancelEvent>(),
        change(
            HttpMethod::Post,
            "/api/v1/events/{event}/accept",
            "acceptEvent",
            "Says yes to an event",
        )
        .about("Answers can be changed until the event ends.")
        .optional_body::<AnswerEvent>(),
        change(
            HttpMethod::Post,
            "/api/v1/events/{event}/decline",
            "declineEvent",
            "Says no to an event",
        )
        .about("Whoever declines goes on taking part in the conversation.")
        .optional_body::<AnswerEvent>(),
        change(
            HttpMethod::Post,
            "/api/v1/events/{event}/confirm",
            "confirmEvent",
            "Confirms an event, or one's part in it",
        )
        .about(
            "For its host that is the event: while its rule is not met, `details.missing` names who has not \
                 accepted. For everyone else it is the same as `acceptEvent`.",
        ),
        change(
            HttpMethod::Post,
            "/api/v1/events/{event}/confirm-participation",
            "confirmParticipation",
            "Confirms one's part in an event",
        )
        .about("The same as `acceptEvent`."),
        change(
            HttpMethod::Post,
            "/api/v1/events/{event}/done",
            "finishEvent",
            "Says that an event took place",
        )
        .about("For the host of a confirmed event, after its start. After its end it happens by itself."),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list, with an entry for each operation")]
fn people() -> Vec<Op> {
    let invite = |method, path, name: &str, summary: &str| {
        Op::new(method, path, name, summary)
            .tag("invitations")
            .signed_in()
    };
    let participants = of_event(
        HttpMethod::Get,
        "/api/v1/events/{event}/participants",
        "listParticipants",
        "Who takes part, the host too",
    );
    vec![
        paged(participants, "1-100, default 100.")
            .answers::<ParticipantsPage>(200, "Participants in the order in which they came."),
        of_event(
            HttpMethod::Post,
            "/api/v1/events/{event}/participants",
            "addParticipant",
            "Puts in somebody with whom the host has shared an event",
        )
        .body::<AddParticipant>()
        .keyed()
        .only_if()
        .records::<EventWithMessage>(200, "The event as it now is.")
        .refuses(&[Forbidden, UserNotFound, EventState, EventFull]),
        of_event(
            HttpMethod::Delete,
            "/api/v1/events/{event}/participants/{user}",
            "removeParticipant",
            "Puts somebody out, or leaves",
        )
        .only_if()
        .records::<Done>(
            200,
            "Whoever left or was put out may still read the record up to here.",
        )
        .refuses(&[Forbidden, UserNotFound, EventState]),
        invite(
            HttpMethod::Post,
            "/api/v1/events/{event}/invite-link",
            "createInviteLink",
            "Makes an invite link",
        )
        .about("A missing or broken body means the defaults.")
        .optional_body::<CreateLink>()
        .keyed()
        .answers::<Link>(200, "The link.")
        .refuses(&[EventNotFound, Forbidden, EventState]),
        invite(
            HttpMethod::Get,
            "/api/v1/events/{event}/invite-links",
            "listInviteLinks",
            "The invite links of an event, for its host",
        )
        .answers_list::<LinkView>("The links, the newest first.")
        .refuses(&[EventNotFound, Forbidden, EventState]),
        invite(
            HttpMethod::Get,
            "/api/v1/invite/{code}",
            "readInvite",
            "Where an invite link leads",
        )
        .answers::<InviteInfo>(200, "What it leads to.")
        .refuses(&[InviteInvalid]),
        invite(
            HttpMethod::Delete,
            "/api/v1/invite/{code}",
            "deactivateInvite",
            "Ends an invite link",
        )
        .about("For the host of its event. A repetition succeeds.")
        .answers::<Done>(200, "It counts no more.")
        .refuses(&[NotFound]),
        invite(
            HttpMethod::Post,
            "/api/v1/invite/{code}/join",
            "joinByInvite",
            "Takes part by an invite link",
        )
        .about("A repetition succeeds.")
        .records::<JoinedView>(200, "The event.")
        .refuses(&[InviteInvalid, EventNotFound, EventState, EventFull]),
        Op::new(
            HttpMethod::Get,
            "/invite/{code}",
            "invitePage",
            "The page of an invite link",
        )
        .tag("invitations")
        .about("For browsers, without sign-in.")
        .query("lang", "Which of `ko` and `en` the page is in.", text())
        .answers_text(200, "text/html; charset=utf-8", "The invitation.")
        .answers_text(
            404,
            "text/html; charset=utf-8",
            "There is no such link, or it cannot be used any more.",
        )
        .answers_text(
            429,
            "text/html; charset=utf-8",
            "Too many of them were looked up.",
        )
        .refuses(&[RateLimitExceeded, crate::error::ErrorCode::Unavailable]),
    ]
}

fn records() -> Vec<Op> {
    let record =
        |path, name: &str, summary: &str| of_event(HttpMethod::Get, path, name, summary).tag("records");
    let history = record(
        "/api/v1/events/{event}/history",
        "readHistory",
        "What happened to an event",
    )
    .query(
        "order",
        "`desc`, the newest first, which is the default, or `asc`.",
        one_of(["asc", "desc"]),
    );
    vec![
        record("/api/v1/events/{event}/messages", "listMessages", "What was said in an event")
            .about(
                "The newest first, in a bare array, as version 1 reads it: changes of the event are messages of type \
                 `system`. Sockets of version 2 read entries with `history` instead.",
            )
            .query("limit", "1-100, default 50; more is cut.", number())
            .query("before", "Only what was said before this one: a seq or a `message_id`.", text())
            .query("after", "Only what was said after this one, oldest first.", text())
            .query("order", "`desc` or `asc`.", one_of(["asc", "desc"]))
            .answers_list::<ChatMessage>("The messages.")
            .refuses(&[ValidationError, Forbidden]),
        paged(history, "1-100, default 50.").answers::<HistoryPage>(200, "Facts, newest first unless asked otherwise."),
        record(
            "/api/v1/events/{event}/export",
            "exportRecord",
            "The whole record of an event, to be verified by anybody",
        )
        .about("One JSON text a line (`docs/log-format.md`); `timingle verify` checks it without a server.")
        .answers_text(200, "application/x-ndjson", "The record as far as the user may see it."),
    ]
}
