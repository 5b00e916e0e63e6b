use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::{ChainFault, Tip, genesis};
use crate::domain::{
    entry::{Draft, Kind},
    id::{RoomId, UserId},
    time::Micros,
};

fn draft(kind: Kind, text: &str) -> Draft {
    Draft {
        author: Some(UserId(7)),
        kind,
        key: Uuid::from_u128(9),
        reply_to: None,
        target: None,
        body: Bytes::from(format!("{{\"text\":\"{text}\"}}")),
    }
}

#[test]
fn another_rooms_chain_starts_elsewhere() {
    assert_ne!(
        genesis(RoomId(Uuid::from_u128(1))),
        genesis(RoomId(Uuid::from_u128(2)))
    );
}

#[test]
fn clock_that_steps_back_is_not_believed() {
    let mut tip = Tip::empty(RoomId(Uuid::nil()));
    let first = tip.seal(draft(Kind::Message, "a"), Micros(5_000), [0; 16]);
    let second = tip.seal(draft(Kind::Message, "b"), Micros(1_000), [1; 16]);
    assert_eq!((first.at, second.at), (Micros(5_000), Micros(5_000)));
}

#[test]
fn counts_tell_messages_from_facts() {
    let mut tip = Tip::empty(RoomId(Uuid::nil()));
    for kind in [Kind::Fact, Kind::Message, Kind::Message, Kind::React] {
        tip.seal(draft(kind, "x"), Micros(1), [0; 16]);
    }
    assert_eq!((tip.head.seq, tip.msg_no, tip.fact_no), (4, 2, 1));
}

#[test]
fn erased_content_keeps_the_chain_valid() {
    let room = RoomId(Uuid::nil());
    let mut tip = Tip::empty(room);
    let mut entry = tip.seal(draft(Kind::Message, "secret"), Micros(1), [3; 16]);
    entry.content = None;
    let mut reader = Tip::empty(room);
    reader.follow(&entry).unwrap();
    assert_eq!(reader, tip);
}

proptest! {
    #[test]
    fn what_is_sealed_can_be_followed_and_any_change_is_noticed(
        texts in prop::collection::vec("[a-z]{0,20}", 1..20),
        victim in any::<prop::sample::Index>(),
        bit in 0..256usize,
    ) {
        let room = RoomId(Uuid::from_u128(77));
        let mut tip = Tip::empty(room);
        let mut entries: Vec<_> = (0..).zip(&texts)
            .map(|(n, text)| tip.seal(draft(Kind::Message, text), Micros(n), [7; 16]))
            .collect();
        let mut reader = Tip::empty(room);
        for entry in &entries {
            prop_assert_eq!(reader.follow(entry), Ok(()));
        }
        prop_assert_eq!(reader, tip);

        let victim = victim.index(entries.len());
        entries[victim].digest[bit / 8] ^= 1 << (bit % 8);
        let mut reader = Tip::empty(room);
        let fault = entries.iter().find_map(|entry| reader.follow(entry).err().map(|fault| (entry.seq, fault)));
        prop_assert_eq!(fault, Some((victim as u64 + 1, ChainFault::Digest)));
    }
}
