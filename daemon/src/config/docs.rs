//! The reference page `docs/configuration.md`, made from the key table.

use super::key::{KeyDoc, Kind, SectionDoc};
use super::load::variable;
use super::{Config, SECTIONS};
use std::fmt::Write;
use toml::{Table, Value};

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let defaults = Table::try_from(Config { tls: Some(Default::default()), ..Config::default() }).unwrap_or_default();
    let mut page = String::from(INTRO);
    for section in SECTIONS {
        let _ = write!(page, "\n## `[{}]`\n\n{}\n", section.name, prose(section.doc));
        for key in section.keys {
            write_key(&mut page, section, key, defaults.get(section.name).and_then(|keys| keys.get(key.name)));
        }
    }
    page
}

const INTRO: &str = "\
# Configuration

<!-- Made from daemon/src/config by its tests; do not edit.
     Renew it with: BRAVO_UPDATE_DOCS=1 cargo test -p bravo-daemon config -->

`bravod --config FILE` reads one TOML file. Each key can also be set, or overridden, by the variable \
that stands beside it; lists are written there as in the file. An unknown key or variable is an error \
that names the nearest known one. `bravod check --config FILE` prints all errors, each with its key, \
and ends with code 0 when there are none and 1 otherwise. Relative paths start at the folder of the \
file. Sizes are in bytes, durations in milliseconds. A changed file is read at the next start.
";

fn write_key(page: &mut String, section: &SectionDoc, key: &KeyDoc, default: Option<&Value>) {
    let _ = write!(page, "\n### `{}.{}`\n\n{}\n\n", section.name, key.name, prose(key.doc));
    let _ = write!(page, "- form: {}", key.kind.label());
    if let Kind::Integer { min, max } = key.kind {
        let _ = write!(page, ", from {} to {}", number(key, min), number(key, max));
    }
    if let Some(default) = default.and_then(|value| default_text(key, value)) {
        let _ = write!(page, "\n- default: {default}");
    }
    let _ = write!(page, "\n- variable: `{}`\n", variable(section.name, key.name));
}

/// The default for people, or nothing where a key has none.
fn default_text(key: &KeyDoc, default: &Value) -> Option<String> {
    match (key.kind, default) {
        (Kind::Integer { min, .. }, Value::Integer(integer)) => {
            u64::try_from(*integer).ok().filter(|value| *value >= min).map(|value| number(key, value))
        }
        (Kind::HostPorts | Kind::Members | Kind::Pools, _) => None,
        (_, Value::String(text)) if text.is_empty() => None,
        (_, other) => Some(format!("`{other}`")),
    }
}

/// A number with thousands apart; a size also in binary units where it is a round one.
fn number(key: &KeyDoc, value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    let unit = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(size, _)| key.name.contains("bytes") && value >= *size && value.is_multiple_of(*size));
    match unit {
        Some((size, name)) => format!("{grouped} ({} {name})", value / size),
        None => grouped,
    }
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tls;

    #[test]
    fn the_reference_page_is_up_to_date() {
        crate::config::testing::same_page("configuration.md", &reference());
    }

    #[test]
    fn the_key_table_and_the_struct_have_the_same_keys() {
        let mut config = Config { tls: Some(Default::default()), ..Config::default() };
        let file = || Some("a".into());
        config.tls = Some(Tls { public_cert: file(), public_key: file(), client_ca: file(), ..Default::default() });
        config.advertise = crate::config::Advertise { public: Some("a:1".into()), peer: Some("a:1".into()) };
        config.auth.admin_key_file = file();
        config.scaling.systemd_bus = Some("a".into());
        let (text, path) = (Some("a".to_owned()), Some("a".into()));
        config.cold = crate::config::Cold {
            dir: path.clone(),
            bucket: text.clone(),
            endpoint: text.clone(),
            prefix: text.clone(),
            access_key_id: text.clone(),
            secret_access_key_file: path,
            archive_class: text,
            ..Default::default()
        };
        let table = Table::try_from(config).unwrap();
        let of_struct: Vec<_> = table
            .iter()
            .flat_map(|(section, keys)| keys.as_table().unwrap().keys().map(move |key| format!("{section}.{key}")))
            .collect();
        let mut of_table: Vec<_> =
            SECTIONS.iter().flat_map(|s| s.keys.iter().map(|key| format!("{}.{}", s.name, key.name))).collect();
        of_table.sort();
        let mut of_struct = of_struct;
        of_struct.sort();
        assert_eq!(of_struct, of_table);
    }

    #[test]
    fn numbers_are_grouped_and_given_in_binary_units() {
        let key = |name| KeyDoc { name, kind: Kind::Boolean, doc: &[] };
        assert_eq!(number(&key("wait_ms_max"), 1 << 20), "1_048_576");
        assert_eq!(number(&key("log_segment_bytes"), 64 << 20), "67_108_864 (64 MiB)");
    }
}
