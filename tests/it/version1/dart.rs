//! The app's parsers: a cast that Dart would not make fails here as well.
//!
//! An integer is neither a string nor `1.0`; what is required is there and not null;
//! what is optional may be missing or null; an instant carries its zone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What a parser says: the value, or where the cast failed.
pub(super) type Parsed<T> = Result<T, String>;

/// An object whose members are cast one by one.
struct Json<'a>(&'a Map<String, Value>);

impl<'a> Json<'a> {
    /// `json as Map<String, dynamic>`
    fn of(value: &'a Value) -> Parsed<Self> {
        let object = value.as_object();
        Ok(Self(object.ok_or_else(|| format!("not an object: {value}"))?))
    }

    fn optional(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn required(&self, name: &str) -> Parsed<&'a Value> {
        self.optional(name)
            .ok_or_else(|| format!("{name} is null in {:?}", self.0))
    }

    /// `json[name] as int`
    fn int(&self, name: &str) -> Parsed<i64> {
        let value = self.required(name)?;
        // serde_json keeps 1.0 apart from 1, as Dart does.
        let number = value.as_i64().filter(|number| number.unsigned_abs() < 1 << 53);
        number.ok_or_else(|| format!("{name} is not an int: {value}"))
    }

    fn int_or_null(&self, name: &str) -> Parsed<Option<i64>> {
        self.optional(name).map(|_| self.int(name)).transpose()
    }

    /// `json[name] as String`
    fn string(&self, name: &str) -> Parsed<String> {
        let value = self.required(name)?;
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| format!("{name} is not a String: {value}"))
    }

    fn string_or_null(&self, name: &str) -> Parsed<Option<String>> {
        self.optional(name).map(|_| self.string(name)).transpose()
    }

    fn bool_or_null(&self, name: &str) -> Parsed<Option<bool>> {
        let value = self.optional(name);
        value
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| format!("{name} is not a bool: {value}"))
            })
            .transpose()
    }

    /// `DateTime.parse(json[name] as String)`, which takes a text without a zone for local time.
    fn date(&self, name: &str) -> Parsed<String> {
        let text = self.string(name)?;
        let parsed = chrono::DateTime::parse_from_rfc3339(&text);
        if parsed.is_err() || !text.contains('T') || !text.ends_with('Z') {
            return Err(format!("{name} is no instant with its zone: {text}"));
        }
        Ok(text)
    }

    fn date_or_null(&self, name: &str) -> Parsed<Option<String>> {
        self.optional(name).map(|_| self.date(name)).transpose()
    }

    fn strings_or_null(&self, name: &str) -> Parsed<()> {
        let Some(value) = self.optional(name) else {
            return Ok(());
        };
        let all = value
            .as_array()
            .is_some_and(|items| items.iter().all(Value::is_string));
        all.then_some(())
            .ok_or_else(|| format!("{name} is no List<String>: {value}"))
    }

    fn list_or_null<T>(&self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Parsed<Vec<T>> {
        match self.optional(name) {
            None => Ok(Vec::new()),
            Some(value) => list(value, parse).map_err(|error| format!("{name}: {error}")),
        }
    }

    /// A picture's address: an empty one would be loaded.
    fn picture(&self, name: &str) -> Parsed<()> {
        match self.string_or_null(name)?.as_deref() {
            Some("") => Err(format!("{name} is empty")),
            _ => Ok(()),
        }
    }
}

/// A bare array of what `parse` parses.
pub(super) fn list<T>(value: &Value, parse: impl Fn(&Value) -> Parsed<T>) -> Parsed<Vec<T>> {
    let items = value.as_array().ok_or_else(|| format!("not a List: {value}"))?;
    items.iter().map(parse).collect()
}

/// `UserModel.fromJson`
#[derive(Debug, PartialEq)]
pub(super) struct UserModel {
    pub(super) id: i64,
    pub(super) phone: String,
    pub(super) name: String,
}

impl UserModel {
    pub(super) fn from_json(value: &Value) -> Parsed<Self> {
        let json = Json::of(value)?;
        for name in ["email", "display_name", "region"] {
            json.string_or_null(name)?;
        }
        json.picture("profile_image_url")?;
        json.strings_or_null("interests")?;
        json.string_or_null("role")?;
        json.bool_or_null("is_active")?;
        json.date("created_at")?;
        json.date_or_null("updated_at")?;
        Ok(Self {
            id: json.int("id")?,
            phone: json.string("phone")?,
            name: json.string("name")?,
        })
    }
}

/// What the app takes from an answer to signing in.
#[derive(Debug)]
pub(super) struct AuthResponse {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) user: UserModel,
}

impl AuthResponse {
    /// Register: the user's fields beside the tokens.
    pub(super) fn of_register(value: &Value) -> Parsed<Self> {
        Self::with(value, value)
    }

    /// Everything else that signs in: the user under `user`.
    pub(super) fn nested(value: &Value) -> Parsed<Self> {
        Self::with(value, value.get("user").ok_or("no user")?)
    }

    fn with(value: &Value, user: &Value) -> Parsed<Self> {
        let json = Json::of(value)?;
        json.int("expires_in")?;
        Ok(Self {
            access_token: json.string("access_token")?,
            refresh_token: json.string("refresh_token")?,
            user: UserModel::from_json(user)?,
        })
    }
}

/// The participant model, also of an event's creator.
#[derive(Debug, PartialEq)]
pub(super) struct ParticipantModel {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) confirmed: bool,
}

impl ParticipantModel {
    fn from_json(value: &Value) -> Parsed<Self> {
        let json = Json::of(value)?;
        json.string_or_null("display_name")?;
        json.picture("profile_image_url")?;
        json.date_or_null("confirmed_at")?;
        if json.optional("phone").is_some() || json.optional("email").is_some() {
            return Err(format!("another user's phone or e-mail: {value}"));
        }
        Ok(Self {
            id: json.int("id")?,
            name: json.string("name")?,
            confirmed: json.bool_or_null("confirmed")?.unwrap_or(false),
        })
    }
}

/// `EventModel.fromJson`
#[derive(Debug, PartialEq)]
pub(super) struct EventModel {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) start_time: String,
    pub(super) status: String,
    pub(super) creator_id: i64,
    pub(super) participants: Vec<ParticipantModel>,
    pub(super) unread_messages: i64,
}

impl EventModel {
    pub(super) fn from_json(value: &Value) -> Parsed<Self> {
        let json = Json::of(value)?;
        json.string_or_null("description")?;
        json.string_or_null("location")?;
        json.date("end_time")?;
        json.date("created_at")?;
        json.date_or_null("updated_at")?;
        if let Some(creator) = json.optional("creator") {
            ParticipantModel::from_json(creator)?;
        }
        let event = Self {
            id: json.int("id")?,
            title: json.string("title")?,
            start_time: json.date("start_time")?,
            status: json
                .string_or_null("status")?
                .unwrap_or_else(|| "PROPOSED".into()),
            creator_id: json.int("creator_id")?,
            participants: json.list_or_null("participants", ParticipantModel::from_json)?,
            unread_messages: json.int_or_null("unread_messages")?.unwrap_or(0),
        };
        if !["PROPOSED", "CONFIRMED", "CANCELED", "DONE"].contains(&event.status.as_str()) {
            return Err(format!("the app does not know the status {}", event.status));
        }
        // The chat's title counts one person more than the list has.
        if event
            .participants
            .iter()
            .any(|person| person.id == event.creator_id)
        {
            return Err("the creator stands among the participants".into());
        }
        Ok(event)
    }
}

/// `ChatMessage.fromJson`, of a page and of a frame alike.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatMessage {
    pub(super) message_id: String,
    pub(super) event_id: i64,
    pub(super) sender_id: i64,
    pub(super) sender_name: String,
    pub(super) message: String,
    pub(super) message_type: String,
    pub(super) reply_to: Option<String>,
    pub(super) is_deleted: bool,
    pub(super) created_at: String,
}

impl ChatMessage {
    pub(super) fn from_json(value: &Value) -> Parsed<Self> {
        let json = Json::of(value)?;
        json.picture("sender_profile_url")?;
        json.strings_or_null("attachments")?;
        json.date_or_null("edited_at")?;
        if let Some(metadata) = json.optional("metadata") {
            serde_json::from_value::<BTreeMap<String, String>>(metadata.clone())
                .map_err(|error| format!("metadata: {error}"))?;
        }
        let message = Self {
            message_id: json.string("message_id")?,
            event_id: json.int("event_id")?,
            sender_id: json.int("sender_id")?,
            sender_name: json.string("sender_name")?,
            message: json.string("message")?,
            message_type: json
                .string_or_null("message_type")?
                .unwrap_or_else(|| "text".into()),
            reply_to: json.string_or_null("reply_to")?,
            is_deleted: json.bool_or_null("is_deleted")?.unwrap_or(false),
            created_at: json.date("created_at")?,
        };
        uuid::Uuid::parse_str(&message.message_id).map_err(|error| format!("message_id: {error}"))?;
        if !["text", "system", "image"].contains(&message.message_type.as_str()) {
            return Err(format!("the app does not know the type {}", message.message_type));
        }
        Ok(message)
    }
}

/// What the app shows of an answer that is no success: `error` as it is, or a text of its own.
pub(super) fn error_text(value: &Value) -> Parsed<String> {
    let json = Json::of(value)?;
    json.string_or_null("code")?;
    json.string("error")
}

/// `has_calendar_access`
pub(super) fn has_calendar_access(value: &Value) -> Parsed<bool> {
    Ok(Json::of(value)?
        .bool_or_null("has_calendar_access")?
        .unwrap_or(false))
}

#[test]
fn parsers_refuse_what_dart_refuses() {
    let message = serde_json::json!({
        "message_id": "00000000-0001-8000-8000-000000000001", "event_id": 1, "sender_id": 2,
        "sender_name": "Ada", "message": "hi", "created_at": "2030-01-01T00:00:00Z",
    });
    assert_eq!(ChatMessage::from_json(&message).unwrap().message_type, "text");
    for (name, wrong) in [
        ("event_id", serde_json::json!("1")),
        ("event_id", serde_json::json!(1.0)),
        ("sender_id", Value::Null),
        ("sender_name", Value::Null),
        ("message", serde_json::json!(5)),
        ("created_at", serde_json::json!("2030-01-01T00:00:00")),
        ("message_id", serde_json::json!("1")),
        ("sender_profile_url", serde_json::json!("")),
        ("metadata", serde_json::json!({ "n": 1 })),
        ("message_type", serde_json::json!("fact")),
    ] {
        let mut broken = message.clone();
        broken[name] = wrong;
        assert!(ChatMessage::from_json(&broken).is_err(), "{broken}");
    }
    assert!(list(&serde_json::json!({ "messages": [] }), ChatMessage::from_json).is_err());
}
