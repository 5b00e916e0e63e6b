//! The socket's wire: frames, close codes, version 1's chat messages, and version 2's
//! commands, replies and pushes.

pub mod frame;
pub mod v1;
pub mod v2;

/// Which version of the wire a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Version 1: one room, whole chat messages and nothing else.
    V1,
    /// Version 2: many rooms, commands, replies and pushes.
    V2,
}

/// Why the server closes a socket; the numbers are an API.
///
/// 4000-4499: come back with back-off. 4500-4999: do not come back by yourself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The client closed; its close is answered.
    Normal,
    /// A text frame that is not UTF-8 (RFC 6455 section 8.1).
    InvalidUtf8,
    /// A frame or message over the limit.
    TooBig,
    /// Our fault; come back.
    Internal,
    /// The server drains.
    Shutdown,
    /// The outbox was full, or the socket took nothing of it for too long.
    Slow,
    /// No frame from the client for too long.
    NoPong,
    /// The access token expired and was not renewed in its grace.
    TokenExpired,
    /// No, or no valid, credential in time.
    NotAuthenticated,
    /// Not this protocol: a binary frame, or a broken one.
    Broken,
    /// The sign-in was revoked or the account is gone.
    Revoked,
    /// More sockets than one user may have.
    TooManySockets,
    /// Version 1, whose sockets have one room: its user takes part no longer.
    Removed,
}

impl CloseCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::Shutdown => 4001,
            Self::Slow => 4002,
            Self::NoPong => 4003,
            Self::TokenExpired => 4005,
            Self::NotAuthenticated => 4500,
            Self::Broken => 4501,
            Self::Revoked => 4502,
            Self::TooManySockets => 4503,
            Self::Removed => 4504,
        }
    }

    /// The reason beside the number, and the `reason` of the metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooBig => "too_big",
            Self::Internal => "internal",
            Self::Shutdown => "shutdown",
            Self::Slow => "slow",
            Self::NoPong => "no_pong",
            Self::TokenExpired => "token_expired",
            Self::NotAuthenticated => "not_authenticated",
            Self::Broken => "broken",
            Self::Revoked => "revoked",
            Self::TooManySockets => "too_many_sockets",
            Self::Removed => "removed",
        }
    }
}
