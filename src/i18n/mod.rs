//! Every text a person can read, in Korean (the default) and English.
//!
//! The texts live in `locales/*.ftl` (Fluent), embedded in the binary. A text's
//! key is an error's [`Coded::text_key`], `fact-` and a change's name, or what
//! the caller of [`text`] names; `tests.rs` keeps both files complete.

mod josa;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use fluent_bundle::{FluentArgs, FluentError, FluentResource, FluentValue, concurrent::FluentBundle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    domain::{
        fact::{Change, Fact, FromTo, UnconfirmCause},
        id::UserId,
    },
    error::Coded,
};

/// Names that one note lists; the rest is counted.
const NAMES_IN_NOTE: usize = 10;

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

    /// The language of a BCP 47 tag (`ko`, `en-GB`), if the server speaks it.
    /// Only the primary subtag counts; case does not.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next()?;
        Self::ALL
            .into_iter()
            .find(|language| primary.eq_ignore_ascii_case(language.as_str()))
    }

    /// The language that an `Accept-Language` header (RFC 9110) asks for most;
    /// Korean when it asks for none that the server speaks.
    pub fn from_accept_language(header: &str) -> Self {
        Self::accepted(header).unwrap_or_default()
    }

    /// The language that an `Accept-Language` header names as the one it wants most; `None`
    /// when it names none that the server speaks, or wants any (`*`) more than those.
    ///
    /// Looks at the first 32 ranges only, so that a hostile header costs nothing.
    pub fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(Option<Self>, f32)> = None;
        for range in header.split(',').take(32) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let language = Self::from_tag(tag);
            let quality = parts
                .find_map(|parameter| parameter.trim().strip_prefix("q="))
                .map_or(1.0, |quality| quality.trim().parse::<f32>().unwrap_or(0.0));
            // Of equals the first wins; q=0 means "not this one".
            if (language.is_some() || tag == "*") && quality > best.map_or(0.0, |(_, quality)| quality) {
                best = Some((language, quality));
            }
        }
        best.and_then(|(language, _)| language)
    }

    fn bundle(self) -> &'static FluentBundle<FluentResource> {
        static KO: LazyLock<FluentBundle<FluentResource>> =
            LazyLock::new(|| bundle(Language::Ko, include_str!("../../locales/ko.ftl")));
        static EN: LazyLock<FluentBundle<FluentResource>> =
            LazyLock::new(|| bundle(Language::En, include_str!("../../locales/en.ftl")));
        match self {
            Self::Ko => &KO,
            Self::En => &EN,
        }
    }
}

/// A value that stands in a text.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// Words.
    Text(&'a str),
    /// A count; English chooses singular or plural by it.
    Number(u64),
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Arg<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// The text `key` with `args` in it.
///
/// A key without text gives the key, a missing argument its name in braces:
/// a person sees something rather than nothing, and the log says what is wrong.
pub fn text(language: Language, key: &str, args: &[(&str, Arg<'_>)]) -> String {
    let mut values = FluentArgs::with_capacity(args.len());
    for (name, arg) in args {
        match *arg {
            Arg::Text(text) => values.set(*name, text),
            Arg::Number(number) => values.set(*name, number),
        }
    }
    show(language, key, &values)
}

/// The text of `error` for a person, in words that say what to do next.
///
/// Beside the error's own [`Coded::details`], a text may use `status` (a state
/// of an event or empty), `wait` and `wait_unit` (`none`, `second`, `minute`, `hour`).
pub fn error_text(language: Language, error: &dyn Coded) -> String {
    let (wait, unit) = wait(error.retry_after_ms());
    let mut args = FluentArgs::new();
    args.set("wait", wait);
    args.set("wait_unit", unit);
    args.set("status", "");
    for (name, value) in error.details() {
        match value {
            Value::String(text) => args.set(name, text),
            Value::Number(number) => {
                if let Some(number) = number.as_f64() {
                    args.set(name, number);
                }
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    show(language, error.text_key(), &args)
}

/// The system note that shows `fact` in the conversation. `name_of` gives display
/// names; who has none (the account is gone) is called "someone".
pub fn fact_text(language: Language, fact: &Fact, name_of: &dyn Fn(UserId) -> Option<String>) -> String {
    let name = |user: Option<UserId>| {
        let name = user.and_then(name_of).filter(|name| !name.is_empty());
        match name {
            Some(name) => text(language, "person", &[("name", Arg::Text(&name))]),
            None => text(language, "person-unknown", &[]),
        }
    };
    let mut args = FluentArgs::new();
    args.set("actor", name(fact.actor));
    args.set("by", if fact.actor.is_some() { "user" } else { "server" });
    match &fact.change {
        Change::EventCreated { title, .. } => args.set("title", title.as_str()),
        Change::EventUpdated { changes, asks_again } => {
            args.set("asks_again", if *asks_again { "yes" } else { "no" });
            let (fields, what, value) = updated(language, changes);
            args.set("fields", fields);
            args.set("what", what);
            args.set("value", value);
        }
        Change::ParticipantAdded { user }
        | Change::ParticipantJoined { user }
        | Change::ParticipantLeft { user }
        | Change::ParticipantRemoved { user } => args.set("user", name(Some(*user))),
        Change::Accepted { user, reason } | Change::Declined { user, reason } => {
            args.set("user", name(Some(*user)));
            set_reason(&mut args, reason.as_deref());
        }
        Change::Canceled { reason } => set_reason(&mut args, reason.as_deref()),
        Change::Unconfirmed { cause } => args.set(
            "cause",
            match cause {
                Some(UnconfirmCause::Withdrawn) => "withdrawn",
                Some(UnconfirmCause::Changed) | None => "changed",
            },
        ),
        Change::DeadlinePassed { missing } => {
            let names: Vec<String> = missing
                .iter()
                .take(NAMES_IN_NOTE)
                .map(|user| name(Some(*user)))
                .collect();
            args.set("names", names.join(", "));
            args.set("count", missing.len());
            args.set("more", missing.len().saturating_sub(names.len()));
        }
        Change::Restored { .. } | Change::Confirmed {} | Change::Done {} => {}
    }
    let note = show(language, &format!("fact-{}", fact.change.name()), &args);
    // "someone" may stand anywhere; names are shown as their owners write them.
    let unknown = text(language, "person-unknown", &[]);
    match note.strip_prefix(&unknown) {
        Some(rest) => capitalised(&unknown) + rest,
        None => note,
    }
}

/// A display name, or what somebody is called who has none because the account is gone.
pub fn name_or_unknown(language: Language, name: Option<String>) -> String {
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| text(language, "person-unknown", &[]))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn set_reason<'a>(args: &mut FluentArgs<'a>, reason: Option<&'a str>) {
    let reason = reason.map(str::trim).unwrap_or_default();
    args.set("has_reason", if reason.is_empty() { "no" } else { "yes" });
    args.set("reason", reason);
}

/// The names of what changed, and where that is the title or the place alone, which and to what.
fn updated(
    language: Language,
    changes: &std::collections::BTreeMap<String, FromTo>,
) -> (String, &'static str, String) {
    let mut keys: Vec<&str> = changes
        .keys()
        .map(|field| match field.as_str() {
            "title" => "field-title",
            "description" => "field-description",
            "location" => "field-location",
            "start_time" | "end_time" | "timezone" => "field-time",
            _ => "field-other",
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let names: Vec<String> = keys.iter().map(|key| text(language, key, &[])).collect();
    let sole = |field: &str| changes.get(field).and_then(|change| change.to.as_str());
    let (what, value) = match (keys.as_slice(), sole("title"), sole("location")) {
        (["field-title"], Some(title), _) => ("title", title),
        (["field-location"], _, Some(location)) => ("location", location),
        _ => ("fields", ""),
    };
    (names.join(", "), what, value.to_owned())
}

/// How long to wait, in a unit that a person thinks in, rounded up.
fn wait(retry_after_ms: Option<u64>) -> (u64, &'static str) {
    match retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1)) {
        None => (0, "none"),
        Some(seconds) if seconds < 120 => (seconds, "second"),
        Some(seconds) if seconds < 7_200 => (seconds.div_ceil(60), "minute"),
        Some(seconds) => (seconds.div_ceil(3_600), "hour"),
    }
}

fn show(language: Language, key: &str, args: &FluentArgs<'_>) -> String {
    let (text, errors) = render(language, key, args);
    if !errors.is_empty() {
        tracing::error!(
            text.key = key,
            text.language = language.as_str(),
            ?errors,
            "text {key} is incomplete"
        );
    }
    text
}

fn render(language: Language, key: &str, args: &FluentArgs<'_>) -> (String, Vec<FluentError>) {
    let bundle = language.bundle();
    let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
        let missing =
            FluentError::ResolverError(fluent_bundle::resolver::ResolverError::NoValue(key.to_owned()));
        return (key.to_owned(), vec![missing]);
    };
    let mut errors = Vec::new();
    let text = bundle
        .format_pattern(pattern, Some(args), &mut errors)
        .into_owned();
    (text, errors)
}

fn bundle(language: Language, source: &str) -> FluentBundle<FluentResource> {
    let mut bundle = FluentBundle::new_concurrent(vec![language.as_str().parse().unwrap_or_default()]);
    // Isolation marks are for texts of mixed direction; both languages run left to right.
    bundle.set_use_isolating(false);
    let josa = bundle.add_function("JOSA", |positional, _| match positional {
        [FluentValue::String(word), FluentValue::String(pair)] => josa::particle(word, pair).into(),
        _ => FluentValue::Error,
    });
    if josa.is_err() {
        tracing::error!("the texts' function JOSA could not be added");
    }
    // A damaged file still gives the texts that can be read; a test refuses it.
    let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, errors)| {
        tracing::error!(?errors, "texts in {} are damaged", language.as_str());
        resource
    });
    if let Err(errors) = bundle.add_resource(resource) {
        tracing::error!(?errors, "texts in {} are defined twice", language.as_str());
    }
    bundle
}
