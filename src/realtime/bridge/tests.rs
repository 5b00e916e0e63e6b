//! What is told and what follows, with a carrier that loses, doubles and reorders.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Bridge,
    count::{Counts, GRACE},
    looks::{LOOKS_PER_S, Looks, ROUND},
    told::Told,
    wire::{self, Beat, Body, Header, Hint, MAX_BYTES, WireError, WireHint},
};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Kind},
        id::{EventId, RoomId, UserId},
        time::Micros,
    },
    ports::Topic,
};

const TOPIC: Topic = Topic::Room(7);

fn entries(count: usize, bytes: usize) -> Vec<Entry> {
    let mut tip = Tip::empty(RoomId(Uuid::from_u128(1)));
    let draft = |no: usize| Draft {
        author: Some(UserId(3)),
        kind: Kind::Message,
        key: Uuid::from_u128(no as u128),
        reply_to: (no > 1).then_some(1),
        target: None,
        body: vec![b'x'; bytes].into(),
    };
    (1..=count)
        .map(|no| tip.seal(draft(no), Micros(5), [4; 16]))
        .collect()
}

fn hint_of(entries: &[Entry], max_bytes: usize) -> WireHint {
    WireHint::new(EventId(9), RoomId(Uuid::from_u128(1)), 0, entries, max_bytes).unwrap()
}

#[test]
fn topics_have_numbers_and_shards_of_their_own() {
    let mut seen = BTreeSet::new();
    for index in 0..u16::try_from(Topic::COUNT).unwrap() {
        let topic = Topic::of_index(index).unwrap();
        assert_eq!(topic.index(), index);
        assert!(seen.insert(topic.to_string()), "{topic}");
    }
    assert_eq!(Topic::of_index(u16::try_from(Topic::COUNT).unwrap()), None);
    assert_eq!(Topic::room(EventId(1_025)), Topic::Room(1));
    assert_eq!(Topic::feed(UserId(-1)).to_string(), "feed.1023");
}

#[test]
fn entries_come_over_as_they_are_stored_unless_they_are_large() {
    let mut sent = entries(3, 100);
    sent[1].content = None;
    let body = wire::body(&Body::Hint(hint_of(&sent, 10_000))).unwrap();
    let header = Header {
        node: u64::MAX,
        no: 3,
    };
    let frame = wire::frame(header, &body);
    let (read, body) = wire::header(&frame).unwrap();
    assert_eq!(read, header);
    let Body::Hint(hint) = wire::read(body).unwrap() else {
        panic!("another body")
    };
    let hint = Hint::try_from(hint).unwrap();
    assert_eq!((&hint.entries, hint.after), (&sent, 0));
    assert_eq!(hint.head, sent[2].head());

    let hint = Hint::try_from(hint_of(&sent, 500)).unwrap();
    assert_eq!((hint.entries.len(), hint.head), (0, sent[2].head()));
}

#[test]
fn what_this_version_does_not_know_is_an_error() {
    let body = wire::body(&Body::Bye).unwrap();
    let header = Header { node: 1, no: 0 };
    let mut other = wire::frame(header, &body).to_vec();
    other[0] = 2;
    assert_eq!(wire::header(&other).unwrap_err(), WireError::Version);
    assert_eq!(wire::header(&[]).unwrap_err(), WireError::Malformed);
    assert_eq!(
        wire::header(&vec![1; MAX_BYTES + 1]).unwrap_err(),
        WireError::TooLong
    );
    assert_eq!(wire::read(&[200]).unwrap_err(), WireError::Malformed);
    let mut longer = body;
    longer.push(0);
    assert_eq!(wire::read(&longer).unwrap_err(), WireError::Malformed);
    let users = vec![1; MAX_BYTES];
    assert!(wire::body(&Body::Reset { users }).is_none());
    // An entry of a kind that a later version knows.
    let sent = entries(1, 1);
    let mut bytes = wire::body(&Body::Hint(hint_of(&sent, 10_000))).unwrap();
    // It stands right before the key.
    let key = bytes.windows(16).rposition(|key| key == sent[0].key.as_bytes());
    bytes[key.unwrap() - 1] = 200;
    let Ok(Body::Hint(hint)) = wire::read(&bytes) else {
        panic!("another body")
    };
    assert_eq!(Hint::try_from(hint).unwrap_err(), WireError::Malformed);
    bytes.truncate(bytes.len() - 1);
    assert_eq!(wire::read(&bytes).unwrap_err(), WireError::Malformed);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((_, body)) = wire::header(&bytes)
            && let Ok(Body::Hint(hint)) = wire::read(body)
        {
            let _ = Hint::try_from(hint);
        }
    }

    /// Whatever is lost, doubled or comes late: each telling is taken at most once, and all that
    /// was not taken is noticed, by the next one or by the next beat.
    #[test]
    fn nothing_is_lost_unnoticed_and_nothing_is_taken_twice(
        fates in proptest::collection::vec((0..10_u8, 0..6_usize), 1..80),
    ) {
        let start = Instant::now();
        // Number and when it arrives, in steps; some never do, some twice.
        let mut arrivals: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (step, (fate, late)) in fates.iter().enumerate() {
            let no = step as u64 + 1;
            match fate {
                0 => {}
                1 => {
                    arrivals.entry(step).or_default().push(no);
                    arrivals.entry(step + late).or_default().push(no);
                }
                2 | 3 => arrivals.entry(step + late).or_default().push(no),
                _ => arrivals.entry(step).or_default().push(no),
            }
        }
        let (mut counts, mut taken, mut noticed) = (Counts::default(), BTreeSet::new(), 0);
        let mut now = start;
        for step in 0..fates.len() + 8 {
            now = start + Duration::from_millis(100) * u32::try_from(step).unwrap();
            for no in arrivals.remove(&step).into_iter().flatten() {
                if counts.hear(TOPIC, no, now) {
                    prop_assert!(taken.insert(no), "{} was taken twice", no);
                }
            }
            noticed += counts.take_lost(now).len();
        }
        counts.expect(TOPIC, fates.len() as u64, true, now);
        noticed += counts.take_lost(now + GRACE).len();
        let missing = (1..=fates.len() as u64).filter(|no| !taken.contains(no)).count();
        prop_assert_eq!(missing > 0, noticed > 0, "{} missing", missing);
        prop_assert!(counts.take_lost(now + GRACE * 10).is_empty(), "noticed again");
    }
}

#[test]
fn what_comes_in_time_is_no_loss_and_what_comes_too_late_is_not_taken() {
    let (mut counts, now) = (Counts::default(), Instant::now());
    assert!(counts.hear(TOPIC, 1, now));
    counts.expect(TOPIC, 3, true, now);
    assert!(counts.hear(TOPIC, 3, now + GRACE / 2));
    assert!(counts.hear(TOPIC, 2, now + GRACE / 2));
    assert!(counts.take_lost(now + GRACE * 2).is_empty());

    counts.expect(TOPIC, 5, true, now);
    assert!(counts.take_lost(now + GRACE / 2).is_empty(), "not yet");
    assert_eq!(counts.take_lost(now + GRACE), [TOPIC]);
    assert!(!counts.hear(TOPIC, 4, now + GRACE * 2), "given up");
    assert!(counts.take_lost(now + GRACE * 9).is_empty());

    // Nobody listens to it here.
    counts.expect(Topic::Feed(1), 9, false, now);
    assert!(counts.take_lost(now + GRACE * 9).is_empty());
    assert!(counts.hear(Topic::Feed(1), 10, now), "but goes on from there");
    assert!(counts.take_lost(now + GRACE * 9).is_empty());
    // Of a node that is heard for the first time nothing before is known.
    assert!(counts.hear(Topic::Feed(2), 40, now));
    assert_eq!(counts.take_lost(now + GRACE), [Topic::Feed(2)]);
}

#[test]
fn far_ahead_is_a_loss_at_once() {
    let (mut counts, now) = (Counts::default(), Instant::now() + Duration::from_secs(9));
    for no in 2..90 {
        counts.hear(TOPIC, no, now);
    }
    assert_eq!(counts.take_lost(now), [TOPIC]);
}

#[test]
fn beat_says_what_was_told_lately_and_since_nobody_heard() {
    let mut told = Told::new();
    let start = Instant::now() + Duration::from_secs(60);
    assert_eq!(told.count(TOPIC, start), 1);
    assert_eq!(told.count(TOPIC, start), 2);
    assert_eq!(told.count(Topic::All, start + Duration::from_secs(30)), 1);
    assert_eq!(told.lately(start), [(0, 1), (TOPIC.index(), 2)]);
    assert_eq!(told.lately(start + Duration::from_secs(31)), [(0, 1)]);
    assert_eq!(told.lately(start + Duration::from_secs(99)), []);
}

#[test]
fn rooms_look_once_each_and_not_all_at_once() {
    let start = Instant::now();
    let mut looks = Looks::new(start);
    let many = i64::try_from(LOOKS_PER_S).unwrap() * 2;
    looks.add((0..many).map(EventId), false);
    looks.add([EventId(3)], true);
    let first = looks.take(start);
    assert_eq!(first.len(), LOOKS_PER_S);
    assert_eq!(first[3], (EventId(3), true), "once, and thoroughly");
    assert!(looks.take(start).is_empty());
    assert_eq!(
        looks.take(start + Duration::from_millis(500)).len(),
        LOOKS_PER_S / 2
    );
    assert_eq!(looks.take(start + Duration::from_secs(9)).len(), LOOKS_PER_S / 2);

    // A round comes behind, and not before the last one's time is up.
    let live = || vec![EventId(1), EventId(2)];
    let now = start + Duration::from_secs(20);
    looks.begin_round(now, live);
    looks.add([EventId(9)], false);
    let taken: Vec<i64> = looks.take(now).iter().map(|(event, _)| event.0).collect();
    assert_eq!(taken, [9, 1, 2]);
    looks.begin_round(now + ROUND / 2, live);
    assert!(looks.take(now + ROUND / 2).is_empty());
    looks.begin_round(now + ROUND, live);
    assert_eq!(looks.take(now + ROUND).len(), 2);
}

#[test]
fn feeds_are_reset_once_each() {
    let now = Instant::now();
    let mut looks = Looks::new(now);
    looks.reset(vec![UserId(1), UserId(2)]);
    looks.reset(vec![UserId(2), UserId(3)]);
    assert_eq!(looks.take_resets(now), [UserId(1), UserId(2), UserId(3)]);
    assert!(looks.take_resets(now).is_empty());
}

#[test]
fn every_node_has_its_turn_and_each_work_another_first() {
    let bridges: Vec<Bridge> = (0..3).map(|_| Bridge::to_nobody()).collect();
    for bridge in &bridges {
        let others = bridges.iter().map(|other| other.shared.node);
        *bridge.shared.others.write() = others.filter(|node| *node != bridge.shared.node).collect();
    }
    let mut firsts = BTreeSet::new();
    for work in 0..100 {
        let mut turns: Vec<Duration> = bridges.iter().map(|bridge| bridge.turn(work)).collect();
        let first = turns.iter().position(Duration::is_zero);
        firsts.insert(first.unwrap());
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2].map(Duration::from_secs));
    }
    assert_eq!(firsts.len(), 3);
    assert!(Bridge::to_nobody().turn(5).is_zero());
}

#[test]
fn what_nobody_wants_is_counted_and_not_sent() {
    let bridge = Bridge::new(Arc::new(super::Nobody));
    let interest = bridge.listen(TOPIC);
    assert!(bridge.shared.interests.lock().listens(TOPIC));
    drop(interest);
    assert!(bridge.shared.interests.lock().listens(TOPIC), "for a while");
    bridge.typing(EventId(7), UserId(1));
    bridge.typing(EventId(7), UserId(1));
    assert!(!bridge.is_wanted(TOPIC) && bridge.is_wanted(Topic::All));
    let lately = bridge.shared.told.lock().lately(Instant::now());
    assert_eq!(lately, [(TOPIC.index(), 2)]);
    let beat = Beat {
        counts: lately,
        wants: bridge.shared.interests.lock().all().to_vec(),
    };
    let bytes = wire::body(&Body::Beat(beat.clone())).unwrap();
    assert_eq!(wire::read(&bytes), Ok(Body::Beat(beat)));
}
