//! A telephone number in E.164.

use std::str::FromStr;

use crate::error::{Coded, ErrorCode};

/// A telephone number in E.164 (ITU-T E.164: `+`, country code, at most 15 digits),
/// so that one number is one user however it was typed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(String);

impl Phone {
    /// Reads `text` as a number of `region` (ISO 3166-1 alpha-2) unless it starts with `+`.
    ///
    /// # Errors
    /// Not a number that could be dialled.
    pub fn parse(text: &str, region: &str) -> Result<Self, PhoneError> {
        // The longest number with separators is far below this; bound it before the parser sees it.
        if text.len() > 40 || !text.chars().all(|c| c.is_ascii_digit() || "+-. ()".contains(c)) {
            return Err(PhoneError);
        }
        let region = phonenumber::country::Id::from_str(region).map_err(|_| PhoneError)?;
        let number = phonenumber::parse(Some(region), text).map_err(|_| PhoneError)?;
        if !phonenumber::is_valid(&number) {
            return Err(PhoneError);
        }
        Ok(Self(number.format().mode(phonenumber::Mode::E164).to_string()))
    }

    /// Takes a number that the store already holds in E.164.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The number: `+821012345678`. Personal: never into a log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phone(..)")
    }
}

/// The text is not a telephone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid phone number")]
pub struct PhoneError;

impl Coded for PhoneError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ValidationError
    }

    fn text_key(&self) -> &'static str {
        "phone-invalid"
    }
}

#[cfg(test)]
mod tests {
    use super::Phone;

    #[test]
    fn one_number_however_it_is_typed() {
        for text in [
            "010-1234-5678",
            "01012345678",
            "+82 10 1234 5678",
            "+821012345678",
            "(010) 1234.5678",
        ] {
            assert_eq!(
                Phone::parse(text, "KR").unwrap().as_str(),
                "+821012345678",
                "{text}"
            );
        }
        assert_eq!(
            Phone::parse("+1 415 555 2671", "KR").unwrap().as_str(),
            "+14155552671"
        );
    }

    #[test]
    fn rubbish_is_refused() {
        for text in [
            "",
            "abc",
            "12",
            "+",
            "+999999999999999999",
            &"1".repeat(1_000),
            "010-1234-567\u{0}",
        ] {
            assert!(Phone::parse(text, "KR").is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_does_not_tell_the_number() {
        assert!(!format!("{:?}", Phone::parse("01012345678", "KR").unwrap()).contains("1234"));
    }
}
