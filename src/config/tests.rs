use std::{io::Write as _, time::Duration};

use secrecy::ExposeSecret as _;

use super::{Config, Profile, Proof, Sources, effective};

const LONG_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn env(vars: &[(&str, &str)]) -> Sources {
    Sources {
        file: None,
        env: vars.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
    }
}

fn complaint(vars: &[(&str, &str)]) -> String {
    Config::load(&env(vars)).unwrap_err().to_string()
}

#[test]
fn defaults_alone_make_a_configuration() {
    let config = Config::load(&env(&[])).unwrap();
    assert_eq!(config.profile, Profile::Embedded);
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.auth.proof, Proof::Code);
    assert_eq!(config.auth.access_expiry, Duration::from_secs(900));
}

#[test]
fn environment_wins_over_file_wins_over_profile() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"profile = \"production\"\n[server]\nport = 1111\nworkers = 3\n[data]\npool = 5\n")
        .unwrap();
    let mut sources = env(&[
        ("PORT", "2222"),
        ("TIMINGLE__SERVER__WORKERS", "4"),
        ("JWT_SECRET", LONG_SECRET),
        ("JWT_ACCESS_EXPIRY", "30m"),
    ]);
    sources.file = Some(file.path().to_owned());
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.profile, Profile::Production);
    assert_eq!(config.server.host.to_string(), "0.0.0.0");
    assert_eq!(
        (config.server.port, config.server.workers, config.data.pool),
        (2222, 4, 5)
    );
    assert_eq!(config.auth.access_expiry, Duration::from_secs(1800));
    sources.env.push(("TIMINGLE__SERVER__PORT".into(), "3333".into()));
    assert_eq!(Config::load(&sources).unwrap().server.port, 3333);
}

#[test]
fn numbers_in_a_text_stay_a_text() {
    let digits = "12345678901234567890123456789012";
    let config = Config::load(&env(&[("JWT_SECRET", digits)])).unwrap();
    assert_eq!(config.auth.jwt_secret.expose_secret(), digits);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let text = complaint(&[
        ("TIMINGLE__SERVER__PROT", "1"),
        ("TIMINGLE__PORT", "1"),
        ("TIMINGLE_DATA__DIR", "x"),
    ]);
    assert!(
        text.contains("TIMINGLE__SERVER__PROT: unknown key `server.prot`; did you mean `server.port`?"),
        "{text}"
    );
    assert!(
        text.contains("unknown key `port`; did you mean `metrics.port`?"),
        "{text}"
    );
    assert!(
        text.contains("TIMINGLE_DATA__DIR: settings begin with TIMINGLE__"),
        "{text}"
    );

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[limits]\nbody_char = 5\n[nonsense]\nx = 1\n")
        .unwrap();
    let sources = Sources {
        file: Some(file.path().to_owned()),
        env: Vec::new(),
    };
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("`limits.body_char`; did you mean `limits.body_chars`?"),
        "{text}"
    );
    assert!(text.contains("unknown key `nonsense.x`"), "{text}");
}

#[test]
fn other_peoples_variables_are_ignored() {
    Config::load(&env(&[
        ("PATH", "/bin"),
        ("TIMINGLE_SERVICE_HOST", "10.0.0.1"),
        ("TIMINGLE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("POSTGRES_PORT_5432_TCP", "tcp://10.0.0.2:5432"),
    ]))
    .unwrap();
}

#[test]
fn kubernetes_service_link_is_explained() {
    for name in ["PORT", "POSTGRES_PORT", "REDIS_PORT"] {
        let text = complaint(&[(name, "tcp://10.0.0.1:8080")]);
        assert!(
            text.contains(&format!("{name}: ")) && text.contains("enableServiceLinks"),
            "{text}"
        );
    }
}

#[test]
fn credentials_in_an_address_are_not_shown() {
    let url = "nats://ann:s3cret-of-ann@10.0.0.3:4222";
    let shown = effective(&env(&[("NATS_URL", url)])).unwrap();
    assert!(shown.contains("url = \"***\"  # NATS_URL"), "{shown}");
    let shown = effective(&env(&[("NATS_URL", "nats://10.0.0.3:4222")])).unwrap();
    assert!(shown.contains("nats://10.0.0.3:4222"), "{shown}");
}

#[test]
fn every_problem_is_told_at_once() {
    let text = complaint(&[
        ("JWT_SECRET", "short"),
        ("TIMINGLE_PROFILE", "embeded"),
        ("TIMINGLE__AUTH__PROOF", "none"),
        ("TIMINGLE__AUTH__DEFAULT_REGION", "Korea"),
        ("TIMINGLE__SERVER__HOST", "0.0.0.0"),
        ("TIMINGLE__SERVER__PUBLIC_URL", "timingle.app"),
        (
            "TIMINGLE__SERVER__ALLOWED_ORIGINS",
            "https://ok.example, https://bad.example/",
        ),
        ("TIMINGLE__LIMITS__HISTORY_PAGE", "0"),
        ("TIMINGLE__LIMITS__BODY_CHARS", "many"),
        ("TIMINGLE__METRICS__PORT", "8080"),
        ("TIMINGLE__METRICS__HOST", "everywhere"),
        ("TIMINGLE__SESSION__HEARTBEAT", "1h"),
        ("TIMINGLE__ROOM__SWEEP", "0s"),
        ("TIMINGLE__ROOM__IDLE_AFTER", "soon"),
        ("TIMINGLE__LOG__FILTER", "info,=="),
        ("TIMINGLE__SERVER__TRUSTED_PROXIES", "10.0.0.1, proxy"),
    ]);
    for at in [
        "auth.jwt_secret",
        "TIMINGLE_PROFILE",
        "auth.proof",
        "auth.default_region",
        "server.public_url",
        "server.allowed_origins: `https://bad.example/`",
        "limits.history_page",
        "TIMINGLE__LIMITS__BODY_CHARS",
        "metrics.port",
        "metrics.host (from TIMINGLE__METRICS__HOST)",
        "session.heartbeat",
        "room.sweep",
        "room.idle_after (from TIMINGLE__ROOM__IDLE_AFTER)",
        "log.filter",
        "server.trusted_proxies (from TIMINGLE__SERVER__TRUSTED_PROXIES)",
    ] {
        assert!(text.contains(at), "{at} is missing in\n{text}");
    }
    assert!(!text.contains("ok.example"), "{text}");
}

#[test]
fn production_needs_a_secret_and_no_message_tells_one() {
    assert!(complaint(&[("TIMINGLE_PROFILE", "production")]).contains("JWT_SECRET) must be set"));
    let sources = env(&[("JWT_SECRET", LONG_SECRET), ("PORT", "81")]);
    let shown = effective(&sources).unwrap();
    assert!(shown.contains("jwt_secret = \"***\"  # JWT_SECRET"), "{shown}");
    assert!(shown.contains("port = 81  # PORT"), "{shown}");
    assert!(!shown.contains(LONG_SECRET));
    assert!(!format!("{:?}", Config::load(&sources).unwrap()).contains(LONG_SECRET));
    assert!(!complaint(&[("JWT_SECRET", "quite-short")]).contains("quite-short"));
}

#[test]
fn effective_values_load_again() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(effective(&env(&[("PORT", "81")])).unwrap().as_bytes())
        .unwrap();
    let again = Sources {
        file: Some(file.path().to_owned()),
        env: Vec::new(),
    };
    assert_eq!(Config::load(&again).unwrap().server.port, 81);
}

#[test]
fn tokens_that_would_never_count_are_refused() {
    for key in [
        "TIMINGLE__AUTH__ACCESS_EXPIRY",
        "TIMINGLE__AUTH__V1_ACCESS_EXPIRY",
    ] {
        assert!(complaint(&[(key, "999ms")]).contains("whole seconds"), "{key}");
        assert!(Config::load(&env(&[(key, "1s")])).is_ok(), "{key}");
    }
}

#[test]
fn sign_in_without_proof_does_not_stand_behind_a_proxy() {
    let proof = ("TIMINGLE__AUTH__PROOF", "none");
    assert!(Config::load(&env(&[proof])).is_ok());
    let behind = [proof, ("TIMINGLE__SERVER__TRUSTED_PROXIES", "127.0.0.1")];
    assert!(complaint(&behind).contains("auth.proof"));
}

#[test]
fn address_that_may_hold_a_key_is_masked() {
    let shown = effective(&env(&[(
        "TIMINGLE__SMS__URL",
        "https://sms.example/send?key=k3y",
    )]))
    .unwrap();
    assert!(
        shown.contains("url = \"***\"") && !shown.contains("k3y"),
        "{shown}"
    );
}
