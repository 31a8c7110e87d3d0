//! Scaling: policies, how pools stand, and KEDA's five calls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bravo_api::keda::external_scaler_client::ExternalScalerClient;
use bravo_api::keda::{GetMetricsRequest, ScaledObjectRef};
use bravo_api::proto;
use bravo_api::proto::scaling_client::ScalingClient;
use bravo_api::proto::work_request::Message as Ask;
use bravo_api::proto::work_response::Message as Said;
use http::Method;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::harness::{call_at, get, nodes, own_node, post, put};

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn delete(path: &str) -> u16 {
    call_at(nodes()[1], Method::DELETE, path, &[], "").await.status.as_u16()
}

#[tokio::test]
async fn a_policy_is_obeyed_by_every_node_from_its_answer_on_until_it_is_deleted() {
    let path = "/api/v1/scaling/policy-coder";
    let answer = get(path).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"));
    let body = r#"{"min":4,"max":9,"objective":{"start_delay_p95_ms":5000},"mode":"act","policy":"reactive",
        "behaviour":{"down":{"percent":50}}}"#;
    let put = put(path, body).await.ok();
    for (key, value) in [("agent_type", "policy-coder"), ("mode", "act"), ("policy", "reactive")] {
        assert_eq!(put[key], value);
    }
    assert_eq!((&put["min"], &put["max"], &put["is_set"]), (&4.into(), &9.into(), &true.into()));
    assert_eq!(put["objective"]["start_delay_p95_ms"], 5_000);
    let down = json!({"stabilisation_ms": 300_000, "percent": 50, "period_ms": 60_000});
    assert_eq!((&put["behaviour"]["down"], &put["behaviour"]["up"]["percent"]), (&down, &100.into()));
    assert!(put["recommended"].is_null() || put["recommended"] == 4, "as soon as it was looked at: {put}");
    assert!(put["why"].as_str().is_some_and(|why| !why.is_empty()) && put["at"].is_string());
    assert!(put["forecast"]["horizon_ms"] == 900_000 && put["forecast"]["points"].is_array());
    for node in nodes() {
        let read = call_at(*node, Method::GET, path, &[], "").await.ok();
        assert_eq!(read["mode"], "act");
        let list = call_at(*node, Method::GET, "/api/v1/scaling", &[], "").await.ok();
        let names: Vec<&Value> = list["scaling"].as_array().unwrap().iter().map(|pool| &pool["agent_type"]).collect();
        assert!(names.contains(&&"policy-coder".into()), "{names:?}");
        assert!(list["as_of"].is_string() && list["next_cursor"].is_null());
    }
    let changed = call_at(nodes()[0], Method::PUT, path, &[], r#"{"max":3}"#).await.ok();
    let of = |key: &str| changed[key].clone();
    assert_eq!((of("min"), of("max"), of("mode")), (2.into(), 3.into(), "advise".into()));
    assert_eq!((delete(path).await, delete(path).await), (204, 404));
}

#[tokio::test]
async fn a_policy_without_sense_is_refused_and_says_which_field() {
    for (body, field) in [
        (r#"{"min":5,"max":4}"#, "min"),
        (r#"{"max":21}"#, "max"),
        (r#"{"mode":"on"}"#, "mode"),
        (r#"{"policy":"lucky"}"#, "policy"),
        (r#"{"objective":{"start_delay_p95_ms":0}}"#, "objective.start_delay_p95_ms"),
        (r#"{"objective":{"p95":1}}"#, "p95"),
        (r#"{"minimum":1}"#, "minimum"),
        (r#"{"behaviour":{"down":{"percent":101}}}"#, "behaviour.down.percent"),
        (r#"{"behaviour":{"up":{"seconds":1}}}"#, "seconds"),
    ] {
        let answer = put("/api/v1/scaling/refused", body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_argument"), "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(field), "{}", answer.text);
    }
    assert_eq!(put("/api/v1/scaling/bravod", "{}").await.status, 400, "the nodes have no policy");
}

#[tokio::test]
async fn grpc_has_the_same_calls() {
    let mut scaling = ScalingClient::new(channel(nodes()[1]).await);
    let policy = proto::ScalingPolicy { agent_type: "grpc-coder".into(), max: Some(7), ..Default::default() };
    let put = scaling.put(proto::PutScalingRequest { policy: Some(policy) }).await.unwrap().into_inner();
    assert!(put.recommended.is_none_or(|agents| agents == 2));
    assert_eq!(put.policy.unwrap().max, Some(7));
    let read = proto::GetScalingRequest { agent_type: "grpc-coder".into() };
    assert!(scaling.get(read.clone()).await.unwrap().into_inner().is_set);
    let all = scaling.list(proto::ListScalingRequest {}).await.unwrap().into_inner().scaling;
    assert!(all.iter().any(|pool| pool.policy.as_ref().is_some_and(|policy| policy.agent_type == "grpc-coder")));
    scaling.delete(proto::DeleteScalingRequest { agent_type: "grpc-coder".into() }).await.unwrap();
    assert_eq!(scaling.get(read).await.unwrap_err().code(), tonic::Code::NotFound);
}

fn object(key: &str, name: &str) -> ScaledObjectRef {
    let metadata = [("scalerAddress".to_owned(), "bravo:7700".to_owned()), (key.to_owned(), name.to_owned())];
    ScaledObjectRef { name: "agents".into(), namespace: "bravo".into(), scaler_metadata: metadata.into() }
}

fn asked(of: ScaledObjectRef) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(of), metric_name: "s0-bravo-keda-coder".into() }
}

#[tokio::test]
async fn keda_gets_its_five_answers_and_the_streams_tell_of_changes() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 1_000).await;
    let path = "/api/v1/scaling/keda-coder";
    call(address, Method::PUT, path, json!({"min": 0, "max": 5, "policy": "threshold"})).await;
    call(address, Method::PUT, "/api/v1/queues/keda-builds", json!({"agent_type": "keda-coder"})).await;
    until(address, "keda-coder", "without need of anybody", |pool| pool["recommended"] == 0).await;
    let mut keda = ExternalScalerClient::new(channel(address).await);
    let of = object("agentType", "keda-coder");
    assert!(!keda.is_active(of.clone()).await.unwrap().into_inner().result, "nobody is needed");
    let mut active = keda.stream_is_active(of.clone()).await.unwrap().into_inner();
    let mut specs = keda.stream_metric_spec(of.clone()).await.unwrap().into_inner();
    assert!(!active.message().await.unwrap().unwrap().result, "told at once");
    let spec = keda.get_metric_spec(of.clone()).await.unwrap().into_inner();
    assert_eq!(specs.message().await.unwrap().unwrap(), spec);
    assert_eq!((spec.metric_specs[0].metric_name.as_str(), spec.metric_specs[0].target_size), ("bravo-keda-coder", 1));

    call(address, Method::PUT, path, json!({"min": 3, "max": 5, "policy": "threshold"})).await;
    let told = tokio::time::timeout(Duration::from_secs(60), active.message()).await.unwrap();
    assert!(told.unwrap().unwrap().result, "pushed when it changes");
    for (key, name) in [("agentType", "keda-coder"), ("queue", "keda-builds")] {
        let value = keda.get_metrics(asked(object(key, name))).await.unwrap().into_inner().metric_values.remove(0);
        assert_eq!((value.metric_name.as_str(), value.metric_value), ("bravo-keda-coder", 3));
        assert!((value.metric_value_float - 3.0).abs() < 1e-9);
    }

    assert_eq!(keda.is_active(ScaledObjectRef::default()).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let stranger = object("agentType", "keda-nobody");
    assert_eq!(keda.get_metric_spec(stranger).await.unwrap_err().code(), tonic::Code::NotFound);
    call(address, Method::PUT, path, json!({"mode": "off"})).await;
    assert_eq!(keda.is_active(of).await.unwrap_err().code(), tonic::Code::FailedPrecondition, "KEDA leaves it alone");
}

#[tokio::test]
async fn a_pool_whose_load_nobody_has_looked_at_has_no_size_for_anybody() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 60_000).await;
    until(address, "bravod", "looked at, and not again for a minute", |own| own["current"] == 1).await;
    let put = call(address, Method::PUT, "/api/v1/scaling/keda-coder", json!({"min": 2})).await;
    assert_eq!((&put["recommended"], &put["current"], &put["min"]), (&Value::Null, &Value::Null, &2.into()));
    assert_eq!(put["why"], "nobody has looked at the load yet");
    let mut keda = ExternalScalerClient::new(channel(address).await);
    let of = object("agentType", "keda-coder");
    assert_eq!(keda.is_active(of.clone()).await.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(keda.get_metrics(asked(of.clone())).await.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(keda.get_metric_spec(of.clone()).await.unwrap().into_inner().metric_specs.len(), 1);
    let mut active = keda.stream_is_active(of).await.unwrap().into_inner();
    let told = tokio::time::timeout(Duration::from_secs(90), active.message()).await.unwrap();
    assert!(told.unwrap().unwrap().result, "told once it was looked at");
    assert_eq!(call(address, Method::GET, "/api/v1/scaling/keda-coder", json!(null)).await["recommended"], 2);
}

#[tokio::test]
async fn an_agent_that_says_that_it_stops_counts_for_nothing_while_it_ends_what_it_holds() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 1_000).await;
    call(address, Method::PUT, "/api/v1/scaling/leaving", json!({"min": 1})).await;
    let (asks, receiver) = tokio::sync::mpsc::channel(8);
    let ask = async |message: Ask| asks.send(proto::WorkRequest { message: Some(message) }).await.unwrap();
    let hello =
        proto::Hello { worker_id: "w".into(), queues: vec!["leaving".into()], capacity: 1, ..Default::default() };
    ask(Ask::Hello(hello)).await;
    ask(Ask::Credit(proto::Credit { n: 1 })).await;
    let mut client = proto::jobs_client::JobsClient::new(channel(address).await);
    let mut answers = client.work(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let job = json!({"queue": "leaving", "payload": {}, "project_id": "p"});
    call(address, Method::POST, "/api/v1/jobs", job).await;
    let said = answers.message().await.unwrap().unwrap().message;
    assert!(matches!(said, Some(Said::Jobs(_))), "{said:?}");
    until(address, "leaving", "served by one", |pool| pool["current"] == 1).await;
    ask(Ask::Stop(proto::Stop {})).await;
    until(address, "leaving", "served by nobody", |pool| pool["current"] == 0).await;
    let workers = call(address, Method::GET, "/api/v1/workers", json!(null)).await;
    assert_eq!(workers["workers"][0]["in_flight"], 1, "it works on: {workers}");
}

#[tokio::test]
async fn a_queue_that_is_used_is_looked_at_and_so_are_the_nodes_themselves() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 1_000).await;
    let job = r#"{"queue":"looked-at","payload":{},"project_id":"p"}"#;
    let deadline = Instant::now() + Duration::from_secs(120);
    let pool = loop {
        call_at(address, Method::POST, "/api/v1/jobs", &[], job).await.ok();
        let answer = call_at(address, Method::GET, "/api/v1/scaling/looked-at", &[], "").await;
        if answer.status == 200 && answer.json()["recommended"].as_u64() > Some(2) {
            break answer.json();
        }
        assert!(Instant::now() < deadline, "{} {}", answer.status, answer.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((&pool["is_set"], &pool["mode"], &pool["current"]), (&false.into(), &"advise".into(), &0.into()));
    assert_eq!(pool["forecast"]["points"].as_array().map(Vec::len), Some(5));
    let own = call_at(address, Method::GET, "/api/v1/scaling/bravod", &[], "").await.ok();
    assert_eq!((&own["current"], &own["recommended"], &own["max"]), (&1.into(), &3.into(), &20.into()));
    let metrics = call_at(address, Method::GET, "/metrics", &[], "").await.text;
    assert!(metrics.contains(r#"bravo_scaling_recommended_agents{agent_type="looked-at"}"#), "{metrics}");
    assert!(post("/api/v1/scaling", "{}").await.status == 405);
}

async fn call(address: SocketAddr, method: Method, path: &str, body: Value) -> Value {
    call_at(address, method, path, &[], body.to_string()).await.ok()
}

/// Looks until a pool is as it should be.
async fn until(address: SocketAddr, agent_type: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let answer = call_at(address, Method::GET, &format!("/api/v1/scaling/{agent_type}"), &[], "").await;
        if answer.status == 200 && holds(&answer.json()) {
            return answer.json();
        }
        assert!(Instant::now() < deadline, "never {what}: {} {}", answer.status, answer.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn most(pool: &Value, key: &str) -> f64 {
    let points = pool["forecast"]["points"].as_array().cloned().unwrap_or_default();
    points.iter().filter_map(|point| point[key].as_f64()).fold(0.0, f64::max)
}

#[tokio::test]
async fn processors_memory_and_workflows_are_forecast_with_the_agents() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 1_000).await;
    let workflow = json!({"name": "n", "project_id": "p", "tasks": [{"id": "a", "queue": "uses"}]});
    for _ in 0..40 {
        call(address, Method::POST, "/api/v1/workflows", workflow.clone()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let pool = until(address, "uses", "with workflows", |pool| most(pool, "workflows") > 0.0).await;
    assert!(most(&pool, "cpu") > 0.0 && most(&pool, "memory") > 0.0, "{pool:#}");
    let is_whole = |own: &Value| most(own, "workflows") > 20.0 && most(own, "cpu") > 0.0;
    let own = until(address, "bravod", "with all 40 workflows", is_whole).await;
    assert!(most(&own, "memory") > 0.0 && most(&own, "agents") >= 3.0, "{own:#}");
    let mut scaling = ScalingClient::new(channel(address).await);
    for agent_type in ["uses", "bravod"] {
        let read = proto::GetScalingRequest { agent_type: agent_type.into() };
        let points = scaling.get(read).await.unwrap().into_inner().points;
        let last = points.last().unwrap();
        assert_eq!(points.len(), 5);
        assert!(last.workflows > 0.0 && (0.0..=1.0).contains(&last.cpu) && last.memory > 0.0, "{agent_type}: {last:?}");
    }
}

#[tokio::test]
async fn steps_whose_parents_end_and_leases_that_nobody_extends_are_known_to_come() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 1_000).await;
    for queue in ["steps", "lost"] {
        call(address, Method::PUT, &format!("/api/v1/queues/{queue}"), json!({"agent_type": "known-coder"})).await;
    }
    call(address, Method::PUT, "/api/v1/scaling/known-coder", json!({"max": 9})).await;
    let tasks = json!([
        {"id": "rest", "timer_ms": 600_000},
        {"id": "then", "queue": "steps", "depends_on": ["rest"]},
        {"id": "last", "queue": "steps", "depends_on": ["then"]},
    ]);
    let workflow = json!({"name": "n", "project_id": "p", "tasks": tasks});
    call(address, Method::POST, "/api/v1/workflows", workflow).await;
    let knows = |count: u32| {
        let text = format!("; {count} jobs are known to become ready within a quarter of an hour");
        move |pool: &Value| pool["why"].as_str().is_some_and(|why| why.ends_with(&text))
    };
    until(address, "known-coder", "expecting the step after the timer", knows(1)).await;
    let job = json!({"queue": "lost", "payload": {}, "project_id": "p"});
    call(address, Method::POST, "/api/v1/jobs", job).await;
    let lease = json!({"worker_id": "gone", "lease_ms": 24_000, "wait_ms": 5_000});
    let leased = call(address, Method::POST, "/api/v1/queues/lost/lease", lease).await;
    assert_eq!(leased["jobs"].as_array().map(Vec::len), Some(1), "{leased}");
    until(address, "known-coder", "expecting the job again whose worker is gone", knows(2)).await;
    until(address, "known-coder", "at rest: the job is ready", knows(1)).await;
}

#[tokio::test]
async fn a_history_goes_out_and_in_and_forecasts_rest_on_it() {
    let (address, _) = own_node(|config| config.scaling.tick_ms = 1_000).await;
    let path = "/api/v1/scaling/moved%2Fcoder/history";
    let missing = call_at(address, Method::GET, path, &[], "").await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "not_found"));
    let older = vec![100_u32; 30];
    let arrivals = vec![5_u32; 700];
    let body = json!({"tick_ms": 1_000, "older": older, "arrivals": arrivals, "service_ms": 2_000, "boot_ms": 9_000});
    let put = call_at(address, Method::PUT, path, &[], body.to_string()).await;
    assert_eq!(put.status, 204, "{}", put.text);
    let told = call_at(address, Method::GET, path, &[], "").await.ok();
    assert_eq!((&told["agent_type"], &told["tick_ms"]), (&"moved/coder".into(), &1_000.into()));
    assert_eq!((&told["older"], &told["arrivals"]), (&json!(older), &json!(arrivals)));
    assert_eq!((&told["service_ms"], &told["boot_ms"]), (&2_000.into(), &9_000.into()));
    call(address, Method::PUT, "/api/v1/scaling/moved%2Fcoder", json!({"max": 20})).await;
    // Ten agents' worth, as it was: the history is at work, though no job ever came here.
    let pool = until(address, "moved%2Fcoder", "planned for by its past", |pool| most(pool, "p90") > 5.0).await;
    assert!(pool["recommended"].as_u64() >= Some(5), "{pool:#}");

    let mut scaling = ScalingClient::new(channel(address).await);
    let read = proto::GetScalingHistoryRequest { agent_type: "moved/coder".into() };
    let mut history = scaling.get_history(read.clone()).await.unwrap().into_inner();
    assert!(history.arrivals.len() >= 700 && history.at_ms > 0, "{} ticks", history.arrivals.len());
    (history.arrivals, history.older) = (vec![3; 50], Vec::new());
    let put = |history| proto::PutScalingHistoryRequest { history: Some(history) };
    scaling.put_history(put(history.clone())).await.unwrap();
    let again = scaling.get_history(read).await.unwrap().into_inner();
    assert_eq!(again.arrivals[..50], [3; 50], "the other one is replaced");
    let wrong = proto::ScalingHistory { tick_ms: Some(15_000), ..history.clone() };
    assert_eq!(scaling.put_history(put(wrong)).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let nodes = proto::ScalingHistory { agent_type: "bravod".into(), ..history };
    assert_eq!(scaling.put_history(put(nodes)).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    for (body, field) in [(r#"{"arrivals":[-1]}"#, ""), (r#"{"jobs":[1]}"#, "jobs"), (r#"{"boot_ms":0}"#, "boot_ms")] {
        let refused = call_at(address, Method::PUT, path, &[], body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "invalid_argument"), "{body}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(field), "{}", refused.text);
    }
}
