//! From a file and an environment to a configuration, with every error that there is.

use super::value::{self, check_table};
use super::{Config, ConfigError, SECTIONS};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What every environment variable of the configuration starts with.
const ENV_PREFIX: &str = "BRAVO_";

impl Config {
    /// Reads the file at `path` and lays `env` over it: `BRAVO_<SECTION>__<KEY>` replaces the key,
    /// other variables are none of its business. Gives the valid configuration or all that is wrong.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Config, Vec<ConfigError>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![ConfigError::new(path.display().to_string(), error.to_string())])?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let config = Config::parse(&text, env, &folder)
            .map_err(|errors| errors.into_iter().map(|error| at_file(path, error)).collect::<Vec<_>>())?;
        let errors = config.check_files();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// As `load`, of a text and without a look at the disk; relative paths start at `folder`.
    pub fn parse(
        text: &str,
        env: impl Iterator<Item = (String, String)>,
        folder: &Path,
    ) -> Result<Config, Vec<ConfigError>> {
        let mut table: Table = text.parse().map_err(|error| vec![syntax_error(text, &error)])?;
        let mut errors = overlay(&mut table, env);
        errors.extend(check_table(&mut table));
        let mut config: Config = match Value::Table(table).try_into() {
            Ok(config) => config,
            Err(error) => {
                errors.push(ConfigError::new("config", error.to_string()));
                return Err(errors);
            }
        };
        config.anchor(folder);
        for error in config.validate().err().unwrap_or_default() {
            // A key that was already refused has its default here: what that breaks is no news.
            if !errors.iter().any(|known| is_about(known, &error.key)) {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// Makes relative paths start at the folder of the config file.
    fn anchor(&mut self, folder: &Path) {
        let anchor = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        anchor(&mut self.node.data_dir);
        if let Some(tls) = &mut self.tls {
            [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().for_each(anchor);
            let public = [&mut tls.public_cert, &mut tls.public_key, &mut tls.client_ca];
            public.into_iter().flatten().for_each(anchor);
        }
    }
}

/// Lays the environment over the table. Only names with the prefix and a `__` are meant for it:
/// `BRAVO_SERVER` and `BRAVO_API_KEY` belong to the client.
fn overlay(table: &mut Table, env: impl Iterator<Item = (String, String)>) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (name, text) in env {
        let Some((section, key)) = name.strip_prefix(ENV_PREFIX).and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        let doc = SECTIONS
            .iter()
            .find(|doc| doc.name.eq_ignore_ascii_case(section))
            .and_then(|doc| Some((doc, doc.keys.iter().find(|known| known.name.eq_ignore_ascii_case(key))?)));
        let Some((section, key)) = doc else {
            let near = value::nearest(&name, all_variables());
            errors.push(ConfigError::new(name, format!("unknown variable; did you mean {near}?")));
            continue;
        };
        match value::from_text(key.kind, &text) {
            Ok(parsed) => {
                let slot = table.entry(section.name).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(keys) = slot {
                    keys.insert(key.name.into(), parsed);
                }
            }
            Err(detail) => errors.push(ConfigError::new(name, detail)),
        }
    }
    errors
}

/// Whether an error is about this key or a part of it, under its own name or its variable's.
fn is_about(error: &ConfigError, key: &str) -> bool {
    let name = match error.key.strip_prefix(ENV_PREFIX) {
        Some(variable) => variable.to_lowercase().replacen("__", ".", 1),
        None => error.key.clone(),
    };
    name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

/// The name of the variable that overrides a key.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("{ENV_PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase())
}

fn all_variables() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| variable(section.name, key.name)))
}

fn syntax_error(text: &str, error: &toml::de::Error) -> ConfigError {
    let line =
        error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
    ConfigError::new(format!("line {line}"), error.message())
}

/// A syntax error has a line and no key: the file says the rest.
fn at_file(path: &Path, mut error: ConfigError) -> ConfigError {
    if error.key.starts_with("line ") {
        error.key = format!("{} {}", path.display(), error.key);
    }
    error
}

#[cfg(test)]
mod tests;
