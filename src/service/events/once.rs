//! Making an event once, however often it is asked for.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Changed, CreateEvent, Events, EventsError};
use crate::{
    adapters::sql::{Conn, SqlError, people},
    domain::id::{EventId, UserId},
    service::idempotency::{self, Answer, IdempotencyKey},
};

/// An event that was made, now or by an earlier request with the same key.
#[derive(Debug, Clone, PartialEq)]
pub struct Creation {
    /// Its number.
    pub event: EventId,
    /// Up to which fact its room's log has to go.
    pub fact_no: u64,
    /// The event as it was when it was made.
    pub answer: Answer,
}

/// Of a kept answer, what the room is asked for.
#[derive(Deserialize)]
struct Made {
    id: EventId,
    fact_no: u64,
}

impl Creation {
    /// What `answer`, an event as clients read it, is about.
    pub(in crate::service) fn of(answer: Answer) -> Result<Self, SqlError> {
        let Made { id, fact_no } = Made::deserialize(&answer.body).map_err(SqlError::corrupt)?;
        Ok(Self {
            event: id,
            fact_no,
            answer,
        })
    }

    /// As `answer`, which an earlier request got, says; without the names of those whose
    /// accounts are gone since.
    pub(in crate::service) async fn again(conn: &mut Conn, mut answer: Answer) -> Result<Self, SqlError> {
        let id_of = |person: &Map<String, Value>| person.get("id").and_then(Value::as_i64).map(UserId);
        let ids: Vec<UserId> = people_in(&mut answer.body)
            .filter_map(|person| id_of(person))
            .collect();
        let named = people::named_of(conn, &ids).await?;
        for person in people_in(&mut answer.body) {
            if id_of(person).is_none_or(|id| !named.contains(&id)) {
                person.insert("name".to_owned(), Value::String(String::new()));
            }
        }
        Self::of(answer)
    }

    /// Puts `name` where there is none because an account is gone.
    pub fn name_the_unknown(&mut self, name: &str) {
        for person in people_in(&mut self.answer.body) {
            if person.get("name").and_then(Value::as_str) == Some("") {
                person.insert("name".to_owned(), Value::String(name.to_owned()));
            }
        }
    }
}

/// The host and the others of an event as clients read it.
fn people_in(event: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let fields = event.as_object_mut().into_iter().flatten();
    fields
        .flat_map(|(name, value)| match (name.as_str(), value) {
            ("creator", person) => std::slice::from_mut(person),
            ("participants", Value::Array(people)) => people.as_mut_slice(),
            _ => &mut [],
        })
        .filter_map(Value::as_object_mut)
}

impl Events {
    /// As [`Events::create`]; with a key that an earlier request like this one has used,
    /// nothing is made and that one's answer is given.
    ///
    /// # Errors
    /// As [`Events::create`], or [`EventsError::KeyReused`].
    pub async fn create_once(
        &self,
        host: UserId,
        request: CreateEvent,
        key: Option<&IdempotencyKey>,
    ) -> Result<Creation, EventsError> {
        self.sql
            .write(async |conn| {
                let now = self.clock.now();
                // Before the request is looked at: a deadline in it may have passed since.
                if let Some(answer) = idempotency::begin::<EventsError>(conn, host, key, now).await? {
                    return Ok(Creation::again(conn, answer).await?);
                }
                let valid = request.clone().validate(self.participants, now)?;
                let Changed { event, .. } = self.create_in(conn, host, valid, now).await?;
                Ok(Creation::of(idempotency::finish(conn, host, key, &event).await?)?)
            })
            .await
    }
}
