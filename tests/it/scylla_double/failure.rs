//! What a server answers when it does not do what it was asked.

use super::wire::{Writer, level};

/// A refusal, or a word that it is not known what came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Name or password are wrong.
    Credentials,
    /// Something went wrong inside the server.
    Server,
    /// Too few replicas are there to begin with.
    Unavailable,
    /// The coordinator has too much to do.
    Overloaded,
    /// The node is still starting.
    Bootstrapping,
    /// Too few replicas answered a write in time: at which level, and what kind of write.
    WriteTimeout(u16, &'static str),
    /// Too few replicas answered a read in time: at which level.
    ReadTimeout(u16),
    /// Replicas failed in a write: at which level, and what kind of write.
    WriteBroke(u16, &'static str),
    Syntax(String),
    Unauthorized,
    Invalid(String),
    Config(String),
    AlreadyExists(String, String),
    Unprepared(Vec<u8>),
    /// Only ScyllaDB, and only to who knows it: too many requests to one partition in a second;
    /// whether the coordinator said so, or a replica when others may have written.
    RateLimit {
        by_coordinator: bool,
    },
}

/// The code of [`Failure::RateLimit`], told to clients when they connect.
pub(super) const RATE_LIMIT_CODE: i32 = 0xF000;

impl Failure {
    /// The body of the ERROR frame.
    pub(super) fn body(&self) -> Writer {
        let mut body = Writer::default();
        match self {
            Self::Credentials => body.int(0x0100).string("Username and/or password are incorrect"),
            Self::Server => body.int(0x0000).string("something went wrong"),
            Self::Unavailable => body
                .int(0x1000)
                .string("Cannot achieve consistency level")
                .short(level::LOCAL_SERIAL)
                .int(2)
                .int(1),
            Self::Overloaded => body.int(0x1001).string("too many in-flight requests: 4096"),
            Self::Bootstrapping => body.int(0x1002).string("cannot read from bootstrapping node"),
            Self::WriteTimeout(level, kind) => body
                .int(0x1100)
                .string("Operation timed out - received only 1 responses")
                .short(*level)
                .int(1)
                .int(2)
                .string(kind),
            Self::ReadTimeout(level) => body
                .int(0x1200)
                .string("Operation timed out - received only 1 responses")
                .short(*level)
                .int(1)
                .int(2)
                .byte(0),
            Self::WriteBroke(level, kind) => body
                .int(0x1500)
                .string("Operation failed - received 1 responses and 2 failures")
                .short(*level)
                .int(1)
                .int(2)
                .int(2)
                .string(kind),
            Self::Syntax(text) => body.int(0x2000).string(text),
            Self::Unauthorized => body
                .int(0x2100)
                .string("User has no MODIFY permission on the table"),
            Self::Invalid(text) => body.int(0x2200).string(text),
            Self::Config(text) => body.int(0x2300).string(text),
            Self::AlreadyExists(keyspace, table) => body
                .int(0x2400)
                .string("Cannot add what exists")
                .string(keyspace)
                .string(table),
            Self::Unprepared(id) => body
                .int(0x2500)
                .string("No prepared statement with this id")
                .short_bytes(id),
            Self::RateLimit { by_coordinator } => body
                .int(RATE_LIMIT_CODE)
                .string("Per-partition rate limit reached for write in table")
                .byte(1)
                .byte(u8::from(*by_coordinator)),
        };
        body
    }
}
