//! Unary calls against a played node: keys, retries, what is repeated and what is not.

mod fake;

use bravo_api::problem::status_of;
use bravo_client::{Code, Error, NewJob, Refusal};
use fake::{Node, client, within};

fn refusals(codes: &[Code]) -> Vec<tonic::Status> {
    codes.iter().map(|code| status_of(Refusal::new(*code, "no"))).collect()
}

#[tokio::test]
async fn a_read_is_repeated_until_it_is_answered() {
    let node = Node::start().await;
    let client = client(&[&node]);
    *node.shared.refusals.lock() = refusals(&[Code::NoLeader, Code::Shed, Code::RateLimited]);
    assert_eq!(within(client.job("j0-1")).await.unwrap().id, "j0-1");
    assert_eq!(node.shared.authorization.lock().as_deref(), Some("Bearer secret"));
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is() {
    let node = Node::start().await;
    let client = client(&[&node]);
    *node.shared.refusals.lock() = refusals(&[Code::NotFound]);
    let error = within(client.job("j0-1")).await.unwrap_err();
    assert_eq!(error, Error::Refused(Refusal::new(Code::NotFound, "no")));
}

#[tokio::test]
async fn what_is_not_idempotent_is_not_repeated_blindly() {
    let node = Node::start().await;
    let client = client(&[&node]);
    *node.shared.refusals.lock() = refusals(&[Code::Shed, Code::NoLeader, Code::NotFound]);
    let error = within(client.retry_job("j0-1")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NoLeader), "shed changed nothing; no_leader may have");
    assert!(error.outcome_unknown());
}

#[tokio::test]
async fn an_enqueue_is_repeated_under_one_key() {
    let node = Node::start().await;
    let client = client(&[&node]);
    *node.shared.refusals.lock() = refusals(&[Code::NoLeader, Code::DeadlineExceeded]);
    within(client.enqueue(vec![NewJob::new("q")], None)).await.unwrap();
    let keys = node.shared.keys.lock().clone();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()));
}
