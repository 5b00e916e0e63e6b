//! Every text a person can read, in Korean (the default) and English.
//!
//! The texts live in `locales/*.ftl` (Fluent), embedded in the binary.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{fact::Fact, id::UserId},
    error::Coded,
};

/// A language the server speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Korean.
    #[default]
    Ko,
    /// English.
    En,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::Ko, Self::En];

    /// Its BCP 47 tag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ko => "ko",
            Self::En => "en",
        }
    }
}

/// The text of `error` for a person.
pub fn error_text(language: Language, error: &dyn Coded) -> String {
    let _ = language;
    error.code().as_str().to_owned()
}

/// The system note that shows `fact` in the conversation. `name_of` gives display names.
pub fn fact_text(language: Language, fact: &Fact, name_of: &dyn Fn(UserId) -> Option<String>) -> String {
    let _ = (language, name_of);
    fact.change.name().to_owned()
}
