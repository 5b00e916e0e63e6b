//! A chunk: the entries of one append, as the bytes of one cell.
//!
//! One byte of version, then each entry behind its length (four bytes, big-endian). An
//! entry's number is not written: the chunk's place says it. All numbers are big-endian
//! and of fixed width; `author`, `reply_to` and `target` are 0 when absent. The same
//! entries always give the same bytes, so an append can be repeated byte for byte.

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::{
    entry::{Content, Entry, Hash, Kind},
    id::UserId,
    time::Micros,
};

/// Version of the form; the first byte of every chunk.
const VERSION: u8 = 1;

/// What an entry takes without its content: six numbers, a kind, a key, a digest, a hash
/// and a flag.
const FIXED: usize = 6 * 8 + 1 + 16 + 32 + 32 + 1;

const SALT: usize = 16;

/// Bytes that `entry` adds to a chunk.
pub(super) fn size(entry: &Entry) -> usize {
    4 + FIXED + entry.body().map_or(0, |body| SALT + body.len())
}

/// The bytes of `entries`; `None` where a number or a body is beyond what the form holds.
pub(super) fn encode(entries: &[Entry]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1 + entries.iter().map(size).sum::<usize>());
    out.push(VERSION);
    for entry in entries {
        out.extend(u32::try_from(size(entry) - 4).ok()?.to_be_bytes());
        out.extend(entry.at.0.to_be_bytes());
        out.extend(entry.author.map_or(0, |user| user.0).to_be_bytes());
        out.push(entry.kind as u8);
        out.extend(entry.key.as_bytes());
        out.extend(entry.msg_no.to_be_bytes());
        out.extend(entry.fact_no.to_be_bytes());
        out.extend(entry.reply_to.unwrap_or(0).to_be_bytes());
        out.extend(entry.target.unwrap_or(0).to_be_bytes());
        out.extend(entry.digest);
        out.extend(entry.hash.0);
        out.push(u8::from(entry.content.is_some()));
        if let Some(Content { salt, body }) = &entry.content {
            out.extend(salt);
            out.extend_from_slice(body);
        }
    }
    Some(out)
}

/// The entries of a chunk whose first one has the number `first`, up to the first one that
/// cannot be understood: whoever counts them finds a hole there.
pub(super) fn decode(first: u64, chunk: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let Some((&VERSION, mut rest)) = chunk.split_first() else {
        return entries;
    };
    let mut seq = first;
    while let Some((bytes, behind)) = split(rest)
        && let Some(entry) = entry(seq, bytes)
    {
        entries.push(entry);
        rest = behind;
        seq = seq.saturating_add(1);
    }
    entries
}

/// The bytes of the first entry, and what stands behind it.
fn split(chunk: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = chunk.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn entry(seq: u64, bytes: &[u8]) -> Option<Entry> {
    let mut reader = Reader(bytes);
    let mut entry = Entry {
        seq,
        at: Micros(i64::from_be_bytes(reader.take()?)),
        author: Some(i64::from_be_bytes(reader.take()?))
            .filter(|author| *author != 0)
            .map(UserId),
        kind: Kind::from_u8(u8::from_be_bytes(reader.take()?))?,
        key: Uuid::from_bytes(reader.take()?),
        msg_no: u64::from_be_bytes(reader.take()?),
        fact_no: u64::from_be_bytes(reader.take()?),
        reply_to: Some(u64::from_be_bytes(reader.take()?)).filter(|seq| *seq != 0),
        target: Some(u64::from_be_bytes(reader.take()?)).filter(|seq| *seq != 0),
        content: None,
        digest: reader.take()?,
        hash: Hash(reader.take()?),
    };
    match reader.take()? {
        [1] => {
            entry.content = Some(Content {
                salt: reader.take()?,
                // A copy: a body that is kept must not keep the whole answer in memory.
                body: Bytes::copy_from_slice(reader.0),
            });
        }
        [0] if reader.0.is_empty() => {}
        _ => return None,
    }
    Some(entry)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{decode, encode, size};
    use crate::domain::{
        chain::Tip,
        entry::{Draft, Entry, Kind},
        id::{RoomId, UserId},
        time::Micros,
    };

    fn entries(bodies: &[&str]) -> Vec<Entry> {
        let mut tip = Tip::empty(RoomId(Uuid::nil()));
        let seal = |(index, body): (usize, &&str)| {
            let draft = Draft {
                author: (index % 2 == 0).then_some(UserId(7)),
                kind: if index % 3 == 0 { Kind::Message } else { Kind::Fact },
                key: Uuid::from_u128(index as u128 + 1),
                reply_to: (index % 2 == 1).then_some(1),
                target: (index % 3 == 2).then_some(2),
                body: Bytes::copy_from_slice(body.as_bytes()),
            };
            tip.seal(draft, Micros(5), [9; 16])
        };
        bodies.iter().enumerate().map(seal).collect()
    }

    #[test]
    fn entries_come_back_as_they_were_also_erased_ones() {
        let mut all = entries(&["{}", "{\"text\":\"말\"}", "{\"a\":1}"]);
        all[1].content = None;
        let bytes = encode(&all).unwrap();
        assert_eq!(bytes.len(), 1 + all.iter().map(size).sum::<usize>());
        assert_eq!(decode(1, &bytes), all);
    }

    #[test]
    fn form_never_changes() {
        let bytes = encode(&entries(&["{}"])).unwrap();
        let text = hex::encode(&bytes);
        assert!(
            text.starts_with(
                "010000009400000000000000050000000000000007010000000000000000000000000000000100"
            ),
            "{text}"
        );
        assert_eq!(bytes.len(), 1 + 4 + 130 + 16 + 2);
        assert!(text.ends_with(&format!("01{}7b7d", "09".repeat(16))), "{text}");
    }

    #[test]
    fn what_cannot_be_understood_ends_it() {
        let all = entries(&["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
        let bytes = encode(&all).unwrap();
        let ends: Vec<usize> = (0..=3)
            .map(|n| 1 + all[..n].iter().map(size).sum::<usize>())
            .collect();
        for end in 0..=bytes.len() {
            let whole = ends
                .iter()
                .filter(|whole| **whole <= end)
                .count()
                .saturating_sub(1);
            let mut found = decode(10, &bytes[..end]);
            for entry in &mut found {
                entry.seq -= 9;
            }
            assert_eq!(found, all[..whole], "{end} bytes");
        }
        let mut unknown = bytes.clone();
        unknown[0] = 2;
        assert!(decode(1, &unknown).is_empty(), "another version");
        let mut kind = bytes.clone();
        kind[ends[1] + 4 + 16] = 99;
        assert_eq!(decode(1, &kind), all[..1]);
        let mut flag = bytes;
        flag[ends[2] + 4 + 129] = 0;
        assert_eq!(decode(1, &flag), all[..2], "content without a flag");
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(1, &bytes);
            let versioned: Vec<u8> = std::iter::once(1).chain(bytes).collect();
            let _ = decode(1, &versioned);
        }
    }
}
