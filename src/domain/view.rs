//! An event as clients read it, the same over HTTP and over the socket.

use serde::Serialize;

use super::{
    event::{Answer, ConfirmRule, Event, EventStatus, OnDeadline, Participant, Role},
    id::{EventId, UserId},
    time::Micros,
};

/// A person as other participants see one: no phone number, no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Person)]
pub struct PersonView {
    /// Who.
    pub id: UserId,
    /// Display name; empty only for somebody whose account is gone.
    pub name: String,
}

/// A participant as other participants see one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Participant)]
pub struct ParticipantView {
    /// Who, and the display name.
    #[serde(flatten)]
    pub person: PersonView,
    /// What to the event.
    pub role: Role,
    /// With which answer.
    pub answer: Answer,
    /// When it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Micros>,
    /// Why, in the participant's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Version 1's word for an accepted answer.
    pub confirmed: bool,
    /// When it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Micros>,
    /// The last entry of the record that the participant has read; 0 is none.
    pub read_seq: u64,
    /// When it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Micros>,
}

/// What confirms an event, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ConfirmRule)]
pub enum ConfirmRuleView {
    /// Everyone who takes part.
    Everyone,
    /// As many as `quorum` says, the host counted.
    Quorum,
}

/// An event as clients of both versions read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Its number, which also names its room.
    pub id: EventId,
    /// Its title.
    pub title: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When it begins.
    pub start_time: Micros,
    /// When it ends.
    pub end_time: Micros,
    /// IANA name of the zone its times are meant in.
    pub timezone: String,
    /// Where it is in its life.
    pub status: EventStatus,
    /// What confirms it.
    pub confirm_rule: ConfirmRuleView,
    /// How many acceptances confirm it, the host's counted, if that is its rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// By when it has to be confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Micros>,
    /// What becomes of it otherwise.
    pub on_deadline: OnDeadline,
    /// How many changes of time or place it may have once it was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_limit: Option<u32>,
    /// How many of them are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_left: Option<u32>,
    /// Since when it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Micros>,
    /// When it was canceled or done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Micros>,
    /// The host's number.
    pub creator_id: UserId,
    /// The host.
    pub creator: PersonView,
    /// Everyone but the host, whom version 1's app counts apart.
    pub participants: Vec<ParticipantView>,
    /// How many changes it has had; grows with each.
    pub fact_no: u64,
    /// The last entry of its record, for who takes part; left out when that cannot be told now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_seq: Option<u64>,
    /// Messages of its record that the reader has not read; left out as `head_seq` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_messages: Option<u64>,
    /// When it came to be.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

impl EventView {
    /// Puts `name` where there is none because an account is gone.
    pub fn name_the_unknown(&mut self, name: &str) {
        let guests = self
            .participants
            .iter_mut()
            .map(|participant| &mut participant.person);
        for person in guests.chain([&mut self.creator]) {
            person.name_if_unknown(name);
        }
    }
}

impl PersonView {
    /// Puts `name` where there is none because the account is gone.
    pub fn name_if_unknown(&mut self, name: &str) {
        if self.name.is_empty() {
            name.clone_into(&mut self.name);
        }
    }
}

/// `participant` with the name that `name_of` gives.
pub fn participant_view(
    participant: &Participant,
    name_of: &dyn Fn(UserId) -> Option<String>,
) -> ParticipantView {
    let accepted = participant.answer == Answer::Accepted;
    ParticipantView {
        person: PersonView {
            id: participant.user,
            name: name_of(participant.user).unwrap_or_default(),
        },
        role: participant.role,
        answer: participant.answer,
        answered_at: participant.answered_at,
        reason: participant.reason.clone(),
        confirmed: accepted,
        confirmed_at: participant.answered_at.filter(|_| accepted),
        read_seq: participant.read.seq,
        read_at: participant.read.at,
    }
}

/// `event` with those who take part, in the order given.
pub fn event_view(
    event: &Event,
    participants: &[Participant],
    name_of: &dyn Fn(UserId) -> Option<String>,
) -> EventView {
    let (confirm_rule, quorum) = match event.rule.confirm {
        ConfirmRule::Everyone => (ConfirmRuleView::Everyone, None),
        ConfirmRule::Quorum(quorum) => (ConfirmRuleView::Quorum, Some(quorum)),
    };
    EventView {
        id: event.id,
        title: event.title.clone(),
        description: event.description.clone(),
        location: event.location.clone(),
        start_time: event.start_time,
        end_time: event.end_time,
        timezone: event.timezone.clone(),
        status: event.status,
        confirm_rule,
        quorum,
        confirm_by: event.rule.confirm_by,
        on_deadline: event.rule.on_deadline,
        change_limit: event.rule.change_limit,
        changes_left: event.changes_left(),
        confirmed_at: event.course.confirmed_at,
        ended_at: event.course.ended_at,
        creator_id: event.creator,
        creator: PersonView {
            id: event.creator,
            name: name_of(event.creator).unwrap_or_default(),
        },
        participants: participants
            .iter()
            .filter(|participant| participant.role == Role::Guest)
            .map(|participant| participant_view(participant, name_of))
            .collect(),
        fact_no: event.fact_no,
        head_seq: None,
        unread_messages: None,
        created_at: event.created_at,
        updated_at: event.updated_at,
    }
}
