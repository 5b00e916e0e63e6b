//! A person with an account.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::{
    id::UserId,
    phone::Phone,
    text::{is_blank, turns_direction},
    time::Micros,
};
use crate::error::{Coded, ErrorCode};

/// The longest display name, in Unicode scalar values.
pub const NAME_CHARS: usize = 100;

/// A person with an account, as the store knows one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who; given by the store.
    pub id: UserId,
    /// The proven number; none once the account is gone.
    pub phone: Option<Phone>,
    /// Display name.
    pub name: String,
    /// BCP 47 tag of the language they read.
    pub language: String,
    /// IANA name of the zone they live in.
    pub timezone: String,
    /// What they are to the service.
    pub role: UserRole,
    /// Whether they may use it.
    pub status: UserStatus,
    /// When the account came to be.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

impl User {
    /// Whether they may use the service.
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active
    }
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word in the store and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownWord),
                }
            }
        }
    };
}

word! {
    /// What a user is to the service. Not what they are in an event.
    UserRole {
        /// A person.
        User = "USER",
        /// Somebody who opens slots.
        Business = "BUSINESS",
        /// Looks after the service.
        Admin = "ADMIN",
        /// Looks after those who look after it.
        SuperAdmin = "SUPER_ADMIN",
    }
}

impl UserRole {
    /// Whether they look after the service.
    pub const fn is_admin(self) -> bool {
        match self {
            Self::Admin | Self::SuperAdmin => true,
            Self::User | Self::Business => false,
        }
    }
}

word! {
    /// Whether a user may use the service.
    UserStatus {
        /// They may.
        Active = "ACTIVE",
        /// Not for now.
        Suspended = "SUSPENDED",
        /// The account is gone.
        Deleted = "DELETED",
    }
}

/// The text is none of the words of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known word")]
pub struct UnknownWord;

/// A display name: 1 to [`NAME_CHARS`] characters, trimmed, one line, and nothing
/// that turns the direction of the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// Reads a name as it was typed.
    ///
    /// # Errors
    /// Empty, too long, or with characters that a name must not have.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.trim();
        // Bytes first: counting the characters of a huge text is work for nothing.
        if name.chars().take(NAME_CHARS).all(is_blank)
            || name.len() > NAME_CHARS * 4
            || name.chars().count() > NAME_CHARS
        {
            return Err(NameError);
        }
        let breaks_line = |c| matches!(c, '\u{2028}' | '\u{2029}');
        if name
            .chars()
            .any(|c| c.is_control() || turns_direction(c) || breaks_line(c))
        {
            return Err(NameError);
        }
        Ok(Self(name.to_owned()))
    }

    /// The last four digits of `phone`, for somebody who gave no name.
    pub fn from_phone(phone: &Phone) -> Self {
        let digits = phone.as_str();
        // A number in E.164 is ASCII; should a stored one not be, all of it is cut off.
        Self(
            digits
                .get(digits.len().saturating_sub(4)..)
                .filter(|tail| !tail.is_empty())
                .unwrap_or("0000")
                .to_owned(),
        )
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text cannot be a display name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {NAME_CHARS} characters and no control characters")]
pub struct NameError;

impl Coded for NameError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ValidationError
    }

    fn text_key(&self) -> &'static str {
        "name-invalid"
    }

    fn details(&self) -> Map<String, Value> {
        let problem = json!([{ "pointer": "/name", "detail": self.to_string() }]);
        Map::from_iter([("errors".to_owned(), problem)])
    }
}

#[cfg(test)]
mod tests {
    use super::{UserName, UserRole, UserStatus};
    use crate::domain::phone::Phone;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(UserName::parse("  김 철수 ").unwrap().as_str(), "김 철수");
        assert!(UserName::parse(&"가".repeat(100)).is_ok());
        for bad in [
            "",
            "   ",
            "a\nb",
            "a\u{0}",
            "x\u{202E}y",
            "\u{200B}\u{2060}",
            "a\u{2028}b",
            &"a".repeat(101),
            &"a".repeat(1 << 20),
        ] {
            assert!(UserName::parse(bad).is_err(), "{} bytes", bad.len());
        }
    }

    #[test]
    fn a_name_from_a_number_shows_four_digits() {
        let phone = Phone::parse("010-1234-5678", "KR").unwrap();
        assert_eq!(UserName::from_phone(&phone).as_str(), "5678");
    }

    #[test]
    fn words_read_back() {
        for role in [
            UserRole::User,
            UserRole::Business,
            UserRole::Admin,
            UserRole::SuperAdmin,
        ] {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        for status in [UserStatus::Active, UserStatus::Suspended, UserStatus::Deleted] {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("active".parse::<UserStatus>().is_err());
    }
}
