//! The configuration: `config/default.toml`, then the profile's file, then the environment.
//!
//! No global: each component takes its own section by value.

mod engines;
mod env;
mod load;
mod sms;
#[cfg(test)]
mod tests;
mod validate;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;

pub use engines::{Consistency, Nats, Postgres, Redis, Scylla};
pub use load::{Sources, effective};
pub use sms::{SmsBodyError, SmsWords};

/// Everything that can be set; `config/default.toml` explains each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which set of engines.
    pub profile: Profile,
    /// `[server]`
    pub server: Server,
    /// `[data]`
    pub data: Data,
    /// `[postgres]`
    pub postgres: Postgres,
    /// `[scylla]`
    pub scylla: Scylla,
    /// `[nats]`
    pub nats: Nats,
    /// `[redis]`
    pub redis: Redis,
    /// `[auth]`
    pub auth: Auth,
    /// `[sms]`
    pub sms: Sms,
    /// `[events]`
    pub events: Events,
    /// `[limits]`
    pub limits: Limits,
    /// `[session]`
    pub session: Session,
    /// `[room]`
    pub room: Room,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
}

/// Every problem of a configuration, so that one look mends them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, variable or file at fault.
    pub at: String,
    /// What is wrong with it; never a secret.
    pub text: String,
}

impl Problem {
    fn new(at: &str, text: impl Into<String>) -> Self {
        Self {
            at: at.to_owned(),
            text: text.into(),
        }
    }
}

impl ConfigErrors {
    fn of(at: &str, text: impl Into<String>) -> Self {
        Self(vec![Problem::new(at, text)])
    }
}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the configuration has {} problem(s):", self.0.len())?;
        for Problem { at, text } in &self.0 {
            write!(f, "\n  {at}: {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Which set of engines the server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// SQLite in one directory, the rest in process.
    Embedded,
    /// PostgreSQL, ScyllaDB or Cassandra, NATS, Redis.
    Production,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address to listen on.
    pub host: IpAddr,
    /// TCP port; 0 takes a free one.
    pub port: u16,
    /// Base of the links the server makes; empty means `http://localhost:PORT`.
    pub public_url: String,
    /// Origins beside the server's own whose pages may open a socket or call the API.
    pub allowed_origins: Vec<String>,
    /// Threads for HTTP and sockets; 0 means one per processor.
    pub workers: usize,
    /// How long a stopping server waits for rooms and sockets.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// Over how long clients of a stopping server are spread when they come back.
    #[serde(with = "humantime_serde")]
    pub drain_spread: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// `[data]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Directory of the embedded stores.
    pub dir: PathBuf,
    /// Connections to the relational store.
    pub pool: u32,
    /// How long a request waits for one of them.
    #[serde(with = "humantime_serde")]
    pub pool_timeout: Duration,
}

/// What proves a phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A one-time code.
    Code,
    /// Nothing: development on a loopback address.
    None,
}

/// `[auth]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// What proves a phone number.
    pub proof: Proof,
    /// Key of the access tokens; empty until the data directory's own is read.
    pub jwt_secret: SecretString,
    /// A key that was replaced; empty: none.
    pub jwt_previous_secret: SecretString,
    /// Life of an access token.
    #[serde(with = "humantime_serde")]
    pub access_expiry: Duration,
    /// Life of an access token from register and login.
    #[serde(with = "humantime_serde")]
    pub v1_access_expiry: Duration,
    /// Life of a refresh token, counted anew at each use.
    #[serde(with = "humantime_serde")]
    pub refresh_expiry: Duration,
    /// Country of numbers without a country code.
    pub default_region: String,
    /// Life of a one-time code.
    #[serde(with = "humantime_serde")]
    pub code_expiry: Duration,
    /// Wrong tries until a one-time code is void.
    pub code_tries: u32,
    /// In which parallel refreshes of a client that rotates get the same successor.
    #[serde(with = "humantime_serde")]
    pub rotation_grace: Duration,
    /// The store reviewers' number; empty: none.
    pub review_phone: String,
    /// The code that always counts for it; empty: none.
    pub review_code: SecretString,
    /// How often live sockets are checked against revoked sessions.
    #[serde(with = "humantime_serde")]
    pub revocation_poll: Duration,
}

/// `[sms]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// Where one-time codes are handed over; empty: the terminal.
    pub url: String,
    /// Key of that service.
    pub api_key: SecretString,
    /// Template of what is posted.
    pub body: String,
}

/// `[events]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// How long after an event's end its room takes messages.
    #[serde(with = "humantime_serde")]
    pub chat_after_end: Duration,
    /// How often deadlines and ends that came due are looked for.
    #[serde(with = "humantime_serde")]
    pub due_poll: Duration,
    /// How long the answer to a creation with an `Idempotency-Key` is kept.
    #[serde(with = "humantime_serde")]
    pub idempotency_life: Duration,
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Characters of a message.
    pub body_chars: usize,
    /// Bytes of a frame from a client.
    pub frame_bytes: usize,
    /// Bytes of an HTTP request's body.
    pub request_bytes: usize,
    /// Messages a second and user.
    pub publishes_per_s: u32,
    /// Messages of a user at once.
    pub publish_burst: u32,
    /// Sockets of one user.
    pub sockets_per_user: usize,
    /// Sockets of one user that speak version 1.
    pub v1_sockets_per_user: usize,
    /// Rooms one socket may join.
    pub rooms_per_socket: usize,
    /// Commands of one socket in work at a time.
    pub commands_in_flight: usize,
    /// Participants of an event, the host included.
    pub participants: i64,
    /// Entries of a page of history.
    pub history_page: usize,
    /// Bytes waiting for one socket.
    pub outbox_bytes: usize,
    /// How long a socket may take nothing of what waits for it.
    #[serde(with = "humantime_serde")]
    pub outbox_stall: Duration,
    /// Bytes of one answer.
    pub answer_bytes: usize,
    /// Life of an unauthenticated socket.
    #[serde(with = "humantime_serde")]
    pub auth_timeout: Duration,
    /// Bytes an unauthenticated socket may send.
    pub auth_bytes: usize,
    /// One-time codes per phone number and hour.
    pub codes_per_number: u32,
    /// One-time codes per address and hour.
    pub codes_per_address: u32,
    /// Sign-in requests per address and minute.
    pub sign_ins_per_address: u32,
    /// Requests of one signed-in user per minute.
    pub requests_per_user: u32,
    /// Invite links looked up without sign-in, per address and minute.
    pub invite_lookups_per_address: u32,
}

/// `[session]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Interval of pings.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Silence after which a socket is closed.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Grace after an access token's expiry.
    #[serde(with = "humantime_serde")]
    pub token_grace: Duration,
}

/// `[room]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Threads that rooms live on; 0 means one per processor.
    pub threads: usize,
    /// A room without sockets is let go after this long.
    #[serde(with = "humantime_serde")]
    pub idle_after: Duration,
    /// Newest entries a live room keeps in memory.
    pub tail_entries: usize,
    /// Bytes of entries a live room keeps in memory.
    pub tail_bytes: usize,
    /// Entries of one append.
    pub append_entries: usize,
    /// Bytes of one append.
    pub append_bytes: usize,
    /// Entries waiting for an append.
    pub pending_entries: usize,
    /// How long a publish may wait for the log.
    #[serde(with = "humantime_serde")]
    pub publish_timeout: Duration,
    /// How far back a publish key is looked for, in entries.
    pub key_window: u64,
    /// How often facts not known to be in the log are looked for.
    #[serde(with = "humantime_serde")]
    pub sweep: Duration,
}

/// `[metrics]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address of the Prometheus endpoint.
    pub host: IpAddr,
    /// Its port; 0 turns it off.
    pub port: u16,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Filter, as `info` or `info,timingle::realtime=debug`.
    pub filter: String,
    /// How log lines look.
    pub format: LogFormat,
}
