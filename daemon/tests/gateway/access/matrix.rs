//! The matrix of role, project and call, for every call that the interface itself describes.

use bravo_api::FILE_DESCRIPTOR_SET;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use prost_types::FileDescriptorSet;

use super::{ask_with, key};
use crate::harness::{get, nodes};

const ROLES: [&str; 4] = ["enqueue", "work", "read", "admin"];

/// What a call takes: any of these roles, and whether a key of one project will do.
type Needs = (&'static [&'static str], bool);

const ENQUEUE: Needs = (&["enqueue"], true);
const WORK: Needs = (&["work"], true);
const READ: Needs = (&["read"], true);
const MAKE: Needs = (&["enqueue", "work"], true);
const LOOK: Needs = (&["enqueue", "work", "read"], true);
const OWN_ADMIN: Needs = (&[], true);
const ADMIN: Needs = (&[], false);
const WHOLE_READ: Needs = (&["read"], false);
const ANYBODY: Needs = (&ROLES, true);

/// What the interface promises, written down apart from the program.
fn needs(operation: &str) -> Needs {
    match operation {
        "enqueue" | "cancelJob" | "retryJob" => ENQUEUE,
        "startWorkflow" | "cancelWorkflow" | "pauseWorkflow" | "resumeWorkflow" | "retryWorkflow"
        | "signalWorkflow" | "deleteArtifact" => ENQUEUE,
        "ack" | "nack" | "extend" | "lease" | "addTasks" => WORK,
        "listJobs" | "listQueues" | "listSchedules" | "getSchedule" | "listWebhooks" | "getWebhook" | "listQuotas"
        | "getQuota" | "listWorkflows" | "events" | "getLifecycle" => READ,
        "getJob" | "why" | "getQueue" | "listTemplates" | "getTemplate" | "previewTemplate" | "getWorkflow"
        | "workflowEvents" | "listArtifacts" | "getArtifact" => LOOK,
        "putArtifact" => MAKE,
        "putSchedule" | "deleteSchedule" | "pauseSchedule" | "resumeSchedule" | "putWebhook" | "deleteWebhook"
        | "putLifecycle" | "deleteLifecycle" | "listKeys" | "makeKey" | "revokeKey" => OWN_ADMIN,
        "listScaling" | "getScaling" | "getScalingHistory" | "listWorkers" | "getCluster" | "compareDigests" => {
            WHOLE_READ
        }
        "putScaling" | "deleteScaling" | "putScalingHistory" => ADMIN,
        "putQueue" | "deleteQueue" | "pauseQueue" | "resumeQueue" | "drainQueue" | "purgeQueue" | "redriveQueue"
        | "putTemplate" | "deleteTemplate" | "addMember" | "removeMember" | "transferLeadership" | "putQuota"
        | "deleteQuota" | "listAudit" => ADMIN,
        "health" | "ready" | "metrics" | "openapi" => ANYBODY,
        unknown => panic!("{unknown}: nobody has said yet who may make this call"),
    }
}

/// The same for gRPC, by service and method.
fn needs_of_grpc(method: &str) -> Needs {
    match method {
        "Jobs/EnqueueStream" => ENQUEUE,
        "Jobs/Work" => WORK,
        "Events/Watch" => READ,
        "ExternalScaler/IsActive"
        | "ExternalScaler/StreamIsActive"
        | "ExternalScaler/GetMetricSpec"
        | "ExternalScaler/StreamMetricSpec"
        | "ExternalScaler/GetMetrics" => WHOLE_READ,
        "Health/Check" | "Health/Watch" => ANYBODY,
        _ => needs(&operation_of(method)),
    }
}

/// The operation that is the same call.
fn operation_of(method: &str) -> String {
    let (service, verb) = method.split_once('/').unwrap();
    let one = service.trim_end_matches('s');
    match (service, verb) {
        ("Jobs", "Enqueue" | "Ack" | "Nack" | "Extend" | "Lease" | "Why") => verb.to_lowercase(),
        ("Cluster", "Get") => "getCluster".into(),
        ("Cluster", "Digest") => "compareDigests".into(),
        ("Cluster", "Transfer") => "transferLeadership".into(),
        ("Cluster", "AddMember") => "addMember".into(),
        ("Cluster", "RemoveMember") => "removeMember".into(),
        ("Scaling", "GetHistory") => "getScalingHistory".into(),
        ("Scaling", "PutHistory") => "putScalingHistory".into(),
        ("Workflows", "AddTasks") => "addTasks".into(),
        ("Workflows", "Events") => "workflowEvents".into(),
        (_, "List") => format!("list{service}"),
        _ => format!("{}{one}", verb.to_lowercase()),
    }
}

fn may((any_of, bound): Needs, role: &str, is_bound: bool) -> bool {
    let has = role == "admin" || any_of.contains(&role);
    has && (bound || !is_bound || any_of.len() == ROLES.len())
}

/// Each role twice: for one project, and for all.
async fn holders() -> Vec<(&'static str, bool, String)> {
    let mut holders = Vec::new();
    for role in ROLES {
        holders.push((role, true, key(Some("matrix"), &[role]).await));
        holders.push((role, false, key(None, &[role]).await));
    }
    holders
}

#[tokio::test]
async fn every_rest_call_is_made_by_whoever_may_and_denied_to_everybody_else() {
    let page = get("/api/openapi.json").await.ok();
    let holders = holders().await;
    let mut denied = 0;
    for (path, methods) in page["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let operation = described["operationId"].as_str().unwrap();
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{project_id}", "matrix").replace("{path}", "a.txt");
            let path = path
                .replace("{id}", "none")
                .replace("{queue}", "matrix")
                .replace("{name}", "matrix")
                .replace("{agent_type}", "matrix");
            for (role, is_bound, key) in &holders {
                // Nothing that is asked can be done: bodies are no objects, and no stream has such an event.
                let answer = ask_with(key, method.clone(), &path, &[("last-event-id", "!")], "[]").await;
                let status = answer.status.as_u16();
                let what = format!("{operation} by {role}, bound: {is_bound}: {status} {}", answer.text);
                if may(needs(operation), role, *is_bound) {
                    assert!(![401, 403].contains(&status), "{what}");
                } else {
                    assert_eq!((status, answer.code().as_str()), (403, "permission_denied"), "{what}");
                    denied += 1;
                }
            }
        }
    }
    assert!(denied > 200, "{denied}");
}

#[tokio::test]
async fn every_grpc_call_is_made_by_whoever_may_and_denied_to_everybody_else() {
    let sets = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
    let methods: Vec<(String, String)> = files
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().flat_map(move |service| {
                let (package, name) = (package.clone(), service.name().to_owned());
                let method = move |method: &str| (format!("/{package}.{name}/{method}"), format!("{name}/{method}"));
                service.method.iter().map(|one| method(one.name())).collect::<Vec<_>>()
            })
        })
        .collect();
    let holders = holders().await;
    assert!(methods.len() > 40);
    for (path, method) in &methods {
        for (role, is_bound, key) in &holders {
            let status = grpc_status(path, key).await;
            let is_denied = status.as_deref() == Some("7");
            let what = format!("{method} by {role}, bound: {is_bound}: {status:?}");
            assert_eq!(!is_denied, may(needs_of_grpc(method), role, *is_bound), "{what}");
            assert_ne!(status.as_deref(), Some("16"), "{what}");
        }
    }
}

/// The status of a call with an empty message, if it comes before any answer.
pub(super) async fn grpc_status(path: &str, key: &str) -> Option<String> {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::post(format!("http://{}{path}", nodes()[0]))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    let response = client.request(request).await.unwrap();
    response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
}
