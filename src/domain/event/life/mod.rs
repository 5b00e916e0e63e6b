//! The life of an event: `PROPOSED -> CONFIRMED -> DONE`, `CANCELED` from the first two.
//!
//! [`step`] is the one state machine. It is pure: the caller brings the event as nobody
//! else can change it any more and the moment, and stores what comes out.

#[cfg(test)]
mod tests;
mod update;

pub use self::update::Update;
use super::{
    Action, Answer, ConfirmRule, Denied, Event, EventStatus, OnDeadline, Participant, Role, Rule, may,
};
use crate::domain::{
    fact::{Change, UnconfirmCause},
    id::UserId,
    time::Micros,
};

/// What is asked of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The actor says yes or no, or changes that.
    Answer {
        /// Yes, or no.
        accept: bool,
        /// Why, in the actor's words.
        reason: Option<String>,
    },
    /// The host confirms by hand.
    Confirm,
    /// The host changes it.
    Update(Box<Update>),
    /// The actor comes in by a link.
    Join,
    /// The host puts this user in.
    Add(UserId),
    /// The actor goes, or the host puts this user out.
    Remove(UserId),
    /// The host calls it off.
    Cancel {
        /// Why, in the host's words.
        reason: Option<String>,
    },
    /// The host says that it took place.
    Finish,
    /// Whatever has become due by itself.
    Due,
    /// The host's account is gone: nobody answers for the event any more.
    Orphan,
}

/// An event after a step, with the facts of what happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The event as it now stands; `fact_no` and `updated_at` are the store's to change.
    pub event: Event,
    /// Who takes part now.
    pub participants: Vec<Participant>,
    /// What happened, in order, each with who did it (`None`: the server itself). Empty:
    /// everything already is as it should be.
    pub changes: Vec<(Option<UserId>, Change)>,
}

impl Step {
    fn of(event: &Event, participants: &[Participant]) -> Self {
        Self {
            event: event.clone(),
            participants: participants.to_vec(),
            changes: Vec::new(),
        }
    }

    fn note(&mut self, actor: Option<UserId>, change: Change) {
        self.changes.push((actor, change));
    }

    fn find(&mut self, user: UserId) -> Option<&mut Participant> {
        self.participants.iter_mut().find(|one| one.user == user)
    }
}

/// What becomes of `event`, in which `participants` take part, when `actor` asks this of
/// it at `now`.
///
/// What became due before `now` happens first, so that a deadline counts to the microsecond
/// although nothing looks at it at that very moment.
///
/// # Errors
/// Why not; then nothing happens, also nothing that became due.
pub fn step(
    event: &Event,
    participants: &[Participant],
    actor: Option<UserId>,
    ask: Ask,
    now: Micros,
) -> Result<Step, Denied> {
    let mut step = Step::of(event, participants);
    while step.event.due_at().is_some_and(|due_at| due_at <= now) {
        step.fall_due(now);
    }
    let role = actor.and_then(|actor| {
        let found = participants.iter().find(|one| one.user == actor);
        found.map(|one| one.role)
    });
    let status = step.event.status;
    match ask {
        Ask::Due => {}
        Ask::Orphan => step.orphan(actor, now),
        Ask::Answer { accept, reason } => {
            may(role, status, Action::Answer)?;
            step.answer(actor, accept, reason, now)?;
        }
        Ask::Confirm => {
            may(role, status, Action::Confirm)?;
            step.confirm_by_hand(actor, now)?;
        }
        Ask::Update(update) => {
            may(role, status, Action::Update)?;
            step.update(actor, *update, now)?;
        }
        Ask::Join => {
            may(role, status, Action::Join)?;
            if let Some(user) = actor {
                step.enter(actor, user, Change::ParticipantJoined { user }, now)?;
            }
        }
        Ask::Add(user) => {
            may(role, status, Action::Add)?;
            step.enter(actor, user, Change::ParticipantAdded { user }, now)?;
        }
        Ask::Remove(user) => {
            let (action, change) = if actor == Some(user) {
                (Action::Leave, Change::ParticipantLeft { user })
            } else {
                (Action::Remove, Change::ParticipantRemoved { user })
            };
            may(role, status, action)?;
            step.go(actor, user, change, now)?;
        }
        Ask::Cancel { reason } => {
            may(role, status, Action::Cancel)?;
            if status != EventStatus::Canceled {
                step.end(EventStatus::Canceled, actor, Change::Canceled { reason }, now);
            }
        }
        Ask::Finish => {
            may(role, status, Action::Finish)?;
            if status == EventStatus::Confirmed {
                if now < step.event.start_time {
                    return Err(Denied::NotBegun);
                }
                step.end(EventStatus::Done, actor, Change::Done {}, now);
            }
        }
    }
    Ok(step)
}

/// How many acceptances the rule still needs; 0 means that it is met.
///
/// A host alone meets no rule by being alone: `settle` never confirms that, only the
/// host's own hand does.
pub fn needed(rule: &Rule, participants: &[Participant]) -> u32 {
    let count = |wanted: bool| {
        let found = participants
            .iter()
            .filter(|one| (one.answer == Answer::Accepted) == wanted);
        u32::try_from(found.count()).unwrap_or(u32::MAX)
    };
    match rule.confirm {
        ConfirmRule::Everyone => count(false),
        ConfirmRule::Quorum(quorum) => quorum.saturating_sub(count(true)),
    }
}

fn missing(participants: &[Participant]) -> Vec<UserId> {
    let open = participants.iter().filter(|one| one.answer != Answer::Accepted);
    open.map(|one| one.user).collect()
}

impl Step {
    fn fall_due(&mut self, now: Micros) {
        if self.event.status == EventStatus::Confirmed {
            return self.end(EventStatus::Done, None, Change::Done {}, now);
        }
        self.event.course.deadline_spent = true;
        let missing = missing(&self.participants);
        self.note(None, Change::DeadlinePassed { missing });
        if self.event.rule.on_deadline == OnDeadline::Cancel {
            self.end(
                EventStatus::Canceled,
                None,
                Change::Canceled { reason: None },
                now,
            );
        }
    }

    fn end(&mut self, status: EventStatus, actor: Option<UserId>, change: Change, now: Micros) {
        self.event.status = status;
        self.event.course.ended_at = Some(now);
        self.note(actor, change);
    }

    fn orphan(&mut self, actor: Option<UserId>, now: Micros) {
        if !self.event.status.is_final() {
            self.end(
                EventStatus::Canceled,
                actor,
                Change::Canceled { reason: None },
                now,
            );
        }
    }

    fn answer(
        &mut self,
        actor: Option<UserId>,
        accept: bool,
        reason: Option<String>,
        now: Micros,
    ) -> Result<(), Denied> {
        let Some(user) = actor else {
            return Err(Denied::Unknown);
        };
        let end_time = self.event.end_time;
        let one = self.find(user).ok_or(Denied::Unknown)?;
        if one.role == Role::Host {
            return if accept { Ok(()) } else { Err(Denied::HostStays) };
        }
        let answer = if accept {
            Answer::Accepted
        } else {
            Answer::Declined
        };
        if one.answer == answer && (reason.is_none() || one.reason == reason) {
            return Ok(());
        }
        if now >= end_time {
            return Err(Denied::Over);
        }
        let withdrawn = one.answer == Answer::Accepted && !accept;
        one.answer = answer;
        one.answered_at = Some(now);
        one.reason.clone_from(&reason);
        self.note(
            actor,
            if accept {
                Change::Accepted { user, reason }
            } else {
                Change::Declined { user, reason }
            },
        );
        if withdrawn {
            self.lose(true, now);
        }
        self.settle(now);
        Ok(())
    }

    fn enter(
        &mut self,
        actor: Option<UserId>,
        user: UserId,
        change: Change,
        now: Micros,
    ) -> Result<(), Denied> {
        if self.find(user).is_some() {
            return Ok(());
        }
        if now >= self.event.end_time {
            return Err(Denied::Over);
        }
        self.participants.push(Participant::invited(user));
        self.note(actor, change);
        Ok(())
    }

    fn go(&mut self, actor: Option<UserId>, user: UserId, change: Change, now: Micros) -> Result<(), Denied> {
        let place = self.participants.iter().position(|one| one.user == user);
        let Some(place) = place.filter(|place| self.participants[*place].role != Role::Host) else {
            return Err(Denied::NotParticipant);
        };
        let gone = self.participants.remove(place);
        self.note(actor, change);
        if gone.answer == Answer::Accepted {
            self.lose(false, now);
        }
        self.settle(now);
        Ok(())
    }

    /// An acceptance is gone: a confirmed event that needed it is confirmed no longer. Who
    /// came in later and has not answered does not take a confirmation away.
    fn lose(&mut self, declined: bool, now: Micros) {
        if self.event.status != EventStatus::Confirmed {
            return;
        }
        let holds = match self.event.rule.confirm {
            ConfirmRule::Everyone => {
                let guests = self.participants.iter().filter(|one| one.role == Role::Guest);
                !declined && guests.clone().any(|one| one.answer == Answer::Accepted)
            }
            ConfirmRule::Quorum(_) => needed(&self.event.rule, &self.participants) == 0,
        };
        if !holds {
            self.unconfirm(UnconfirmCause::Withdrawn, now);
        }
    }

    fn unconfirm(&mut self, cause: UnconfirmCause, now: Micros) {
        self.event.status = EventStatus::Proposed;
        self.event.course.confirmed_at = None;
        // A time to answer that passed while the event was confirmed must not strike now.
        if self.event.rule.confirm_by.is_some_and(|by| by <= now) {
            self.event.course.deadline_spent = true;
        }
        self.note(None, Change::Unconfirmed { cause: Some(cause) });
    }

    /// Confirms a proposed event whose rule is met.
    fn settle(&mut self, now: Micros) {
        let is_met = needed(&self.event.rule, &self.participants) == 0 && self.participants.len() > 1;
        if self.event.status == EventStatus::Proposed && is_met {
            self.confirm(None, now);
        }
    }

    fn confirm(&mut self, actor: Option<UserId>, now: Micros) {
        self.event.status = EventStatus::Confirmed;
        self.event.course.confirmed_at = Some(now);
        self.event.course.was_confirmed = true;
        self.note(actor, Change::Confirmed {});
    }

    fn confirm_by_hand(&mut self, actor: Option<UserId>, now: Micros) -> Result<(), Denied> {
        if self.event.status == EventStatus::Confirmed {
            return Ok(());
        }
        let needed = needed(&self.event.rule, &self.participants);
        if needed > 0 {
            let missing = missing(&self.participants);
            return Err(Denied::Missing { missing, needed });
        }
        self.confirm(actor, now);
        Ok(())
    }
}
