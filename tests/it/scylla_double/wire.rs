//! Frames, types and values of the native protocol, version 4, as far as the double speaks it.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest frame that is read, in bytes.
const MAX_FRAME: usize = 16 << 20;

/// What a column holds: nothing, or a value as it travels.
pub(super) type Value = Option<Vec<u8>>;

/// What a client asks.
pub(super) mod request {
    pub(in super::super) const STARTUP: u8 = 0x01;
    pub(in super::super) const OPTIONS: u8 = 0x05;
    pub(in super::super) const QUERY: u8 = 0x07;
    pub(in super::super) const PREPARE: u8 = 0x09;
    pub(in super::super) const EXECUTE: u8 = 0x0A;
    pub(in super::super) const REGISTER: u8 = 0x0B;
    pub(in super::super) const AUTH_RESPONSE: u8 = 0x0F;
}

/// What a server answers.
pub(super) mod answer {
    pub(in super::super) const ERROR: u8 = 0x00;
    pub(in super::super) const READY: u8 = 0x02;
    pub(in super::super) const AUTHENTICATE: u8 = 0x03;
    pub(in super::super) const SUPPORTED: u8 = 0x06;
    pub(in super::super) const RESULT: u8 = 0x08;
    pub(in super::super) const AUTH_SUCCESS: u8 = 0x10;
}

/// Consistency levels that decide what a read is.
pub(super) mod level {
    pub(in super::super) const QUORUM: u16 = 0x0004;
    pub(in super::super) const LOCAL_QUORUM: u16 = 0x0006;
    pub(in super::super) const SERIAL: u16 = 0x0008;
    pub(in super::super) const LOCAL_SERIAL: u16 = 0x0009;
}

/// A request: its number on the connection, what it is, and the rest.
pub(super) struct Frame {
    pub(super) stream: i16,
    pub(super) opcode: u8,
    pub(super) body: Vec<u8>,
}

impl Frame {
    /// The next one; none at the connection's end.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head).await.ok()?;
        assert_eq!(head[0], 0x04, "a client of another protocol version");
        assert_eq!(head[1] & 0x01, 0, "nobody was offered compression");
        let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
        assert!(length <= MAX_FRAME, "a frame of {length} bytes");
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.ok()?;
        Some(Self {
            stream: i16::from_be_bytes([head[2], head[3]]),
            opcode: head[4],
            body,
        })
    }
}

/// An answer on its way: opcode, body, and the custom payload when there is one.
pub(super) struct Answer {
    pub(super) opcode: u8,
    pub(super) body: Writer,
    pub(super) payload: Option<(&'static str, Vec<u8>)>,
}

impl Answer {
    pub(super) fn new(opcode: u8, body: Writer) -> Self {
        Self {
            opcode,
            body,
            payload: None,
        }
    }

    /// The bytes of the answer to request `stream`.
    pub(super) fn frame(self, stream: i16) -> Vec<u8> {
        let mut payload = Writer::default();
        if let Some((name, bytes)) = &self.payload {
            payload.short(1).string(name).bytes(Some(bytes));
        }
        let mut out = vec![0x84, if self.payload.is_some() { 0x04 } else { 0x00 }];
        out.extend(stream.to_be_bytes());
        out.push(self.opcode);
        out.extend(
            u32::try_from(payload.0.len() + self.body.0.len())
                .unwrap()
                .to_be_bytes(),
        );
        out.extend(payload.0);
        out.extend(self.body.0);
        out
    }
}

/// What a column may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    BigInt,
    Blob,
    Boolean,
    Inet,
    Int,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Set(Box<Type>),
    Text,
    Uuid,
}

impl Type {
    /// The type called `name` in a table's definition.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bigint" => Self::BigInt,
            "blob" => Self::Blob,
            "boolean" => Self::Boolean,
            "inet" => Self::Inet,
            "int" => Self::Int,
            "text" | "varchar" => Self::Text,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }

    /// Its name in `system_schema.columns`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::BigInt => "bigint".to_owned(),
            Self::Blob => "blob".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Inet => "inet".to_owned(),
            Self::Int => "int".to_owned(),
            Self::List(inner) => format!("list<{}>", inner.name()),
            Self::Map(key, value) => format!("map<{}, {}>", key.name(), value.name()),
            Self::Set(inner) => format!("set<{}>", inner.name()),
            Self::Text => "text".to_owned(),
            Self::Uuid => "uuid".to_owned(),
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Self::BigInt => to.short(0x02),
            Self::Blob => to.short(0x03),
            Self::Boolean => to.short(0x04),
            Self::Int => to.short(0x09),
            Self::Uuid => to.short(0x0C),
            Self::Text => to.short(0x0D),
            Self::Inet => to.short(0x10),
            Self::List(inner) => {
                inner.write(to.short(0x20));
                to
            }
            Self::Map(key, value) => {
                key.write(to.short(0x21));
                value.write(to);
                to
            }
            Self::Set(inner) => {
                inner.write(to.short(0x22));
                to
            }
        };
    }

    /// Bytes that sort as values of this type do.
    pub(super) fn ordered(&self, value: &[u8]) -> Vec<u8> {
        let mut bytes = value.to_vec();
        if let (Self::BigInt | Self::Int, Some(first)) = (self, bytes.first_mut()) {
            *first ^= 0x80;
        }
        bytes
    }
}

/// A column of an answer, or a value that a statement leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) keyspace: String,
    pub(super) table: String,
    pub(super) name: String,
    pub(super) typ: Type,
}

/// Writes what a frame's body is made of.
#[derive(Default, Clone)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn short(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn count(&mut self, value: usize) -> &mut Self {
        self.int(i32::try_from(value).unwrap())
    }

    pub(super) fn string(&mut self, value: &str) -> &mut Self {
        self.short_bytes(value.as_bytes())
    }

    pub(super) fn short_bytes(&mut self, value: &[u8]) -> &mut Self {
        self.short(u16::try_from(value.len()).unwrap());
        self.0.extend(value);
        self
    }

    pub(super) fn bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.int(-1),
            Some(value) => {
                self.count(value.len());
                self.0.extend(value);
                self
            }
        }
    }

    pub(super) fn specs(&mut self, specs: &[Spec]) -> &mut Self {
        for spec in specs {
            self.string(&spec.keyspace).string(&spec.table).string(&spec.name);
            spec.typ.write(self);
        }
        self
    }
}

/// Reads what a frame's body is made of; a body that ends early fails the test.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub(super) fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(super) fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    pub(super) fn short_bytes(&mut self) -> &'a [u8] {
        let count = self.short();
        self.take(usize::from(count))
    }

    pub(super) fn string(&mut self) -> &'a str {
        std::str::from_utf8(self.short_bytes()).unwrap()
    }

    pub(super) fn long_string(&mut self) -> &'a str {
        let count = usize::try_from(self.int()).unwrap();
        std::str::from_utf8(self.take(count)).unwrap()
    }

    /// Bytes; none when null (-1) or not set (-2).
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.int();
        usize::try_from(count).ok().map(|count| self.take(count))
    }

    pub(super) fn string_map(&mut self) -> Vec<(String, String)> {
        (0..self.short())
            .map(|_| (self.string().to_owned(), self.string().to_owned()))
            .collect()
    }
}

/// What a list or a set holds.
pub(super) fn list(value: &Value) -> Vec<Value> {
    let mut reader = Reader(value.as_deref().unwrap_or_default());
    if reader.0.is_empty() {
        return Vec::new();
    }
    (0..reader.int())
        .map(|_| reader.bytes().map(<[u8]>::to_vec))
        .collect()
}

/// A list or a set of these, or a map of keys and values by turns, `count` elements long.
pub(super) fn collection(count: usize, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.count(count);
    for part in parts {
        writer.bytes(Some(part));
    }
    writer.0
}
