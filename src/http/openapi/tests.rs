use std::collections::BTreeSet;

use serde_json::Value;

use super::text;
use crate::http::routes;

fn document() -> Value {
    serde_json::from_str(text()).unwrap()
}

#[test]
fn every_route_is_described_and_every_described_operation_is_a_route() {
    // `HEAD` is what `GET` says, without its body; assets are nobody's API.
    let routes: BTreeSet<(String, String)> = routes()
        .into_iter()
        .filter(|(method, path)| method != "HEAD" && !path.starts_with("/invite-assets/"))
        .map(|(method, path)| (method.to_lowercase(), path.to_owned()))
        .collect();
    let described: BTreeSet<(String, String)> = document()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().cloned();
            methods.map(|method| (method, path.clone())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        routes.difference(&described).collect::<Vec<_>>(),
        [] as [&_; 0],
        "not described"
    );
    assert_eq!(
        described.difference(&routes).collect::<Vec<_>>(),
        [] as [&_; 0],
        "no route"
    );
}

#[test]
fn every_operation_has_a_name_of_its_own_and_tells_how_it_fails() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} stands twice");
            assert!(operation["responses"]["500"].is_object(), "{method} {path}");
            let secured = operation.get("security").is_some();
            assert!(
                operation["responses"].get("401").is_some() || !secured,
                "{method} {path}"
            );
        }
    }
}

#[test]
fn nothing_refers_to_a_component_that_is_not_there() {
    fn walk(root: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    assert!(root.pointer(target.trim_start_matches('#')).is_some(), "{target}");
                }
                members.values().for_each(|member| walk(root, member));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(root, item)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}
