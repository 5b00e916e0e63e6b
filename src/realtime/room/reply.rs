//! The answer that somebody waits for.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::RoomError;
use crate::{
    error::Coded,
    i18n::Language,
    realtime::{outbox::Outbox, protocol::v2},
};

/// Where the answer to one command goes, exactly once.
///
/// Dropped without an answer (the mailbox was full, the room panicked or was let
/// go), it says `UNAVAILABLE`: nobody waits for ever.
pub struct ReplyTo {
    outbox: Outbox,
    id: u64,
    language: Language,
    answered: bool,
    /// Dropped with this, which is how [`ReplyTo::answered`] hears of it.
    waits: Option<oneshot::Sender<()>>,
}

impl ReplyTo {
    /// The answer to the command `id`, into `outbox`.
    pub fn new(outbox: Outbox, id: u64, language: Language) -> Self {
        Self {
            outbox,
            id,
            language,
            answered: false,
            waits: None,
        }
    }

    /// Returns once the answer is in the outbox.
    pub fn answered(&mut self) -> impl Future<Output = ()> + use<> {
        let (waits, done) = oneshot::channel();
        self.waits = Some(waits);
        async move {
            // Nothing is ever sent: the answer's end is the sender's.
            let _ = done.await;
        }
    }

    /// The client's number of the command.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The language of the one who asked.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Answers with a whole frame.
    pub fn send(mut self, frame: Bytes) {
        self.answered = true;
        // A closed outbox has nobody behind it to tell.
        let _ = self.outbox.try_push(frame);
    }

    /// Answers that it failed.
    pub fn fail(self, error: &dyn Coded) {
        let frame = v2::error_reply(Some(self.id), self.language, error);
        self.send(frame);
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if !self.answered {
            let frame = v2::error_reply(Some(self.id), self.language, &RoomError::Unavailable);
            let _ = self.outbox.try_push(frame);
        }
    }
}

impl std::fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplyTo({})", self.id)
    }
}
