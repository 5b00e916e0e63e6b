//! What a link shows to anybody who has it, signed in or not.

use super::{Invites, check};
use crate::{
    adapters::sql::{self, SqlError, invites, people},
    domain::{
        event::{Action, may},
        time::Micros,
    },
};

/// Of an event, what its invite page says: nothing of the place, the description or who
/// else takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The whole link.
    pub link: String,
    /// What the link carries.
    pub code: String,
    /// The event's title.
    pub title: String,
    /// When it begins.
    pub start_time: Micros,
    /// When it ends.
    pub end_time: Micros,
    /// IANA name of the zone its times are meant in.
    pub timezone: String,
    /// The host's display name; `None` if the host's account is gone.
    pub host: Option<String>,
    /// From when on the link no longer counts.
    pub expires_at: Option<Micros>,
}

impl Invites {
    /// What the page of the link with this code says; `None` for a link by which nobody can
    /// join now, and for one that never was.
    ///
    /// # Errors
    /// The store failed.
    pub async fn invitation(&self, code: &str) -> Result<Option<Invitation>, SqlError> {
        if check(code).is_err() {
            return Ok(None);
        }
        self.sql
            .read(async |conn| {
                let now = self.clock.now();
                let Some(invite) = invites::find(conn, code)
                    .await?
                    .filter(|invite| invite.is_open(now))
                else {
                    return Ok(None);
                };
                let Some(event) = sql::events::find(conn, invite.event).await? else {
                    return Ok(None);
                };
                if may(None, event.status, Action::Join).is_err() || now >= event.end_time {
                    return Ok(None);
                }
                let host = people::name_of(conn, event.creator).await?;
                Ok(Some(Invitation {
                    link: self.link(&invite.code),
                    code: invite.code,
                    title: event.title,
                    start_time: event.start_time,
                    end_time: event.end_time,
                    timezone: event.timezone,
                    host: host.filter(|name| !name.is_empty()),
                    expires_at: invite.expires_at,
                }))
            })
            .await
    }
}
