//! `bravo.v1.Workflows`.

use bravo_api::problem::{errors_of, refusal_of};
use bravo_api::proto::{self, workflows_client::WorkflowsClient};
use bravo_model::Code;
use serde_json::json;

use super::{until_status, work};
use crate::harness::nodes;

#[tokio::test]
async fn a_workflow_is_started_read_and_followed_over_grpc() {
    let mut client = WorkflowsClient::connect(format!("http://{}", nodes()[0])).await.unwrap();
    let request = proto::StartWorkflowRequest {
        name: "grpc".into(),
        project_id: "p-grpc".into(),
        tasks: json!([{"id": "a", "queue": "grpc-a", "input": "{{ input }}"}]).to_string().into(),
        input: "[1,2]".into(),
        idempotency_key: "grpc-start".into(),
        ..proto::StartWorkflowRequest::default()
    };
    let started = client.start(request.clone()).await.unwrap().into_inner();
    assert_eq!(started.status(), proto::WorkflowStatus::Running);
    assert_eq!(client.start(request.clone()).await.unwrap().into_inner(), started);
    let other = proto::StartWorkflowRequest { name: "other".into(), ..request.clone() };
    assert_eq!(refusal_of(&client.start(other).await.unwrap_err()).unwrap().code, Code::IdempotencyKeyReuse);
    let id = started.id;

    let mut reader = WorkflowsClient::connect(format!("http://{}", nodes()[1])).await.unwrap();
    let get = || proto::GetWorkflowRequest { id: id.clone(), read: None };
    let workflow = reader.get(get()).await.unwrap().into_inner();
    assert_eq!((workflow.name.as_str(), workflow.tasks.len(), &workflow.input[..]), ("grpc", 1, &b"[1,2]"[..]));
    let follow = proto::WorkflowEventsRequest { id: id.clone(), after: 1 };
    let mut events = reader.events(follow).await.unwrap().into_inner();
    assert_eq!(work("grpc-a", json!({"x": 1})).await, json!([1, 2]));
    let mut names = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        assert_eq!(event.id as usize, names.len() + 2);
        names.push(event.event);
    }
    assert_eq!(names, ["task.ready", "task.succeeded", "workflow.succeeded"]);
    until_status(&id, "succeeded").await;
    let workflow = reader.get(get()).await.unwrap().into_inner();
    assert_eq!(
        (workflow.status(), &workflow.tasks[0].result[..]),
        (proto::WorkflowStatus::Succeeded, &br#"{"x":1}"#[..])
    );

    let list = proto::ListWorkflowsRequest { project_id: "p-grpc".into(), ..proto::ListWorkflowsRequest::default() };
    assert_eq!(reader.list(list).await.unwrap().into_inner().workflows[0].id, id);
    let wrong = proto::StartWorkflowRequest {
        tasks: r#"[{"id":"a"},{"id":"b","queue":"q q"}]"#.into(),
        idempotency_key: String::new(),
        ..request
    };
    let status = client.start(wrong).await.unwrap_err();
    assert_eq!((refusal_of(&status).unwrap().code, errors_of(&status).len()), (Code::InvalidArgument, 2));
    let signal = proto::SignalWorkflowRequest { id, name: "s".into(), ..proto::SignalWorkflowRequest::default() };
    assert_eq!(refusal_of(&client.signal(signal).await.unwrap_err()).unwrap().code, Code::Conflict);
    let missing = client.get(proto::GetWorkflowRequest { id: "w0-999999".into(), read: None }).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
}
