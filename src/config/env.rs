//! Settings from the environment: which variables count, and of which type their values are.

use std::collections::BTreeMap;

use figment::value::Value;

use super::{
    Problem,
    load::{Layer, PROFILE_NAME, SECRETS, Sources, nearest, nest},
};

/// The variables that existing deployments set, and the keys they stand for.
const DEPLOYMENT_NAMES: [(&str, &str); 17] = [
    ("PORT", "server.port"),
    ("POSTGRES_HOST", "postgres.host"),
    ("POSTGRES_PORT", "postgres.port"),
    ("POSTGRES_USER", "postgres.user"),
    ("POSTGRES_PASSWORD", "postgres.password"),
    ("POSTGRES_DB", "postgres.database"),
    ("REDIS_HOST", "redis.host"),
    ("REDIS_PORT", "redis.port"),
    ("REDIS_PASSWORD", "redis.password"),
    ("NATS_URL", "nats.url"),
    ("SCYLLA_HOSTS", "scylla.hosts"),
    ("SCYLLA_KEYSPACE", "scylla.keyspace"),
    ("SCYLLA_CONSISTENCY", "scylla.consistency"),
    ("JWT_SECRET", "auth.jwt_secret"),
    ("JWT_ACCESS_EXPIRY", "auth.access_expiry"),
    ("JWT_REFRESH_EXPIRY", "auth.refresh_expiry"),
    ("PHONE_VERIFY_API_KEY", "sms.api_key"),
];
const PREFIX: &str = "TIMINGLE__";

/// One layer for each variable, so that a message can name the variable.
pub(super) fn environment(
    sources: &Sources,
    known: &BTreeMap<String, Value>,
    problems: &mut Vec<Problem>,
) -> Vec<Layer> {
    let mut found: Vec<(&str, String, &str)> = Vec::new();
    if let Some(profile) = sources.var(PROFILE_NAME) {
        found.push((PROFILE_NAME, "profile".into(), profile));
    }
    for (name, key) in DEPLOYMENT_NAMES {
        if let Some(value) = sources.var(name) {
            found.push((name, key.into(), value));
        }
    }
    let mut ours: Vec<_> = sources
        .env
        .iter()
        .filter(|(name, _)| name.starts_with("TIMINGLE_"))
        .collect();
    ours.sort();
    for (name, value) in ours {
        if let Some(path) = name.strip_prefix(PREFIX) {
            let key = path.to_lowercase().replace("__", ".");
            if known.contains_key(&key) {
                found.push((name, key, value));
            } else {
                problems.push(Problem::new(
                    name,
                    format!("unknown key `{key}`{}", nearest(&key, known)),
                ));
            }
        } else if name.contains("__") {
            // TIMINGLE_SERVICE_HOST and the like are Kubernetes service links; this is a slip of the pen.
            problems.push(Problem::new(
                name,
                "settings begin with TIMINGLE__ (two underscores)",
            ));
        }
    }

    let mut layers = Vec::new();
    for (name, key, text) in found {
        match typed(text, known.get(&key)) {
            Ok(value) => layers.push(Layer {
                name: name.to_owned(),
                values: nest(&key, value),
            }),
            Err(expected) => problems.push(Problem::new(name, not_a(text, &key, expected))),
        }
    }
    layers
}

/// Reads `text` as a value of the default's type: the environment has no types of its own.
fn typed(text: &str, default: Option<&Value>) -> Result<Value, &'static str> {
    match default {
        Some(Value::Num(..)) => text
            .trim()
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| "a whole number"),
        Some(Value::Bool(..)) => text
            .trim()
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| "`true` or `false`"),
        Some(Value::Array(..)) => Ok(Value::from(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )),
        _ => Ok(Value::from(text.to_owned())),
    }
}

fn not_a(text: &str, key: &str, expected: &str) -> String {
    if SECRETS.contains(&key) {
        return format!("is not {expected}");
    }
    let hint = if text.starts_with("tcp://") {
        "; Kubernetes sets such a variable for a Service of this name: \
         set `enableServiceLinks: false` in the pod, or rename the Service"
    } else {
        ""
    };
    format!("`{text}` is not {expected}{hint}")
}
