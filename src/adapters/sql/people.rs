//! Who the people of events are: their names, and who knows whom.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Conn, SqlError,
    schema::{event_history, participants, users},
};
use crate::{
    domain::{
        id::{EventId, UserId},
        user::UserStatus,
    },
    ports::Person,
};

/// Users looked for in one query, below what one statement may have of values.
const USERS_PER_QUERY: usize = 1_000;

/// Everyone who takes part or ever did, and the actors of the event's facts, by number.
///
/// # Errors
/// The store failed.
pub async fn people_of(conn: &mut Conn, event: EventId) -> Result<Vec<Person>, SqlError> {
    let taking_part = participants::table
        .filter(participants::event_id.eq(event.0))
        .select(participants::user_id);
    let of_event = event_history::table.filter(event_history::event_id.eq(event.0));
    let subjects = of_event
        .filter(event_history::subject.is_not_null())
        .select(event_history::subject.assume_not_null());
    let actors = of_event
        .filter(event_history::actor.is_not_null())
        .select(event_history::actor.assume_not_null());
    let mut people = BTreeMap::new();
    // One after the other: alternatives in one condition would make PostgreSQL read all users.
    macro_rules! add_named {
        ($ids:expr) => {{
            let named = users::table
                .filter(users::id.eq_any($ids))
                .select((users::id, users::name))
                .load::<(i64, Option<String>)>(conn)
                .await?;
            people.extend(named);
        }};
    }
    add_named!(taking_part);
    add_named!(subjects);
    add_named!(actors);
    let person = |(id, name): (i64, Option<String>)| Person {
        id: UserId(id),
        name: name.unwrap_or_default(),
    };
    Ok(people.into_iter().map(person).collect())
}

/// Which of `others` have an active account and take part, or ever took part, in an event in
/// which `user` does or ever did; by number, each once. Everyone is acquainted with themselves
/// as soon as they take part in anything.
///
/// # Errors
/// The store failed.
pub async fn acquainted(conn: &mut Conn, user: UserId, others: &[UserId]) -> Result<Vec<UserId>, SqlError> {
    let (mine, was_mine) = diesel::alias!(participants as mine, event_history as was_mine);
    let mut found = Vec::new();
    for others in others.chunks(USERS_PER_QUERY) {
        let others: Vec<i64> = others.iter().map(|other| other.0).collect();
        let my_events = mine
            .filter(mine.field(participants::user_id).eq(user.0))
            .select(mine.field(participants::event_id));
        let my_past_events = was_mine
            .filter(was_mine.field(event_history::subject).eq(user.0))
            .select(was_mine.field(event_history::event_id));
        let taking_part = participants::table
            .filter(participants::user_id.eq_any(others.clone()))
            .filter(
                participants::event_id
                    .eq_any(my_events)
                    .or(participants::event_id.eq_any(my_past_events)),
            )
            .select(participants::user_id);
        let took_part = event_history::table
            .filter(event_history::subject.eq_any(others.clone()))
            .filter(
                event_history::event_id
                    .eq_any(my_events)
                    .or(event_history::event_id.eq_any(my_past_events)),
            )
            .select(event_history::subject.assume_not_null());
        let ids = users::table
            .filter(users::id.eq_any(others))
            .filter(users::status.eq(UserStatus::Active.as_str()))
            .filter(users::id.eq_any(taking_part).or(users::id.eq_any(took_part)))
            .select(users::id)
            .load::<i64>(conn)
            .await?;
        found.extend(ids.into_iter().map(UserId));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The display name of `user`; `None` without one or without such a user.
///
/// # Errors
/// The store failed.
pub async fn name_of(conn: &mut Conn, user: UserId) -> Result<Option<String>, SqlError> {
    Ok(users::table
        .find(user.0)
        .select(users::name)
        .first::<Option<String>>(conn)
        .await
        .optional()?
        .flatten())
}

/// Which of `users` have a display name, which is everybody whose account is not gone.
///
/// # Errors
/// The store failed.
pub async fn named_of(conn: &mut Conn, users: &[UserId]) -> Result<HashSet<UserId>, SqlError> {
    let mut named = HashSet::with_capacity(users.len());
    for users in users.chunks(USERS_PER_QUERY) {
        let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
        let found = users::table
            .filter(users::id.eq_any(ids))
            .filter(users::name.is_not_null())
            .select(users::id)
            .load::<i64>(conn)
            .await?;
        named.extend(found.into_iter().map(UserId));
    }
    Ok(named)
}
