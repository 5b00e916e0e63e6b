use proptest::prelude::*;
use uuid::Uuid;

use super::{Ask, Step, Update, needed, step};
use crate::domain::{
    event::{Answer, ConfirmRule, Course, Denied, Event, EventStatus, OnDeadline, Participant, Role, Rule},
    fact::{Change, UnconfirmCause},
    id::{EventId, RoomId, UserId},
    time::Micros,
};

const HOST: UserId = UserId(1);
const MINA: UserId = UserId(2);
const JUN: UserId = UserId(3);
const START: Micros = Micros(1_000);
const END: Micros = Micros(2_000);

/// An event under test, with its record so far.
struct Story {
    event: Event,
    participants: Vec<Participant>,
    record: Vec<&'static str>,
}

impl Story {
    fn new(rule: Rule, guests: &[UserId]) -> Self {
        let mut participants = vec![Participant::host(HOST, Micros(1))];
        participants.extend(guests.iter().map(|guest| Participant::invited(*guest)));
        Self {
            event: Event {
                id: EventId(1),
                room: RoomId(Uuid::from_u128(1)),
                title: "저녁".into(),
                description: None,
                location: None,
                start_time: START,
                end_time: END,
                timezone: "Asia/Seoul".into(),
                status: EventStatus::Proposed,
                creator: HOST,
                rule,
                course: Course::default(),
                fact_no: 1,
                created_at: Micros(1),
                updated_at: Micros(1),
            },
            participants,
            record: Vec::new(),
        }
    }

    fn ask(&mut self, actor: UserId, ask: Ask, now: i64) -> Result<(), Denied> {
        let actor = (ask != Ask::Due).then_some(actor);
        let Step {
            event,
            participants,
            changes,
        } = step(&self.event, &self.participants, actor, ask, Micros(now))?;
        self.event = event;
        self.participants = participants;
        self.record
            .extend(changes.iter().map(|(_, change)| change.name()));
        Ok(())
    }

    fn answer(&mut self, who: UserId, accept: bool, now: i64) -> Result<(), Denied> {
        self.ask(who, Ask::Answer { accept, reason: None }, now)
    }

    fn update(&mut self, update: Update, now: i64) -> Result<(), Denied> {
        self.ask(HOST, Ask::Update(Box::new(update)), now)
    }
}

fn place(name: &str) -> Update {
    Update {
        location: Some(Some(name.into())),
        ..Update::default()
    }
}

#[test]
fn everyone_has_to_accept_and_then_it_is_confirmed_by_itself() {
    let mut story = Story::new(Rule::default(), &[MINA, JUN]);
    story.answer(MINA, true, 10).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
    assert_eq!(
        story.ask(HOST, Ask::Confirm, 11),
        Err(Denied::Missing {
            missing: vec![JUN],
            needed: 1
        })
    );
    story.answer(JUN, true, 12).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
    assert_eq!(story.event.course.confirmed_at, Some(Micros(12)));
    assert_eq!(story.record, ["accepted", "accepted", "confirmed"]);
    story.ask(HOST, Ask::Confirm, 13).unwrap();
    story.answer(JUN, true, 13).unwrap();
    assert_eq!(story.record.len(), 3, "what is so already makes no fact");
}

#[test]
fn answers_can_be_given_and_changed_until_the_event_ends() {
    let mut story = Story::new(Rule::default(), &[MINA, JUN]);
    story.answer(MINA, true, 10).unwrap();
    story.answer(MINA, false, 1_500).unwrap();
    story.answer(MINA, true, 1_999).unwrap();
    assert_eq!(story.answer(JUN, true, 2_000), Err(Denied::Over));
    assert_eq!(story.answer(MINA, false, 2_000), Err(Denied::Over));
    // What is so already is no change.
    story.answer(MINA, true, 2_001).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
    assert_eq!(story.record, ["accepted", "declined", "accepted"]);
}

#[test]
fn quorum_counts_the_host() {
    let rule = Rule {
        confirm: ConfirmRule::Quorum(2),
        ..Rule::default()
    };
    let mut story = Story::new(rule, &[MINA, JUN]);
    story.answer(JUN, false, 5).unwrap();
    story.answer(MINA, true, 6).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
}

#[test]
fn host_alone_is_never_confirmed_by_itself_but_may_be_by_hand() {
    let mut story = Story::new(Rule::default(), &[MINA]);
    story.ask(MINA, Ask::Remove(MINA), 5).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
    story.ask(HOST, Ask::Confirm, 6).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
}

#[test]
fn removing_the_one_who_does_not_answer_confirms() {
    let mut story = Story::new(Rule::default(), &[MINA, JUN]);
    story.answer(MINA, true, 5).unwrap();
    story.ask(HOST, Ask::Remove(JUN), 6).unwrap();
    assert_eq!(story.record, ["accepted", "participant_removed", "confirmed"]);
}

#[test]
fn acceptance_taken_back_takes_the_confirmation_with_it() {
    let mut story = Story::new(Rule::default(), &[MINA, JUN]);
    story.answer(MINA, true, 5).unwrap();
    story.answer(JUN, true, 6).unwrap();
    story.answer(JUN, false, 7).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
    assert_eq!(story.record[3..], ["declined", "unconfirmed"]);
    // A late joiner who has not answered takes nothing away.
    let mut story = Story::new(Rule::default(), &[MINA]);
    story.answer(MINA, true, 5).unwrap();
    story.ask(JUN, Ask::Join, 6).unwrap();
    story.answer(JUN, false, 7).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
    story.ask(MINA, Ask::Remove(MINA), 8).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
}

#[test]
fn time_and_place_ask_again_and_words_do_not() {
    let mut story = Story::new(Rule::default(), &[MINA]);
    story.answer(MINA, true, 5).unwrap();
    let words = Update {
        title: Some("점심".into()),
        description: Some(Some("x".into())),
        timezone: Some("Europe/Berlin".into()),
        ..Update::default()
    };
    story.update(words.clone(), 6).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
    story.update(words, 7).unwrap();
    assert_eq!(story.record, ["accepted", "confirmed", "event_updated"]);
    story.update(place("강남역"), 8).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
    assert_eq!(story.participants[1].answer, Answer::Pending);
    assert_eq!(story.participants[0].answer, Answer::Accepted);
    assert_eq!(story.record[3..], ["event_updated", "unconfirmed"]);
}

#[test]
fn changes_after_confirmation_are_counted_and_limited() {
    let rule = Rule {
        change_limit: Some(1),
        ..Rule::default()
    };
    let mut story = Story::new(rule, &[MINA]);
    story.update(place("a"), 3).unwrap();
    assert_eq!(
        story.event.changes_left(),
        Some(1),
        "before the confirmation changes are free"
    );
    story.answer(MINA, true, 5).unwrap();
    story.update(place("b"), 6).unwrap();
    assert_eq!(
        story.update(place("c"), 7),
        Err(Denied::NoChangesLeft { limit: 1 })
    );
    let raised = Update {
        change_limit: Some(None),
        ..Update::default()
    };
    assert_eq!(story.update(raised, 8), Err(Denied::LimitStands));
    let words = Update {
        title: Some("x".into()),
        ..Update::default()
    };
    story.update(words, 9).unwrap();
}

#[test]
fn deadline_strikes_once_and_does_what_the_rule_says() {
    for (on_deadline, status, facts) in [
        (OnDeadline::Stay, EventStatus::Proposed, &["deadline_passed"][..]),
        (
            OnDeadline::Cancel,
            EventStatus::Canceled,
            &["deadline_passed", "canceled"],
        ),
    ] {
        let rule = Rule {
            confirm_by: Some(Micros(500)),
            on_deadline,
            ..Rule::default()
        };
        let mut story = Story::new(rule, &[MINA, JUN]);
        story.ask(HOST, Ask::Due, 499).unwrap();
        assert!(story.record.is_empty());
        story.ask(HOST, Ask::Due, 500).unwrap();
        story.ask(HOST, Ask::Due, 501).unwrap();
        assert_eq!((story.event.status, &story.record[..]), (status, facts));
        assert_eq!(story.event.due_at(), None);
    }
}

#[test]
fn deadline_counts_although_nobody_looked_at_it_in_time() {
    let rule = Rule {
        confirm_by: Some(Micros(500)),
        on_deadline: OnDeadline::Cancel,
        ..Rule::default()
    };
    let mut story = Story::new(rule, &[MINA]);
    assert_eq!(
        story.answer(MINA, true, 500),
        Err(Denied::State(EventStatus::Canceled))
    );
    assert!(
        story.record.is_empty(),
        "a refused step leaves what is due to its own transaction"
    );
    story.answer(MINA, true, 499).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
}

#[test]
fn deadline_that_passed_while_it_was_confirmed_does_not_strike_later() {
    let rule = Rule {
        confirm_by: Some(Micros(500)),
        on_deadline: OnDeadline::Cancel,
        ..Rule::default()
    };
    let mut story = Story::new(rule, &[MINA]);
    story.answer(MINA, true, 400).unwrap();
    story.update(place("b"), 600).unwrap();
    story.ask(HOST, Ask::Due, 700).unwrap();
    assert_eq!(story.event.status, EventStatus::Proposed);
    let later = Update {
        confirm_by: Some(Some(Micros(800))),
        ..Update::default()
    };
    story.update(later, 700).unwrap();
    story.ask(HOST, Ask::Due, 800).unwrap();
    assert_eq!(story.event.status, EventStatus::Canceled);
}

#[test]
fn done_by_itself_only_if_it_was_confirmed_before_its_end() {
    let mut story = Story::new(Rule::default(), &[MINA]);
    story.answer(MINA, true, 10).unwrap();
    assert_eq!(story.ask(HOST, Ask::Finish, 999), Err(Denied::NotBegun));
    story.ask(HOST, Ask::Due, 1_999).unwrap();
    assert_eq!(story.event.status, EventStatus::Confirmed);
    story.ask(HOST, Ask::Due, 2_000).unwrap();
    assert_eq!(story.event.status, EventStatus::Done);
    assert_eq!(story.record, ["accepted", "confirmed", "done"]);

    let mut story = Story::new(Rule::default(), &[MINA, JUN]);
    story.answer(MINA, true, 10).unwrap();
    story.ask(HOST, Ask::Remove(JUN), 2_001).unwrap();
    story.ask(HOST, Ask::Due, 5_000).unwrap();
    assert_eq!(
        story.event.status,
        EventStatus::Confirmed,
        "confirmed only after its end"
    );
    story.ask(HOST, Ask::Finish, 5_001).unwrap();
    assert_eq!(story.event.status, EventStatus::Done);
}

#[test]
fn nobody_comes_in_after_the_end() {
    let mut story = Story::new(Rule::default(), &[]);
    assert_eq!(story.ask(JUN, Ask::Join, 2_000), Err(Denied::Over));
    assert_eq!(story.ask(HOST, Ask::Add(JUN), 2_000), Err(Denied::Over));
    story.ask(JUN, Ask::Join, 1_999).unwrap();
    story.ask(JUN, Ask::Join, 2_000).unwrap();
    assert_eq!(story.record, ["participant_joined"]);
}

fn asks() -> impl Strategy<Value = Ask> {
    let user = (1..6_i64).prop_map(UserId);
    prop_oneof![
        4 => (any::<bool>(), proptest::option::of("[a-c]"))
            .prop_map(|(accept, reason)| Ask::Answer { accept, reason }),
        1 => Just(Ask::Confirm),
        2 => (0..4_i64, 0..3_i64).prop_map(|(start, place)| Ask::Update(Box::new(Update {
            start_time: (start > 0).then_some(Micros(start * 300)),
            location: (place > 0).then(|| Some(place.to_string())),
            title: (start == 0).then(|| place.to_string()),
            ..Update::default()
        }))),
        1 => (2..4_u32, 0..3_000_i64, any::<bool>()).prop_map(|(quorum, by, cancel)| Ask::Update(Box::new(Update {
            confirm: Some(if quorum == 3 { ConfirmRule::Everyone } else { ConfirmRule::Quorum(quorum) }),
            confirm_by: Some(Some(Micros(by))),
            on_deadline: Some(if cancel { OnDeadline::Cancel } else { OnDeadline::Stay }),
            ..Update::default()
        }))),
        2 => Just(Ask::Join),
        1 => user.clone().prop_map(Ask::Add),
        1 => user.prop_map(Ask::Remove),
        1 => Just(Ask::Cancel { reason: None }),
        1 => Just(Ask::Finish),
        2 => Just(Ask::Due),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_is_asked_the_rules_hold(steps in proptest::collection::vec((1..6_i64, asks(), 1..200_i64), 1..40)) {
        let mut story = Story::new(Rule { change_limit: Some(2), ..Rule::default() }, &[MINA, JUN]);
        let mut now = 0;
        for (actor, ask, pause) in steps {
            now += pause;
            let before = (story.event.clone(), story.participants.clone());
            let actor = (ask != Ask::Due).then_some(UserId(actor));
            let Ok(Step { event, participants, changes }) =
                step(&story.event, &story.participants, actor, ask.clone(), Micros(now))
            else {
                continue;
            };
            let names: Vec<&str> = changes.iter().map(|(_, change)| change.name()).collect();
            // Final is final.
            if before.0.status.is_final() {
                prop_assert_eq!(event.status, before.0.status);
            }
            // No facts, no change; no change of what counts without a fact.
            if changes.is_empty() {
                prop_assert_eq!(&(event.clone(), participants.clone()), &before);
            }
            // Each transition has exactly its fact.
            let turns = names.iter().filter(|name| ["confirmed", "unconfirmed", "canceled", "done"].contains(name));
            if event.status == before.0.status {
                prop_assert!(turns.count() % 2 == 0, "{:?}", names);
            } else {
                prop_assert!(turns.count() % 2 == 1, "{:?}", names);
            }
            // One host, accepted, the first; nobody twice.
            let hosts = participants.iter().filter(|one| one.role == Role::Host);
            prop_assert_eq!(hosts.count(), 1);
            prop_assert!(participants[0].user == HOST && participants[0].answer == Answer::Accepted);
            let mut users: Vec<_> = participants.iter().map(|one| one.user.0).collect();
            users.sort_unstable();
            users.dedup();
            prop_assert_eq!(users.len(), participants.len());
            // A rule that is met confirms, and nothing else becomes confirmed by itself.
            if event.status == EventStatus::Proposed && participants.len() > 1 && !names.is_empty()
                && ask != Ask::Due && !matches!(ask, Ask::Join | Ask::Add(_)) {
                prop_assert!(needed(&event.rule, &participants) > 0);
            }
            if names.contains(&"confirmed") && event.status == EventStatus::Confirmed {
                prop_assert_eq!(needed(&event.rule, &participants), 0);
            }
            // Time and place of a confirmed event do not change in silence.
            let moved = (before.0.start_time, &before.0.location) != (event.start_time, &event.location);
            if moved {
                prop_assert!(event.status == EventStatus::Proposed || event.status.is_final());
                if before.0.status == EventStatus::Confirmed && !event.status.is_final() {
                    let cause = Change::Unconfirmed { cause: Some(UnconfirmCause::Changed) };
                    prop_assert!(changes.iter().any(|(_, change)| *change == cause));
                }
            }
            prop_assert!(event.course.changes_used <= 2);
            // Nothing is left that should have happened already.
            prop_assert!(event.due_at().is_none_or(|due_at| due_at.0 > now), "{:?} at {}", event.due_at(), now);
            story.event = event;
            story.participants = participants;
        }
    }
}
