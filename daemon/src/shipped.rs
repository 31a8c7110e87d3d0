//! The templates that come with Bravo: files in `deploy/templates`, which `bravod dev` loads by itself.
//!
//! Elsewhere they are loaded by `bravo template apply`, so that an operator's cluster has what its operator
//! put there and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_api::template::Template;
use bravo_model::template::{Expected, PutTemplate};
use bravo_model::{Code, Command, Envelope, Name, Refusal};

use crate::cluster::{Cluster, Repeat};
use crate::raft::types::META_GROUP;

/// How long the cluster may take to form.
const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! templates {
    ($($name:literal),+) => {
        /// Name and document of each.
        pub const TEMPLATES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../deploy/templates/", $name, ".json")))),+];
    };
}

templates!("crud", "ecommerce", "enterprise_api", "realtime_chat");

/// Puts those that are not there; one that somebody changed stays as it is.
pub async fn load(cluster: Arc<Cluster>) {
    for (name, text) in TEMPLATES {
        if let Err(refusal) = put(&cluster, name, text).await {
            tracing::warn!(template = name, %refusal, "a shipped template was not loaded");
        }
    }
}

async fn put(cluster: &Arc<Cluster>, name: &str, text: &str) -> Result<(), Refusal> {
    let name = Name::parse("name", name)?;
    let checked = Template::parse(&name, text.as_bytes()).map_err(|rejection| rejection.refusal)?;
    let command = Command::PutTemplate(PutTemplate {
        name,
        description: checked.template.description,
        document: checked.document,
        expected: Expected::absent(),
    });
    let deadline = Instant::now() + PATIENCE;
    match cluster.propose(META_GROUP, &Envelope::plain(command), Repeat::Safe, deadline).await {
        Err(refusal) if refusal.code != Code::PreconditionFailed => Err(refusal),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bravo_api::template::Compiled;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_file_that_is_shipped_is_loaded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/templates");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = names.collect();
        let loaded: BTreeSet<String> = TEMPLATES.iter().map(|(name, _)| format!("{name}.json")).collect();
        assert_eq!(files, loaded);
    }

    #[test]
    fn each_generates_an_application_in_five_steps() {
        for (name, text) in TEMPLATES {
            let checked = Template::parse(&Name::parse("name", name).unwrap(), text.as_bytes()).unwrap();
            let requirements = json!({"type": name, "features": ["auth", "api", "database"], "more": {"a": 1}});
            let compiled = Compiled::new(checked.template).unwrap();
            let (input, wrong) = compiled.prepare("requirements", Some(requirements));
            assert_eq!(wrong, []);
            assert_eq!((&input["language"], &input["framework"]), (&json!("rust"), &json!("std")));
            let tasks: Vec<Value> = serde_json::from_slice(&compiled.template.tasks.0).unwrap();
            let ids: Vec<&str> = tasks.iter().map(|task| task["id"].as_str().unwrap()).collect();
            assert_eq!(ids, ["analysis", "planning", "codegen", "testing", "deployment"]);
            for (place, task) in tasks.iter().enumerate() {
                assert_eq!(task["queue"], task["id"]);
                let before: Vec<&str> = ids[..place].last().copied().into_iter().collect();
                assert_eq!(task["depends_on"].as_array().map_or(0, Vec::len), before.len());
                assert!(before.iter().all(|id| task["depends_on"][0] == *id));
            }
            let (_, wrong) = compiled.prepare("requirements", Some(json!({"features": ["magic"]})));
            assert_eq!(wrong[0].path, "requirements.features[0]");
        }
    }
}
