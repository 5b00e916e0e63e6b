//! `docs/log-format.md` says what the code does: its vectors are read out of the document.

use std::{collections::HashMap, path::Path, sync::Arc};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use timingle::{
    adapters::sqlite_log::SqliteLog,
    domain::{
        chain::{self, Tip},
        entry::{Content, Entry, Hash, Kind},
        id::{EventId, RoomId, UserId},
        time::Micros,
    },
    ports::RoomLog,
    service::export::{export, verify},
};

use crate::tamper::python_says;

fn document() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/log-format.md")).unwrap()
}

/// The one fenced block of this name.
fn block<'a>(document: &'a str, name: &str) -> &'a str {
    let mark = format!("```{name}\n");
    let mut found = document.split(&mark).skip(1);
    let block = found.next().unwrap().split("```").next().unwrap();
    assert!(found.next().is_none(), "one block {name}");
    block
}

/// `(seq, name)` to bytes.
fn vectors(document: &str) -> HashMap<(u64, String), Vec<u8>> {
    block(document, "vectors")
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let (seq, name) = (words.next().unwrap().parse().unwrap(), words.next().unwrap());
            (
                (seq, name.to_owned()),
                hex::decode(words.next().unwrap()).unwrap(),
            )
        })
        .collect()
}

/// The entries of the document's export, read without our reader.
fn entries(export: &str) -> Vec<Entry> {
    let lines: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let hash = |value: &Value| -> [u8; 32] { bytes(value).try_into().unwrap() };
    lines[1..lines.len() - 1]
        .iter()
        .map(|line| Entry {
            seq: line["seq"].as_u64().unwrap(),
            at: Micros(line["at"].as_i64().unwrap()),
            author: line["author"].as_i64().filter(|author| *author != 0).map(UserId),
            kind: Kind::from_u8(u8::try_from(line["kind"].as_u64().unwrap()).unwrap()).unwrap(),
            key: line["key"].as_str().unwrap().parse().unwrap(),
            msg_no: line["msg_no"].as_u64().unwrap(),
            fact_no: line["fact_no"].as_u64().unwrap(),
            reply_to: line["reply_to"].as_u64().filter(|seq| *seq != 0),
            target: line["target"].as_u64().filter(|seq| *seq != 0),
            content: line["body"].as_str().map(|body| Content {
                salt: bytes(&line["salt"]).try_into().unwrap(),
                body: body.to_owned().into(),
            }),
            digest: hash(&line["digest"]),
            hash: Hash(hash(&line["hash"])),
        })
        .collect()
}

fn room() -> RoomId {
    RoomId("0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b".parse().unwrap())
}

#[test]
fn vectors_in_the_document_are_what_the_code_hashes() {
    let document = document();
    let vectors = vectors(&document);
    let of = |seq: u64, name: &str| vectors[&(seq, name.to_owned())].clone();
    let sha = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    assert_eq!(sha(&of(0, "hashed")).to_vec(), of(0, "hash"));
    assert_eq!(chain::genesis(room()).0.to_vec(), of(0, "hash"));

    let mut tip = Tip::empty(room());
    let entries = entries(block(&document, "export"));
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    assert!(kinds.contains(&Kind::Fact) && kinds.contains(&Kind::Message) && kinds.contains(&Kind::Erase));
    for entry in &entries {
        let seq = entry.seq;
        assert_eq!(
            sha(&of(seq, "hashed")).to_vec(),
            of(seq, "hash"),
            "hash of seq {seq}"
        );
        assert_eq!(
            chain::link(tip.head.hash, entry).0.to_vec(),
            of(seq, "hash"),
            "our hash of {seq}"
        );
        assert_eq!(entry.digest.to_vec(), of(seq, "digest"));
        match &entry.content {
            Some(Content { salt, body }) => {
                assert_eq!([&salt[..], body].concat(), of(seq, "digested"));
                assert_eq!(chain::digest(salt, body).to_vec(), of(seq, "digest"));
            }
            None => assert!(!vectors.contains_key(&(seq, "digested".to_owned()))),
        }
        tip.follow(entry).unwrap();
    }
    assert_eq!(tip.head.seq, 6);
    assert_eq!(
        vectors.len(),
        2 + 6 * 3 + 5,
        "every vector of the document is checked"
    );
}

#[tokio::test]
async fn export_in_the_document_is_what_the_code_writes_and_both_verifiers_accept() {
    let document = document();
    let written = block(&document, "export");
    let entries = entries(written);
    let end = entries.last().unwrap().head();

    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&dir.path().join("chat.db")).unwrap();
    log.append(room(), Tip::empty(room()).head, Arc::from(entries))
        .await
        .unwrap();
    let mut file = Vec::new();
    export(&log, EventId(42), room(), &mut file).await.unwrap();
    assert_eq!(String::from_utf8(file).unwrap(), written);

    let verified = verify(written.as_bytes(), Some(room()), Some(end)).unwrap();
    assert_eq!(
        (
            verified.event,
            verified.head,
            verified.erased,
            verified.unexplained
        ),
        (EventId(42), end, 1, 0)
    );

    std::fs::write(dir.path().join("record.jsonl"), written).unwrap();
    let (said, all_valid) = python_says(dir.path(), ["record.jsonl".to_owned()].into_iter());
    let expected = format!(
        "record.jsonl: ok, 6 entries, 1 without content, head {}",
        end.hash
    );
    assert_eq!((said, all_valid), (vec![expected], true));
}
