//! What strace wrote, as calls in the order in which they began and ended.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// One system call.
pub(super) struct Call {
    /// Line of the trace at which it began.
    pub(super) begun: usize,
    /// Line at which it ended; the same one if nothing came between.
    pub(super) ended: usize,
    name: String,
    /// A file's path, or `TCP:[local->remote]`.
    target: String,
    /// What was to be written, one buffer behind the other.
    data: Vec<u8>,
    /// What it returned, if it returned a number.
    pub(super) result: Option<i64>,
}

impl Call {
    pub(super) fn writes_to(&self, file: &str) -> bool {
        self.name.contains("write") && self.is_on(file)
    }

    pub(super) fn syncs(&self, file: &str) -> bool {
        (self.name == "fdatasync" || self.name == "fsync") && self.is_on(file)
    }

    fn is_on(&self, file: &str) -> bool {
        self.target.rsplit('/').next() == Some(file)
    }

    pub(super) fn contains(&self, bytes: &[u8]) -> bool {
        self.data.windows(bytes.len()).any(|window| window == bytes)
    }

    /// What the kernel took of `data`.
    fn taken(&self) -> &[u8] {
        let taken = self
            .result
            .and_then(|result| usize::try_from(result).ok())
            .unwrap_or(0);
        &self.data[..taken.min(self.data.len())]
    }
}

/// All calls, in the order of their beginnings.
pub(super) struct Trace {
    pub(super) calls: Vec<Call>,
}

impl Trace {
    /// Reads the output of `strace -f -xx -yy`: `PID name(fd<target>, ...) = result`, where
    /// `<unfinished ...>` and `<... name resumed>` stand around what other threads did meanwhile.
    pub(super) fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut unfinished: HashMap<&str, usize> = HashMap::new();
        for (line, text) in text.lines().enumerate() {
            let Some((thread, rest)) = text.split_once(' ') else {
                continue;
            };
            let rest = rest.trim_start();
            if rest.starts_with("<... ") {
                if let Some(call) = unfinished.remove(thread).and_then(|index| calls.get_mut(index)) {
                    call.ended = line;
                    call.result = result(rest);
                }
                continue;
            }
            let Some((name, arguments)) = rest.split_once('(') else {
                continue;
            };
            if !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                continue;
            }
            let open = rest.ends_with("<unfinished ...>");
            if open {
                unfinished.insert(thread, calls.len());
            }
            calls.push(Call {
                begun: line,
                ended: if open { usize::MAX } else { line },
                name: name.to_owned(),
                target: target(arguments),
                data: strings(arguments),
                result: if open { None } else { result(rest) },
            });
        }
        Self { calls }
    }

    /// Each socket's bytes: which call they left by, and which they are.
    fn streams(&self) -> BTreeMap<&str, (Vec<u8>, Vec<usize>)> {
        let mut streams: BTreeMap<&str, (Vec<u8>, Vec<usize>)> = BTreeMap::new();
        for (index, call) in self
            .calls
            .iter()
            .enumerate()
            .filter(|(_, call)| call.target.starts_with("TCP"))
        {
            let (bytes, calls) = streams.entry(&call.target).or_default();
            bytes.extend(call.taken());
            calls.resize(bytes.len(), index);
        }
        streams
    }

    /// Every JSON frame that left through a WebSocket, by the call that took its first byte.
    pub(super) fn frames(&self) -> Vec<(usize, Value)> {
        let mut frames = Vec::new();
        for (bytes, calls) in self.streams().values() {
            let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                continue;
            }
            let mut at = head + 4;
            while let Some((opcode, payload)) = frame(&bytes[at..]) {
                if opcode == 1 {
                    let payload = &bytes[at + payload.start..at + payload.end];
                    frames.push((calls[at], serde_json::from_slice(payload).unwrap()));
                }
                at += payload.end;
            }
        }
        frames
    }

    /// For each mark the call that began the first HTTP answer which holds it.
    pub(super) fn answers(&self, marks: &[&str]) -> Vec<usize> {
        let holds = |call: &Call, mark: &str| {
            call.target.starts_with("TCP")
                && call.data.starts_with(b"HTTP/1.1 2")
                && call.contains(mark.as_bytes())
        };
        marks
            .iter()
            .map(|mark| {
                self.calls
                    .iter()
                    .position(|call| holds(call, mark))
                    .unwrap_or_else(|| panic!("no {mark}"))
            })
            .collect()
    }
}

/// The opcode of the unmasked frame at the start of `bytes`, and where its payload lies.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= start + length).then_some((bytes[0] & 0x0f, start..start + length))
}

/// What the first argument `7<...>` is open on.
fn target(arguments: &str) -> String {
    let Some((_, rest)) = arguments.split_once('<') else {
        return String::new();
    };
    if rest.starts_with("TCP") {
        let end = rest.find("]>").map_or(rest.len(), |end| end + 1);
        return rest[..end].to_owned();
    }
    let end = rest.find('>').unwrap_or(rest.len());
    String::from_utf8_lossy(&unescape(&rest[..end])).into_owned()
}

/// All strings among the arguments, one behind the other.
fn strings(arguments: &str) -> Vec<u8> {
    arguments
        .split('"')
        .skip(1)
        .step_by(2)
        .flat_map(unescape)
        .collect()
}

/// `\x41\x42` as bytes.
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok())
        .collect()
}

fn result(line: &str) -> Option<i64> {
    line.rsplit_once(" = ")?.1.split_whitespace().next()?.parse().ok()
}
