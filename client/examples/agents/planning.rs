//! Planning: a model becomes the list of files to write, what each is for, and the tests that must pass.

use serde::{Deserialize, Serialize};

use crate::analysis::Model;
use crate::catalogue::{Feature, feature};

/// The files that every application has, in the order in which they are read.
const BASE: [(&str, &str); 10] = [
    ("Cargo.toml", "the crate, without dependencies"),
    ("README.md", "what it is and how it is started"),
    ("src/lib.rs", "the modules"),
    ("src/main.rs", "the program"),
    ("src/app.rs", "the way of a request"),
    ("src/server.rs", "connections"),
    ("src/http.rs", "requests and answers"),
    ("src/json.rs", "JSON"),
    ("src/model.rs", "what is kept"),
    ("src/store.rs", "the records"),
];

/// The result of planning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What it will be.
    pub(crate) model: Model,
    /// In the order in which they are written.
    pub(crate) files: Vec<File>,
    /// Names of tests, one for each feature at least. Each must be run, and pass.
    pub(crate) tests: Vec<String>,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) purpose: String,
}

/// The plan for a model.
pub(crate) fn plan(model: Model) -> Plan {
    let file = |path: &str, purpose: &str| File { path: path.to_owned(), purpose: purpose.to_owned() };
    let mut files: Vec<File> = BASE.iter().map(|(path, purpose)| file(path, purpose)).collect();
    let features: Vec<&Feature> = model.features.iter().filter_map(|name| feature(name)).collect();
    for feature in features.iter().filter(|feature| !feature.source.is_empty()) {
        files.push(file(&format!("src/{}.rs", feature.module()), feature.what));
        if feature.name == "ui" {
            files.push(file("src/ui.html", "the page"));
        }
    }
    files.push(file("src/tests.rs", "what all tests share"));
    let mut tests: Vec<String> = features.iter().map(|feature| feature.test()).collect();
    tests.push("tests::it_answers_over_a_socket".to_owned());
    tests.sort();
    tests.dedup();
    Plan { model, files, tests }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::analysis::analyse;

    #[test]
    fn a_plan_has_a_file_and_a_test_for_each_feature() {
        let requirements = json!({"type": "enterprise_api", "features": ["rbac", "ui", "audit"]});
        let plan = plan(analyse(&serde_json::from_value(requirements).unwrap(), None).unwrap());
        let paths: Vec<&str> = plan.files.iter().map(|file| &*file.path).collect();
        for name in ["sha256.rs", "auth.rs", "roles.rs", "ui.rs", "ui.html", "audit.rs", "tests.rs"] {
            assert!(paths.contains(&&*format!("src/{name}")), "{name}");
        }
        assert!(!paths.contains(&"src/rbac.rs") && !paths.contains(&"src/search.rs"));
        for test in ["roles::tests::feature_roles", "tests::feature_api", "audit::tests::feature_audit"] {
            assert!(plan.tests.contains(&test.to_owned()), "{test}");
        }
        let mut unique = paths.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), paths.len());
    }
}
