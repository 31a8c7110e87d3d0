//! Whether `scaling.pools` is right: which fields go with which actuator.

use std::collections::BTreeSet;

use bravo_model::Name;
use toml::{Table, Value};

use super::ConfigError;
use super::key::{Kind, int};
use super::scaling::{ActuatorKind, Pool, Target, TargetKind};
use super::value::{check_value, indexed, unknown};

/// Longest name of Kubernetes.
const NAME_BYTES_MAX: usize = 253;

/// What is wrong with `scaling.pools`.
pub(super) fn pools(key: &str, items: &[Value]) -> Vec<ConfigError> {
    let mut errors: Vec<_> = indexed(key, items).flat_map(|(key, item)| pool(&key, item)).collect();
    if items.len() > Pool::COUNT_MAX {
        errors.push(ConfigError::new(key, format!("at most {} pools", Pool::COUNT_MAX)));
    }
    let named = |item: &Value| item.get("agent_type").and_then(Value::as_str).map(str::to_owned);
    let mut seen = BTreeSet::new();
    for twice in items.iter().filter_map(named).filter(|name| !seen.insert(name.clone())) {
        errors.push(ConfigError::new(key, format!("two pools of {twice:?}; a node looks after a pool in one way")));
    }
    errors
}

/// What is wrong with one entry.
fn pool(key: &str, value: &Value) -> Vec<ConfigError> {
    let Value::Table(fields) = value else {
        let detail = format!("must be {{ {} }}, not {}", Pool::KEYS.join(", "), value.type_str());
        return vec![ConfigError::new(key, detail)];
    };
    let mut errors = strange(key, fields, &Pool::KEYS);
    errors.extend(required(key, fields, &[("agent_type", Kind::Text), ("actuator", Kind::OneOf(ActuatorKind::WORDS))]));
    let agent_type = fields.get("agent_type").and_then(Value::as_str).unwrap_or_default();
    let actuator = fields.get("actuator").and_then(Value::as_str).unwrap_or_default();
    let mut wrong = |field: &str, detail: &str| errors.push(ConfigError::new(format!("{key}.{field}"), detail));
    if fields.get("agent_type").is_some_and(Value::is_str)
        && let Err(refusal) = Name::parse("it", agent_type)
    {
        wrong("agent_type", &refusal.detail);
    }
    if actuator == "systemd" && agent_type.contains(['/', '@', ':']) {
        wrong("agent_type", "names units of systemd: without '/', '@' and ':'");
    }
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.contains('\0'));
    let words = fields.get("command").map(|value| value.as_array().filter(|words| words.iter().all(is_text)));
    // Where the actuator is none, that is told already.
    let runs = !matches!(actuator, "systemd" | "kubernetes");
    match words {
        Some(None) => wrong("command", "must be a list of texts"),
        Some(Some(words)) if runs && words.is_empty() => wrong("command", "names no program"),
        Some(Some(words)) if !runs && !words.is_empty() => {
            wrong("command", &format!("{actuator} knows what its agents run"));
        }
        None if runs => wrong("command", "is required"),
        _ => {}
    }
    if fields.get("env").is_some_and(|value| !value.as_table().is_some_and(|table| table.values().all(is_text))) {
        wrong("env", "must be a table of texts");
    }
    match (actuator, fields.get("target")) {
        ("kubernetes", Some(value)) => errors.extend(target(&format!("{key}.target"), value)),
        ("kubernetes", None) => wrong("target", "is required"),
        (_, Some(_)) => wrong("target", "goes with the actuator kubernetes"),
        (_, None) => {}
    }
    errors
}

/// What is wrong with a target.
fn target(key: &str, value: &Value) -> Vec<ConfigError> {
    let Value::Table(fields) = value else {
        let detail = format!("must be {{ {} }}, not {}", Target::KEYS.join(", "), value.type_str());
        return vec![ConfigError::new(key, detail)];
    };
    let mut errors = strange(key, fields, &Target::KEYS);
    let kind = Kind::OneOf(TargetKind::WORDS);
    errors.extend(required(key, fields, &[("namespace", Kind::Text), ("kind", kind), ("name", Kind::Text)]));
    if let Some(value) = fields.get("grace_ms_min") {
        errors.extend(check_value(&format!("{key}.grace_ms_min"), int(0, 7 * 86_400_000), value));
    }
    for field in ["namespace", "name"] {
        // They become parts of a path.
        let odd = |text: &&str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            text.len() > NAME_BYTES_MAX || text.starts_with('.') || !text.bytes().all(allowed)
        };
        if fields.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).is_some_and(|text| odd(&text)) {
            let detail = "must be a name of Kubernetes: small letters, digits, '-' and '.'";
            errors.push(ConfigError::new(format!("{key}.{field}"), detail));
        }
    }
    errors
}

/// Fields that there are none of.
fn strange(key: &str, fields: &Table, known: &[&str]) -> Vec<ConfigError> {
    let strange = fields.keys().filter(|name| !known.contains(&name.as_str()));
    strange.map(|name| unknown(name, key, known.iter().map(|name| (*name).into()))).collect()
}

/// What is wrong with fields that must be there.
fn required(key: &str, fields: &Table, wanted: &[(&str, Kind)]) -> Vec<ConfigError> {
    let check = |(name, kind): &(&str, Kind)| match fields.get(*name) {
        Some(value) => check_value(&format!("{key}.{name}"), *kind, value),
        None => vec![ConfigError::new(format!("{key}.{name}"), "is required")],
    };
    wanted.iter().flat_map(check).collect()
}
