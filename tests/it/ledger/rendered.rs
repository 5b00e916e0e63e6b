//! Whether an entry was shown as the log has it.

use serde_json::{Value, json};
use timingle::domain::entry::{Entry, Kind};

/// How somebody is called whose name is not known, in English.
const NAMELESS: &str = "someone";

/// Whether `shown` is `entry` as clients must be shown it, whatever was joined to it.
pub(super) fn is(entry: &Entry, shown: &Value) -> bool {
    bare(shown) == stored(entry)
}

/// Whether two were shown the same. A name that the store did not tell in time is shown as nobody's.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let is_nameless = |shown: &Value| shown["fact"]["user"]["name"] == NAMELESS;
    one == other || ((is_nameless(one) || is_nameless(other)) && bare(one) == bare(other))
}

/// `entry` as a client must be shown it, without what is joined to it then.
fn stored(entry: &Entry) -> Value {
    let body: Value = serde_json::from_slice(entry.body().unwrap()).unwrap();
    let mut shown = json!({
        "seq": entry.seq,
        "at": entry.at,
        "author": entry.author,
        "kind": entry.kind,
        "key": entry.key,
    });
    shown[if entry.kind == Kind::Fact { "fact" } else { "body" }] = body;
    if let Some(reply_to) = entry.reply_to {
        shown["reply_to"] = reply_to.into();
    }
    shown
}

/// What was shown, without the text of a fact and the names in it.
fn bare(shown: &Value) -> Value {
    let mut bare = shown.clone();
    if let Some(fact) = bare.get_mut("fact").and_then(Value::as_object_mut) {
        fact.remove("text");
        if let Some(id) = fact.get("user").map(|user| user["id"].clone()) {
            fact.insert("user".into(), id);
        }
    }
    bare
}
