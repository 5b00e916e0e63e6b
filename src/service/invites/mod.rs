//! How people come into somebody else's event: by an invite link, or put in by a host who
//! knows them from an event they shared. Nobody can be searched for.
//!
//! - `links`: a host's links.
//! - `join`: where a link leads, and following it.
//! - `direct`: putting somebody in.
//! - `page`: what a link shows to anybody who has it.

mod direct;
mod join;
mod links;
mod page;
#[cfg(test)]
mod tests;

pub use self::{
    join::{InviteAction, InviteInfo, InvitedEvent, Joined},
    links::{CreateLink, Link, LinkView},
    page::Invitation,
};
use super::{idempotency::KeyReused, problems::Problems};
use crate::{
    adapters::sql::{Sql, SqlError},
    domain::{event::Denied, time::Clock},
    error::{Coded, ErrorCode},
    service::events::Stale,
};

/// The longest code that is looked up, in bytes.
const MAX_CODE_BYTES: usize = 64;

/// Why a link was not made, did not work, or somebody was not put in.
#[derive(Debug, thiserror::Error)]
pub enum InvitesError {
    /// Not allowed to this person, or not in this state.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Values break rules.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// The event is in another state than its changer has seen.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The idempotency key was used for another request.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// No such link, or it no longer counts, or not for this person.
    #[error("the invite link does not count")]
    NoLink,
    /// There is no such link among those of the user's events.
    #[error("the user has no such invite link")]
    NotTheirs,
    /// The event has as many links that count as it may have.
    #[error("the event has {limit} links that count")]
    TooManyLinks {
        /// How many that is.
        limit: i64,
    },
    /// Nobody whom the host knows from an event they shared, or no such user: the two
    /// cannot be told apart.
    #[error("the host is not acquainted with such a user")]
    NotAcquainted,
    /// The event has as many participants as it may have.
    #[error("the event is full")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl Coded for InvitesError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(error) => error.code(),
            Self::Invalid(error) => error.code(),
            Self::Stale(error) => error.code(),
            Self::KeyReused(error) => error.code(),
            Self::NoLink => ErrorCode::InviteInvalid,
            Self::NotTheirs => ErrorCode::NotFound,
            Self::TooManyLinks { .. } => ErrorCode::ValidationError,
            Self::NotAcquainted => ErrorCode::UserNotFound,
            Self::Full => ErrorCode::EventFull,
            Self::Sql(error) => error.code(),
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Denied(error) => error.text_key(),
            Self::Invalid(error) => error.text_key(),
            Self::Stale(error) => error.text_key(),
            Self::KeyReused(error) => error.text_key(),
            Self::Sql(error) => error.text_key(),
            Self::NotTheirs => "invite-not-yours",
            Self::TooManyLinks { .. } => "invite-too-many-links",
            Self::NotAcquainted => "invite-not-acquainted",
            Self::NoLink | Self::Full => self.code().as_str(),
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Denied(error) => error.details(),
            Self::Invalid(error) => error.details(),
            Self::Stale(error) => error.details(),
            Self::KeyReused(error) => error.details(),
            Self::Sql(error) => error.details(),
            Self::TooManyLinks { limit } => {
                serde_json::Map::from_iter([("limit".to_owned(), (*limit).into())])
            }
            Self::NoLink | Self::NotTheirs | Self::NotAcquainted | Self::Full => serde_json::Map::new(),
        }
    }
}

/// Makes invite links and lets people in.
#[derive(Debug, Clone)]
pub struct Invites {
    sql: Sql,
    clock: Clock,
    max_participants: i64,
    public_url: String,
}

impl Invites {
    /// Links that begin with `public_url`, into events of at most `max_participants`, the
    /// host included.
    pub fn new(sql: Sql, clock: Clock, max_participants: i64, public_url: &str) -> Self {
        Self {
            sql,
            clock,
            max_participants,
            public_url: public_url.trim_end_matches('/').to_owned(),
        }
    }

    /// What links begin with, without a slash at its end.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The whole link that carries `code`.
    pub fn link(&self, code: &str) -> String {
        format!("{}/invite/{code}", self.public_url)
    }
}

/// Whether `code` could be one of ours at all: bounded before anything is done with it.
fn check(code: &str) -> Result<(), InvitesError> {
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if code.is_empty() || code.len() > MAX_CODE_BYTES || !code.bytes().all(is_ours) {
        return Err(InvitesError::NoLink);
    }
    Ok(())
}
