//! From the file alone to "valid", or to the first bad seq.

use std::{
    collections::HashMap,
    io::{self, BufRead, Read as _},
};

use sha2::{Digest as _, Sha256};

use super::line::{self, END_MARK, End, Header, MAX_LINE, Record, VERSION};
use crate::domain::{
    chain::{ChainFault, Tip},
    entry::{Entry, Hash, Head, Kind},
    id::{EventId, RoomId},
};

/// Entries without content that are remembered until their erasure is met.
const MAX_MISSING: usize = 1_000_000;

/// What a valid export proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The event, as its first fact says.
    pub event: EventId,
    /// The room whose record it is.
    pub room: RoomId,
    /// The record's end: compare it with a head that was noted elsewhere.
    pub head: Head,
    /// How many entries there are.
    pub entries: u64,
    /// How many of them have no content any more.
    pub erased: u64,
    /// How many of those no later entry of this file takes back. In a file that
    /// goes to the record's end it is 0, unless somebody removed content on the quiet.
    pub unexplained: u64,
}

/// What is wrong with an export, and where.
#[derive(Debug, thiserror::Error)]
#[error("the record is bad at seq {seq}")]
pub struct VerifyError {
    /// The number of the first entry that is not as it has to be: 0 for the first
    /// line, the number of entries + 1 for what is wrong behind the last of them.
    pub seq: u64,
    /// What is wrong there.
    #[source]
    pub fault: VerifyFault,
}

/// What is wrong with an export.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFault {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// A line is longer than [`MAX_LINE`].
    #[error("the line has more than {MAX_LINE} bytes")]
    LineTooLong,
    /// The first line is not the one of an export.
    #[error("the file does not begin as an export of timingle")]
    Header,
    /// A later version wrote it.
    #[error("the file has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// It is the record of another room than the one asked for.
    #[error("the file is the record of room {0}")]
    OtherRoom(RoomId),
    /// A line is not an entry in the one form that the format allows.
    #[error("the line is not an entry in the form of the format")]
    Form,
    /// The entry does not follow from the one before.
    #[error(transparent)]
    Chain(ChainFault),
    /// The first entry is not the creation of the event that the first line names.
    #[error("the record does not begin with the creation of the event that the first line names")]
    OtherEvent,
    /// The record is not the one whose head was noted.
    #[error("the hash is not the one that was noted")]
    OtherHead,
    /// The record ends before the head that was noted.
    #[error("the record ends before the seq that was noted, {0}")]
    BeforeHead(u64),
    /// The file ends without its last line.
    #[error("the file ends too early")]
    Truncated,
    /// The last line is not in the one form that the format allows.
    #[error("the last line is damaged")]
    End,
    /// The last line states another number of entries or another last hash.
    #[error("the last line states another end of the record")]
    OtherEnd,
    /// The last line states another digest of the file.
    #[error("the digest of the file is not the one that the last line states")]
    FileDigest,
    /// Something follows the last line.
    #[error("something follows the last line")]
    Trailing,
}

/// Checks an export, reading it once and keeping one line at a time.
///
/// `room` is the room that it must be the record of. `noted` is a head that the
/// record must pass through: what a participant noted earlier, so that a record that
/// was rewritten as a whole, or cut, is noticed.
///
/// # Errors
/// The first thing that is wrong, and at which seq.
pub fn verify(
    reader: impl BufRead,
    room: Option<RoomId>,
    noted: Option<Head>,
) -> Result<Verified, VerifyError> {
    let mut seq = 0;
    verify_lines(reader, room, noted, &mut seq).map_err(|fault| VerifyError { seq, fault })
}

/// `seq` is always the number of the entry that is looked at.
fn verify_lines(
    mut reader: impl BufRead,
    room: Option<RoomId>,
    noted: Option<Head>,
    seq: &mut u64,
) -> Result<Verified, VerifyFault> {
    let mut sha = Sha256::new();
    let mut buffer = Vec::new();
    let first = next(&mut reader, &mut buffer)?.ok_or(VerifyFault::Truncated)?;
    let header: Header = line::parse(first)
        .filter(Header::is_ours)
        .ok_or(VerifyFault::Header)?;
    if header.version != VERSION {
        return Err(VerifyFault::Version(header.version));
    }
    if room.is_some_and(|room| room != header.room) {
        return Err(VerifyFault::OtherRoom(header.room));
    }
    sha.update(&buffer);

    let mut tip = Tip::empty(header.room);
    compare(&tip, noted)?;
    let mut missing = Missing::default();
    let end: End = loop {
        *seq = tip.head.seq + 1;
        let line = next(&mut reader, &mut buffer)?.ok_or(VerifyFault::Truncated)?;
        if line.starts_with(END_MARK) {
            break line::parse(line).ok_or(VerifyFault::End)?;
        }
        let entry = line::parse(line)
            .and_then(Record::into_entry)
            .ok_or(VerifyFault::Form)?;
        tip.follow(&entry).map_err(VerifyFault::Chain)?;
        if *seq == 1 && !line::creates(&entry, header.event) {
            return Err(VerifyFault::OtherEvent);
        }
        compare(&tip, noted)?;
        missing.see(&entry);
        sha.update(&buffer);
    };
    if (end.entries, end.hash) != (tip.head.seq, tip.head.hash) {
        return Err(VerifyFault::OtherEnd);
    }
    if end.entries == 0 {
        return Err(VerifyFault::OtherEvent);
    }
    if end.sha256 != Hash(sha.finalize().into()) {
        return Err(VerifyFault::FileDigest);
    }
    if !reader.fill_buf()?.is_empty() {
        return Err(VerifyFault::Trailing);
    }
    if let Some(noted) = noted.filter(|noted| noted.seq > tip.head.seq) {
        return Err(VerifyFault::BeforeHead(noted.seq));
    }
    Ok(Verified {
        event: header.event,
        room: header.room,
        head: tip.head,
        entries: tip.head.seq,
        erased: missing.erased,
        unexplained: missing.unexplained,
    })
}

/// The next line into `buffer`, returned without its line feed; `None` at the file's end.
fn next<'a>(reader: &mut impl BufRead, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, VerifyFault> {
    buffer.clear();
    reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', buffer)?;
    match buffer.split_last() {
        None => Ok(None),
        Some((b'\n', line)) => Ok(Some(line)),
        Some(_) if buffer.len() == MAX_LINE => Err(VerifyFault::LineTooLong),
        Some(_) => Err(VerifyFault::Truncated),
    }
}

fn compare(tip: &Tip, noted: Option<Head>) -> Result<(), VerifyFault> {
    match noted {
        Some(noted) if noted.seq == tip.head.seq && noted.hash != tip.head.hash => {
            Err(VerifyFault::OtherHead)
        }
        _ => Ok(()),
    }
}

/// Entries without content, until an erasure that explains them is met.
#[derive(Default)]
struct Missing {
    erased: u64,
    unexplained: u64,
    /// How many there are by the seq that an erasure would name.
    waiting: HashMap<u64, u64>,
}

impl Missing {
    fn see(&mut self, entry: &Entry) {
        if entry.content.is_none() {
            self.erased += 1;
            self.unexplained += 1;
            // An erasure names the message and takes the bodies of its edits along.
            let named = match (entry.kind, entry.target) {
                (Kind::Edit, Some(target)) => target,
                _ => entry.seq,
            };
            if self.waiting.len() < MAX_MISSING {
                *self.waiting.entry(named).or_default() += 1;
            }
        }
        if let (Kind::Erase, Some(target)) = (entry.kind, entry.target) {
            self.unexplained -= self.waiting.remove(&target).unwrap_or(0);
        }
    }
}
