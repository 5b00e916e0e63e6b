//! Why an account stays as it is.

use serde_json::{Map, Value};

use crate::{
    adapters::sql::SqlError,
    error::{Coded, ErrorCode},
    service::problems::Problems,
};

/// Why an account was not changed or deleted by its own user.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Values break rules.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// There is no such account, or not any more.
    #[error("no such user")]
    Unknown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] SqlError),
}

impl Coded for AccountError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(error) => error.code(),
            Self::Unknown => ErrorCode::UserNotFound,
            Self::Store(error) => error.code(),
        }
    }

    fn details(&self) -> Map<String, Value> {
        match self {
            Self::Invalid(error) => error.details(),
            Self::Unknown | Self::Store(_) => Map::new(),
        }
    }
}

/// Why an account's status was not changed.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Who asks does not look after the service.
    #[error("only administrators may do that")]
    NotAdmin,
    /// An administrator's account, or one's own.
    #[error("this account is not the administrator's to change")]
    Untouchable,
    /// There is no such account, or not any more.
    #[error("no such user")]
    Unknown,
    /// Accounts are suspended and let back, nothing else.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] SqlError),
}

impl Coded for StatusError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotAdmin | Self::Untouchable => ErrorCode::Forbidden,
            Self::Unknown => ErrorCode::UserNotFound,
            Self::Invalid(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::NotAdmin => "admins-only",
            Self::Untouchable => "admin-untouchable",
            Self::Unknown | Self::Invalid(_) | Self::Store(_) => self.code().as_str(),
        }
    }

    fn details(&self) -> Map<String, Value> {
        match self {
            Self::Invalid(error) => error.details(),
            Self::NotAdmin | Self::Untouchable | Self::Unknown | Self::Store(_) => Map::new(),
        }
    }
}
