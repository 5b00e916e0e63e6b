//! What the configuration promises to who writes one.

use std::{fs, process::Command};

use timingle::config::{Config, Sources};

const DEFAULT: &str = include_str!("../../config/default.toml");

/// `[section]` and the keys in it, with the line of explanation above each key.
fn documented() -> Vec<(String, bool)> {
    let (mut section, mut explained) = (String::new(), false);
    let mut keys = Vec::new();
    for line in DEFAULT.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if let Some((key, _)) = line.split_once('=') {
            keys.push((format!("{section}{}", key.trim()), explained));
        } else {
            explained = false;
        }
    }
    keys
}

#[test]
fn every_key_has_a_line_of_explanation() {
    let keys = documented();
    assert!(keys.len() > 50, "{keys:?}");
    for (key, explained) in keys {
        assert!(explained, "{key} is not explained");
    }
}

#[test]
fn default_file_alone_is_a_whole_configuration_and_every_key_of_it_counts() {
    // Taking a key away must leave a hole: no key has a second, hidden default.
    for line in DEFAULT
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with('#'))
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("misspelt.toml");
        let section = documented()
            .into_iter()
            .map(|(key, _)| key)
            .find(|key| key.rsplit('.').next() == line.split(' ').next())
            .unwrap();
        let text = match section.split_once('.') {
            Some((section, key)) => format!("[{section}]\n{key}x = 1\n"),
            None => format!("{section}x = 1\n"),
        };
        fs::write(&path, text).unwrap();
        let error = Config::load(&Sources {
            file: Some(path),
            env: Vec::new(),
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains(&format!("did you mean `{section}`")), "{error}");
    }
}

#[test]
fn every_file_in_config_loads() {
    for entry in fs::read_dir("config").unwrap() {
        let path = entry.unwrap().path();
        let env = vec![("JWT_SECRET".to_owned(), "x".repeat(32))];
        Config::load(&Sources {
            file: Some(path.clone()),
            env,
        })
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn timingle(dir: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_timingle"));
    command
        .env_clear()
        .env("TIMINGLE__DATA__DIR", dir.path().join("data"))
        .env("TIMINGLE__METRICS__PORT", "0")
        .env("PORT", "0");
    command
}

#[test]
fn server_refuses_what_is_unsafe_and_says_everything_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let output = timingle(&dir)
        .env("JWT_SECRET", "too-short-to-be-safe")
        .env("TIMINGLE__AUTH__PROOF", "none")
        .env("TIMINGLE__SERVER__HOST", "0.0.0.0")
        .env("TIMINGLE__LIMITS__PARTICIPANTS", "0")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for at in ["auth.jwt_secret", "auth.proof", "limits.participants"] {
        assert!(text.contains(at), "{at} is missing in {text}");
    }
    assert!(!text.contains("too-short-to-be-safe"), "{text}");
    assert!(
        !dir.path().join("data").exists(),
        "a refused server must leave nothing behind"
    );
}

#[test]
fn check_config_masks_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let output = timingle(&dir)
        .arg("check-config")
        .env("JWT_SECRET", secret)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        text.contains("jwt_secret = \"***\"") && !text.contains(secret),
        "{text}"
    );
}

#[test]
fn production_does_not_start_without_a_key_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let output = timingle(&dir)
        .env("TIMINGLE_PROFILE", "production")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("JWT_SECRET"), "{text}");
}
