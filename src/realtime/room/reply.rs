//! The answer that somebody waits for.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::RoomError;
use crate::{
    domain::{id::EventId, time::Micros},
    error::{Coded, ErrorCode},
    i18n::{self, Language},
    realtime::{outbox::Outbox, protocol::v2},
};

/// Where the answer to one command goes, exactly once.
///
/// Dropped without an answer (the mailbox was full, the room panicked or was let
/// go), it says `UNAVAILABLE`: nobody waits for ever.
pub struct ReplyTo {
    to: To,
    language: Language,
    answered: bool,
    /// Dropped with this, which is how [`ReplyTo::answered`] hears of it.
    waits: Option<oneshot::Sender<()>>,
}

enum To {
    /// To a client of version 2, as the reply to its command `id`.
    Client { outbox: Outbox, id: u64 },
    /// To a session, whose client of version 1 knows no replies.
    Session(Option<oneshot::Sender<Outcome>>),
}

/// What a session hears of a command that it gave for its client.
pub(crate) type Outcome = Result<(), Refused>;

/// Why a command was refused, as a session can act on it and show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The code.
    pub(crate) code: ErrorCode,
    /// The text for a person.
    pub(crate) text: String,
}

impl Refused {
    /// `error` in words of `language`.
    pub(crate) fn new(language: Language, error: &dyn Coded) -> Self {
        Self {
            code: error.code(),
            text: i18n::error_text(language, error),
        }
    }
}

impl ReplyTo {
    /// The answer to the command `id`, into `outbox`.
    pub fn new(outbox: Outbox, id: u64, language: Language) -> Self {
        Self::to(To::Client { outbox, id }, language)
    }

    /// An answer to a session itself, with texts in `language`.
    pub(crate) fn to_session(language: Language) -> (Self, oneshot::Receiver<Outcome>) {
        let (tell, told) = oneshot::channel();
        (Self::to(To::Session(Some(tell)), language), told)
    }

    fn to(to: To, language: Language) -> Self {
        Self {
            to,
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

    /// The client's number of the command; 0 where it has none.
    pub fn id(&self) -> u64 {
        match &self.to {
            To::Client { id, .. } => *id,
            To::Session(_) => 0,
        }
    }

    /// The language of the one who asked.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Ends a command that succeeded and has no reply.
    pub(crate) fn nothing(mut self) {
        self.answered = true;
    }

    /// Answers with a whole frame.
    pub fn send(mut self, frame: Bytes) {
        self.answer(|_| frame, Ok(()));
    }

    /// Answers that a message stands in the room's log at `seq`; `duplicate` when it did before.
    pub fn published(mut self, room: EventId, seq: u64, at: Micros, duplicate: bool) {
        self.answer(|id| v2::publish_reply(id, room, seq, at, duplicate), Ok(()));
    }

    /// Answers that it failed.
    pub fn fail(mut self, error: &dyn Coded) {
        self.refuse(error);
    }

    fn refuse(&mut self, error: &dyn Coded) {
        let language = self.language;
        self.answer(|id| v2::error_reply(Some(id), language, error), Err(error));
    }

    fn answer(&mut self, frame: impl FnOnce(u64) -> Bytes, outcome: Result<(), &dyn Coded>) {
        self.answered = true;
        match &mut self.to {
            To::Client { outbox, id } => {
                // A closed outbox has nobody behind it to tell.
                let _ = outbox.try_push(frame(*id));
            }
            To::Session(tell) => {
                if let Some(tell) = tell.take() {
                    let outcome = outcome.map_err(|error| Refused::new(self.language, error));
                    // The session may have ended.
                    let _ = tell.send(outcome);
                }
            }
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if !self.answered {
            self.refuse(&RoomError::Unavailable);
        }
    }
}

impl std::fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplyTo({})", self.id())
    }
}
