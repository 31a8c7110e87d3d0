//! JSON bodies: what is taken, what is refused and by which name, what comes back unchanged.

use bravo_api::json::{self, AckBody, EnqueueBody, ExtendBody, ItemsAnswer, LeaseBody, NackBody, QueueConfigBody};
use bravo_api::{Code, Refusal, convert, limits, proto};
use bravo_model::command::{NewJob, When};
use bravo_model::{JobState, Name, Payload, QueueConfig};
use bytes::Bytes;
use serde_json::{Value, json};

fn enqueue(body: impl AsRef<[u8]>) -> Result<Vec<NewJob>, Refusal> {
    json::parse::<EnqueueBody>(body.as_ref())?.into_model()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (Code, String) {
    let refusal = result.expect_err("a refusal");
    (refusal.code, refusal.detail)
}

#[test]
fn one_job_with_everything() {
    let jobs = enqueue(
        r#"{"queue":"mail","project_id":"p","payload":{ "b":1,
            "a" : 1.50},"priority":9,"run_at":"2026-11-24T18:13:31.5+01:00","ttl_ms":5000,"max_attempts":3,
            "unique_key":"u","unique_for_ms":60000,"order_key":"o","concurrency_key":"c","fairness_key":"f",
            "metadata":{"z":1, "a":2}}"#,
    )
    .unwrap();
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!(job.queue.as_str(), "mail");
    assert_eq!(job.project.as_str(), "p");
    assert_eq!(&job.payload.bytes[..], b"{ \"b\":1,\n            \"a\" : 1.50}");
    assert!(job.payload.json);
    assert_eq!(job.run_at, Some(When::At(1_795_540_411_500)));
    assert_eq!(job.deadline, Some(When::In(5_000)));
    assert_eq!((job.priority, job.max_attempts, job.unique_for_ms), (9, Some(3), Some(60_000)));
    assert_eq!(job.order_key.as_deref(), Some("o"));
    assert_eq!(&job.metadata[..], br#"{"z":1, "a":2}"#);
}

#[test]
fn the_least_of_a_job() {
    let jobs = enqueue(r#"{"queue":"q"}"#).unwrap();
    assert_eq!(jobs[0].project.as_str(), "default");
    assert_eq!(jobs[0].priority, limits::PRIORITY_DEFAULT);
    assert_eq!(jobs[0].payload, Payload { json: true, bytes: Bytes::from_static(b"null") });
    assert!(jobs[0].metadata.is_empty());
    let jobs = enqueue(r#"{"jobs":[{"queue":"a","payload":null},{"queue":"b","payload_base64":"AP8="}]}"#).unwrap();
    assert_eq!(&jobs[0].payload.bytes[..], b"null");
    assert_eq!(jobs[1].payload, Payload { json: false, bytes: Bytes::from_static(&[0, 255]) });
}

#[test]
fn each_refusal_names_its_field() {
    let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
    let cases = [
        (r#"{"queue":"q","prio":1}"#.to_owned(), "prio: unknown field `prio`"),
        (r#"{"jobs":[{"queue":"q"},{"queue":"q","prio":1}]}"#.into(), "jobs[1].prio: unknown field `prio`"),
        (r#"{"queue":"q","priority":"high"}"#.into(), "priority: invalid type: string \"high\""),
        (r#"{"queue":"q","priority":10}"#.into(), "priority: 0 to 9"),
        (r#"{"queue":"q","priority":99999999999}"#.into(), "priority: 0 to 9"),
        (r#"{"jobs":[{"queue":"q","priority":10}]}"#.into(), "jobs[0].priority: 0 to 9"),
        (r#"{"jobs":[{"queue":"q","run_at":"soon"}]}"#.into(), "jobs[0].run_at: not an RFC 3339 time"),
        (r#"{"jobs":[{"payload":1}]}"#.into(), "jobs[0].queue: missing"),
        (r#"{"queue":"a b"}"#.into(), "queue: ' ' is not allowed"),
        (r#"{"queue":""}"#.into(), "queue: a name has 1 to 200 bytes"),
        (format!(r#"{{"queue":"q","order_key":"{long}"}}"#), "order_key: 1 to 200 bytes"),
        (r#"{"queue":"q","metadata":[1]}"#.into(), "metadata: not a JSON object"),
        (r#"{"queue":"q","delay_ms":1,"run_at":"2026-11-24T18:13:31Z"}"#.into(), "delay_ms: run_at is given too"),
        (r#"{"queue":"q","ttl_ms":1,"deadline":"2026-11-24T18:13:31Z"}"#.into(), "ttl_ms: deadline is given too"),
        (r#"{"queue":"q","delay_ms":999999999999999}"#.into(), "delay_ms: 0 to "),
        (r#"{"queue":"q","max_attempts":0}"#.into(), "max_attempts: 1 to 10000"),
        (r#"{"queue":"q","payload":1,"payload_base64":"AA=="}"#.into(), "payload_base64: payload is given too"),
        (r#"{"queue":"q","payload_base64":"?"}"#.into(), "payload_base64: Invalid"),
        (r#"{"jobs":[]}"#.into(), "jobs: 1 to 1000, these are 0"),
        (r#"{"jobs":[{"queue":"q"}],"queue":"q"}"#.into(), "jobs: a body with `jobs` has no other field"),
        (r#"{"jobs":[{"jobs":[]}]}"#.into(), "jobs[0].jobs: unknown field"),
        (r#"{"queue":"q","#.into(), "body: EOF"),
        ("[1]".into(), "body: not a JSON object"),
        (String::new(), "queue: missing"),
    ];
    for (body, expected) in cases {
        let (code, detail) = refused(enqueue(&body));
        assert_eq!(code, Code::InvalidArgument, "{body}");
        assert!(detail.starts_with(expected), "{body}: {detail}");
    }
}

#[test]
fn sizes_are_bounded() {
    let job = |bytes: usize| json!({"queue": "q", "payload": "x".repeat(bytes)});
    assert!(enqueue(job(limits::PAYLOAD_BYTES_MAX - 2).to_string()).is_ok());
    let (code, detail) = refused(enqueue(json!({"jobs": [job(1), job(limits::PAYLOAD_BYTES_MAX)]}).to_string()));
    assert_eq!(code, Code::PayloadTooLarge);
    assert!(detail.starts_with("jobs[1].payload: 1048578 bytes"), "{detail}");
    let (code, _) = refused(enqueue(json!({"jobs": vec![job(1_000_000); 9]}).to_string()));
    assert_eq!(code, Code::PayloadTooLarge);
    let (code, _) = refused(enqueue(json!({"jobs": vec![job(1); limits::ENQUEUE_JOBS_MAX + 1]}).to_string()));
    assert_eq!(code, Code::InvalidArgument);
    let metadata = json!({"queue": "q", "metadata": {"k": "x".repeat(limits::METADATA_BYTES_MAX)}});
    assert_eq!(refused(enqueue(metadata.to_string())).0, Code::PayloadTooLarge);
}

#[test]
fn grpc_jobs_are_checked_like_json() {
    let job = |change: fn(&mut proto::NewJob)| {
        let mut job = proto::NewJob { queue: "q".into(), ..Default::default() };
        change(&mut job);
        convert::jobs::new_jobs(vec![job])
    };
    let payload = |text: &'static str| Some(proto::Payload { data: text.into(), json: true });
    assert!(job(|_| ()).is_ok());
    let not_json =
        convert::jobs::new_jobs(vec![proto::NewJob { queue: "q".into(), payload: payload("{"), ..Default::default() }]);
    assert!(refused(not_json).1.starts_with("jobs[0].payload: EOF"));
    assert!(refused(job(|job| job.metadata = "1".into())).1.starts_with("jobs[0].metadata: not a JSON object"));
    assert!(refused(job(|job| job.priority = Some(10))).1.starts_with("jobs[0].priority: 0 to 9"));
    assert!(refused(convert::jobs::new_jobs(vec![])).1.starts_with("jobs: 1 to 1000"));
}

#[test]
fn leases() {
    let call = json::parse::<LeaseBody>(b"").unwrap().into_model("q".into()).unwrap();
    assert_eq!((call.lease.max, call.wait_ms, call.lease.worker.as_str()), (1, 0, "anonymous"));
    let lease = |body: &str| json::parse::<LeaseBody>(body.as_bytes())?.into_model("q".into());
    assert!(refused(lease(r#"{"max":1001}"#)).1.starts_with("max: 1 to 1000"));
    assert!(refused(lease(r#"{"max":0}"#)).1.starts_with("max: 1 to 1000"));
    assert!(refused(lease(r#"{"lease_ms":1}"#)).1.starts_with("lease_ms: 100 to"));
    assert!(refused(lease(r#"{"wait":1}"#)).1.starts_with("wait: unknown field"));
    let hello = |queues: &[&str]| proto::Hello {
        worker_id: "w".into(),
        queues: queues.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    assert_eq!(convert::leases::hello(hello(&["b", "a", "b"])).unwrap().queues.len(), 2);
    assert!(refused(convert::leases::hello(hello(&["b", ""]))).1.starts_with("queues[1]: a name"));
}

#[test]
fn items_stand_for_themselves() {
    let body: AckBody = json::parse(
        br#"{"acks":[{"id":"j3-7","lease_token":5,"result":{"x": 1}},{"id":"what","lease_token":1},
            {"id":"j0-1","lease_token":2,"result_base64":"AA=="}]}"#,
    )
    .unwrap();
    let ids = body.ids();
    let items = body.into_model().unwrap();
    let (id, ack) = items[0].as_ref().unwrap();
    assert_eq!((id.partition, id.seq, ack.seq, ack.token), (3, 7, 7, 5));
    assert_eq!(ack.result, Some(Payload { json: true, bytes: Bytes::from_static(br#"{"x": 1}"#) }));
    assert_eq!(items[1].as_ref().unwrap_err().code, Code::NotFound);
    assert!(items[2].is_ok());
    let results = vec![proto::ItemResult::default(), Code::NotFound.into(), Code::LeaseLost.into()];
    assert_eq!(
        serde_json::to_value(ItemsAnswer::new(ids, results)).unwrap(),
        json!({"results": [
            {"id": "j3-7", "ok": true, "code": null},
            {"id": "what", "ok": false, "code": "not_found"},
            {"id": "j0-1", "ok": false, "code": "lease_lost"},
        ]})
    );
}

#[test]
fn nacks_and_extends() {
    let error = "é".repeat(limits::ERROR_BYTES_MAX);
    let body = json!({"nacks": [{"id": "j0-1", "lease_token": 1, "error": error, "dead": true}]}).to_string();
    let items = json::parse::<NackBody>(body.as_bytes()).unwrap().into_model().unwrap();
    let nack = &items[0].as_ref().unwrap().1;
    assert_eq!(nack.error.as_ref().unwrap().len(), limits::ERROR_BYTES_MAX);
    assert!(nack.dead);
    let parsed = json::parse::<NackBody>(br#"{"nacks":[{"id":"j0-1","lease_token":1,"err":1}]}"#);
    assert!(refused(parsed).1.starts_with("nacks[0].err: unknown field `err`"));
    let body =
        br#"{"leases":[{"id":"j0-1","lease_token":1,"lease_ms":50},{"id":"j0-2","lease_token":1,"progress":[ 1]}]}"#;
    let items = json::parse::<ExtendBody>(body).unwrap().into_model().unwrap();
    assert!(items[0].as_ref().unwrap_err().detail.starts_with("leases[0].lease_ms: 100 to"));
    assert_eq!(items[1].as_ref().unwrap().1.progress.as_deref(), Some(&b"[ 1]"[..]));
    let extended = ItemsAnswer::extended(
        vec!["j0-2".into()],
        vec![proto::ItemResult { code: String::new(), cancel_requested: true, lease_expires_at_ms: Some(0) }],
    );
    assert_eq!(
        serde_json::to_value(extended).unwrap(),
        json!({"results": [{"id": "j0-2", "ok": true, "code": null, "cancel_requested": true,
            "lease_expires_at": "1970-01-01T00:00:00.000Z"}]})
    );
}

#[test]
fn queue_configurations() {
    let config = |body: &str| json::parse::<QueueConfigBody>(body.as_bytes())?.into_model();
    assert_eq!(config("{}").unwrap(), QueueConfig::default());
    let full = config(
        r#"{"max_attempts":1,"backoff":{"initial_ms":1,"factor":3,"max_ms":9,"jitter":0},"lease_ms":1000,
            "rate_limit":{"per_second":2.5},"max_in_flight":4,"concurrency_per_key":2,
            "fairness":{"weights":{"a":3}},"retention_ms":1,"dead_letter":"dead","max_ready":10,"agent_type":"gpu"}"#,
    )
    .unwrap();
    assert_eq!(full.rate_limit.as_ref().unwrap().burst, 3);
    assert_eq!(full.backoff.initial_ms, 1);
    // What the answer shows can be put again.
    let shown = serde_json::to_vec(&QueueConfigBody::from(proto::QueueConfig::from(full.clone()))).unwrap();
    assert_eq!(config(std::str::from_utf8(&shown).unwrap()).unwrap(), full);
    for (body, expected) in [
        (r#"{"backoff":{"factor":0.5}}"#, "backoff.factor: 1 to 100"),
        (r#"{"backoff":{"start_ms":1}}"#, "backoff.start_ms: unknown field `start_ms`"),
        (r#"{"rate_limit":{"per_second":0}}"#, "rate_limit.per_second: above 0"),
        (r#"{"fairness":{"weights":{"a":0}}}"#, "fairness.weights.a: 1 to 10000"),
        (r#"{"dead_letter":"a b"}"#, "dead_letter: ' ' is not allowed"),
        (r#"{"max_attempts":0}"#, "max_attempts: 1 to 10000"),
    ] {
        let (code, detail) = refused(config(body));
        assert_eq!(code, Code::InvalidArgument);
        assert!(detail.starts_with(expected), "{body}: {detail}");
    }
}

#[test]
fn a_queue_is_shown_flat() {
    let queue = proto::Queue {
        name: "q".into(),
        config: Some(QueueConfig::default().into()),
        paused: true,
        draining: false,
        counts: Some(proto::QueueCounts { ready: 2, oldest_ready_ms: Some(7), ..Default::default() }),
        breaker: "closed".into(),
    };
    let shown = serde_json::to_value(json::QueueAnswer::from(queue)).unwrap();
    assert_eq!(
        shown,
        json!({
            "name": "q", "breaker": "closed", "max_attempts": 5,
            "backoff": {"initial_ms": 1000, "factor": 2.0, "max_ms": 300_000, "jitter": 0.2},
            "lease_ms": 30_000, "rate_limit": null, "max_in_flight": null, "concurrency_per_key": 1,
            "fairness": {"weights": {}}, "retention_ms": 604_800_000, "dead_letter": null,
            "max_ready": limits::MAX_READY_DEFAULT, "agent_type": null, "paused": true, "draining": false,
            "ready": 2, "scheduled": 0, "blocked": 0, "leased": 0, "dead": 0, "oldest_ready_ms": 7,
        })
    );
}

#[test]
fn a_job_is_shown_as_it_was_sent() {
    let job = bravo_model::Job {
        keeping: Default::default(),
        seq: 7,
        queue: Name::parse("queue", "q").unwrap(),
        project: Name::parse("project", "default").unwrap(),
        state: JobState::Succeeded,
        priority: 4,
        attempt: 1,
        max_attempts: 5,
        enqueued_at: 0,
        run_at: 0,
        deadline: None,
        started_at: Some(1),
        finished_at: Some(2),
        lease_token: 1,
        lease_expires_at: None,
        lease_ms: 30_000,
        worker: Some(Name::parse("worker", "w").unwrap()),
        cancel_requested: false,
        acked_token: Some(1),
        progress: None,
        error: None,
        metadata: Bytes::from_static(b"{\"b\": 1.0}"),
        workflow: None,
        order_key: None,
        concurrency_key: None,
        fairness_key: None,
        unique_key: None,
        requirements: [("gpu".to_owned(), "yes".to_owned())].into(),
        sticky_key: Some("s".into()),
        ready_seq: 1,
    };
    let payload = Payload { json: true, bytes: Bytes::from_static(b"{ \"n\":1.00 }") };
    let result = Payload { json: false, bytes: Bytes::from_static(&[1]) };
    let answer = json::JobAnswer::from(convert::jobs::job(2, job, Some(payload), Some(result)));
    let text = serde_json::to_string(&answer).unwrap();
    assert!(text.contains(r#""payload":{ "n":1.00 }"#), "{text}");
    assert!(text.contains(r#""metadata":{"b": 1.0}"#), "{text}");
    assert_eq!(serde_json::from_str::<json::JobAnswer>(&text).unwrap(), answer);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["id"], "j2-7");
    assert_eq!(value["state"], "succeeded");
    assert_eq!(value["started_at"], "1970-01-01T00:00:00.001Z");
    assert_eq!((&value["requirements"]["gpu"], &value["sticky_key"]), (&"yes".into(), &"s".into()));
    assert_eq!(value["result"], Value::Null);
    assert_eq!(value["result_base64"], "AQ==");
}

#[test]
fn groups_have_numbers_and_meta_has_a_name() {
    let transfer = |body: &str| json::parse::<json::TransferBody>(body.as_bytes()).map(|body| body.partition);
    assert_eq!(transfer(r#"{"partition":3,"to":1}"#), Ok(json::Group::Partition(3)));
    assert_eq!(transfer(r#"{"partition":"meta","to":1}"#), Ok(json::Group::Meta));
    assert!(refused(transfer(r#"{"partition":"x","to":1}"#)).1.starts_with("partition: invalid value"));
}

#[test]
fn states_have_the_same_order_everywhere() {
    for state in JobState::ALL {
        assert_eq!(convert::jobs::job_state(proto::JobState::from(state).into()), Some(state));
    }
    for unknown in [0, -1, 8, i32::MIN] {
        assert_eq!(convert::jobs::job_state(unknown), None);
    }
}

#[test]
fn the_descriptor_set_holds_the_services() {
    use prost::Message;
    let set = prost_types::FileDescriptorSet::decode(bravo_api::FILE_DESCRIPTOR_SET).unwrap();
    let services: Vec<_> = set.file.iter().flat_map(|file| &file.service).map(|service| service.name()).collect();
    let own = ["Jobs", "Queues", "Cluster", "Templates", "Workflows", "Schedules", "Webhooks", "Events", "Scaling"];
    assert_eq!(services[..own.len()], own);
    assert_eq!(services[own.len()..], ["ExternalScaler"], "KEDA's");
}
