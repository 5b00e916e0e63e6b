//! Holds every frame of a socket against the socket's description, `docs/asyncapi.yaml`.

use std::{collections::BTreeSet, fmt::Write as _, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};
use timingle::http::openapi;

use super::api;

/// The description as it is kept.
pub(crate) const TEXT: &str = include_str!("../../../docs/asyncapi.yaml");

const ELSEWHERE: &str = "./openapi.json#/components/schemas/";
const HERE: &str = "#/components/schemas/";

static DESCRIPTION: LazyLock<Description> = LazyLock::new(Description::new);

/// Which channel of the description a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    V1,
    V2,
}

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Server,
}

/// One message of the description.
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) wire: Wire,
    pub(crate) from: From,
    pub(crate) examples: Vec<Value>,
    required: Vec<String>,
    validator: Validator,
}

struct Description {
    messages: Vec<Message>,
}

/// The description, as one tree.
pub(crate) fn document() -> Value {
    serde_yaml_ng::from_str(TEXT).unwrap()
}

/// Its schemas, and those of the API's description to which it refers, under names of their own.
fn schemas(document: &Value) -> Value {
    let api = openapi::text().replace(HERE, &format!("{HERE}api-"));
    let api: Value = serde_json::from_str(&api).unwrap();
    let own = document["components"]["schemas"].as_object().unwrap().clone();
    let others = api["components"]["schemas"].as_object().unwrap();
    let mut all = own;
    all.extend(
        others
            .iter()
            .map(|(name, schema)| (format!("api-{name}"), schema.clone())),
    );
    all.into()
}

/// The last part of a reference.
fn name_of(reference: &Value) -> &str {
    reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap()
}

impl Description {
    fn new() -> Self {
        let text = TEXT.replace(ELSEWHERE, &format!("{HERE}api-"));
        let document: Value = serde_yaml_ng::from_str(&text).unwrap();
        let components = api::components(&json!({ "schemas": schemas(&document) }));
        let mut messages = Vec::new();
        let mut known = BTreeSet::new();
        for operation in document["operations"].as_object().unwrap().values() {
            let wire = match name_of(&operation["channel"]) {
                "version1" => Wire::V1,
                _ => Wire::V2,
            };
            let (asked, told) = match operation["action"].as_str().unwrap() {
                "receive" => (From::Client, From::Server),
                _ => (From::Server, From::Client),
            };
            let replies = operation["reply"]["messages"].as_array().into_iter().flatten();
            let asked = operation["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| (message, asked));
            for (message, from) in asked.chain(replies.map(|reply| (reply, told))) {
                let name = name_of(message).to_owned();
                if !known.insert(name.clone()) {
                    continue;
                }
                let described = &document["components"]["messages"][&name];
                let payload = &described["payload"];
                let required = payload["required"].as_array().into_iter().flatten();
                messages.push(Message {
                    wire,
                    from,
                    required: required.map(|name| name.as_str().unwrap().to_owned()).collect(),
                    examples: described["examples"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|example| example["payload"].clone())
                        .collect(),
                    validator: match from {
                        From::Server => api::validator(&api::closed(payload), &components),
                        // What the server does not know it ignores.
                        From::Client => api::validator(payload, &components),
                    },
                    name,
                });
            }
        }
        Self { messages }
    }
}

/// Every message that an operation sends or receives.
pub(crate) fn messages() -> &'static [Message] {
    &DESCRIPTION.messages
}

/// The messages that `frame` is, by their names.
pub(crate) fn matching(wire: Wire, from: From, frame: &Value) -> Vec<&'static str> {
    let of = messages()
        .iter()
        .filter(|message| message.wire == wire && message.from == from);
    of.filter(|message| message.validator.is_valid(frame))
        .map(|message| message.name.as_str())
        .collect()
}

/// The one message that `frame` is; fails when it is none.
pub(crate) fn check(wire: Wire, from: From, frame: &Value) -> &'static str {
    let fitting = matching(wire, from, frame);
    if let [name] = fitting[..] {
        return name;
    }
    let mut text = format!("not one message of docs/asyncapi.yaml but {fitting:?}: {frame}\n");
    let like = |message: &&Message| {
        message.wire == wire
            && message.from == from
            && message.required.iter().all(|name| frame.get(name).is_some())
    };
    for message in messages().iter().filter(like) {
        for error in message.validator.iter_errors(frame) {
            let _ = writeln!(text, "  {} at {}: {error}", message.name, error.instance_path());
        }
    }
    panic!("{text}");
}
