//! Why somebody is not signed in, or not any more.

use serde_json::{Map, Value};

use crate::{
    adapters::sql::SqlError,
    domain::{phone::PhoneError, user::NameError},
    error::{Coded, ErrorCode},
    ports::{CodesUnavailable, RateLimited, SendCodeError},
    service::token::{MintError, TokenError},
};

/// Why no one-time code is on its way.
#[derive(Debug, thiserror::Error)]
pub enum RequestCodeError {
    /// Not a number.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// Too many for this number or address.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// Codes cannot be kept now.
    #[error(transparent)]
    Codes(#[from] CodesUnavailable),
    /// It could not be handed over.
    #[error(transparent)]
    Send(#[from] SendCodeError),
}

impl Coded for RequestCodeError {
    fn code(&self) -> ErrorCode {
        self.inner().code()
    }

    fn text_key(&self) -> &'static str {
        self.inner().text_key()
    }

    fn details(&self) -> Map<String, Value> {
        self.inner().details()
    }

    fn retry_after_ms(&self) -> Option<u64> {
        self.inner().retry_after_ms()
    }
}

impl RequestCodeError {
    fn inner(&self) -> &dyn Coded {
        match self {
            Self::Phone(error) => error,
            Self::Limited(error) => error,
            Self::Codes(error) => error,
            Self::Send(error) => error,
        }
    }
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Not a number.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Too many requests from this address.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// Codes cannot be checked now.
    #[error(transparent)]
    Codes(#[from] CodesUnavailable),
    /// A wrong code.
    #[error("the code is wrong; {tries_left} tries are left")]
    WrongCode {
        /// How many tries are left.
        tries_left: u32,
    },
    /// A code that is unknown, used, expired or tried too often.
    #[error("the code cannot be used any more")]
    CodeGone,
    /// This server wants the number proven.
    #[error("the phone number has to be proven first")]
    ProofRequired,
    /// Nobody has this number.
    #[error("nobody has this phone number")]
    UnknownNumber,
    /// The account is suspended or gone.
    #[error("the account may not be used")]
    NotActive,
    /// No token could be made.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] SqlError),
}

impl Coded for SignInError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Phone(error) => error.code(),
            Self::Name(error) => error.code(),
            Self::Limited(error) => error.code(),
            Self::Codes(error) => error.code(),
            Self::WrongCode { .. } => ErrorCode::AuthPhoneCodeInvalid,
            Self::CodeGone => ErrorCode::AuthPhoneCodeExpired,
            Self::ProofRequired => ErrorCode::AuthProofRequired,
            // Version 1 answers 401 here.
            Self::UnknownNumber => ErrorCode::AuthTokenInvalid,
            Self::NotActive => ErrorCode::Forbidden,
            Self::Mint(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Phone(error) => error.text_key(),
            Self::Name(error) => error.text_key(),
            Self::UnknownNumber => "phone-unknown",
            Self::NotActive => "account-not-active",
            Self::Limited(_)
            | Self::Codes(_)
            | Self::WrongCode { .. }
            | Self::CodeGone
            | Self::ProofRequired
            | Self::Mint(_)
            | Self::Store(_) => self.code().as_str(),
        }
    }

    fn details(&self) -> Map<String, Value> {
        match self {
            Self::Name(error) => error.details(),
            Self::WrongCode { tries_left } => {
                Map::from_iter([("tries_left".to_owned(), Value::from(*tries_left))])
            }
            Self::Phone(_)
            | Self::Limited(_)
            | Self::Codes(_)
            | Self::CodeGone
            | Self::ProofRequired
            | Self::UnknownNumber
            | Self::NotActive
            | Self::Mint(_)
            | Self::Store(_) => Map::new(),
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Limited(error) => error.retry_after_ms(),
            Self::Phone(_)
            | Self::Name(_)
            | Self::Codes(_)
            | Self::WrongCode { .. }
            | Self::CodeGone
            | Self::ProofRequired
            | Self::UnknownNumber
            | Self::NotActive
            | Self::Mint(_)
            | Self::Store(_) => None,
        }
    }
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// The token is not good, its session was revoked, or its user may not use the service.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Too many requests from this address.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// No new token could be made.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The store did not do its part: nothing is known about the token.
    #[error(transparent)]
    Store(#[from] SqlError),
}

impl Coded for AuthenticateError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Token(error) => error.code(),
            Self::Limited(error) => error.code(),
            Self::Mint(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Limited(error) => error.retry_after_ms(),
            Self::Token(_) | Self::Mint(_) | Self::Store(_) => None,
        }
    }
}

/// Why a session was not ended from afar.
#[derive(Debug, thiserror::Error)]
pub enum EndSignInError {
    /// The user has no such session, or not any more.
    #[error("the user has no such session")]
    Unknown,
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] SqlError),
}

impl Coded for EndSignInError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::NotFound,
            Self::Store(error) => error.code(),
        }
    }
}
