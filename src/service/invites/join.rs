//! Where a link leads, and following it.

use serde::Serialize;

use super::{Invites, InvitesError, check};
use crate::{
    adapters::sql::{self, history, invites, participants, people},
    domain::{
        event::{Action, Denied, life::Ask, may},
        fact::Change,
        id::{EventId, UserId},
        time::Micros,
        view::PersonView,
    },
    service::events::{Changed, apply, changed},
};

/// Of an event, what who holds a link may know before joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InviteAction {
    /// One may join.
    Confirm,
    /// One takes part already.
    AlreadyJoined,
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Invitation)]
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

impl Invites {
    /// What the link with this code leads to, for `user`.
    ///
    /// # Errors
    /// [`InvitesError::NoLink`]; for who does not take part, an event in a final state or
    /// past its end; or the store failed.
    pub async fn info(&self, user: UserId, code: &str) -> Result<InviteInfo, InvitesError> {
        check(code)?;
        self.sql
            .read(async |conn| {
                let now = self.clock.now();
                let invite = invites::find(conn, code).await?.ok_or(InvitesError::NoLink)?;
                let event = sql::events::find(conn, invite.event)
                    .await?
                    .ok_or(InvitesError::NoLink)?;
                let role = participants::role_of(conn, event.id, user).await?;
                if role.is_none() {
                    if !invite.is_open(now) {
                        return Err(InvitesError::NoLink);
                    }
                    let removal = history::removal_before(conn, event.id, user, u64::MAX).await?;
                    if removal.is_some_and(|no| no > invite.fact_no) {
                        return Err(InvitesError::NoLink);
                    }
                    may(role, event.status, Action::Join)?;
                    if now >= event.end_time {
                        return Err(Denied::Over.into());
                    }
                }
                let name = people::name_of(conn, event.creator).await?;
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
    /// [`InvitesError::NoLink`], an event in a final state or past its end,
    /// [`InvitesError::Full`], or the store failed.
    pub async fn join(&self, user: UserId, code: &str) -> Result<Joined, InvitesError> {
        check(code)?;
        let invite = invites::find(&mut *self.sql.get().await?, code)
            .await?
            .ok_or(InvitesError::NoLink)?;
        self.sql
            .change(invite.event, async |conn| {
                let now = self.clock.now();
                let outcome = apply::<InvitesError>(conn, invite.event, Some(user), Ask::Join, now)
                    .await
                    .map_err(|error| match error {
                        // A link that does not count tells nobody what became of its event.
                        InvitesError::Denied(_) if !invite.is_open(now) => InvitesError::NoLink,
                        InvitesError::Denied(Denied::Unknown) => InvitesError::NoLink,
                        other => other,
                    })?;
                let joined = |(_, change): &(_, Change)| matches!(change, Change::ParticipantJoined { .. });
                let is_repeat = !outcome.changes.iter().any(joined);
                if !is_repeat {
                    let removal =
                        history::removal_before(conn, invite.event, user, outcome.event.fact_no).await?;
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
