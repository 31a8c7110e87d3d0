//! Single values: their form and their bounds, by the key table.

use super::key::{KeyDoc, Kind};
use super::place::Member;
use super::pools::pools;
use super::{ConfigError, SECTIONS};
use std::net::SocketAddr;
use toml::{Table, Value};

/// Checks every key of a table. What is wrong is reported and taken out, so that the rest of the
/// table can still be read and judged.
pub(super) fn check_table(table: &mut Table) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    table.retain(|section, content| {
        let Some(doc) = SECTIONS.iter().find(|doc| doc.name == section) else {
            errors.push(unknown(section, "", SECTIONS.iter().map(|doc| doc.name.into())));
            return false;
        };
        let Value::Table(keys) = content else {
            errors.push(ConfigError::new(section, format!("must be a section, [{section}]")));
            return false;
        };
        keys.retain(|key, value| check_key(doc.name, doc.keys, key, value, &mut errors));
        true
    });
    errors
}

fn check_key(section: &str, keys: &[KeyDoc], key: &str, value: &Value, errors: &mut Vec<ConfigError>) -> bool {
    let Some(doc) = keys.iter().find(|doc| doc.name == key) else {
        errors.push(unknown(key, section, keys.iter().map(|doc| doc.name.into())));
        return false;
    };
    let found = check_value(&format!("{section}.{key}"), doc.kind, value);
    let good = found.is_empty();
    errors.extend(found);
    good
}

/// What is wrong with a value of this kind.
pub(super) fn check_value(key: &str, kind: Kind, value: &Value) -> Vec<ConfigError> {
    let one =
        |result: Result<(), String>| result.err().map(|detail| ConfigError::new(key, detail)).into_iter().collect();
    match (kind, value) {
        (Kind::Integer { min, max }, Value::Integer(number)) => one(in_bounds(*number, min, max)),
        (Kind::Boolean, Value::Boolean(_)) => Vec::new(),
        (Kind::Text | Kind::Path, Value::String(text)) => one(not_empty(text)),
        (Kind::Socket, Value::String(text)) => one(socket(text)),
        (Kind::HostPort, Value::String(text)) => one(host_port(text)),
        (Kind::OneOf(words), Value::String(text)) => one(one_of(words, text)),
        (Kind::HostPorts, Value::Array(items)) => {
            indexed(key, items).flat_map(|(key, item)| check_value(&key, Kind::HostPort, item)).collect()
        }
        (Kind::Networks, Value::Array(items)) => {
            indexed(key, items).flat_map(|(key, item)| network(&key, item)).collect()
        }
        (Kind::Members, Value::Array(items)) => {
            indexed(key, items).flat_map(|(key, item)| member(&key, item)).collect()
        }
        (Kind::Pools, Value::Array(items)) => pools(key, items),
        (kind, value) => one(Err(format!("must be {}, not {}", article(kind), value.type_str()))),
    }
}

/// What is wrong with one entry of `cluster.initial`.
fn member(key: &str, value: &Value) -> Vec<ConfigError> {
    let Value::Table(fields) = value else {
        return vec![ConfigError::new(key, format!("must be {{ id, peer, public }}, not {}", value.type_str()))];
    };
    let strange = fields.keys().filter(|name| !Member::KEYS.contains(&name.as_str()));
    let mut errors: Vec<_> = strange.map(|name| unknown(name, key, Member::KEYS.iter().map(|k| (*k).into()))).collect();
    for name in Member::KEYS {
        let kind = if name == "id" { Kind::Integer { min: 1, max: 1 << 48 } } else { Kind::HostPort };
        match fields.get(name) {
            Some(value) => errors.extend(check_value(&format!("{key}.{name}"), kind, value)),
            None => errors.push(ConfigError::new(format!("{key}.{name}"), "is required")),
        }
    }
    errors
}

pub(super) fn indexed<'a>(key: &'a str, items: &'a [Value]) -> impl Iterator<Item = (String, &'a Value)> {
    items.iter().enumerate().map(move |(index, item)| (format!("{key}[{index}]"), item))
}

/// The value that a text of the environment stands for. Lists are written as in the file.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let refused = || format!("must be {}, not {text:?}", article(kind));
    match kind {
        Kind::Integer { .. } => text.replace('_', "").parse().map(Value::Integer).map_err(|_| refused()),
        Kind::Boolean => text.parse().map(Value::Boolean).map_err(|_| refused()),
        Kind::HostPorts | Kind::Networks | Kind::Members | Kind::Pools => {
            let mut table: Table = format!("list = {text}").parse().map_err(|_| refused())?;
            table.remove("list").filter(|value| value.is_array() && table.is_empty()).ok_or_else(refused)
        }
        _ => Ok(Value::String(text.into())),
    }
}

fn in_bounds(number: i64, min: u64, max: u64) -> Result<(), String> {
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(()),
        _ => Err(format!("must be between {min} and {max}, not {number}")),
    }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty".into()) } else { Ok(()) }
}

fn socket(text: &str) -> Result<(), String> {
    text.parse::<SocketAddr>()
        .map(drop)
        .map_err(|_| format!("must be IP:PORT (127.0.0.1:7700, [::1]:7700), not {text:?}"))
}

/// Checks `HOST:PORT`, the host being a name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn host_port(text: &str) -> Result<(), String> {
    let refused = || format!("must be HOST:PORT with a port from 1 to 65535, not {text:?}");
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let host_good = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if host_good && port.parse::<u16>().is_ok_and(|port| port > 0) { Ok(()) } else { Err(refused()) }
}

/// What is wrong with one network of a list.
fn network(key: &str, value: &Value) -> Vec<ConfigError> {
    let good = value.as_str().is_some_and(|text| text.parse::<ipnet::IpNet>().is_ok());
    let detail = || format!("must be ADDRESS/BITS (10.0.0.0/8, fd00::/8), not {value}");
    if good { Vec::new() } else { vec![ConfigError::new(key, detail())] }
}

fn one_of(words: &[&str], text: &str) -> Result<(), String> {
    if words.contains(&text) { Ok(()) } else { Err(format!("must be one of {}, not {text:?}", words.join(", "))) }
}

/// The kind as a sentence wants it: "an integer", "a list of …".
fn article(kind: Kind) -> String {
    let label = kind.label().replace('`', "");
    match kind {
        Kind::Integer { .. } => format!("an {label}"),
        Kind::OneOf(_) => format!("one of {label}"),
        Kind::Text | Kind::Socket | Kind::HostPort => label,
        _ => format!("a {label}"),
    }
}

/// An unknown key, with the known one that it looks most like, or that stands in another section.
pub(super) fn unknown(key: &str, parent: &str, known: impl Iterator<Item = String>) -> ConfigError {
    if parent.is_empty() {
        return ConfigError::new(key, format!("unknown section; did you mean {}?", nearest(key, known)));
    }
    let elsewhere = SECTIONS.iter().find(|section| section.keys.iter().any(|doc| doc.name == key));
    let meant = match elsewhere {
        Some(section) => format!("{}.{key}", section.name),
        None => format!("{parent}.{}", nearest(key, known)),
    };
    ConfigError::new(format!("{parent}.{key}"), format!("unknown key; did you mean {meant}?"))
}

/// The known name that is most like `name`, without regard to case.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    let likeness = |other: &String| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
}
