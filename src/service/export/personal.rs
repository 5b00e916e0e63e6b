//! From the log to somebody who takes part in the event, or did.
//!
//! Of entries which that person may not see (what lay between leaving and coming back) the
//! export has all but salt and body, as if they had been erased: the chain can be verified,
//! their content is not there. For who left it ends at the entry that says so.

use std::sync::Arc;

use bytes::Bytes;

use super::write::{Export, ExportError};
use crate::{
    domain::{
        fact::Membership,
        id::{EventId, UserId},
        visibility::{Circle, Visible},
    },
    ports::{FactSource, RoomLog, RoomSnapshot, SourceError},
};

/// Makes exports for those who take part, or did.
#[derive(Clone)]
pub struct Exports {
    log: Arc<dyn RoomLog>,
    facts: Arc<dyn FactSource>,
}

/// One person's export, made piece by piece as fast as it is taken.
pub struct PersonalExport {
    log: Arc<dyn RoomLog>,
    export: Export,
}

impl Exports {
    /// Exports of what is in `log` for those whom `facts` name.
    pub fn new(log: Arc<dyn RoomLog>, facts: Arc<dyn FactSource>) -> Self {
        Self { log, facts }
    }

    /// Whether `user` may have an export of `event` at all. Costs less than an export, and
    /// needs no room.
    ///
    /// # Errors
    /// [`SourceError::NotFound`] if not, as for an event that does not exist; or the store
    /// does not answer.
    pub async fn admit(&self, user: UserId, event: EventId) -> Result<(), SourceError> {
        if self.facts.knows(event, user).await? {
            Ok(())
        } else {
            Err(SourceError::NotFound)
        }
    }

    /// Begins the export of `event` for `user`, as the record ends now.
    ///
    /// # Errors
    /// [`ExportError::NoPart`] for who never took part; [`ExportError::Unsettled`] while it is
    /// not known where in the record `user` came or went; or as the log and the store answer.
    pub async fn begin(&self, user: UserId, event: EventId) -> Result<PersonalExport, ExportError> {
        let room = self.facts.load(event).await?.event.room;
        // The log first: whatever fact it has by now, the store has too when it is read.
        let end = self.log.tip(room).await?.head.seq;
        let snapshot = self.facts.load(event).await?;
        let visible = visible(user, &snapshot)?;
        let last = match visible.intervals().last() {
            None => return Err(ExportError::NoPart),
            Some((_, Some(left))) => end.min(*left),
            Some((_, None)) => end,
        };
        Ok(PersonalExport {
            log: Arc::clone(&self.log),
            export: Export::up_to(event, room, last, Some(visible))?,
        })
    }
}

/// What `user` may see of the record; nothing for who never took part.
fn visible(user: UserId, snapshot: &RoomSnapshot) -> Result<Visible, ExportError> {
    let mut circle = Circle::default();
    for (_, membership, seq) in &snapshot.memberships {
        match seq {
            Some(seq) => {
                circle.apply(membership, *seq);
            }
            // The record may have it already, and everything behind it would be shown.
            None if concerns(membership, user) => return Err(ExportError::Unsettled),
            None => {}
        }
    }
    Ok(circle.visible(user).cloned().unwrap_or_default())
}

fn concerns(membership: &Membership, user: UserId) -> bool {
    match membership {
        Membership::Enters(one) | Membership::Leaves(one) => *one == user,
        Membership::Are(_) => true,
    }
}

impl PersonalExport {
    /// The next piece, at most some MiB, which ends with a line's end; `None` behind the last.
    ///
    /// # Errors
    /// The log is damaged, not this event's, or does not answer: then the export has no end
    /// and every verifier says so.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        self.export.next(&*self.log).await
    }
}
