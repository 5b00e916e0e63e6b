//! Holds every answer over HTTP against the API's description.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use tokio_tungstenite::tungstenite::http;

use jsonschema::Validator;
use serde_json::{Value, json};
use timingle::http::openapi;

/// The description; in it objects are closed, so that a member which it does not name is noticed.
static DOCUMENT: LazyLock<Description> = LazyLock::new(Description::new);

struct Description {
    operations: Vec<Operation>,
    problem: Validator,
}

struct Operation {
    method: String,
    /// Segments of the path; gaps are in braces.
    path: Vec<String>,
    /// By status and content type; `None` for what is no JSON.
    answers: BTreeMap<u16, BTreeMap<String, Option<Validator>>>,
}

/// Closes every object of `schema` that names its members.
pub(crate) fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let mut closed: serde_json::Map<String, Value> = members
                .iter()
                .map(|(name, member)| {
                    // What is composed is closed as a whole: its parts know nothing of each other.
                    let member = match (name.as_str(), member) {
                        ("allOf", Value::Array(parts)) => parts.iter().map(open).collect(),
                        _ => self::closed(member),
                    };
                    (name.clone(), member)
                })
                .collect();
            let names_members = members.get("properties").is_some_and(Value::is_object);
            let composed = members.get("allOf").is_some_and(Value::is_array);
            let has_own = members.contains_key("additionalProperties");
            if (names_members || composed) && !has_own {
                closed.insert("unevaluatedProperties".to_owned(), false.into());
            }
            closed.into()
        }
        Value::Array(items) => items.iter().map(self::closed).collect(),
        other => other.clone(),
    }
}

/// A part of a composed object: open itself, with closed objects in it.
fn open(part: &Value) -> Value {
    if let Some(name) = part["$ref"].as_str() {
        return json!({ "$ref": name.replacen("/schemas/", "/open/", 1) });
    }
    let mut part = closed(part);
    if let Some(members) = part.as_object_mut() {
        members.remove("unevaluatedProperties");
    }
    part
}

/// `components` with every schema closed, and beside each an open one to be composed.
pub(crate) fn components(components: &Value) -> Value {
    let schemas = components["schemas"].as_object().unwrap();
    let each = |make: fn(&Value) -> Value| -> serde_json::Map<String, Value> {
        let all = schemas.iter();
        all.map(|(name, schema)| (name.clone(), make(schema))).collect()
    };
    json!({ "schemas": each(closed), "open": each(open) })
}

/// A validator of `schema`, whose references lead into `components`.
pub(crate) fn validator(schema: &Value, components: &Value) -> Validator {
    let whole = json!({ "allOf": [schema], "components": components });
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&whole)
        .unwrap_or_else(|error| panic!("{error}: {whole}"))
}

impl Description {
    fn new() -> Self {
        let document: Value = serde_json::from_str(openapi::text()).unwrap();
        let components = components(&document["components"]);
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let answers = operation["responses"].as_object().unwrap().iter();
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.split('/').map(str::to_owned).collect(),
                    answers: answers
                        .map(|(status, answer)| (status.parse().unwrap(), contents(answer, &components)))
                        .collect(),
                });
            }
        }
        let problem = validator(&json!({ "$ref": "#/components/schemas/Problem" }), &components);
        Self { operations, problem }
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Operation> {
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |operation: &&Operation| {
            let gaps = operation.path.iter().zip(&segments);
            operation.method == method
                && operation.path.len() == segments.len()
                && gaps
                    .into_iter()
                    .all(|(known, told)| known.starts_with('{') && !told.is_empty() || known == told)
        };
        // The one with the fewest gaps: `/users/me` before `/users/{user}`.
        let gaps =
            |operation: &&Operation| operation.path.iter().filter(|part| part.starts_with('{')).count();
        self.operations.iter().filter(fits).min_by_key(gaps)
    }
}

fn contents(answer: &Value, components: &Value) -> BTreeMap<String, Option<Validator>> {
    let Some(contents) = answer["content"].as_object() else {
        return BTreeMap::new();
    };
    let content = |(kind, content): (&String, &Value)| {
        let is_json = kind.ends_with("json") && content["schema"]["type"] != "string";
        let validator = is_json.then(|| validator(&closed(&content["schema"]), components));
        (kind.clone(), validator)
    };
    contents.iter().map(content).collect()
}

fn complaints(validator: &Validator, body: &Value) -> String {
    let mut text = String::new();
    for error in validator.iter_errors(body) {
        let _ = writeln!(text, "  at {}: {error}", error.instance_path());
    }
    text
}

/// Fails unless the description knows an answer like this to this request.
///
/// `path` is without its query; `kind` is the answer's content type, `body` what was read of it.
pub(crate) fn check(method: &str, path: &str, status: u16, kind: Option<&str>, body: &[u8]) {
    if method == "HEAD" || method == "OPTIONS" {
        return;
    }
    let what = || {
        format!(
            "{method} {path} -> {status} {kind:?} {}",
            String::from_utf8_lossy(body)
        )
    };
    let json = || serde_json::from_slice::<Value>(body).unwrap_or_else(|error| panic!("{error}: {}", what()));
    let Some(operation) = DOCUMENT.operation(method, path) else {
        assert!(
            matches!(status, 404 | 405),
            "not in the API's description: {}",
            what()
        );
        let complaints = complaints(&DOCUMENT.problem, &json());
        assert!(complaints.is_empty(), "{}\n{complaints}", what());
        return;
    };
    if status == 408 && body.is_empty() {
        // Of HTTP itself: a frozen server finds that the request's head came too slowly.
        return;
    }
    let Some(answer) = operation.answers.get(&status) else {
        panic!("no such status in the API's description: {}", what());
    };
    if answer.is_empty() {
        assert!(
            body.is_empty(),
            "a body that is not in the API's description: {}",
            what()
        );
        return;
    }
    let kind_is = |known: &&String| kind.is_some_and(|kind| kind == known.as_str());
    let Some(known) = answer.keys().find(kind_is) else {
        panic!("no such content type in the API's description: {}", what());
    };
    if let Some(validator) = &answer[known] {
        let complaints = complaints(validator, &json());
        assert!(complaints.is_empty(), "{}\n{complaints}", what());
    }
}

/// Reads an answer to its end and holds it against the description.
pub(crate) async fn checked(
    method: &reqwest::Method,
    answer: reqwest::Response,
) -> reqwest::Result<(reqwest::StatusCode, reqwest::header::HeaderMap, bytes::Bytes)> {
    let (status, headers, path) = (
        answer.status(),
        answer.headers().clone(),
        answer.url().path().to_owned(),
    );
    let body = answer.bytes().await?;
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    check(method.as_str(), &path, status.as_u16(), kind, &body);
    Ok((status, headers, body))
}

/// Sends a request and holds the answer against the description.
pub(crate) trait Sends {
    /// As `send`, with an answer that was read to its end and is as the description says.
    async fn sent(self) -> reqwest::Result<reqwest::Response>;
}

impl Sends for reqwest::RequestBuilder {
    async fn sent(self) -> reqwest::Result<reqwest::Response> {
        let (client, request) = self.build_split();
        let request = request?;
        let method = request.method().clone();
        let (status, headers, body) = checked(&method, client.execute(request).await?).await?;
        let mut answer = http::Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer.into())
    }
}

/// Fails unless `body` is the one body of refusals.
pub(crate) fn check_problem(body: &Value) {
    let complaints = complaints(&DOCUMENT.problem, body);
    assert!(complaints.is_empty(), "{body}\n{complaints}");
}
