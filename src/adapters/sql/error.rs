//! What a failed query means to its caller.

use diesel::result::{DatabaseErrorKind, Error};

use crate::error::{Coded, ErrorCode};

/// Why the relational store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It did not answer in time, or cannot work now: locked, full, out of connections.
    #[error("the relational store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It holds a value that breaks a rule of the domain.
    #[error("a row of the relational store breaks a rule")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault on our side.
    #[error("the relational store refused a query")]
    Other(#[source] Error),
}

impl SqlError {
    /// A value that breaks a rule of the domain; `what` says which.
    pub fn corrupt(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt(what.into())
    }
}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        match error {
            Error::DeserializationError(source) => Self::Corrupt(source),
            // Unknown is what SQLite's driver says of a locked, full or failing disk. It
            // says so of a wrong statement too, but no statement leaves the tests wrong.
            Error::DatabaseError(
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ReadOnlyTransaction
                | DatabaseErrorKind::Unknown,
                _,
            )
            | Error::BrokenTransactionManager => Self::Unavailable(Box::new(error)),
            error => Self::Other(error),
        }
    }
}

impl Coded for SqlError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Corrupt(_) | Self::Other(_) => ErrorCode::InternalError,
        }
    }
}
