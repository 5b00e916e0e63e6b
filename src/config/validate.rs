//! Which settings make no sense, alone or together.

use std::{str::FromStr, time::Duration};

use secrecy::ExposeSecret;

use super::{Config, Problem, Profile, Proof};

/// The shortest key for HMAC-SHA-256 that RFC 7518 section 3.2 allows, in bytes.
const MIN_SECRET_BYTES: usize = 32;
/// Nothing here lives longer; keeps arithmetic on instants far from its limits.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Everything wrong with `config`; empty when it can be run.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    sign_in(config, &mut found);
    codes(config, &mut found);
    engines(config, &mut found);
    everything_else(config, &mut found);
    found
}

/// What is wrong with where the engines are.
fn engines(config: &Config, found: &mut Vec<Problem>) {
    let mut check = checker(found);
    let (postgres, scylla, nats, redis) = (&config.postgres, &config.scylla, &config.nats, &config.redis);
    for (key, value) in [
        ("postgres.host", &postgres.host),
        ("postgres.user", &postgres.user),
        ("postgres.database", &postgres.database),
        ("redis.host", &redis.host),
    ] {
        check(!value.is_empty(), key, "is empty".into());
    }
    check(!scylla.hosts.is_empty(), "scylla.hosts", "names no node".into());
    check(
        is_keyspace(&scylla.keyspace),
        "scylla.keyspace",
        format!(
            "`{}` is not a keyspace's name: a letter, then at most 47 letters, digits and underscores, in lower case",
            scylla.keyspace
        ),
    );
    check(
        scylla.user.is_empty() == scylla.password.expose_secret().is_empty(),
        "scylla.user",
        "and scylla.password come together, or not at all".into(),
    );
    let servers = nats.url.expose_secret();
    check(
        servers.split(',').all(|url| {
            url::Url::parse(url.trim())
                .is_ok_and(|url| matches!(url.scheme(), "nats" | "tls") && url.has_host())
        }),
        "nats.url",
        "is not an address such as nats://127.0.0.1:4222, or several separated by commas".into(),
    );
    check(
        !nats.prefix.is_empty()
            && nats
                .prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'),
        "nats.prefix",
        format!("`{}` is not made of letters, digits, `_` and `-`", nats.prefix),
    );
    check(!redis.prefix.is_empty(), "redis.prefix", "is empty".into());
}

/// Whether `name` can be written into CQL without quotes; both servers allow 48 characters.
fn is_keyspace(name: &str) -> bool {
    name.len() <= 48
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What is wrong with all the rest.
fn everything_else(config: &Config, found: &mut Vec<Problem>) {
    let mut check = checker(found);
    let (server, data) = (&config.server, &config.data);
    check(
        server.port == 0 || server.port != config.metrics.port,
        "metrics.port",
        format!("{} is server.port as well", server.port),
    );
    check(
        server.public_url.is_empty() || is_base_url(&server.public_url),
        "server.public_url",
        format!(
            "`{}` is not an http or https address without query and fragment",
            server.public_url
        ),
    );
    for origin in &server.allowed_origins {
        check(
            is_origin(origin),
            "server.allowed_origins",
            format!("`{origin}` is not an origin such as https://timingle.app"),
        );
    }
    check(!data.dir.as_os_str().is_empty(), "data.dir", "is empty".into());
    check(
        config.session.heartbeat < config.session.timeout,
        "session.heartbeat",
        "is not shorter than session.timeout: quiet sockets would be closed before a ping".into(),
    );
    check(
        config.limits.answer_bytes < config.limits.outbox_bytes,
        "limits.outbox_bytes",
        "is not above limits.answer_bytes: one answer would fill it".into(),
    );
    check(
        config.limits.auth_bytes <= config.limits.frame_bytes,
        "limits.auth_bytes",
        "is above limits.frame_bytes".into(),
    );
    check(
        tracing_subscriber::EnvFilter::try_new(&config.log.filter).is_ok(),
        "log.filter",
        format!(
            "`{}` is not a filter such as info,timingle::realtime=debug",
            config.log.filter
        ),
    );

    for (key, least, value) in numbers(config) {
        check(value >= least, key, format!("is {value}; at least {least}"));
    }
    for (key, value) in durations(config) {
        check(!value.is_zero(), key, "is zero".into());
        check(value <= MAX_DURATION, key, "is longer than ten years".into());
    }
}

/// Notes a problem of the key unless what is said of it holds.
fn checker(found: &mut Vec<Problem>) -> impl FnMut(bool, &str, String) {
    |holds, key, text| {
        if !holds {
            found.push(Problem::new(key, text));
        }
    }
}

/// What is wrong with keys, proofs and lives of tokens.
fn sign_in(config: &Config, found: &mut Vec<Problem>) {
    let mut check = checker(found);
    let (server, auth) = (&config.server, &config.auth);
    let secret = auth.jwt_secret.expose_secret();
    check(
        secret.is_empty() || secret.len() >= MIN_SECRET_BYTES,
        "auth.jwt_secret",
        format!(
            "(JWT_SECRET) has {} bytes; at least {MIN_SECRET_BYTES} are needed, \
             for instance from `openssl rand -hex 32`",
            secret.len()
        ),
    );
    check(
        config.profile != Profile::Production || !secret.is_empty(),
        "auth.jwt_secret",
        "(JWT_SECRET) must be set in production".into(),
    );
    let previous = auth.jwt_previous_secret.expose_secret();
    check(
        previous.is_empty() || previous.len() >= MIN_SECRET_BYTES,
        "auth.jwt_previous_secret",
        format!(
            "has {} bytes; at least {MIN_SECRET_BYTES} are needed",
            previous.len()
        ),
    );
    check(
        auth.proof == Proof::Code || server.host.is_loopback(),
        "auth.proof",
        format!(
            "`none` lets anybody in as anybody: it needs a loopback server.host, not {}",
            server.host
        ),
    );
    check(
        auth.proof == Proof::Code || server.trusted_proxies.is_empty(),
        "auth.proof",
        "`none` lets anybody in as anybody: it must not stand behind server.trusted_proxies".into(),
    );
    check(
        phonenumber::country::Id::from_str(&auth.default_region).is_ok(),
        "auth.default_region",
        format!(
            "`{}` is not an ISO 3166-1 country code such as KR",
            auth.default_region
        ),
    );
    check(
        auth.refresh_expiry >= auth.access_expiry && auth.refresh_expiry >= auth.v1_access_expiry,
        "auth.refresh_expiry",
        "is shorter than an access token's life".into(),
    );
    for (key, life) in [
        ("auth.access_expiry", auth.access_expiry),
        ("auth.v1_access_expiry", auth.v1_access_expiry),
    ] {
        check(
            life.is_zero() || life >= Duration::from_secs(1),
            key,
            "is below one second: tokens count in whole seconds".into(),
        );
    }
}

/// What is wrong with how codes reach people.
fn codes(config: &Config, found: &mut Vec<Problem>) {
    let mut check = checker(found);
    let auth = &config.auth;
    let review_code = auth.review_code.expose_secret();
    check(
        auth.review_phone.is_empty() == review_code.is_empty(),
        "auth.review_code",
        "and auth.review_phone are set together or not at all".into(),
    );
    check(
        review_code.is_empty() || (review_code.len() == 6 && review_code.bytes().all(|b| b.is_ascii_digit())),
        "auth.review_code",
        "is not 6 digits".into(),
    );
    check(
        config.sms.url.is_empty()
            || url::Url::parse(&config.sms.url)
                .is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")),
        "sms.url",
        "is not an http or https address".into(),
    );
    if let Err(error) = config.sms.try_body() {
        check(false, "sms.body", format!("cannot be used: {error}"));
    }
    let region = phonenumber::country::Id::from_str(&auth.default_region).ok();
    check(
        auth.review_phone.is_empty()
            || phonenumber::parse(region, &auth.review_phone)
                .is_ok_and(|number| phonenumber::is_valid(&number)),
        "auth.review_phone",
        "is not a phone number".into(),
    );
}

/// Keys whose value must not be below the number given.
fn numbers(config: &Config) -> Vec<(&'static str, u64, u64)> {
    let (limits, room) = (&config.limits, &config.room);
    let n = |number: usize| number as u64;
    vec![
        ("data.pool", 1, config.data.pool.into()),
        ("redis.pool", 1, config.redis.pool.into()),
        ("auth.code_tries", 1, config.auth.code_tries.into()),
        ("limits.body_chars", 1, n(limits.body_chars)),
        ("limits.frame_bytes", 1024, n(limits.frame_bytes)),
        ("limits.request_bytes", 1024, n(limits.request_bytes)),
        ("limits.publishes_per_s", 1, limits.publishes_per_s.into()),
        ("limits.publish_burst", 1, limits.publish_burst.into()),
        ("limits.sockets_per_user", 1, n(limits.sockets_per_user)),
        ("limits.v1_sockets_per_user", 1, n(limits.v1_sockets_per_user)),
        ("limits.requests_per_user", 1, limits.requests_per_user.into()),
        (
            "limits.invite_lookups_per_address",
            1,
            limits.invite_lookups_per_address.into(),
        ),
        ("limits.rooms_per_socket", 1, n(limits.rooms_per_socket)),
        ("limits.commands_in_flight", 1, n(limits.commands_in_flight)),
        (
            "limits.participants",
            1,
            u64::try_from(limits.participants).unwrap_or(0),
        ),
        ("limits.history_page", 1, n(limits.history_page)),
        // The largest single entry (64 KiB of body, escaped) must fit.
        ("limits.outbox_bytes", 262_144, n(limits.outbox_bytes)),
        ("limits.answer_bytes", 1024, n(limits.answer_bytes)),
        ("limits.auth_bytes", 1024, n(limits.auth_bytes)),
        ("limits.codes_per_number", 1, limits.codes_per_number.into()),
        ("limits.codes_per_address", 1, limits.codes_per_address.into()),
        (
            "limits.sign_ins_per_address",
            1,
            limits.sign_ins_per_address.into(),
        ),
        ("room.tail_entries", 1, n(room.tail_entries)),
        ("room.tail_bytes", 1024, n(room.tail_bytes)),
        ("room.append_entries", 1, n(room.append_entries)),
        ("room.append_bytes", 65_536, n(room.append_bytes)),
        ("room.pending_entries", 1, n(room.pending_entries)),
        ("room.key_window", 1, room.key_window),
    ]
}

fn durations(config: &Config) -> Vec<(&'static str, Duration)> {
    let (auth, limits, session, room) = (&config.auth, &config.limits, &config.session, &config.room);
    vec![
        ("server.drain_timeout", config.server.drain_timeout),
        ("server.drain_spread", config.server.drain_spread),
        ("data.pool_timeout", config.data.pool_timeout),
        ("postgres.connect_timeout", config.postgres.connect_timeout),
        ("postgres.statement_timeout", config.postgres.statement_timeout),
        ("scylla.connect_timeout", config.scylla.connect_timeout),
        ("scylla.append_timeout", config.scylla.append_timeout),
        ("scylla.read_timeout", config.scylla.read_timeout),
        ("redis.timeout", config.redis.timeout),
        ("auth.access_expiry", auth.access_expiry),
        ("auth.v1_access_expiry", auth.v1_access_expiry),
        ("auth.refresh_expiry", auth.refresh_expiry),
        ("auth.code_expiry", auth.code_expiry),
        ("auth.rotation_grace", auth.rotation_grace),
        ("auth.revocation_poll", auth.revocation_poll),
        ("events.chat_after_end", config.events.chat_after_end),
        ("events.due_poll", config.events.due_poll),
        ("events.idempotency_life", config.events.idempotency_life),
        ("limits.outbox_stall", limits.outbox_stall),
        ("limits.auth_timeout", limits.auth_timeout),
        ("session.heartbeat", session.heartbeat),
        ("session.timeout", session.timeout),
        ("session.token_grace", session.token_grace),
        ("room.idle_after", room.idle_after),
        ("room.publish_timeout", room.publish_timeout),
        ("room.sweep", room.sweep),
    ]
}

fn is_base_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

fn is_origin(text: &str) -> bool {
    // An origin is compared byte by byte with what browsers send: no path, no final slash.
    is_base_url(text) && url::Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}
