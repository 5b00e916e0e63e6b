//! From the log into a file.

use std::{io, path::Path};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::line::{self, End, Header, Record};
use crate::{
    domain::{
        chain::{ChainFault, Tip},
        entry::{Hash, Head},
        id::{EventId, RoomId},
    },
    error::{Coded, ErrorCode},
    ports::{ReadError, RoomLog},
};

/// Entries read at a time.
const PAGE: usize = 256;

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
}

impl Coded for ExportError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Empty => ErrorCode::NotFound,
            Self::Read(error) => error.code(),
            Self::Damaged { .. } | Self::OtherEvent(_) | Self::NotText(_) | Self::Write(_) => {
                ErrorCode::InternalError
            }
        }
    }
}

/// Writes the record of `room`, the room of `event`, as it ends now.
///
/// Reads page by page and checks the chain as it goes; what is appended meanwhile
/// is not in it. `out` is flushed, not synced.
///
/// # Errors
/// The log is empty, damaged, not this event's, or does not answer; `out` fails.
pub async fn export(
    log: &dyn RoomLog,
    event: EventId,
    room: RoomId,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<Exported, ExportError> {
    let end = log.tip(room).await?.head;
    if end.seq == 0 {
        return Err(ExportError::Empty);
    }
    let (mut sha, mut bytes) = (Sha256::new(), 0);
    let mut buffer = Vec::new();
    line::push(&mut buffer, &Header::new(event, room))?;

    let mut tip = Tip::empty(room);
    while tip.head.seq < end.seq {
        let next = tip.head.seq + 1;
        let left = usize::try_from(end.seq - tip.head.seq).unwrap_or(PAGE);
        let page = log.read(room, next, PAGE.min(left)).await?;
        if page.is_empty() {
            return Err(ReadError::Corrupt { room, seq: next }.into());
        }
        for entry in &page {
            let seq = tip.head.seq + 1;
            tip.follow(entry)
                .map_err(|fault| ExportError::Damaged { seq, fault })?;
            if seq == 1 && !line::creates(entry, event) {
                return Err(ExportError::OtherEvent(event));
            }
            line::push(&mut buffer, &Record::of(entry).ok_or(ExportError::NotText(seq))?)?;
        }
        sha.update(&buffer);
        bytes += write(out, &mut buffer).await?;
    }
    line::push(
        &mut buffer,
        &End {
            entries: tip.head.seq,
            hash: tip.head.hash,
            sha256: Hash(sha.finalize().into()),
        },
    )?;
    bytes += write(out, &mut buffer).await?;
    out.flush().await?;
    Ok(Exported {
        head: tip.head,
        bytes,
    })
}

async fn write(out: &mut (impl AsyncWrite + Unpin), buffer: &mut Vec<u8>) -> io::Result<u64> {
    out.write_all(buffer).await?;
    let written = buffer.len() as u64;
    buffer.clear();
    Ok(written)
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
