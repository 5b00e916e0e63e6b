//! Invite links: the only way into somebody else's event.

#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use diesel_async::{AsyncConnection, TransactionManager};
use serde::{Deserialize, Serialize};

use super::{
    events::{Changed, apply, changed},
    problems::Problems,
};
use crate::{
    adapters::sql::{self, Snapshots, Sql, SqlError, history, invites, invites::Invite, participants},
    domain::{
        event::{Action, Denied, life::Ask, may},
        fact::Change,
        id::{EventId, UserId},
        time::{Clock, Micros},
        view::PersonView,
    },
    error::{Coded, ErrorCode},
};

/// Random bytes of a code: too many to be guessed even by who is not slowed down.
const CODE_BYTES: usize = 12;
/// The longest code that is looked up, in bytes.
const MAX_CODE_BYTES: usize = 64;
const DEFAULT_HOURS: i64 = 168;
/// A year.
const MAX_HOURS: i64 = 8_760;
const MAX_USES: i64 = 1_000_000;

/// Why a link was not made or did not work.
#[derive(Debug, thiserror::Error)]
pub enum InvitesError {
    /// Not allowed to this person, or not in this state.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Values break rules.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// No such link, or it no longer counts, or not for this person.
    #[error("the invite link does not count")]
    NoLink,
    /// The event has as many participants as it may have.
    #[error("the event is full")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl From<diesel::result::Error> for InvitesError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Sql(error.into())
    }
}

impl Coded for InvitesError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(error) => error.code(),
            Self::Invalid(error) => error.code(),
            Self::NoLink => ErrorCode::InviteInvalid,
            Self::Full => ErrorCode::EventFull,
            Self::Sql(error) => error.code(),
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Denied(error) => error.text_key(),
            Self::Invalid(error) => error.text_key(),
            Self::Sql(error) => error.text_key(),
            Self::NoLink | Self::Full => self.code().as_str(),
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Denied(error) => error.details(),
            Self::Invalid(error) => error.details(),
            Self::Sql(error) => error.details(),
            Self::NoLink | Self::Full => serde_json::Map::new(),
        }
    }
}

/// A request for a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CreateLink {
    /// Hours until it expires, at most 8,760; 0 or absent means 168.
    pub expires_in_hours: Option<i64>,
    /// How often it may be used, at most 1,000,000; 0 or absent means without limit.
    pub max_uses: Option<i64>,
}

/// A link as its maker reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What the link carries.
    pub code: String,
    /// The whole link.
    pub link: String,
    /// From when on it no longer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
    /// How often it may be used; 0 means without limit.
    pub max_uses: i64,
}

/// Of an event, what who holds a link may know before joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvitedEvent {
    /// Its number.
    pub id: EventId,
    /// Its title.
    pub title: String,
    /// When it begins.
    pub start_time: Micros,
    /// When it ends.
    pub end_time: Micros,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// What following a link would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteAction {
    /// One may join.
    Confirm,
    /// One takes part already.
    AlreadyJoined,
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InviteInfo {
    /// Into which event.
    pub event: InvitedEvent,
    /// Whose event.
    pub creator: PersonView,
    /// What following it would do.
    pub action: InviteAction,
}

/// Somebody who takes part now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The event as it now stands.
    pub changed: Changed,
    /// Whether the user took part before: then nothing changed.
    pub is_repeat: bool,
}

/// Makes invite links and lets people in by them.
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

    /// Makes a link into `event`.
    ///
    /// # Errors
    /// Not the host, an event in a final state, values out of range, or the store failed.
    pub async fn create_link(
        &self,
        actor: UserId,
        event: EventId,
        request: CreateLink,
    ) -> Result<Link, InvitesError> {
        let hours = request
            .expires_in_hours
            .filter(|hours| *hours != 0)
            .unwrap_or(DEFAULT_HOURS);
        let max_uses = request.max_uses.unwrap_or(0);
        let mut problems = Problems::default();
        if !(1..=MAX_HOURS).contains(&hours) {
            problems.note("/expires_in_hours", format!("a number from 0 to {MAX_HOURS}"));
        }
        if !(0..=MAX_USES).contains(&max_uses) {
            problems.note("/max_uses", format!("a number from 0 to {MAX_USES}"));
        }
        problems.or(())?;
        let mut conn = self.sql.get().await?;
        conn.transaction(async |conn| {
            let now = self.clock.now();
            let found = sql::events::find(conn, event).await?.ok_or(Denied::Unknown)?;
            let role = participants::role_of(conn, event, actor).await?;
            may(role, found.status, Action::Invite)?;
            let life = Duration::from_secs(hours.unsigned_abs() * 3_600);
            let invite = Invite {
                code: URL_SAFE_NO_PAD.encode(rand::random::<[u8; CODE_BYTES]>()),
                event,
                created_by: actor,
                fact_no: found.fact_no,
                expires_at: Some(now.plus(life)),
                max_uses,
                use_count: 0,
                is_active: true,
                created_at: now,
            };
            invites::insert(conn, &invite).await?;
            Ok(Link {
                link: format!("{}/invite/{}", self.public_url, invite.code),
                code: invite.code,
                expires_at: invite.expires_at,
                max_uses,
            })
        })
        .await
    }

    /// What the link with this code leads to, for `user`.
    ///
    /// # Errors
    /// [`InvitesError::NoLink`], an event in a final state, or the store failed.
    pub async fn info(&self, user: UserId, code: &str) -> Result<InviteInfo, InvitesError> {
        check(code)?;
        let mut conn = self.sql.get().await?;
        Snapshots::transaction(&mut *conn, async |conn| {
            let invite = invites::find(conn, code).await?.ok_or(InvitesError::NoLink)?;
            let event = sql::events::find(conn, invite.event)
                .await?
                .ok_or(InvitesError::NoLink)?;
            let role = participants::role_of(conn, event.id, user).await?;
            if role.is_none() && !invite.is_open(self.clock.now()) {
                return Err(InvitesError::NoLink);
            }
            may(role, event.status, Action::Join)?;
            let removal = history::removal_before(conn, event.id, user, u64::MAX).await?;
            if removal.is_some_and(|no| no > invite.fact_no) {
                return Err(InvitesError::NoLink);
            }
            let name = participants::name_of(conn, event.creator).await?;
            Ok(InviteInfo {
                creator: PersonView {
                    id: event.creator,
                    name: name.unwrap_or_default(),
                },
                action: match role {
                    Some(_) => InviteAction::AlreadyJoined,
                    None => InviteAction::Confirm,
                },
                event: InvitedEvent {
                    id: event.id,
                    title: event.title,
                    start_time: event.start_time,
                    end_time: event.end_time,
                    location: event.location,
                },
            })
        })
        .await
    }

    /// Lets `user` take part in the event that the link leads to. Who takes part already
    /// succeeds, and the link is not used up by it.
    ///
    /// # Errors
    /// [`InvitesError::NoLink`], an event in a final state, [`InvitesError::Full`], or the
    /// store failed.
    pub async fn join(&self, user: UserId, code: &str) -> Result<Joined, InvitesError> {
        check(code)?;
        let mut conn = self.sql.get().await?;
        let invite = invites::find(&mut conn, code)
            .await?
            .ok_or(InvitesError::NoLink)?;
        conn.transaction(async |conn| {
            let now = self.clock.now();
            let outcome = apply::<InvitesError>(conn, invite.event, Some(user), Ask::Join, now)
                .await
                .map_err(|error| match error {
                    InvitesError::Denied(Denied::Unknown) => InvitesError::NoLink,
                    other => other,
                })?;
            let joined = |(_, change): &(_, Change)| matches!(change, Change::ParticipantJoined { .. });
            let is_repeat = !outcome.changes.iter().any(joined);
            if !is_repeat {
                let removal = history::removal_before(conn, invite.event, user, outcome.event.fact_no).await?;
                if removal.is_some_and(|no| no > invite.fact_no) {
                    return Err(InvitesError::NoLink);
                }
                // Before the link is looked at: a link into a full event is not used up.
                if participants::count(conn, invite.event).await? > self.max_participants {
                    return Err(InvitesError::Full);
                }
                if !invites::use_once(conn, code, now).await? {
                    return Err(InvitesError::NoLink);
                }
            }
            Ok(Joined {
                changed: changed(conn, &outcome.event).await?,
                is_repeat,
            })
        })
        .await
    }
}

/// Whether `code` could be one of ours at all: bounded before anything is done with it.
fn check(code: &str) -> Result<(), InvitesError> {
    let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if code.len() > MAX_CODE_BYTES || !code.bytes().all(is_ours) {
        return Err(InvitesError::NoLink);
    }
    Ok(())
}
