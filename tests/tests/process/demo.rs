//! The main job, small: agents in processes of their own build applications while a node and an agent are killed.

use std::process::Stdio;
use std::time::Duration;

use bravo_tests::process::beside;
use serde_json::Value;

const APPS: usize = 3;
/// Compiling takes as long as the machine is slow.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_demo_builds_applications_through_the_loss_of_a_node_and_an_agent() {
    let mut command = tokio::process::Command::new(beside("bravo").unwrap());
    command.args(["demo", "apps", "--apps", &APPS.to_string(), "--output", "json"]);
    if let Some(bravod) = std::env::var_os("BRAVOD") {
        command.arg("--bravod").arg(bravod);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("in time").unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["pass"], true, "{report:#}");
    assert_eq!(report["tasks"], APPS * 5);
    assert_eq!(report["bundles_checked"], APPS * 3);
    assert!(report["killed_job_attempt"].as_u64() >= Some(2), "{report:#}");
    for app in report["apps"].as_array().unwrap() {
        assert!(app["tests_passed"].as_u64() > app["features"].as_u64(), "{app:#}");
        assert!(app["http_checks"].as_u64() > Some(10), "{app:#}");
    }
}
