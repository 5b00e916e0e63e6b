//! From the log into a file, or to one person.

use std::{io, path::Path};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::line::{self, End, Header, Record};
use crate::{
    domain::{
        chain::{ChainFault, Tip},
        entry::{Entry, Hash, Head},
        id::{EventId, RoomId},
        visibility::Visible,
    },
    error::{Coded, ErrorCode},
    ports::{ReadError, RoomLog, SourceError},
};

/// Entries read at a time; together they have at most 2 MiB.
const PAGE: usize = 32;

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The record's end; `seq` is also the number of entries.
    pub head: Head,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nothing has been recorded yet: not even the event's creation.
    #[error("the log is empty")]
    Empty,
    /// The log cannot be read.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// The log holds an entry that does not follow from the one before.
    #[error("the log is damaged at seq {seq}")]
    Damaged {
        /// Where.
        seq: u64,
        /// How.
        #[source]
        fault: ChainFault,
    },
    /// The log does not begin with the creation of this event.
    #[error("the log does not begin with the creation of event {0}")]
    OtherEvent(EventId),
    /// A body is not UTF-8 text.
    #[error("the body at seq {0} is not text")]
    NotText(u64),
    /// The file cannot be written.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
    /// The user does not take part in the event and never did.
    #[error("the user never took part")]
    NoPart,
    /// It is not known yet where in the record the user came or went.
    #[error("a fact about the user waits for the log")]
    Unsettled,
    /// The relational store has no such event, or does not answer.
    #[error("the event cannot be loaded")]
    Source(#[from] SourceError),
}

impl Coded for ExportError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Empty => ErrorCode::NotFound,
            Self::Read(error) => error.code(),
            Self::Source(error) => error.code(),
            Self::NoPart => ErrorCode::EventNotFound,
            Self::Unsettled => ErrorCode::Unavailable,
            Self::Damaged { .. } | Self::OtherEvent(_) | Self::NotText(_) | Self::Write(_) => {
                ErrorCode::InternalError
            }
        }
    }
}

/// An export that is made piece by piece, as fast as somebody takes the pieces.
///
/// It reads page by page and checks the chain as it goes.
pub(super) struct Export {
    event: EventId,
    room: RoomId,
    /// The last entry that is in it.
    end: u64,
    /// Whose export it is; without, everything is shown.
    visible: Option<Visible>,
    tip: Tip,
    sha: Sha256,
    /// Whether the last line has been made.
    is_over: bool,
}

impl Export {
    /// The export of the record of `room`, the room of `event`, as it ends now; what is
    /// appended meanwhile is not in it.
    ///
    /// # Errors
    /// The log is empty or does not answer.
    async fn whole(log: &dyn RoomLog, event: EventId, room: RoomId) -> Result<Self, ExportError> {
        let end = log.tip(room).await?.head.seq;
        Self::up_to(event, room, end, None)
    }

    /// The export of the first `end` entries, for somebody who may see what is `visible`:
    /// of the others it has all but salt and body.
    ///
    /// # Errors
    /// There is no entry.
    pub(super) fn up_to(
        event: EventId,
        room: RoomId,
        end: u64,
        visible: Option<Visible>,
    ) -> Result<Self, ExportError> {
        if end == 0 {
            return Err(ExportError::Empty);
        }
        Ok(Self {
            event,
            room,
            end,
            visible,
            tip: Tip::empty(room),
            sha: Sha256::new(),
            is_over: false,
        })
    }

    /// The next piece, which ends with a line's end; `None` behind the last one.
    ///
    /// # Errors
    /// The log is damaged, not this event's, or does not answer: then there is no whole export.
    pub(super) async fn next(&mut self, log: &dyn RoomLog) -> Result<Option<Bytes>, ExportError> {
        if self.is_over {
            return Ok(None);
        }
        let mut piece = Vec::new();
        if self.tip.head.seq == 0 {
            line::push(&mut piece, &Header::new(self.event, self.room))?;
        }
        let next = self.tip.head.seq + 1;
        let left = usize::try_from(self.end - self.tip.head.seq).unwrap_or(PAGE);
        let page = log.read(self.room, next, PAGE.min(left)).await?;
        if page.is_empty() {
            let (room, seq) = (self.room, next);
            return Err(ReadError::Corrupt { room, seq }.into());
        }
        for entry in page {
            self.push(&mut piece, entry)?;
        }
        self.sha.update(&piece);
        if self.tip.head.seq >= self.end {
            self.is_over = true;
            let end = End {
                entries: self.tip.head.seq,
                hash: self.tip.head.hash,
                sha256: Hash(self.sha.finalize_reset().into()),
            };
            line::push(&mut piece, &end)?;
        }
        Ok(Some(piece.into()))
    }

    fn push(&mut self, piece: &mut Vec<u8>, mut entry: Entry) -> Result<(), ExportError> {
        let seq = self.tip.head.seq + 1;
        self.tip
            .follow(&entry)
            .map_err(|fault| ExportError::Damaged { seq, fault })?;
        if seq == 1 && !line::creates(&entry, self.event) {
            return Err(ExportError::OtherEvent(self.event));
        }
        if self
            .visible
            .as_ref()
            .is_some_and(|visible| !visible.contains(seq))
        {
            entry.content = None;
        }
        line::push(piece, &Record::of(&entry).ok_or(ExportError::NotText(seq))?)?;
        Ok(())
    }
}

/// Writes the record of `room`, the room of `event`, as it ends now.
///
/// `out` is flushed, not synced.
///
/// # Errors
/// The log is empty, damaged, not this event's, or does not answer; `out` fails.
pub async fn export(
    log: &dyn RoomLog,
    event: EventId,
    room: RoomId,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<Exported, ExportError> {
    let mut export = Export::whole(log, event, room).await?;
    let mut bytes = 0;
    while let Some(piece) = export.next(log).await? {
        out.write_all(&piece).await?;
        bytes += piece.len() as u64;
    }
    out.flush().await?;
    Ok(Exported {
        head: export.tip.head,
        bytes,
    })
}

/// As [`export`], into the file `path`, which is there whole and on disk, or not at all.
///
/// It is written under a temporary name beside it, readable by its owner only, and
/// takes the place of a file of that name.
///
/// # Errors
/// As [`export`].
pub async fn export_file(
    log: &dyn RoomLog,
    event: EventId,
    room: RoomId,
    path: &Path,
) -> Result<Exported, ExportError> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file").into());
    };
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.part", uuid::Uuid::new_v4().simple()));
    let draft = path.with_file_name(draft);

    let written = async {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&draft).await?;
        let exported = export(log, event, room, &mut file).await?;
        file.sync_all().await?;
        tokio::fs::rename(&draft, path).await?;
        Ok(exported)
    }
    .await;
    if written.is_err() {
        // Half an export is of no use; if it cannot be removed either, its name says what it is.
        let _ = tokio::fs::remove_file(&draft).await;
        return written;
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    tokio::fs::File::open(dir).await?.sync_all().await?;
    written
}
