//! NATS (core) as the carrier between nodes: [`Broker`] over one connection.
//!
//! - here: what is told, and how the connection is kept.
//! - `ears`: what is heard.

mod ears;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection::State};
use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use rand::Rng as _;
use secrecy::ExposeSecret as _;
use tokio::{
    runtime,
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::ears::Ears;
use crate::{
    config::Nats as NatsConfig,
    ports::{Broker, Heard, Topic},
};

/// Tellings that wait for the connection; more are dropped.
const TELLINGS: usize = 8_192;

/// Messages of one topic that wait to be heard; of more, NATS' client drops some and says so.
const SUBSCRIPTION: usize = 1_024;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the server is asked whether it is there. One that is silent three times is away.
const PING: Duration = Duration::from_secs(1);

/// The longest pause between two tries to connect.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How long one telling may wait for the client.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the client is asked whether it is connected: its own word may get lost.
const WATCH: Duration = Duration::from_millis(250);

/// How long what was told last may take to get out when the server stops.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why NATS cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// `nats.url` is not a list of addresses.
    #[error("nats.url is not an address, or several separated by commas")]
    Address(#[source] std::io::Error),
    /// `nats.prefix` cannot begin a subject.
    #[error("nats.prefix may have letters, digits, '-', '_' and dots between them only")]
    Prefix,
}

/// See the module. The connection is made in the background, and made again for ever.
pub struct Nats {
    shared: Arc<Shared>,
    tellings: mpsc::Sender<(Topic, Bytes)>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    prefix: String,
    is_connected: AtomicBool,
    ears: Ears,
}

impl Nats {
    /// Connects as `config` says, on `background`, and goes on trying.
    ///
    /// # Errors
    /// The configuration makes no sense.
    pub fn open(config: &NatsConfig, background: &runtime::Handle) -> Result<Self, NatsError> {
        let addresses = config.url.expose_secret().split(',');
        let addresses: Result<Vec<ServerAddr>, _> = addresses.map(|address| address.trim().parse()).collect();
        let addresses = addresses.map_err(NatsError::Address)?;
        let is_token = |token: &str| {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !token.is_empty() && token.bytes().all(is_fit)
        };
        if !config.prefix.split('.').all(is_token) {
            return Err(NatsError::Prefix);
        }
        let shared = Arc::new(Shared {
            prefix: config.prefix.clone(),
            is_connected: AtomicBool::new(false),
            ears: Ears::new(),
        });
        let (tellings, waiting) = mpsc::channel(TELLINGS);
        let login = login(&addresses);
        let run = run(Arc::clone(&shared), addresses, login, waiting);
        Ok(Self {
            tasks: vec![background.spawn(run)],
            shared,
            tellings,
        })
    }

    /// Whether the server is connected now.
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Broker for Nats {
    fn tell(&self, topic: Topic, bytes: Bytes) -> bool {
        // Later it would be old, and whoever missed it looks anyway.
        self.is_connected() && self.tellings.try_send((topic, bytes)).is_ok()
    }

    fn listen(&self, topic: Topic) {
        self.shared.ears.listen(topic);
    }

    fn unlisten(&self, topic: Topic) {
        self.shared.ears.unlisten(topic);
    }

    async fn hear(&self) -> Option<Heard> {
        self.shared.ears.hear().await
    }

    async fn close(&self) {
        self.shared.ears.close();
        // The queue has a place for everything when it is empty.
        let _ = timeout(LAST_WORDS, self.tellings.reserve_many(TELLINGS)).await;
        sleep(Duration::from_millis(20)).await;
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn subject(&self, topic: Topic) -> String {
        format!("{}.{topic}", self.prefix)
    }

    /// Takes in whether the connection stands.
    fn note(&self, is_connected: bool) {
        if self.is_connected.swap(is_connected, Ordering::AcqRel) != is_connected {
            self.ears.note(if is_connected {
                Heard::Connected
            } else {
                Heard::Disconnected
            });
        }
    }
}

/// Name and password of the first address that has them: the servers of a cluster share their
/// users, and the library reads none from an address.
fn login(addresses: &[ServerAddr]) -> Option<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    addresses.iter().find_map(|address| {
        let user = decoded(address.username()?);
        Some((user, decoded(address.password().unwrap_or_default())))
    })
}

/// Keeps the connection and everything that goes over it, for ever.
async fn run(
    shared: Arc<Shared>,
    addresses: Vec<ServerAddr>,
    login: Option<(String, String)>,
    mut tellings: mpsc::Receiver<(Topic, Bytes)>,
) {
    let client = loop {
        let mut options = options(&shared);
        if let Some((user, password)) = login.clone() {
            options = options.user_and_password(user, password);
        }
        // With `retry_on_initial_connect` this does not wait for the server.
        match options.connect(&addresses).await {
            Ok(client) => break client,
            Err(error) => warn_of(&error, "nats cannot be connected to, trying again"),
        }
        sleep(MAX_PAUSE).await;
    };
    tokio::select! {
        () = tell(&shared, &client, &mut tellings) => {}
        () = shared.ears.run(&client, |topic| shared.subject(topic)) => {}
        () = watch(&shared, &client) => {}
    }
}

fn warn_of(error: &(dyn std::error::Error + 'static), what: &'static str) {
    tracing::warn!(error, "{what}");
}

fn options(shared: &Arc<Shared>) -> ConnectOptions {
    let shared = Arc::clone(shared);
    ConnectOptions::new()
        .name("timingle")
        .retry_on_initial_connect()
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING)
        .reconnect_delay_callback(pause)
        .subscription_capacity(SUBSCRIPTION)
        .event_callback(move |event| {
            let shared = Arc::clone(&shared);
            async move {
                match event {
                    Event::Connected => shared.note(true),
                    Event::Disconnected | Event::Closed => shared.note(false),
                    Event::SlowConsumer(_) => shared.ears.note(Heard::Lost),
                    Event::LameDuckMode | Event::Draining => {}
                    // Their text may hold what a server was told.
                    Event::ServerError(_) => tracing::warn!("nats reports an error"),
                    Event::ClientError(_) => tracing::debug!("nats cannot be reached"),
                }
            }
        })
}

/// The pause before the try `attempts`: growing, bounded, and another one on each node.
fn pause(attempts: usize) -> Duration {
    let grown = Duration::from_millis(50).saturating_mul(1 << attempts.min(10));
    grown.min(MAX_PAUSE).mul_f64(rand::rng().random_range(0.5..1.0))
}

async fn tell(shared: &Shared, client: &Client, tellings: &mut mpsc::Receiver<(Topic, Bytes)>) {
    while let Some((topic, bytes)) = tellings.recv().await {
        if !shared.is_connected.load(Ordering::Acquire) {
            continue;
        }
        // What is lost here was counted by the one who told it.
        if !matches!(
            timeout(PATIENCE, client.publish(shared.subject(topic), bytes)).await,
            Ok(Ok(()))
        ) {
            tracing::debug!("something told to other nodes is lost");
        }
    }
}

/// Sees by itself whether the connection stands, and whether it is another one.
async fn watch(shared: &Shared, client: &Client) {
    let mut ticks = interval(WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let statistics = client.statistics();
    let mut connects = 0;
    loop {
        ticks.tick().await;
        let is_connected = client.connection_state() == State::Connected;
        if statistics.connects.load(Ordering::Relaxed) > connects + 1 {
            // It went and came between two looks.
            shared.note(false);
        }
        connects = statistics.connects.load(Ordering::Relaxed);
        shared.note(is_connected);
    }
}

#[cfg(test)]
mod tests {
    use super::login;

    #[test]
    fn credentials_are_those_of_the_address() {
        let of = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            login(&addresses)
        };
        assert_eq!(of(&["nats://one:4222"]), None);
        let ann = Some(("ann".to_owned(), "s:ec ret".to_owned()));
        assert_eq!(of(&["nats://ann:s%3Aec%20ret@one:4222"]), ann);
        assert_eq!(of(&["nats://one:4222", "nats://ann:s%3Aec%20ret@two:4222"]), ann);
    }
}
