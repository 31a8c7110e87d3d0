//! Rendering: exactly the files of a plan, from the templates in `app/`.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior, context};

use crate::catalogue::{Feature, feature};
use crate::planning::Plan;

/// The places in the service where a module can do something.
const HOOKS: [&str; 7] = ["gate", "route", "check", "arrange", "price", "changed", "finish"];

const BASE: [(&str, &str); 12] = [
    ("Cargo.toml", include_str!("app/Cargo.toml.jinja")),
    ("README.md", include_str!("app/README.md.jinja")),
    ("src/lib.rs", include_str!("app/lib.rs.jinja")),
    ("src/main.rs", include_str!("app/main.rs.jinja")),
    ("src/app.rs", include_str!("app/app.rs.jinja")),
    ("src/server.rs", include_str!("app/server.rs.jinja")),
    ("src/http.rs", include_str!("app/http.rs.jinja")),
    ("src/json.rs", include_str!("app/json.rs.jinja")),
    ("src/model.rs", include_str!("app/model.rs.jinja")),
    ("src/store.rs", include_str!("app/store.rs.jinja")),
    ("src/tests.rs", include_str!("app/tests.rs.jinja")),
    ("src/ui.html", include_str!("app/ui.html.jinja")),
];

/// The files by path.
pub(crate) fn render(plan: &Plan) -> Result<BTreeMap<String, String>, String> {
    let features: Vec<&Feature> = plan
        .model
        .features
        .iter()
        .map(|name| feature(name).ok_or_else(|| format!("there is no feature {name}")))
        .collect::<Result<_, _>>()?;
    let modules: Vec<&Feature> = features.iter().filter(|feature| !feature.source.is_empty()).copied().collect();
    let with = |text: &str| -> Vec<&str> {
        modules.iter().filter(|feature| feature.source.contains(text)).map(|feature| feature.module()).collect()
    };
    let mut hooks: BTreeMap<&str, Vec<&str>> = HOOKS.map(|hook| (hook, with(&format!("pub fn {hook}(")))).into();
    hooks.insert("stateful", with("pub struct State"));
    hooks.insert("modules", modules.iter().map(|feature| feature.module()).collect());
    let told: Vec<_> = features.iter().map(|feature| context! { name => feature.name, what => feature.what }).collect();
    let model = &plan.model;
    let values = context! {
        app => &model.app, app_literal => format!("{:?}", model.app), crate_name => &model.crate_name,
        kind => &model.kind, entities => Serde(&model.entities), features => told,
        ..Value::from(Serde(&hooks))
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    let mut files = BTreeMap::new();
    for file in &plan.files {
        let base = BASE.iter().find(|(path, _)| *path == file.path).map(|(_, source)| *source);
        let source = base.or_else(|| {
            let module = file.path.strip_prefix("src/")?.strip_suffix(".rs")?;
            modules.iter().find(|feature| feature.module() == module).map(|feature| feature.source)
        });
        let source = source.ok_or_else(|| format!("{}: nobody knows how to write this", file.path))?;
        let text = environment.render_str(source, &values).map_err(|error| format!("{}: {error:#}", file.path))?;
        files.insert(file.path.clone(), text);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::analysis::{analyse, offered};
    use crate::catalogue::{KINDS, REFUSED};
    use crate::planning::plan;

    #[test]
    fn all_features_of_each_type_render_together_and_alone() {
        for kind in &KINDS {
            let features =
                offered(kind).unwrap().0.into_iter().filter(|name| REFUSED.iter().all(|(refused, _)| refused != name));
            let features: Vec<String> = features.collect();
            let alone = features.iter().map(|name| vec![name.clone()]);
            for features in alone.chain([features.clone(), Vec::new()]) {
                let requirements = json!({"type": kind.name, "app_name": "a \"b\"", "features": features});
                let plan = plan(analyse(&serde_json::from_value(requirements).unwrap(), None).unwrap());
                let files = render(&plan).unwrap_or_else(|error| panic!("{features:?}: {error}"));
                assert_eq!(files.len(), plan.files.len());
                for (path, text) in &files {
                    assert!(!text.contains("{%") && !text.contains("{{ "), "{features:?}: {path}");
                    assert!(text.ends_with('\n') && !text.is_empty(), "{path}");
                }
                for test in &plan.tests {
                    let name = test.rsplit("::").next().unwrap();
                    assert!(files.values().any(|text| text.contains(&format!("fn {name}()"))), "{test}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_nobody_planned_is_not_written() {
        let mut plan = plan(analyse(&serde_json::from_value(json!({})).unwrap(), None).unwrap());
        plan.files.retain(|file| file.path != "README.md");
        assert!(!render(&plan).unwrap().contains_key("README.md"));
        plan.files[0].path = "../outside".into();
        assert!(render(&plan).is_err());
    }
}
