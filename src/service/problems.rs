//! All that is wrong with a request, at once, each with the field it is about.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    domain::text::{is_blank, turns_direction},
    error::{Coded, ErrorCode},
};

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
        if !text
            .chars()
            .all(|c| is_allowed(c) && (lines || !turns_direction(c)))
        {
            self.note(pointer, "no control characters");
        }
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
