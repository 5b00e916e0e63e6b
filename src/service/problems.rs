//! All that is wrong with a request, at once, each with the field it is about.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Coded, ErrorCode};

/// One value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// RFC 6901 pointer into the request's body, as `/start_time`.
    pub pointer: &'static str,
    /// What the rule is.
    pub detail: String,
}

/// Values that break rules; at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{} values break a rule", .list.len())]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Notes that the value at `pointer` breaks the rule that `detail` states.
    pub fn note(&mut self, pointer: &'static str, detail: impl Into<String>) {
        self.list.push(Problem {
            pointer,
            detail: detail.into(),
        });
    }

    /// What was noted, in that order.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// `value` if nothing was noted.
    ///
    /// # Errors
    /// Everything that was noted.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.list.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    /// `text` without blanks around it; `None` when nothing visible is left. Notes a text of more
    /// than `max_chars` characters, and one with control characters other than, with
    /// `lines`, tabs and line ends; of a single line also one that turns its direction.
    pub fn text(
        &mut self,
        pointer: &'static str,
        text: Option<String>,
        max_chars: usize,
        lines: bool,
    ) -> Option<String> {
        let text = text?.trim().to_owned();
        if text.chars().count() > max_chars {
            self.note(pointer, format!("at most {max_chars} characters"));
        }
        let is_allowed = |c: char| !c.is_control() || (lines && matches!(c, '\n' | '\r' | '\t'));
        // What turns the direction of a line would turn that of the page around it.
        let turns =
            |c| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if !text.chars().all(|c| is_allowed(c) && (lines || !turns(c))) {
            self.note(pointer, "no control characters");
        }
        let is_blank =
            |c: char| c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}');
        (!text.chars().all(is_blank)).then_some(text)
    }
}

impl Coded for Problems {
    fn code(&self) -> ErrorCode {
        ErrorCode::ValidationError
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert("errors".into(), serde_json::json!(self.list));
        details
    }
}
