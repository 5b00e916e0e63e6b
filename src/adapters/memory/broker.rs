//! Nodes of one process that tell each other something.

use std::{
    collections::HashSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, mpsc::error::TrySendError};

use crate::ports::{Broker, Heard, Topic};

/// What may wait to be heard by one node; of more it is told that something was lost.
const WAITING: usize = 4_096;

/// What joins [`MemoryBroker`]s. Clones are the same.
#[derive(Clone, Default)]
pub struct MemoryHub {
    ears: Arc<Mutex<Vec<Weak<Ear>>>>,
}

struct Ear {
    topics: Mutex<HashSet<Topic>>,
    /// Taken away when the broker is closed.
    heard: Mutex<Option<mpsc::Sender<Heard>>>,
    lost: AtomicBool,
}

/// [`Broker`] within one process: of a node that is alone, or of several at one [`MemoryHub`].
pub struct MemoryBroker {
    hub: MemoryHub,
    ear: Arc<Ear>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Heard>>,
}

impl MemoryBroker {
    /// A node that hears itself only.
    pub fn alone() -> Self {
        Self::joined(&MemoryHub::default())
    }

    /// One more node at `hub`.
    pub fn joined(hub: &MemoryHub) -> Self {
        let (heard, waiting) = mpsc::channel(WAITING);
        // The queue is empty: there is room.
        let _ = heard.try_send(Heard::Connected);
        let ear = Arc::new(Ear {
            topics: Mutex::default(),
            heard: Mutex::new(Some(heard)),
            lost: AtomicBool::new(false),
        });
        hub.ears.lock().push(Arc::downgrade(&ear));
        Self {
            hub: hub.clone(),
            ear,
            waiting: tokio::sync::Mutex::new(waiting),
        }
    }
}

impl Ear {
    fn tell(&self, topic: Topic, bytes: &Bytes) {
        if !self.topics.lock().contains(&topic) {
            return;
        }
        let bytes = bytes.clone();
        let told = self
            .heard
            .lock()
            .as_ref()
            .map(|heard| heard.try_send(Heard::Told { topic, bytes }));
        if matches!(told, Some(Err(TrySendError::Full(_)))) {
            self.lost.store(true, Ordering::Release);
        }
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    fn tell(&self, topic: Topic, bytes: Bytes) -> bool {
        if self.ear.heard.lock().is_none() {
            return false;
        }
        self.hub.ears.lock().retain(|ear| {
            let ear = ear.upgrade();
            if let Some(ear) = &ear {
                ear.tell(topic, &bytes);
            }
            ear.is_some()
        });
        true
    }

    fn listen(&self, topic: Topic) {
        self.ear.topics.lock().insert(topic);
    }

    fn unlisten(&self, topic: Topic) {
        self.ear.topics.lock().remove(&topic);
    }

    async fn hear(&self) -> Option<Heard> {
        let mut waiting = self.waiting.lock().await;
        // The queue is full when something is lost, so nobody waits here for ever.
        if self.ear.lost.swap(false, Ordering::AcqRel) {
            return Some(Heard::Lost);
        }
        waiting.recv().await
    }

    async fn close(&self) {
        self.ear.heard.lock().take();
    }
}
