//! One change of an event, as `event_history` and the room's log keep it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    chain::body_of,
    entry::{Draft, Entry, Kind},
    event::{Answer, ConfirmRule, Event, EventStatus, OnDeadline, Role},
    id::{EventId, UserId},
    time::Micros,
};

/// A committed change of an event: number `no` of that event's changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Its own id, the key of its entry in the log.
    pub id: Uuid,
    /// 1, 2, 3, ... within the event, in commit order.
    pub no: u64,
    /// Who did it; `None` is the server itself.
    pub actor: Option<UserId>,
    /// When it was committed.
    pub at: Micros,
    /// What changed.
    pub change: Change,
}

/// An old and a new value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FromTo {
    /// Before.
    pub from: Value,
    /// After.
    pub to: Value,
}

/// Who takes part, as a `restored` fact states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The participant.
    pub user: UserId,
    /// What the participant is to the event.
    pub role: Role,
    /// What the participant answered.
    pub answer: Answer,
}

/// What changed. Ids, never names: a name must be erasable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Change {
    /// After the relational data was restored from an older backup: the event as it now stands.
    Restored {
        /// State of the event.
        status: EventStatus,
        /// Its title.
        title: String,
        /// When it begins.
        start_time: Micros,
        /// When it ends.
        end_time: Micros,
        /// Everyone who takes part.
        participants: Vec<Standing>,
    },
    /// The event came to be; its author is the host.
    EventCreated {
        /// The event's number, so that the chain itself says which event it belongs to.
        event: EventId,
        /// Its title.
        title: String,
        /// When it begins.
        start_time: Micros,
        /// When it ends.
        end_time: Micros,
        /// IANA name of its time zone.
        timezone: String,
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// What it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// How many acceptances confirm it; without it, everyone's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quorum: Option<u32>,
        /// By when it has to be confirmed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_by: Option<Micros>,
        /// What becomes of it otherwise; only where it has to be confirmed by a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_deadline: Option<OnDeadline>,
        /// How many changes of time or place it may have once it was confirmed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change_limit: Option<u32>,
    },
    /// Fields of the event got other values.
    EventUpdated {
        /// By field name.
        changes: BTreeMap<String, FromTo>,
        /// Whether time or place changed, so that everyone's answer is open again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asks_again: bool,
    },
    /// The host put somebody in.
    ParticipantAdded {
        /// Who came in.
        user: UserId,
    },
    /// Somebody came in by an invite link.
    ParticipantJoined {
        /// Who came in.
        user: UserId,
    },
    /// Somebody went by himself.
    ParticipantLeft {
        /// Who went.
        user: UserId,
    },
    /// The host put somebody out.
    ParticipantRemoved {
        /// Who went.
        user: UserId,
    },
    /// A participant said yes.
    Accepted {
        /// Who answered.
        user: UserId,
        /// What they said about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A participant said no.
    Declined {
        /// Who answered.
        user: UserId,
        /// Why, in the participant's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The event's rule is met.
    Confirmed {},
    /// A confirmed event is confirmed no longer.
    Unconfirmed {
        /// Why; facts of earlier versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<UnconfirmCause>,
    },
    /// The event will not take place.
    Canceled {
        /// Why, in the actor's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The event took place.
    Done {},
    /// The time to answer ran out.
    DeadlinePassed {
        /// Who had not accepted by then.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<UserId>,
    },
}

/// Why a confirmed event is confirmed no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnconfirmCause {
    /// Its time or place changed: everyone is asked again.
    Changed,
    /// Somebody whom it needs took an acceptance back, or went.
    Withdrawn,
}

/// What a fact does to the circle of participants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// This user takes part from here on.
    Enters(UserId),
    /// This user takes part no longer.
    Leaves(UserId),
    /// Exactly these users take part from here on.
    Are(Vec<UserId>),
}

impl Change {
    /// That `event` came to be, as it was then: also by which rule it is confirmed, so that the
    /// record itself tells why it later was, or was canceled.
    pub fn created(event: &Event) -> Self {
        Self::EventCreated {
            event: event.id,
            title: event.title.clone(),
            start_time: event.start_time,
            end_time: event.end_time,
            timezone: event.timezone.clone(),
            location: event.location.clone(),
            description: event.description.clone(),
            quorum: match event.rule.confirm {
                ConfirmRule::Everyone => None,
                ConfirmRule::Quorum(quorum) => Some(quorum),
            },
            confirm_by: event.rule.confirm_by,
            on_deadline: event.rule.confirm_by.map(|_| event.rule.on_deadline),
            change_limit: event.rule.change_limit,
        }
    }

    /// The wire's name of this change.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Restored { .. } => "restored",
            Self::EventCreated { .. } => "event_created",
            Self::EventUpdated { .. } => "event_updated",
            Self::ParticipantAdded { .. } => "participant_added",
            Self::ParticipantJoined { .. } => "participant_joined",
            Self::ParticipantLeft { .. } => "participant_left",
            Self::ParticipantRemoved { .. } => "participant_removed",
            Self::Accepted { .. } => "accepted",
            Self::Declined { .. } => "declined",
            Self::Confirmed {} => "confirmed",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::Canceled { .. } => "canceled",
            Self::Done {} => "done",
            Self::DeadlinePassed { .. } => "deadline_passed",
        }
    }

    /// Whether, and how, it changes who takes part. `actor` is the fact's.
    pub fn membership(&self, actor: Option<UserId>) -> Option<Membership> {
        match self {
            Self::EventCreated { .. } => actor.map(Membership::Enters),
            Self::ParticipantAdded { user } | Self::ParticipantJoined { user } => {
                Some(Membership::Enters(*user))
            }
            Self::ParticipantLeft { user } | Self::ParticipantRemoved { user } => {
                Some(Membership::Leaves(*user))
            }
            Self::Restored { participants, .. } => Some(Membership::Are(
                participants.iter().map(|standing| standing.user).collect(),
            )),
            Self::EventUpdated { .. }
            | Self::Accepted { .. }
            | Self::Declined { .. }
            | Self::Confirmed {}
            | Self::Unconfirmed { .. }
            | Self::Canceled { .. }
            | Self::Done {}
            | Self::DeadlinePassed { .. } => None,
        }
    }
}

/// A fact's body in the log: `{"no":3,"type":"canceled",...}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct FactBody {
    /// The fact's number.
    pub no: u64,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

impl Fact {
    /// The entry this fact becomes.
    pub fn draft(&self) -> Draft {
        Draft {
            author: self.actor,
            kind: Kind::Fact,
            key: self.id,
            reply_to: None,
            target: None,
            body: self.body(),
        }
    }

    fn body(&self) -> Bytes {
        body_of(&FactBody {
            no: self.no,
            change: self.change.clone(),
        })
    }

    /// The fact that `entry` holds; `None` for other kinds, for an erased body,
    /// and for a change that a later version wrote and this one does not know.
    pub fn of(entry: &Entry) -> Option<Self> {
        if entry.kind != Kind::Fact {
            return None;
        }
        let FactBody { no, change } = serde_json::from_slice(entry.body()?).ok()?;
        Some(Self {
            id: entry.key,
            no,
            actor: entry.author,
            at: entry.at,
            change,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Change, Fact};
    use crate::domain::{
        chain::Tip,
        id::{RoomId, UserId},
        time::Micros,
    };

    #[test]
    fn fact_survives_the_log() {
        let fact = Fact {
            id: Uuid::from_u128(5),
            no: 1,
            actor: Some(UserId(3)),
            at: Micros(10),
            change: Change::Canceled {
                reason: Some("비".into()),
            },
        };
        let entry = Tip::empty(RoomId(Uuid::nil())).seal(fact.draft(), Micros(10), [0; 16]);
        assert_eq!(
            entry.body().unwrap(),
            "{\"no\":1,\"type\":\"canceled\",\"reason\":\"비\"}"
        );
        assert_eq!(Fact::of(&entry), Some(fact));
    }
}
