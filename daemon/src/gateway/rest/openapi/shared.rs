//! What all calls share: the headers of requests and answers, and the refusals, each with the codes that it carries.

use bravo_model::Code;
use serde_json::{Map, Value, json};

/// Headers of requests by their names: what they are for, and the schema of their values.
pub(super) fn request_header(name: &str) -> Option<Value> {
    let text = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    Some(match name {
        "Idempotency-Key" => text(
            "Repeating the write under one key within 24 hours returns the first answer.",
            json!({ "type": "string", "minLength": 1, "maxLength": 512 }),
        ),
        "If-Match" => text(
            "Refused with precondition_failed unless it has one of these tags; a star: unless it is there.",
            json!({ "type": "string" }),
        ),
        "If-None-Match" => text(
            "A read answers 304, a write is refused with precondition_failed, if it has one of these tags; a star: if it is there.",
            json!({ "type": "string" }),
        ),
        "Last-Event-ID" => text("Events after this one.", json!({ "type": "string" })),
        "Range" => text("One part, such as bytes=0-99.", json!({ "type": "string" })),
        "X-Timeout-Ms" => {
            text("How long the caller waits; over it, deadline_exceeded.", json!({ "type": "integer", "minimum": 1 }))
        }
        "X-Request-Id" => {
            text("Echoed, if it is of up to 128 visible characters; else one is made.", json!({ "type": "string" }))
        }
        _ => return None,
    })
}

/// A reference to a component.
pub(super) fn reference(place: &str) -> Value {
    json!({ "$ref": format!("#/components/{place}") })
}

/// The name of a refusal's answer: of the first code that has the status.
pub(super) fn name_of(status: u16) -> String {
    let first = Code::ALL.into_iter().find(|code| code.http_status() == status).map_or("problem", Code::as_str);
    let word = |word: &str| word.get(..1).map_or_else(String::new, |first| first.to_uppercase() + &word[1..]);
    first.split('_').map(word).collect()
}

/// One answer per status, with the codes that it may carry.
pub(super) fn refusals() -> Value {
    let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let mut all = Map::new();
    for code in Code::ALL {
        let status = code.http_status();
        let codes = Code::ALL.into_iter().filter(|code| code.http_status() == status).map(Code::as_str);
        let told = codes.collect::<Vec<_>>().join(", ");
        let mut headers = json!({ "X-Request-Id": reference("headers/X-Request-Id") });
        if matches!(status, 429 | 503 | 504) {
            headers["Retry-After"] = reference("headers/Retry-After");
        }
        if status == 429 {
            headers["RateLimit"] = reference("headers/RateLimit");
            headers["RateLimit-Policy"] = reference("headers/RateLimit-Policy");
        }
        if status == 401 {
            headers["WWW-Authenticate"] = reference("headers/WWW-Authenticate");
        }
        if status == 415 {
            headers["Accept-Encoding"] = reference("headers/Accept-Encoding");
        }
        let answer = json!({ "description": format!("code: {told}."), "headers": headers, "content": content });
        all.insert(name_of(status), answer);
    }
    let any = "Refused. A code of 4xx, or shed, means that nothing was changed; after another failure the outcome is unknown: repeat with the same Idempotency-Key.";
    all.insert("Problem".into(), json!({ "description": any, "content": content }));
    Value::Object(all)
}

/// The headers of answers.
pub(super) fn answer_headers() -> Value {
    let header = |description: &str, kind: &str| json!({ "description": description, "schema": { "type": kind } });
    json!({
        "X-Request-Id": header("The id of the request, for the log.", "string"),
        "RateLimit": header("What is left of the limits that were asked: r requests now, all of them in t seconds. Absent where none was.", "string"),
        "RateLimit-Policy": header("Those limits: q requests in w seconds.", "string"),
        "Retry-After": header("After how many seconds it is worth trying again.", "integer"),
        "WWW-Authenticate": header("How to say who asks.", "string"),
        "Accept-Encoding": header("The codings that bodies may come in, where the body's coding was refused.", "string"),
    })
}
