//! What is heard through NATS: one subscription for each topic, one queue for all.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
};

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::ports::{Heard, Topic};

/// What waits to be heard, of all topics; then it waits in the subscriptions.
const WAITING: usize = 1_024;

/// See the module.
pub(super) struct Ears {
    wanted: Mutex<HashSet<Topic>>,
    /// Told when `wanted` has changed.
    stirred: Notify,
    notes: Mutex<Notes>,
    /// Told when there are notes.
    noted: Notify,
    heard: mpsc::Sender<Heard>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Heard>>,
}

/// What the connection itself says: never dropped, and bounded by being put together.
#[derive(Default)]
struct Notes {
    /// The last word on whether it stands, with the one before if that was the contrary.
    connection: Vec<Heard>,
    has_lost: bool,
    is_closed: bool,
}

/// A subscription; dropped, it ends.
struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ears {
    pub(super) fn new() -> Self {
        let (heard, waiting) = mpsc::channel(WAITING);
        Self {
            wanted: Mutex::default(),
            stirred: Notify::new(),
            notes: Mutex::default(),
            noted: Notify::new(),
            heard,
            waiting: tokio::sync::Mutex::new(waiting),
        }
    }

    pub(super) fn listen(&self, topic: Topic) {
        if self.wanted.lock().insert(topic) {
            self.stirred.notify_one();
        }
    }

    pub(super) fn unlisten(&self, topic: Topic) {
        if self.wanted.lock().remove(&topic) {
            self.stirred.notify_one();
        }
    }

    /// The connection says something of itself.
    pub(super) fn note(&self, what: Heard) {
        let mut notes = self.notes.lock();
        match what {
            Heard::Lost => notes.has_lost = true,
            what => {
                notes.connection.push(what);
                if notes.connection.len() > 2 {
                    // Come and gone and come again is come.
                    notes.connection.drain(..2);
                    if notes.connection.first() == Some(&Heard::Connected) {
                        notes.connection.insert(0, Heard::Disconnected);
                    }
                }
            }
        }
        drop(notes);
        self.noted.notify_one();
    }

    pub(super) fn close(&self) {
        self.notes.lock().is_closed = true;
        self.noted.notify_one();
    }

    pub(super) async fn hear(&self) -> Option<Heard> {
        let mut waiting = self.waiting.lock().await;
        loop {
            {
                let mut notes = self.notes.lock();
                if notes.is_closed {
                    return None;
                }
                if !notes.connection.is_empty() {
                    return Some(notes.connection.remove(0));
                }
                if std::mem::take(&mut notes.has_lost) {
                    return Some(Heard::Lost);
                }
            }
            tokio::select! {
                biased;
                () = self.noted.notified() => {}
                heard = waiting.recv() => return heard,
            }
        }
    }

    /// Keeps the subscriptions to what is wanted, for ever.
    pub(super) async fn run(&self, client: &Client, subject: impl Fn(Topic) -> String) {
        let mut listening: HashMap<Topic, Listening> = HashMap::new();
        loop {
            let wanted = self.wanted.lock().clone();
            listening.retain(|topic, _| wanted.contains(topic));
            for topic in wanted {
                if listening.contains_key(&topic) {
                    continue;
                }
                // Without a connection this may wait for one: so does whatever is wanted next.
                match client.subscribe(subject(topic)).await {
                    Ok(subscriber) => {
                        let heard = forward(topic, subscriber, self.heard.clone());
                        listening.insert(topic, Listening(tokio::spawn(heard)));
                    }
                    Err(error) => {
                        super::warn_of(&error, "nats takes no subscription");
                        // The client has ended, which it never does by itself.
                        pending::<()>().await;
                    }
                }
            }
            self.stirred.notified().await;
        }
    }
}

async fn forward(topic: Topic, mut subscriber: Subscriber, heard: mpsc::Sender<Heard>) {
    while let Some(message) = subscriber.next().await {
        let bytes = message.payload;
        // When this waits, so does what follows, until the client notices.
        if heard.send(Heard::Told { topic, bytes }).await.is_err() {
            return;
        }
    }
}
