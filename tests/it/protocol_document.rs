//! `docs/protocol.md` against the code it describes.

use std::collections::BTreeMap;

use serde_json::Value;
use timingle::{
    error::ErrorCode,
    realtime::protocol::{CloseCode, v2},
};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");
const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The rows of the table under a heading, cell by cell.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = DOCUMENT.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The lines of the session that begin with `mark`.
fn frames(mark: &'static str) -> impl Iterator<Item = &'static str> {
    let session = DOCUMENT.split("\n## A session\n").nth(1).unwrap();
    session.lines().filter_map(move |line| line.strip_prefix(mark))
}

#[test]
fn every_error_code_is_there_with_its_status() {
    let told: BTreeMap<&str, (u16, bool)> = table("Error codes")
        .iter()
        .map(|row| {
            (
                row[0].trim_matches('`'),
                (row[1].parse().unwrap(), row[2] == "yes"),
            )
        })
        .collect();
    let real: BTreeMap<&str, (u16, bool)> = ErrorCode::ALL
        .iter()
        .map(|code| (code.as_str(), (code.status(), code.is_temporary())))
        .collect();
    assert_eq!(told, real);
}

#[test]
fn every_close_code_is_there_with_its_reason() {
    let told: Vec<(u16, &str)> = table("Close codes")
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1]))
        .collect();
    let real = [
        CloseCode::Normal,
        CloseCode::InvalidUtf8,
        CloseCode::TooBig,
        CloseCode::Internal,
        CloseCode::Shutdown,
        CloseCode::Slow,
        CloseCode::NoPong,
        CloseCode::TokenExpired,
        CloseCode::NotAuthenticated,
        CloseCode::Broken,
        CloseCode::Revoked,
        CloseCode::TooManySockets,
        CloseCode::Removed,
    ];
    assert_eq!(told, real.map(|code| (code.number(), code.reason())));
}

#[test]
fn every_limit_it_names_is_a_key_of_the_configuration() {
    let mut keys = Vec::new();
    let mut section = "";
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push(format!("{section}.{key}"));
        }
    }
    let named: Vec<&str> = DOCUMENT
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            ["limits.", "session.", "room.", "server."]
                .iter()
                .any(|section| word.starts_with(section))
        })
        .collect();
    assert!(named.len() > 30);
    for key in named {
        assert!(keys.iter().any(|known| known == key), "{key} is not a key");
    }
}

#[test]
fn frames_of_the_session_are_frames() {
    let mut commands = Vec::new();
    for frame in frames("> ") {
        let decoded = v2::decode(frame);
        assert!(decoded.id.is_some() || frame.contains("typing"), "{frame}");
        decoded.command.unwrap_or_else(|error| panic!("{error}: {frame}"));
        let frame: Value = serde_json::from_str(frame).unwrap();
        commands.extend(
            frame
                .as_object()
                .unwrap()
                .keys()
                .filter(|name| *name != "id")
                .cloned(),
        );
    }
    for name in ["auth", "join", "publish", "history", "read", "presence", "leave"] {
        assert!(
            commands.iter().any(|command| command == name),
            "{name} is not shown"
        );
    }
    let mut pushes = Vec::new();
    for frame in frames("< ") {
        let frame: Value = serde_json::from_str(frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
        if let Some(push) = frame["push"].as_str() {
            pushes.push(push.to_owned());
        } else {
            assert!(frame["id"].is_u64());
        }
    }
    for name in [
        "joined", "entries", "read", "typing", "feed", "removed", "shutdown",
    ] {
        assert!(pushes.iter().any(|push| push == name), "{name} is not shown");
    }
}
