//! Backups that operators take with the engines' own tools, while people talk, and restores
//! of pairs that are not of one moment. What the facts owe each other comes back by itself.

mod embedded;
mod production;

use std::{fs, io::BufReader, path::Path};

use serde_json::Value;
use timingle::{app, config::Config, domain::id::EventId, service::export::verify};

use crate::harness::User;

/// Exports the record of `event` and verifies it, trusting nobody: the kinds of its facts in
/// order, and the texts of its messages.
async fn verified(config: &Config, dir: &Path, event: i64) -> (Vec<String>, Vec<String>) {
    let out = dir.join(format!("{event}.export"));
    let exported = app::export(config, EventId(event), &out).await.unwrap();
    let file = BufReader::new(fs::File::open(&out).unwrap());
    let verified = verify(file, None, Some(exported.head)).unwrap();
    assert_eq!((verified.event, verified.head), (EventId(event), exported.head));
    let (mut facts, mut texts) = (Vec::new(), Vec::new());
    for line in fs::read_to_string(&out).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(body) = line["body"].as_str() else {
            continue;
        };
        let body: Value = serde_json::from_str(body).unwrap();
        if line["kind"] == 2 {
            assert_eq!(body["no"], line["fact_no"], "{line}");
            facts.push(body["type"].as_str().unwrap().to_owned());
        } else {
            texts.push(body["text"].as_str().unwrap().to_owned());
        }
    }
    (facts, texts)
}

/// The same person at another server on restored stores.
async fn again(address: std::net::SocketAddr, user: &User) -> User {
    let signed_in = User::sign_in(address, &user.name, &user.phone).await;
    assert_eq!(signed_in.id, user.id, "{} is somebody else now", user.name);
    signed_in
}
