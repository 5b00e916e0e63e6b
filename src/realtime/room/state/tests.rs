//! Drives a room through random histories against a log that is a plain list.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::{Join, OutboxRef, Publish, Read, Search, Settings, State};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head, Kind},
        event::{Course, Event, EventStatus, Participant, ReadMark, Rule},
        fact::{Change, Fact, Membership},
        id::{EventId, RoomId, UserId},
        time::Micros,
        visibility::Circle,
    },
    i18n::Language,
    ports::FactPage,
    realtime::{
        feed::Feed,
        outbox::Outbox,
        room::ReplyTo,
        roster::{Roster, SessionId},
    },
};

const HOST: UserId = UserId(1);
const ROOM: EventId = EventId(9);
const KEY_WINDOW: u64 = 30;

fn log_name() -> RoomId {
    RoomId(Uuid::from_u128(42))
}

fn settings() -> Settings {
    Settings {
        // Small, so that keys leave the tail and have to be looked for.
        tail_entries: 6,
        tail_bytes: 1 << 20,
        append_entries: 4,
        append_bytes: 1 << 20,
        pending_entries: 12,
        key_window: KEY_WINDOW,
        answer_bytes: 1 << 18,
        history_page: 100,
        chat_after_end: Duration::from_secs(60),
    }
}

fn event(fact_no: u64) -> Event {
    Event {
        id: ROOM,
        room: log_name(),
        title: "Lesson".into(),
        description: None,
        location: None,
        start_time: Micros(0),
        end_time: Micros(1),
        timezone: "Asia/Seoul".into(),
        status: EventStatus::Proposed,
        creator: HOST,
        rule: Rule::default(),
        course: Course::default(),
        fact_no,
        created_at: Micros(0),
        updated_at: Micros(0),
    }
}

/// What may happen to a room.
#[derive(Debug, Clone)]
enum Op {
    Publish {
        user: i64,
        key: u8,
        body: u8,
        back: u64,
    },
    Join {
        user: i64,
        resume: bool,
    },
    Leave {
        user: i64,
    },
    /// The host brings somebody in, or puts somebody out.
    Membership {
        user: i64,
        enters: bool,
    },
    /// The store commits a fact that changes nobody's standing.
    OtherFact,
    /// The room hears of the store's facts.
    Hear,
    /// An append goes out, and the log takes so many of its entries.
    Append {
        take: usize,
    },
    /// An append goes out, and somebody else's comes first.
    Race {
        foreign: u8,
    },
    /// Somebody has read the record, but for so many of its last entries.
    Read {
        user: i64,
        back: u64,
    },
    /// A writing of marks goes out, or one that is out succeeds or fails.
    Write {
        succeeds: bool,
    },
    /// So much time passes that everything waiting is late.
    Expire,
    /// The room ends and is built again from the log.
    Rebuild,
}

fn op() -> impl Strategy<Value = Op> {
    let user = 1..4_i64;
    prop_oneof![
        8 => (user.clone(), 0..6_u8, 0..2_u8, 0..12_u64)
            .prop_map(|(user, key, body, back)| Op::Publish { user, key, body, back }),
        2 => (user.clone(), any::<bool>()).prop_map(|(user, resume)| Op::Join { user, resume }),
        1 => user.clone().prop_map(|user| Op::Leave { user }),
        2 => (2..4_i64, any::<bool>()).prop_map(|(user, enters)| Op::Membership { user, enters }),
        1 => Just(Op::OtherFact),
        3 => Just(Op::Hear),
        6 => (1..5_usize).prop_map(|take| Op::Append { take }),
        1 => (1..3_u8).prop_map(|foreign| Op::Race { foreign }),
        4 => (user.clone(), 0..12_u64).prop_map(|(user, back)| Op::Read { user, back }),
        3 => any::<bool>().prop_map(|succeeds| Op::Write { succeeds }),
        1 => Just(Op::Expire),
        1 => Just(Op::Rebuild),
    ]
}

/// A client that believes what it is told, and checks it.
struct Client {
    user: UserId,
    session: SessionId,
    outbox: Outbox,
    copy: BTreeMap<u64, Value>,
    head: Option<Head>,
    joined: bool,
    /// Up to where each has read, as it was told.
    marks: HashMap<i64, u64>,
}

/// The world around the room: the truth of both stores, and the clients.
struct World {
    state: State,
    log: Vec<Entry>,
    facts: Vec<Fact>,
    members: HashSet<UserId>,
    clients: HashMap<i64, Client>,
    asked: HashMap<u64, (UserId, Uuid, Bytes)>,
    readings: HashSet<u64>,
    answered: HashSet<u64>,
    /// Marks that the store has.
    stored: HashMap<UserId, ReadMark>,
    writing: Option<Vec<(UserId, ReadMark)>>,
    next_id: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let facts = vec![Fact {
            id: Uuid::from_u128(1_000),
            no: 1,
            actor: Some(HOST),
            at: Micros(1),
            change: Change::EventCreated {
                event: ROOM,
                title: "Lesson".into(),
                start_time: Micros(0),
                end_time: Micros(1),
                timezone: "Asia/Seoul".into(),
                location: None,
                description: None,
                quorum: None,
                confirm_by: None,
                on_deadline: None,
                change_limit: None,
            },
        }];
        let mut tip = Tip::empty(log_name());
        let log = vec![tip.seal(facts[0].draft(), Micros(1), [1; 16])];
        let clients = (1..4_i64)
            .map(|user| {
                let outbox = Outbox::new(1 << 24);
                let session = SessionId(user.unsigned_abs());
                let user_id = UserId(user);
                (
                    user,
                    Client {
                        user: user_id,
                        session,
                        outbox,
                        copy: BTreeMap::new(),
                        head: None,
                        joined: false,
                        marks: HashMap::new(),
                    },
                )
            })
            .collect();
        let mut world = Self {
            state: State::new(
                settings(),
                event(1),
                Vec::new(),
                Vec::new(),
                Circle::default(),
                tip,
                log.clone(),
            ),
            log,
            facts,
            members: HashSet::from([HOST]),
            clients,
            asked: HashMap::new(),
            readings: HashSet::new(),
            answered: HashSet::new(),
            stored: HashMap::new(),
            writing: None,
            next_id: 1,
            now: Instant::now(),
        };
        world.rebuild();
        world
    }

    /// Builds the room from the log as it is, as a start does.
    fn rebuild(&mut self) {
        let mut circle = Circle::default();
        for entry in &self.log {
            if let Some(fact) = Fact::of(entry)
                && let Some(membership) = fact.change.membership(fact.actor)
            {
                circle.apply(&membership, entry.seq);
            }
        }
        let mut tip = Tip::empty(log_name());
        for entry in &self.log {
            tip.follow(entry).unwrap();
        }
        let newest = self.log.iter().rev().take(6).rev().cloned().collect();
        let mut state = State::new(
            settings(),
            event(tip.fact_no),
            self.participants(),
            Vec::new(),
            circle,
            tip,
            newest,
        );
        state.recover_marks(&self.came_in());
        self.writing = None;
        let survivors = self.state.take_sessions();
        state.adopt(survivors);
        // What waits in the old room is dropped, and its replies say so.
        self.state = state;
    }

    /// Who takes part, as the store has it.
    fn participants(&self) -> Vec<Participant> {
        let with_mark = |user: &UserId| Participant {
            read: self.stored.get(user).copied().unwrap_or_default(),
            ..Participant::invited(*user)
        };
        self.members.iter().map(with_mark).collect()
    }

    /// Who came in where, as far as the store does not know that they have read that.
    fn came_in(&self) -> Vec<(UserId, Entry)> {
        let mut came = HashMap::new();
        for entry in &self.log {
            let membership = Fact::of(entry).and_then(|fact| fact.change.membership(fact.actor));
            if let Some(Membership::Enters(user)) = membership {
                came.insert(user, entry.clone());
            }
        }
        let seq_of = |user: &UserId| self.stored.get(user).map_or(0, |mark| mark.seq);
        came.into_iter()
            .filter(|(user, entry)| seq_of(user) < entry.seq)
            .collect()
    }

    fn read(&mut self, user: i64, back: u64) {
        let (id, client) = (self.next_id, &self.clients[&user]);
        self.next_id += 1;
        self.readings.insert(id);
        let read = Read {
            user: client.user,
            session: Some(client.session),
            seq: (self.log.len() as u64).saturating_sub(back),
            reply: Some(ReplyTo::new(client.outbox.clone(), id, Language::En)),
        };
        if let Some(read) = self.state.read(read, None, Micros(7)) {
            let entry = self.log[usize::try_from(read.seq).unwrap() - 1].clone();
            assert!(self.state.read(read, Some(&entry), Micros(7)).is_none());
        }
    }

    fn write(&mut self, succeeds: bool) {
        let Some(marks) = self.writing.take() else {
            self.writing = self.state.next_marks();
            return;
        };
        for (user, mark) in marks
            .into_iter()
            .filter(|(user, _)| succeeds && self.members.contains(user))
        {
            let stored = self.stored.entry(user).or_default();
            if stored.seq < mark.seq {
                *stored = mark;
            }
        }
        let feed = Feed::new(Roster::new(1, 1));
        self.state.marks_written(!succeeds, &feed);
    }

    fn commit(&mut self, change: Change) {
        let no = self.facts.len() as u64 + 1;
        self.facts.push(Fact {
            id: Uuid::from_u128(1_000 + u128::from(no)),
            no,
            actor: Some(HOST),
            at: Micros(1),
            change,
        });
    }

    fn hear(&mut self) {
        let after = usize::try_from(self.state.last_known_fact()).unwrap();
        self.state.queue_facts(FactPage {
            event: event(self.facts.len() as u64),
            participants: self.participants(),
            facts: self.facts[after..].to_vec(),
            people: Vec::new(),
        });
    }

    fn publish(&mut self, user: i64, key: u8, body: u8, back: u64) {
        let client = &self.clients[&user];
        let id = self.next_id;
        self.next_id += 1;
        let (key, body) = (
            Uuid::from_u128(u128::from(key) + 1),
            Bytes::from(format!("{{\"text\":\"{body}\"}}")),
        );
        self.asked.insert(id, (client.user, key, body.clone()));
        // Honest: the key stands behind this position, if it stands anywhere.
        let first_try = self
            .log
            .iter()
            .find(|entry| entry.author == Some(client.user) && entry.key == key);
        let newest = first_try.map_or(self.log.len() as u64, |entry| entry.seq - 1);
        let publish = Publish {
            session: Some(client.session),
            user: client.user,
            key,
            after: newest.saturating_sub(back),
            body,
            reply_to: None,
            deadline: self.now + Duration::from_secs(5),
            arrived: self.now,
            reply: ReplyTo::new(client.outbox.clone(), id, Language::En),
        };
        let mut search = self.state.publish(publish, 0);
        while let Some(Search { publish, from, to }) = search {
            let is_it = |entry: &&Entry| entry.author == Some(publish.user) && entry.key == publish.key;
            let window = &self.log[usize::try_from(from).unwrap() - 1..usize::try_from(to).unwrap()];
            let found = window.iter().find(is_it).cloned();
            search = self.state.searched(Search { publish, from, to }, found.as_ref());
        }
    }

    fn join(&mut self, user: i64, resume: bool) {
        let id = self.next_id;
        self.next_id += 1;
        let client = self.clients.get_mut(&user).unwrap();
        let since = client.head.filter(|_| resume);
        let join = Join {
            session: client.session,
            user: client.user,
            outbox: OutboxRef(client.outbox.clone()),
            language: Language::En,
            since,
            limit: None,
            id,
            told: None,
        };
        let member = self.state.check_participant(client.user).is_ok();
        // The log knows every hash.
        let known = since.map(|since| {
            since.seq == 0
                || self
                    .log
                    .get(usize::try_from(since.seq).unwrap() - 1)
                    .is_some_and(|entry| entry.hash == since.hash)
        });
        assert_eq!(self.state.join(&join, known).is_ok(), member);
        if member && !client.joined {
            client.joined = true;
        }
    }

    /// Sends out an append; `foreign` entries of somebody else come first if there are any.
    fn append(&mut self, take: usize, foreign: u8) {
        let sent = self.state.next_batch(Micros(1), || [7; 16]);
        let mut tip = Tip::empty(log_name());
        for entry in &self.log {
            tip.follow(entry).unwrap();
        }
        if foreign > 0 {
            let behind = self.log.len();
            for _ in 0..foreign {
                let twin = Draft {
                    author: Some(HOST),
                    kind: Kind::Message,
                    key: Uuid::from_u128(500 + self.log.len() as u128),
                    reply_to: None,
                    target: None,
                    body: Bytes::from_static(b"{\"text\":\"elsewhere\"}"),
                };
                self.log.push(tip.seal(twin, Micros(1), [9; 16]));
            }
            let mark = |state: &State| state.board().lock().marks.get(&HOST).copied().unwrap_or_default();
            let before = mark(&self.state);
            self.state.conflicted(self.log[behind..].to_vec());
            let after = mark(&self.state);
            if after != before {
                // Whoever appended it writes it down.
                self.stored.insert(HOST, after);
            }
        } else if let Some((expected, entries)) = sent {
            assert_eq!(expected, tip.head, "an append that no log would take");
            let taken = take.min(entries.len());
            for entry in entries.iter().take(taken) {
                tip.follow(entry).unwrap();
                self.log.push(entry.clone());
            }
            self.state.appended(taken, self.now);
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Publish {
                user,
                key,
                body,
                back,
            } => self.publish(user, key, body, back),
            Op::Join { user, resume } => self.join(user, resume),
            Op::Leave { user } => {
                let client = self.clients.get_mut(&user).unwrap();
                client.joined = false;
                self.state.leave(client.session);
            }
            Op::Membership { user, enters } => {
                let user = UserId(user);
                if enters && self.members.insert(user) {
                    self.commit(Change::ParticipantJoined { user });
                } else if !enters && self.members.remove(&user) {
                    self.stored.remove(&user);
                    self.commit(Change::ParticipantRemoved { user });
                }
            }
            Op::OtherFact => self.commit(Change::Confirmed {}),
            Op::Hear => self.hear(),
            Op::Append { take } => self.append(take, 0),
            Op::Race { foreign } => self.append(0, foreign),
            Op::Read { user, back } => self.read(user, back),
            Op::Write { succeeds } => self.write(succeeds),
            Op::Expire => {
                self.now += Duration::from_secs(10);
                self.state.expire(self.now);
            }
            Op::Rebuild => self.rebuild(),
        }
        self.read_sockets();
    }

    fn read_sockets(&mut self) {
        for client in self.clients.values_mut() {
            for frame in client.outbox.take_frames() {
                let frame: Value = serde_json::from_slice(payload(&frame)).unwrap();
                if frame.get("push").is_none() {
                    let id = frame["id"].as_u64().unwrap();
                    assert!(self.answered.insert(id), "answered twice: {frame}");
                    if self.readings.contains(&id) {
                        let code = frame["error"]["code"].as_str().unwrap_or("read");
                        let known = [
                            "read",
                            "UNAVAILABLE",
                            "FORBIDDEN",
                            "EVENT_NOT_FOUND",
                            "POSITION_UNKNOWN",
                        ];
                        assert!(known.contains(&code), "{frame}");
                        continue;
                    }
                    check_answer(&frame, &self.asked[&id], &self.log);
                    continue;
                }
                match frame["push"].as_str().unwrap() {
                    "joined" => {
                        let head: Head = serde_json::from_value(frame["head"].clone()).unwrap();
                        assert!(
                            frame.get("reset").is_none(),
                            "an honest client was reset: {frame}"
                        );
                        for entry in frame["entries"].as_array().unwrap() {
                            client.copy.insert(entry["seq"].as_u64().unwrap(), entry.clone());
                        }
                        client.head = Some(head);
                        client.joined = true;
                    }
                    "entries" => {
                        assert!(client.joined, "told of a room it is not in");
                        let mut last = client.head.unwrap().seq;
                        for entry in frame["entries"].as_array().unwrap() {
                            last += 1;
                            assert_eq!(entry["seq"].as_u64(), Some(last), "a gap or an overlap");
                            client.copy.insert(last, entry.clone());
                        }
                        client.head = Some(serde_json::from_value(frame["head"].clone()).unwrap());
                        assert_eq!(client.head.unwrap().seq, last);
                    }
                    "removed" => client.joined = false,
                    "read" => {
                        assert!(client.joined, "told of a room it is not in");
                        let (user, seq) = (frame["user"].as_i64().unwrap(), frame["seq"].as_u64().unwrap());
                        assert!(seq <= self.log.len() as u64);
                        let before = client.marks.insert(user, seq).unwrap_or(0);
                        assert!(before < seq, "a mark went back from {before}: {frame}");
                        let stored = self.stored.get(&UserId(user)).map_or(0, |mark| mark.seq);
                        assert!(
                            stored >= seq || !self.members.contains(&UserId(user)),
                            "told before it was written: {frame}"
                        );
                    }
                    other => panic!("{other}"),
                }
            }
            for (seq, shown) in &client.copy {
                let entry = self
                    .log
                    .get(usize::try_from(*seq).unwrap() - 1)
                    .expect("shown, but not in the log");
                assert_eq!(
                    shown["key"],
                    entry.key.to_string(),
                    "another entry was shown at {seq}"
                );
            }
        }
    }

    /// What must hold when everything has come to rest.
    fn check_rest(mut self) {
        self.hear();
        while !self.state.is_quiet() {
            self.append(usize::MAX, 0);
        }
        while !self.state.marks_are_written() {
            self.write(true);
        }
        self.read_sockets();
        self.check_marks();
        let facts: Vec<Uuid> = self
            .log
            .iter()
            .filter(|entry| entry.kind == Kind::Fact)
            .map(|entry| entry.key)
            .collect();
        let committed: Vec<Uuid> = self.facts.iter().map(|fact| fact.id).collect();
        assert_eq!(facts, committed, "facts are lost, doubled or out of order");

        let mut keys = HashSet::new();
        let mut inside = HashSet::from([HOST]);
        for entry in &self.log {
            if entry.kind == Kind::Message {
                assert!(
                    keys.insert((entry.author, entry.key)),
                    "a key stands twice in the log"
                );
                assert!(
                    inside.contains(&entry.author.unwrap()),
                    "somebody outside was heard at {}",
                    entry.seq
                );
            }
            match Fact::of(entry).map(|fact| fact.change) {
                Some(Change::ParticipantJoined { user }) => drop(inside.insert(user)),
                Some(Change::ParticipantRemoved { user }) => drop(inside.remove(&user)),
                _ => {}
            }
        }
        for client in self.clients.values().filter(|client| client.joined) {
            assert!(inside.contains(&client.user), "somebody outside still listens");
            assert_eq!(
                client.head.unwrap().seq,
                self.log.len() as u64,
                "a listener was not told everything"
            );
        }
        drop(self.state);
        for client in self.clients.values() {
            for frame in client.outbox.take_frames() {
                let frame: Value = serde_json::from_slice(payload(&frame)).unwrap();
                if let Some(id) = frame["id"].as_u64().filter(|_| frame.get("push").is_none()) {
                    assert!(self.answered.insert(id));
                }
            }
        }
        let silent: Vec<_> = self
            .asked
            .keys()
            .chain(&self.readings)
            .filter(|id| !self.answered.contains(id))
            .collect();
        assert!(silent.is_empty(), "publishes without an answer: {silent:?}");
    }
}

impl World {
    /// What a person has not read is what was said behind the mark, which the store has.
    fn check_marks(&self) {
        for user in &self.members {
            let mark = self.stored.get(user).copied().unwrap_or_default();
            let messages = |entry: &&Entry| entry.kind == Kind::Message;
            let unread = self
                .log
                .iter()
                .filter(|entry| entry.seq > mark.seq)
                .filter(messages);
            assert_eq!(
                self.state.unread(*user),
                unread.count() as u64,
                "{user:?} {mark:?}"
            );
            let came = self.log.iter().rev().find(|entry| {
                let change = Fact::of(entry).map(|fact| fact.change);
                change == Some(Change::ParticipantJoined { user: *user })
            });
            assert!(
                mark.seq >= came.map_or(1, |entry| entry.seq),
                "before {user:?} came in"
            );
        }
    }
}

fn check_answer(frame: &Value, (user, key, body): &(UserId, Uuid, Bytes), log: &[Entry]) {
    let Some(answer) = frame.get("publish") else {
        let code = frame["error"]["code"].as_str().unwrap();
        let known = [
            "KEY_CONFLICT",
            "KEY_EXPIRED",
            "UNAVAILABLE",
            "FORBIDDEN",
            "EVENT_NOT_FOUND",
            "NOT_JOINED",
        ];
        assert!(known.contains(&code), "{frame}");
        return;
    };
    let entry = &log[usize::try_from(answer["seq"].as_u64().unwrap()).unwrap() - 1];
    assert_eq!(
        (entry.author, entry.key, entry.body()),
        (Some(*user), *key, Some(body)),
        "acknowledged, but not this"
    );
}

/// The text of an unmasked frame.
fn payload(frame: &[u8]) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        127 => &frame[10..],
        _ => &frame[2..],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_history_keeps_order_keys_rights_and_answers(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        world.join(1, false);
        world.read_sockets();
        for op in &ops {
            world.step(op);
        }
        world.check_rest();
    }
}

#[test]
fn batch_ends_behind_a_fact_that_changes_who_takes_part() {
    let mut world = World::new();
    world.commit(Change::ParticipantJoined { user: UserId(2) });
    world.hear();
    world.append(usize::MAX, 0);
    world.join(1, false);
    world.join(2, false);
    world.commit(Change::ParticipantRemoved { user: UserId(2) });
    world.hear();
    world.publish(2, 1, 0, 0);
    world.publish(1, 1, 0, 0);
    let (_, batch): (Head, Arc<[Entry]>) = world.state.next_batch(Micros(2), || [0; 16]).unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(batch[0].kind, Kind::Fact);
}

#[test]
fn room_of_an_event_that_ended_long_ago_takes_no_more_messages_and_is_still_read() {
    let mut world = World::new();
    world.join(1, false);
    let closes = Micros(1).plus(settings().chat_after_end);
    world.state.event.status = EventStatus::Done;
    world.publish(1, 1, 0, 0);
    assert!(world.state.next_batch(Micros(closes.0 - 1), || [0; 16]).is_some());
    world.publish(1, 2, 0, 0);
    world.state.conflicted(Vec::new());
    world.clients[&1].outbox.take_frames();
    assert!(world.state.next_batch(closes, || [0; 16]).is_none());
    let frames = world.clients[&1].outbox.take_frames();
    let reply: Value = serde_json::from_slice(payload(&frames[0])).unwrap();
    assert_eq!(reply["error"]["code"], "EVENT_STATE", "{reply}");
    assert_eq!(reply["error"]["details"]["status"], "DONE", "{reply}");
    assert_eq!(frames.len(), 2, "the one that had waited longer, too");
    assert!(world.state.typing(HOST, Instant::now(), closes).is_err());
    world.join(1, false);
}

#[test]
fn typing_is_told_once_in_a_while_to_the_others_and_never_to_oneself() {
    let mut world = World::new();
    world.commit(Change::ParticipantJoined { user: UserId(2) });
    world.members.insert(UserId(2));
    world.hear();
    world.append(usize::MAX, 0);
    world.join(1, false);
    world.join(2, false);
    world.read_sockets();
    let start = Instant::now();
    let heard = |world: &World, user: i64| world.clients[&user].outbox.take_frames().len();
    for (after_ms, told) in [(0, 1), (500, 0), (1_999, 0), (2_000, 1), (2_100, 0)] {
        let now = start + Duration::from_millis(after_ms);
        world.state.forget_typing(now);
        world.state.typing(UserId(2), now, Micros(0)).unwrap();
        assert_eq!(heard(&world, 1), told, "after {after_ms} ms");
        assert_eq!(heard(&world, 2), 0, "never to oneself");
    }
    assert!(world.state.typing(UserId(3), start, Micros(0)).is_err());
    assert_eq!(heard(&world, 1), 0, "whoever does not take part is not told of");
}

#[test]
fn feed_merges_what_happens_in_half_a_second_and_the_strongest_change_wins() {
    let mut world = World::new();
    let mut now = Instant::now();
    let everyone = |_| true;
    let told = |world: &mut World, now| {
        let news = world.state.take_news(now, everyone);
        let mut told: Vec<(i64, &str)> = news
            .told
            .iter()
            .map(|(user, change, _)| (user.0, change.as_str()))
            .chain(news.removed.iter().map(|(user, _)| (user.0, "removed")))
            .collect();
        told.sort_unstable();
        told
    };
    assert_eq!(world.state.feed_due(now), None, "nothing has happened");
    world.join(1, false);
    world.publish(1, 1, 0, 0);
    world.append(usize::MAX, 0);
    assert_eq!(world.state.feed_due(now), Some(now), "the first one at once");
    assert_eq!(told(&mut world, now), [(1, "entries")]);
    world.publish(1, 2, 0, 0);
    world.append(usize::MAX, 0);
    let due = world.state.feed_due(now).unwrap();
    assert_eq!(due - now, Duration::from_millis(500));
    for (user, enters) in [(2, true), (3, true), (3, false)] {
        world.step(&Op::Membership { user, enters });
    }
    world.hear();
    for _ in 0..3 {
        world.append(usize::MAX, 0);
    }
    assert_eq!(world.state.feed_due(now), Some(due), "all of it together");
    now = due;
    assert_eq!(
        told(&mut world, now),
        [(1, "changed"), (2, "invited"), (3, "removed")]
    );
    assert_eq!(world.state.feed_due(now), None);
    world.publish(1, 3, 0, 0);
    world.append(usize::MAX, 0);
    assert_eq!(
        told(&mut world, now),
        [(1, "entries"), (2, "entries")],
        "nothing after `removed`"
    );
}

#[test]
fn feed_that_nobody_hears_is_looked_at_no_oftener_than_one_that_is_heard() {
    let mut world = World::new();
    let now = Instant::now();
    world.join(1, false);
    world.publish(1, 1, 0, 0);
    world.append(usize::MAX, 0);
    assert_eq!(world.state.feed_due(now), Some(now));
    assert!(world.state.take_news(now, |_| false).told.is_empty());
    world.publish(1, 2, 0, 0);
    world.append(usize::MAX, 0);
    let due = world.state.feed_due(now).unwrap();
    assert_eq!(due - now, Duration::from_millis(500));
}

#[test]
fn reader_who_is_put_out_while_marks_are_written_is_answered() {
    let mut world = World::new();
    world.step(&Op::Membership {
        user: 2,
        enters: true,
    });
    world.hear();
    world.append(usize::MAX, 0);
    world.join(1, false);
    world.write(true);
    world.publish(1, 1, 0, 0);
    world.append(usize::MAX, 0);
    world.clients[&2].outbox.take_frames();
    world.read(2, 0);
    assert!(
        world.clients[&2].outbox.take_frames().is_empty(),
        "not written yet"
    );
    world.step(&Op::Membership {
        user: 2,
        enters: false,
    });
    world.hear();
    world.append(usize::MAX, 0);
    world.write(true);
    let frames = world.clients[&2].outbox.take_frames();
    let reply: Value = serde_json::from_slice(payload(frames.last().unwrap())).unwrap();
    assert!(reply["error"]["code"].is_string(), "{reply}");
    assert!(!world.state.readers_wait(), "nobody is left to wait");
}

#[test]
fn mark_of_somebody_put_out_does_not_come_back_with_an_older_view_of_the_event() {
    let mut world = World::new();
    world.step(&Op::Membership {
        user: 2,
        enters: true,
    });
    world.hear();
    world.append(usize::MAX, 0);
    let has_mark = |world: &World| world.state.board().lock().marks.contains_key(&UserId(2));
    assert!(has_mark(&world));
    world.commit(Change::Confirmed {});
    world.hear();
    world.step(&Op::Membership {
        user: 2,
        enters: false,
    });
    world.hear();
    world.append(usize::MAX, 0);
    assert!(!has_mark(&world), "others count as taking part who have one");
}

#[test]
fn names_are_shared_with_whoever_reads_a_page_until_one_changes() {
    let mut world = World::new();
    let person = |name: &str| crate::ports::Person {
        id: HOST,
        name: name.into(),
    };
    world.state.learn(vec![person("Ada")]);
    let before = world.state.names();
    world.state.learn(vec![person("Ada")]);
    assert!(Arc::ptr_eq(&before, &world.state.names()));
    world.state.rename(HOST, None);
    assert_eq!(
        (before[&HOST].as_str(), world.state.names()[&HOST].as_str()),
        ("Ada", "")
    );
}
