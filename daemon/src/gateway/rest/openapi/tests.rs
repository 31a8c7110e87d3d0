//! The description says what there is, all of it, and hangs together.

use std::collections::BTreeSet;

use bravo_model::Code;
use serde_json::Value;

use super::text;

fn page() -> Value {
    serde_json::from_str(text()).unwrap()
}

/// Every `.route(…)` of the router as `(method, path)`, read off its source.
fn routed() -> BTreeSet<(String, String)> {
    let source = include_str!("../mod.rs");
    let mut found = BTreeSet::new();
    for part in source.split(".route(").skip(1) {
        let path = part.split('"').nth(1).unwrap().replace("{*", "{");
        let call = part.split("\n        .").next().unwrap();
        for method in ["get", "post", "put", "delete"] {
            if call.contains(&format!("{method}(")) {
                found.insert((method.to_owned(), path.clone()));
            }
        }
    }
    found
}

/// Every call as `(method, path, what is said of it)`.
fn documented() -> Vec<(String, String, Value)> {
    let page = page();
    let paths = page["paths"].as_object().unwrap().iter();
    let calls = paths.flat_map(|(path, calls)| {
        let calls = calls.as_object().unwrap().iter();
        calls.map(|(method, call)| (method.clone(), path.clone(), call.clone())).collect::<Vec<_>>()
    });
    calls.collect()
}

#[test]
fn the_openapi_page_is_up_to_date() {
    crate::config::testing::same_page("openapi.json", text());
}

#[test]
fn what_is_documented_is_routed_and_the_other_way_round() {
    let mut routed = routed();
    routed.retain(|(_, path)| path != "/" && !path.starts_with("/dashboard."));
    assert_eq!(routed, documented().into_iter().map(|(method, path, _)| (method, path)).collect());
}

#[test]
fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
    let page = page();
    assert!(page["openapi"].as_str().unwrap().starts_with("3.1."), "{}", page["openapi"]);
    for reference in text().split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn every_call_has_a_name_of_its_own_its_path_parameters_and_its_refusals() {
    let mut names = BTreeSet::new();
    for (method, path, call) in documented() {
        let name = call["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(call["summary"].is_string(), "{name}");
        let named: BTreeSet<&str> = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        let parameters = call["parameters"].as_array().unwrap();
        let of_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        assert_eq!(named, of_path.map(|parameter| parameter["name"].as_str().unwrap()).collect(), "{method} {path}");
        let described = |parameter: &&Value| parameter["description"].is_string() && parameter["schema"].is_object();
        assert!(parameters.iter().all(|parameter| described(&parameter)), "{method} {path}: {parameters:?}");
        if path.starts_with("/api/v1/") {
            for status in ["400", "401", "403", "404", "429", "431", "500", "503", "504"] {
                assert!(call["responses"][status]["$ref"].is_string(), "{method} {path}: {status}");
            }
        }
        let body = &call["requestBody"];
        assert!(body.is_null() || call["responses"]["413"]["$ref"].is_string(), "{method} {path}");
        assert!(body.is_null() || body["content"].as_object().is_some_and(|content| !content.is_empty()));
    }
}

#[test]
fn every_code_is_told_with_its_status() {
    let page = page();
    let refusals = page["components"]["responses"].as_object().unwrap();
    for code in Code::ALL {
        let told = |refusal: &Value| refusal["description"].as_str().unwrap().contains(code.as_str());
        assert!(refusals.values().any(told), "{code:?}");
    }
}

#[test]
fn objects_of_which_parts_are_kept_together_are_one() {
    let page = page();
    let queue = &page["components"]["schemas"]["QueueAnswer"];
    for field in ["name", "lease_ms", "paused"] {
        assert!(queue["properties"][field].is_object(), "{field}: {queue}");
    }
    assert!(queue["additionalProperties"].is_null());
    assert_eq!(page["components"]["schemas"]["EnqueueBody"]["additionalProperties"], false);
}
