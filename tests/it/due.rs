//! What happens to an event by itself: deadlines and ends, once, and at their time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use timingle::{
    app::Overrides,
    config::Config,
    domain::time::{Clock, Micros},
};

use crate::harness::{
    TestApp, User,
    log::{Gate, Trick, Tricks, now},
    until,
};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// A clock that stands still until a test turns it.
#[derive(Clone)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn at(time: &str) -> Self {
        Self(Arc::new(AtomicI64::new(micros(time))))
    }

    fn turn_to(&self, time: &str) {
        self.0.store(micros(time), Ordering::SeqCst);
    }

    fn overrides(&self) -> Overrides {
        let hands = Arc::clone(&self.0);
        Overrides {
            clock: Clock::from_fn(move || Micros(hands.load(Ordering::SeqCst))),
            ..Overrides::default()
        }
    }

    async fn app(&self) -> TestApp {
        self.app_in(Arc::new(tempfile::tempdir().unwrap()), |_| {}).await
    }

    async fn app_in(&self, dir: Arc<TempDir>, change: impl FnOnce(&mut Config)) -> TestApp {
        TestApp::start(dir, change, self.overrides()).await
    }
}

fn micros(time: &str) -> i64 {
    serde_json::from_value::<Micros>(json!(time)).unwrap().0
}

async fn create(host: &User, event: Value) -> i64 {
    let (status, answer) = host.call(Method::POST, "/events", Some(event)).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_i64().unwrap()
}

async fn read(user: &User, event: i64) -> Value {
    let (status, answer) = user.call(Method::GET, &format!("/events/{event}"), None).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn say(user: &User, event: i64, what: &str) -> (u16, Value) {
    let (status, answer) = user
        .call(Method::POST, &format!("/events/{event}/{what}"), None)
        .await;
    (status.as_u16(), answer)
}

/// Waits until the event is in this state.
async fn comes_to(user: &User, event: i64, status: &str) -> Value {
    until(status, || async {
        let seen = read(user, event).await;
        (seen["status"] == status).then_some(seen)
    })
    .await
}

/// The types of the facts in the event's record.
async fn facts(user: &User, event: i64) -> Vec<String> {
    user.connect().await.whole_record(event).await.facts()
}

/// Returns once this server has looked for what is due at the time that its clock shows: an
/// event whose time to answer ends then has heard of it.
async fn all_has_fallen(host: &User, canary: i64) {
    until("the canary", || async {
        let facts = facts(host, canary).await;
        facts.iter().any(|fact| fact == "deadline_passed").then_some(())
    })
    .await;
}

fn undecided_by(time: &str, on_deadline: &str) -> Value {
    json!({
        "title": "Dinner",
        "start_time": "2031-06-01T10:00:00Z",
        "end_time": "2031-06-01T12:00:00Z",
        "confirm_by": time,
        "on_deadline": on_deadline,
    })
}

#[tokio::test]
async fn deadline_names_who_is_missing_less_than_a_second_late() {
    let app = TestApp::spawn().await;
    let (ada, min, jun) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Jun").await,
    );
    let by = Micros(now().0 + 3 * SECOND);
    let room = create(&ada, undecided_by(&by.to_string(), "stay")).await;
    for guest in [&min, &jun] {
        ada.bring(guest, room).await;
    }
    assert_eq!(say(&jun, room, "accept").await.0, 200);
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let seq = socket.copy(room).seq + 1;
    socket.read_to(room, seq).await;
    let heard = now();
    let entry = &socket.copy(room).entries[&seq];
    assert_eq!(entry["fact"]["type"], "deadline_passed", "{entry}");
    let missing = json!([{ "id": min.id, "name": "Min" }]);
    assert_eq!(entry["fact"]["missing"], missing, "{entry}");
    assert_eq!(
        entry["fact"]["text"], "The time to answer is over. Still missing: Min",
        "{entry}"
    );
    assert_eq!(entry["author"], Value::Null, "{entry}");
    let late = heard.0 - by.0;
    assert!((0..SECOND).contains(&late), "{late} µs late");
    assert_eq!(read(&ada, room).await["status"], "PROPOSED");
    // An answer still counts: the rule said that the event stays.
    let (status, answer) = say(&min, room, "accept").await;
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("CONFIRMED")),
        "{answer}"
    );
    let figures = timingle::metrics::render();
    assert!(
        figures.contains("timingle_due_lateness_seconds_count"),
        "{figures}"
    );
}

#[tokio::test]
async fn unmet_rule_cancels_if_it_says_so_and_a_met_one_does_not() {
    let hands = Hands::at("2031-05-01T00:00:00Z");
    let app = hands.app().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let by = "2031-05-01T01:00:00Z";
    let unmet = create(&ada, undecided_by(by, "cancel")).await;
    let met = create(&ada, undecided_by(by, "cancel")).await;
    let canary = create(&ada, undecided_by(by, "stay")).await;
    for room in [unmet, met] {
        ada.bring(&min, room).await;
    }
    assert_eq!(say(&min, met, "accept").await.1["status"], "CONFIRMED");
    assert_eq!(say(&min, unmet, "decline").await.1["status"], "PROPOSED");

    hands.turn_to(by);
    let seen = comes_to(&min, unmet, "CANCELED").await;
    assert_eq!(seen["ended_at"], "2031-05-01T01:00:00.000000Z", "{seen}");
    all_has_fallen(&ada, canary).await;
    assert_eq!(read(&min, met).await["status"], "CONFIRMED");
    let record = until("the record", || async {
        let record = min.connect().await.whole_record(unmet).await;
        (record.seq == 5).then_some(record)
    })
    .await;
    record.assert_whole();
    let expected = [
        "event_created",
        "participant_joined",
        "declined",
        "deadline_passed",
        "canceled",
    ];
    assert_eq!(record.facts(), expected);
    assert_eq!(
        record.entries[&5]["fact"]["text"],
        "The appointment was canceled."
    );
    assert_eq!(
        facts(&ada, met).await,
        ["event_created", "participant_joined", "accepted", "confirmed"]
    );
}

#[tokio::test]
async fn answer_at_the_very_moment_of_the_deadline_is_too_late() {
    let hands = Hands::at("2031-05-01T00:00:00Z");
    // Nothing but the request itself looks at the clock.
    let seldom = |config: &mut Config| config.events.due_poll = Duration::from_secs(3_600);
    let app = hands.app_in(Arc::new(tempfile::tempdir().unwrap()), seldom).await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let by = "2031-05-01T01:00:00Z";
    let cancel = create(&ada, undecided_by(by, "cancel")).await;
    let stay = create(&ada, undecided_by(by, "stay")).await;
    let before = create(&ada, undecided_by(by, "cancel")).await;
    for room in [cancel, stay, before] {
        ada.bring(&min, room).await;
    }
    hands.turn_to("2031-05-01T00:59:59.999999Z");
    assert_eq!(say(&min, before, "accept").await.1["status"], "CONFIRMED");
    hands.turn_to(by);
    let (status, answer) = say(&min, cancel, "accept").await;
    assert_eq!(status, 409, "{answer}");
    assert_eq!(
        (&answer["code"], &answer["details"]["status"]),
        (&json!("EVENT_STATE"), &json!("CANCELED"))
    );
    let (status, answer) = say(&min, stay, "accept").await;
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("CONFIRMED")),
        "{answer}"
    );
    let expected = [
        "event_created",
        "participant_joined",
        "deadline_passed",
        "accepted",
        "confirmed",
    ];
    assert_eq!(facts(&ada, stay).await, expected, "the deadline comes first");
}

#[tokio::test]
async fn deadline_and_end_fire_once_also_across_restarts() {
    let hands = Hands::at("2031-06-01T09:00:00Z");
    let app = hands.app().await;
    let (mut ada, mut min) = (app.user("Ada").await, app.user("Min").await);
    let undecided = create(&ada, undecided_by("2031-06-01T11:00:00Z", "stay")).await;
    let settled = create(&ada, undecided_by("2031-06-01T11:00:00Z", "cancel")).await;
    let damaged = create(&ada, undecided_by("2031-06-01T10:00:00Z", "stay")).await;
    let canary = create(&ada, undecided_by("2031-06-01T11:59:59Z", "stay")).await;
    for room in [undecided, settled] {
        ada.bring(&min, room).await;
    }
    assert_eq!(say(&min, settled, "accept").await.1["status"], "CONFIRMED");
    let file = app.file("app.db");
    let dir = app.stop().await;
    // The longest due of all cannot be read any more: it holds up nobody.
    let broken = rusqlite::Connection::open(file).unwrap();
    broken
        .pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    broken
        .execute("update events set status = 'LOST' where id = ?1", [damaged])
        .unwrap();
    drop(broken);
    hands.turn_to("2031-06-01T12:00:00Z");
    for _ in 0..3 {
        let app = hands.app_in(Arc::clone(&dir), |_| {}).await;
        (ada.address, min.address) = (app.address, app.address);
        all_has_fallen(&ada, canary).await;
        comes_to(&min, settled, "DONE").await;
        until("both records", || async {
            let (first, second) = (facts(&min, undecided).await, facts(&min, settled).await);
            (first.len() >= 3 && second.len() >= 5).then_some(())
        })
        .await;
        assert_eq!(
            facts(&min, undecided).await,
            ["event_created", "participant_joined", "deadline_passed"]
        );
        assert_eq!(
            facts(&ada, settled).await,
            [
                "event_created",
                "participant_joined",
                "accepted",
                "confirmed",
                "done"
            ]
        );
        app.stop().await;
    }
}

#[tokio::test]
async fn log_that_hangs_for_one_event_holds_up_no_other() {
    let hands = Hands::at("2031-05-01T00:00:00Z");
    let tricks = Tricks::default();
    let overrides = Overrides {
        clock: hands.overrides().clock,
        ..tricks.overrides()
    };
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), |_| {}, overrides).await;
    let ada = app.user("Ada").await;
    let gate = Gate::closed();
    let mut rooms = Vec::new();
    for _ in 0..2 {
        rooms.push(create(&ada, undecided_by("2031-05-01T01:00:00Z", "cancel")).await);
    }
    tricks.arm("deadline_passed", Trick::Hold(gate.clone()));
    hands.turn_to("2031-05-01T01:00:00Z");
    gate.reached().await;
    for room in &rooms {
        comes_to(&ada, *room, "CANCELED").await;
    }
    let canceled = async |room: i64| facts(&ada, room).await.last().unwrap() == "canceled";
    until("the other's record", || async {
        let (first, second) = (canceled(rooms[0]).await, canceled(rooms[1]).await);
        assert!(!(first && second), "one of them hangs");
        (first || second).then_some(())
    })
    .await;
    // Nor what becomes due meanwhile, long before anybody gives up waiting for the log.
    let later = create(&ada, undecided_by("2031-05-01T02:00:00Z", "cancel")).await;
    hands.turn_to("2031-05-01T02:00:00Z");
    let falls = comes_to(&ada, later, "CANCELED");
    tokio::time::timeout(Duration::from_secs(4), falls).await.unwrap();
    gate.open();
    until("both records", || async {
        (canceled(rooms[0]).await && canceled(rooms[1]).await).then_some(())
    })
    .await;
}

/// An event over a change of the clocks is done at its end, not an hour early or late.
/// `end` in UTC is `end_time`; the hour before it, nothing happens.
async fn over_a_change_of_clocks(zone: &str, start_time: &str, end_time: &str, end: &str) {
    let hands = Hands(Arc::new(AtomicI64::new(micros(end) - 3 * HOUR)));
    let app = hands.app().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let canary_by = |before: i64| Micros(micros(end) - before).to_string();
    let event = json!({ "title": "Night", "start_time": start_time, "end_time": end_time, "timezone": zone });
    let room = create(&ada, event).await;
    ada.bring(&min, room).await;
    assert_eq!(say(&min, room, "accept").await.1["status"], "CONFIRMED");
    let seen = read(&ada, room).await;
    assert_eq!(seen["end_time"].as_str().map(micros), Some(micros(end)), "{seen}");
    assert_eq!(seen["timezone"], zone, "{seen}");
    for before in [HOUR, 1] {
        let canary = json!({
            "title": "Canary", "start_time": "2031-12-01T10:00:00Z", "end_time": "2031-12-01T12:00:00Z",
            "confirm_by": canary_by(before),
        });
        let canary = create(&ada, canary).await;
        hands.turn_to(&canary_by(before));
        all_has_fallen(&ada, canary).await;
        assert_eq!(
            read(&ada, room).await["status"],
            "CONFIRMED",
            "{before} µs before its end"
        );
    }
    hands.turn_to(end);
    let seen = comes_to(&ada, room, "DONE").await;
    assert_eq!(seen["ended_at"].as_str().map(micros), Some(micros(end)), "{seen}");
    until("the record", || async {
        let facts = facts(&ada, room).await;
        (facts.last().unwrap() == "done").then_some(())
    })
    .await;
}

#[tokio::test]
async fn night_without_an_hour_is_done_at_its_end() {
    // At 2 o'clock it becomes 3 o'clock.
    over_a_change_of_clocks(
        "America/New_York",
        "2031-03-09T01:30:00-05:00",
        "2031-03-09T03:30:00-04:00",
        "2031-03-09T07:30:00Z",
    )
    .await;
}

#[tokio::test]
async fn night_with_an_hour_twice_is_done_at_its_end() {
    // At 2 o'clock it becomes 1 o'clock again: begin and end read the same on the wall.
    over_a_change_of_clocks(
        "America/New_York",
        "2031-11-02T01:30:00-04:00",
        "2031-11-02T01:30:00-05:00",
        "2031-11-02T06:30:00Z",
    )
    .await;
}

#[tokio::test]
async fn confirmed_after_its_end_is_done_only_by_hand() {
    let hands = Hands::at("2031-06-01T11:00:00Z");
    let app = hands.app().await;
    let (ada, min, jun) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Jun").await,
    );
    let event = json!({
        "title": "Dinner", "start_time": "2031-06-01T10:00:00Z", "end_time": "2031-06-01T12:00:00Z",
    });
    let room = create(&ada, event).await;
    ada.bring(&min, room).await;
    ada.bring(&jun, room).await;
    say(&min, room, "accept").await;
    hands.turn_to("2031-06-01T12:00:00Z");
    // Nobody answers any more, but the undecided can be let go.
    let (status, late) = say(&jun, room, "accept").await;
    assert_eq!((status, &late["code"]), (409, &json!("EVENT_STATE")), "{late}");
    hands.turn_to("2031-06-01T12:00:01Z");
    jun.remove(&jun, room).await;
    assert_eq!(read(&ada, room).await["status"], "CONFIRMED");
    let canary = json!({
        "title": "Canary", "start_time": "2031-06-02T10:00:00Z", "end_time": "2031-06-02T12:00:00Z",
        "confirm_by": "2031-06-01T15:00:00Z",
    });
    let canary = create(&ada, canary).await;
    hands.turn_to("2031-06-01T15:00:00Z");
    all_has_fallen(&ada, canary).await;
    assert_eq!(read(&ada, room).await["status"], "CONFIRMED");
    let (status, answer) = say(&ada, room, "done").await;
    assert_eq!((status, &answer["status"]), (200, &json!("DONE")), "{answer}");
    let facts = facts(&min, room).await;
    assert_eq!(
        facts,
        [
            "event_created",
            "participant_joined",
            "participant_joined",
            "accepted",
            "participant_left",
            "confirmed",
            "done"
        ]
    );
}
