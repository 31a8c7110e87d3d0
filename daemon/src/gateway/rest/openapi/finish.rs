//! What all calls share, laid over what utoipa makes of the handlers: headers, refusals, ways to say who asks. And
//! what it makes in a form that says too much or too little.

use bravo_model::Code;
use serde_json::{Map, Value, json};

/// Headers of requests by their names: what they are for, and the schema of their values.
fn request_header(name: &str) -> Option<Value> {
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

/// The page as it is given out.
pub(super) fn finish(mut page: Value) -> Value {
    tidy(&mut page);
    let schemas = page["components"]["schemas"].clone();
    flatten(&mut page["components"]["schemas"], &schemas);
    page["components"]["headers"] = answer_headers();
    page["components"]["responses"] = refusals();
    page["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "An API key." },
        "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
        "certificate": { "type": "mutualTLS", "description": "A client certificate, where the port has TLS." },
    });
    page["security"] = json!([{}, { "bearer": [] }, { "key": [] }, { "certificate": [] }]);
    for (path, calls) in page["paths"].as_object_mut().into_iter().flatten() {
        for (method, call) in calls.as_object_mut().into_iter().flatten() {
            parameters(path, call);
            answers(path, method, call);
        }
    }
    page
}

/// Defaults of null say nothing, numbers from 0 on reach twice as far as their formats say, and what may be null is not one of two things where any value is the other.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "default" || !value.is_null());
            let unsigned = fields.get("minimum").is_some_and(|minimum| minimum.as_u64().is_some());
            if let Some(format @ ("int32" | "int64")) =
                fields.get("format").and_then(Value::as_str).filter(|_| unsigned)
            {
                let format = format!("u{format}");
                fields.insert("format".into(), format.into());
            }
            let is_null = |item: &Value| item["type"] == "null";
            if fields.get("oneOf").and_then(Value::as_array).is_some_and(|items| items.iter().any(is_null))
                && let Some(items) = fields.remove("oneOf")
            {
                fields.insert("anyOf".into(), items);
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Fields that stand beside others are all of one object: parts that each forbid the others' fields would fit nothing.
fn flatten(schemas: &mut Value, all: &Value) {
    for schema in schemas.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let Some(parts) = schema.as_object_mut().and_then(|fields| fields.remove("allOf")) else { continue };
        let mut properties = Map::new();
        let mut required = Vec::new();
        for part in parts.as_array().into_iter().flatten() {
            let named = part["$ref"].as_str().and_then(|name| name.rsplit('/').next());
            let part = named.map_or(part, |name| &all[name]);
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        schema["type"] = json!("object");
        schema["properties"] = Value::Object(properties);
        schema["required"] = Value::Array(required);
    }
}

fn parameters(path: &str, call: &mut Value) {
    if !call["parameters"].is_array() {
        call["parameters"] = json!([]);
    }
    let Some(parameters) = call["parameters"].as_array_mut() else { return };
    let shared: &[&str] =
        if path.starts_with("/api/v1/") { &["X-Timeout-Ms", "X-Request-Id"] } else { &["X-Request-Id"] };
    parameters.extend(shared.iter().map(|name| json!({ "name": name, "in": "header", "required": false })));
    for parameter in parameters {
        let of_header = parameter["name"].as_str().and_then(request_header);
        let named = parameter["schema"]["type"].as_array().cloned();
        match (of_header, named) {
            (Some(described), _) => {
                parameter["description"] = described["description"].clone();
                parameter["schema"] = described["schema"].clone();
            }
            // What is left out of a query or path is not written as null.
            (None, Some(types)) => {
                let mut left: Vec<Value> = types.into_iter().filter(|name| name != "null").collect();
                parameter["schema"]["type"] = if left.len() == 1 { left.remove(0) } else { Value::Array(left) };
            }
            _ => {}
        }
        if let Some(items) = parameter["schema"].as_object_mut().and_then(|schema| schema.remove("anyOf")) {
            let named = items.as_array().and_then(|items| items.iter().find(|item| item["type"] != "null"));
            parameter["schema"] = named.cloned().unwrap_or_default();
        }
        if parameter["name"] == "consistency" {
            parameter["schema"]["enum"] = json!(["linearizable", "stale"]);
        }
    }
}

/// The headers of answers, and the refusals that a call can meet.
fn answers(path: &str, method: &str, call: &mut Value) {
    let is_api = path.starts_with("/api/v1/");
    let has = |call: &Value, place: &str, name: &str| {
        let parameters = call["parameters"].as_array().into_iter().flatten();
        parameters
            .into_iter()
            .any(|parameter| parameter["in"] == place && (name.is_empty() || parameter["name"] == name))
    };
    let writes = method != "get";
    let mut statuses = vec![431, 500];
    if is_api {
        statuses.extend([400, 401, 403, 404, 429, 503, 504]);
    }
    if is_api && writes {
        statuses.extend([409, 422]);
    }
    if writes && has(call, "header", "If-Match") {
        statuses.push(412);
    }
    if call["requestBody"].is_object() {
        statuses.extend([413, 415]);
    }
    if has(call, "header", "Range") {
        statuses.extend([415, 416]);
    }
    let Some(responses) = call["responses"].as_object_mut() else { return };
    for response in responses.values_mut() {
        let headers = response.as_object_mut().map(|response| response.entry("headers").or_insert_with(|| json!({})));
        if let Some(headers) = headers {
            headers["X-Request-Id"] = reference("headers/X-Request-Id");
            if is_api {
                headers["RateLimit"] = reference("headers/RateLimit");
                headers["RateLimit-Policy"] = reference("headers/RateLimit-Policy");
            }
        }
    }
    for status in statuses {
        responses.entry(status.to_string()).or_insert_with(|| reference(&format!("responses/{}", name_of(status))));
    }
    responses.entry("default").or_insert_with(|| reference("responses/Problem"));
    responses.sort_keys();
}

fn reference(place: &str) -> Value {
    json!({ "$ref": format!("#/components/{place}") })
}

/// The name of a refusal's answer: of the first code that has the status.
fn name_of(status: u16) -> String {
    let first = Code::ALL.into_iter().find(|code| code.http_status() == status).map_or("problem", Code::as_str);
    let word = |word: &str| word.get(..1).map_or_else(String::new, |first| first.to_uppercase() + &word[1..]);
    first.split('_').map(word).collect()
}

/// One answer per status, with the codes that it may carry.
fn refusals() -> Value {
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

fn answer_headers() -> Value {
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
