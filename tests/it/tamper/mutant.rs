//! Exports changed by hand: the lines, written without our code, and what can be done to them.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// An entry's line, as `docs/log-format.md` has it; written without looking at ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) at: i64,
    pub(super) author: i64,
    pub(super) kind: u8,
    pub(super) key: Uuid,
    pub(super) msg_no: u64,
    pub(super) fact_no: u64,
    pub(super) reply_to: u64,
    pub(super) target: u64,
    pub(super) digest: String,
    pub(super) hash: String,
    pub(super) salt: Option<String>,
    pub(super) body: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) hash: String,
    pub(super) sha256: String,
}

impl Line {
    pub(super) fn read(line: &[u8]) -> Self {
        serde_json::from_slice(line).unwrap()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        with_feed(self)
    }

    pub(super) fn redo_digest(&mut self) {
        let mut sha = Sha256::new();
        sha.update(hex::decode(self.salt.as_ref().unwrap()).unwrap());
        sha.update(self.body.as_ref().unwrap());
        self.digest = hex::encode(sha.finalize());
    }

    pub(super) fn redo_hash(&mut self, previous: &str) {
        let mut sha = Sha256::new();
        sha.update(b"timingle.entry.v1");
        sha.update(hex::decode(previous).unwrap());
        sha.update([1]);
        sha.update(self.seq.to_be_bytes());
        sha.update(self.at.to_be_bytes());
        sha.update(self.author.to_be_bytes());
        sha.update([self.kind]);
        sha.update(self.key.as_bytes());
        for number in [self.msg_no, self.fact_no, self.reply_to, self.target] {
            sha.update(number.to_be_bytes());
        }
        sha.update(hex::decode(&self.digest).unwrap());
        self.hash = hex::encode(sha.finalize());
    }
}

pub(super) fn with_feed(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap();
    bytes.push(b'\n');
    bytes
}

/// The file's lines, each with its line feed.
pub(super) fn lines(file: &[u8]) -> Vec<Vec<u8>> {
    file.split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// Puts the right digest of the file into its last line, if it still has one.
pub(super) fn redo_file_digest(lines: &mut [Vec<u8>]) {
    if let Some((last, rest)) = lines.split_last_mut()
        && let Ok(mut end) = serde_json::from_slice::<End>(last)
    {
        end.sha256 = hex::encode(Sha256::digest(rest.concat()));
        *last = with_feed(&end);
    }
}

/// What a mutation made of the file, and at which seq it has to be noticed.
pub(super) struct Mutant {
    pub(super) what: String,
    pub(super) lines: Vec<Vec<u8>>,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Does one random thing to `original`. Line i of the file is entry i, line 0 the header.
pub(super) fn mutate(random: &mut StdRng, original: &[Vec<u8>], other: &[Vec<u8>]) -> Mutant {
    match random.random_range(0..17) {
        0..=2 => flip(random, original),
        3..=10 => rearrange(random, original, other),
        _ => rewrite(random, original),
    }
}

fn exactly(what: String, lines: Vec<Vec<u8>>, seq: usize) -> Mutant {
    let seq = seq as u64;
    Mutant {
        what,
        lines,
        from: seq,
        to: seq,
    }
}

fn flip(random: &mut StdRng, original: &[Vec<u8>]) -> Mutant {
    let mut lines = original.to_vec();
    let position = random.random_range(0..original.concat().len());
    let (mut line, mut start) = (0, 0);
    while start + lines[line].len() <= position {
        start += lines[line].len();
        line += 1;
    }
    lines[line][position - start] ^= 1 << random.random_range(0..8);
    let mut mutant = exactly(format!("bit of byte {position}"), lines, line);
    // Another room or event in the header shows when the first entry is compared with it.
    mutant.to = mutant.to.max(1);
    mutant
}

/// Takes whole lines away, doubles them, moves them.
fn rearrange(random: &mut StdRng, original: &[Vec<u8>], other: &[Vec<u8>]) -> Mutant {
    let mut lines = original.to_vec();
    let end = lines.len() - 1;
    let k = random.random_range(1..end);
    match random.random_range(0..9) {
        0 => {
            let line = random.random_range(0..=end);
            lines.remove(line);
            exactly(format!("delete {line}"), lines, line)
        }
        1 => {
            let other = (k + random.random_range(1..end - 1) - 1) % (end - 1) + 1;
            lines.swap(k, other);
            exactly(format!("swap {k} with {other}"), lines, k.min(other))
        }
        2 => {
            let place = random.random_range(k + 1..=end);
            lines.insert(place, lines[k].clone());
            exactly(format!("double {k} at {place}"), lines, place)
        }
        3 => {
            let keep = random.random_range(0..lines[k].len());
            lines.truncate(k + 1);
            lines[k].truncate(keep);
            exactly(format!("truncate in {k}"), lines, k)
        }
        4 => {
            let hash = Line::read(&lines[k]).hash;
            lines.truncate(k + 1);
            lines.push(with_feed(&End {
                entries: k as u64,
                hash,
                sha256: String::new(),
            }));
            if k + 1 == end {
                // Nothing was cut: the last entry goes, but the last line still counts it.
                lines.remove(k);
            }
            let seq = if k + 1 == end { k } else { k + 1 };
            exactly(format!("cut behind {k}, with a new last line"), lines, seq)
        }
        5 => {
            let from = if random.random() { 1 } else { k };
            lines.truncate(from);
            lines.extend_from_slice(&other[from..]);
            exactly(format!("graft from {from}"), lines, from)
        }
        6 => {
            let header = String::from_utf8(lines[0].clone()).unwrap();
            lines[0] = header.replacen("\"event\":", "\"event\":1", 1).into_bytes();
            exactly("another event in the header".into(), lines, 1)
        }
        7 => {
            lines[0].clone_from(&other[0]);
            exactly("another record's header".into(), lines, 0)
        }
        _ => {
            let spare = random.random_range(b' '..=b'~');
            lines.push(vec![spare; random.random_range(1..50)]);
            exactly("something behind the end".into(), lines, end)
        }
    }
}

/// Changes what an entry says, or how it says it.
fn rewrite(random: &mut StdRng, original: &[Vec<u8>]) -> Mutant {
    let mut lines = original.to_vec();
    let end = lines.len() - 1;
    let k = random.random_range(1..end);
    let mut line = Line::read(&lines[k]);
    match random.random_range(0..6) {
        0 => {
            line.at += *[-86_400_000_000, -1, 1, 1_000_000].choose(random).unwrap();
            lines[k] = line.write();
            exactly(format!("re-date {k}"), lines, k)
        }
        1 => {
            line.body.get_or_insert_default().push(' ');
            line.salt.get_or_insert_with(|| "00".repeat(16));
            line.redo_digest();
            lines[k] = line.write();
            exactly(format!("body of {k} with its digest"), lines, k)
        }
        2 if k > 1 => {
            line.key = Uuid::new_v4();
            line.redo_hash(&Line::read(&lines[k - 1]).hash);
            lines[k] = line.write();
            // The forged entry is sound in itself: what follows it no longer fits, and
            // the last one does not fit the noted head.
            let seq = if k + 1 == end { k } else { k + 1 };
            exactly(format!("{k} with its hash"), lines, seq)
        }
        3 => {
            for line in &mut lines[k..end] {
                let mut renumbered = Line::read(line);
                renumbered.seq += 1;
                *line = renumbered.write();
            }
            exactly(format!("renumber from {k}"), lines, k)
        }
        4 => {
            let text = String::from_utf8(lines[k].clone()).unwrap();
            let spelt = match random.random_range(0..5) {
                0 => text.replacen(':', ": ", 1),
                1 => text.replacen("\"author\"", "\"author\":0,\"author\"", 1),
                2 => text.replacen("\"seq\"", "\"\\u0073eq\"", 1),
                3 => text.replacen('{', "{\"more\":1,", 1),
                _ => text.replacen("\"hash\"", "\"HASH\"", 1),
            };
            lines[k] = spelt.into_bytes();
            exactly(format!("other spelling of {k}"), lines, k)
        }
        _ => {
            match random.random_range(0..6) {
                0 => line.author += 1,
                1 => line.kind = line.kind % 6 + 1,
                2 => line.msg_no += 1,
                3 => line.fact_no += 1,
                4 => line.reply_to += 1,
                _ => line.target += 1,
            }
            lines[k] = line.write();
            exactly(format!("field of {k}"), lines, k)
        }
    }
}
