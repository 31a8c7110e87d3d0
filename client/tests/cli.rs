//! The program `bravo` against a played node: exit codes, lines, commands as jobs.

#![allow(clippy::unwrap_used)]

mod fake;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use bravo_api::problem::status_of;
use bravo_api::proto;
use bravo_api::proto::work_request::Message as Request;
use bravo_api::proto::work_response::Message as Response;
use bravo_client::{Code, Refusal};
use fake::{Node, WorkEnd, job, within};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

fn bravo(server: &str, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bravo"))
        .args(arguments)
        .env("BRAVO_SERVER", server)
        .env("BRAVO_API_KEY", "secret")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn finish(child: Child) -> (i32, String, String) {
    let Output { status, stdout, stderr } = within(child.wait_with_output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn worker(node: &mut Node, arguments: &[&str]) -> (Child, WorkEnd) {
    let child = bravo(&node.url, &[&["worker", "--queue", "q", "--worker-id", "w"], arguments].concat());
    let mut stream = node.work_stream().await;
    stream.hello().await;
    (child, stream)
}

fn signal(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test]
async fn exit_codes_tell_what_happened() {
    let node = Node::start().await;
    let (code, stdout, _) = finish(bravo(&node.url, &["job", "get", "j0-1", "--output", "json"])).await;
    assert_eq!(code, 0);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&shown["id"], &shown["metadata"]), (&"j0-1".into(), &serde_json::json!({})));
    *node.shared.refusals.lock() = vec![status_of(Refusal::new(Code::NotFound, "no such job"))];
    let (code, _, stderr) = finish(bravo(&node.url, &["job", "get", "j0-1"])).await;
    assert_eq!((code, stderr.as_str()), (1, "bravo: not_found: no such job\n"));
    let (code, ..) = finish(bravo(&node.url, &["job", "enqueue", "--queue", "q", "--payload", "{"])).await;
    assert_eq!(code, 2);
    let start = Instant::now();
    let (code, _, stderr) = finish(bravo("http://127.0.0.1:1", &["job", "get", "j0-1"])).await;
    assert_eq!(code, 3, "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test]
async fn templates_are_put_from_files_and_shown_as_they_are() {
    let node = Node::start().await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    assert_eq!(finish(bravo(&node.url, &["template", "apply", folder])).await.0, 2, "there is no file yet");
    for file in ["b.json", "a.json", "notes.txt"] {
        std::fs::write(dir.path().join(file), "{}").unwrap();
    }
    let (code, stdout, _) = finish(bravo(&node.url, &["template", "apply", folder])).await;
    assert_eq!((code, stdout.as_str()), (0, "NAME  VERSION  CHANGED\na     3        yes\nb     3        yes\n"));
    assert_eq!(*node.shared.templates.lock(), ["a", "b"]);

    *node.shared.refusals.lock() = vec![status_of(Refusal::new(Code::InvalidArgument, "tasks: at least one"))];
    let (code, _, stderr) = finish(bravo(&node.url, &["template", "apply", &format!("{folder}/a.json")])).await;
    assert_eq!((code, stderr.as_str()), (1, "bravo: invalid_argument: a: tasks: at least one\n"));

    let get = ["template", "get", "a", "--version", "2", "--output", "json"];
    let (code, stdout, _) = finish(bravo(&node.url, &get)).await;
    let shown = r#"{"name":"a","version":2,"description":"d","tasks":[ {"id":"a"} ]}"#;
    assert_eq!((code, stdout.trim_end()), (0, shown));
}

#[tokio::test]
async fn a_workflow_is_started_and_watched_to_its_end() {
    let node = Node::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("order.json");
    let file = file.to_str().unwrap();
    let start = ["workflow", "start", "--name", "n", "--project", "p", "--tasks", file, "--input", "[1]"];
    assert_eq!(finish(bravo(&node.url, &start)).await.0, 2, "there is no file yet");
    let whole = r#"{"project_id": "other", "deadline_ms": 5, "tasks": [{"id": "a", "queue": "q"}]}"#;
    for text in [whole, r#" [{"id": "a", "queue": "q"}]"#] {
        std::fs::write(file, text).unwrap();
        let (code, stdout, stderr) = finish(bravo(&node.url, &start)).await;
        assert_eq!((code, stdout.as_str()), (0, "id      w0-1\nstatus  running\n"), "{stderr}");
    }
    {
        let started = node.shared.started.lock();
        for one in started.iter() {
            assert_eq!((one.name.as_str(), one.project_id.as_str(), &one.input[..]), ("n", "p", &b"[1]"[..]));
            assert_eq!(one.tasks, r#"[{"id": "a", "queue": "q"}]"#);
            assert!(!one.idempotency_key.is_empty());
        }
        assert_eq!((started[0].deadline_ms, started[1].deadline_ms), (Some(5), None));
    }
    std::fs::write(file, r#"{"task": []}"#).unwrap();
    assert_eq!(finish(bravo(&node.url, &start)).await.0, 2);

    let (code, stdout, _) = finish(bravo(&node.url, &["workflow", "watch", "w0-1"])).await;
    assert_eq!((code, stdout.lines().count()), (0, 3), "{stdout}");
    assert!(stdout.contains("  task.succeeded  a\n"), "{stdout}");
    let (code, stdout, stderr) = finish(bravo(&node.url, &["workflow", "watch", "w0-2", "--output", "json"])).await;
    assert_eq!((code, stderr.as_str()), (1, "bravo: workflow w0-2 failed: a: boom\n"));
    let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["id"]), (&"workflow.failed".into(), &3.into()));
    let (_, stdout, _) = finish(bravo(&node.url, &["workflow", "get", "w0-1"])).await;
    assert!(stdout.contains("status       succeeded") && stdout.contains("a     succeeded  2"), "{stdout}");
}

#[tokio::test]
async fn lines_become_jobs() {
    let mut node = Node::start().await;
    let mut child = bravo(&node.url, &["job", "enqueue", "--queue", "q", "--priority", "9", "--lines"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo \"2\"\r\n\nthree").await.unwrap();
    drop(stdin);
    let mut stream = node.enqueue_stream().await;
    let mut payloads = Vec::new();
    while payloads.len() < 3 {
        let batch = stream.batch().await;
        payloads.extend(batch.jobs.iter().map(|job| {
            assert_eq!((job.queue.as_str(), job.priority), ("q", Some(9)));
            String::from_utf8(job.payload.clone().unwrap().data.to_vec()).unwrap()
        }));
        stream.accept(&batch);
    }
    assert_eq!(payloads, [r#""one""#, r#""two \"2\"""#, r#""three""#]);
    let (code, _, stderr) = finish(child).await;
    assert_eq!(code, 0);
    assert!(stderr.starts_with("3 jobs in "), "{stderr}");
}

#[tokio::test]
async fn a_line_that_is_not_json_is_named() {
    let mut node = Node::start().await;
    let mut child = bravo(&node.url, &["job", "enqueue", "--queue", "q", "--lines", "--json-lines"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"a\":1}\n{\n").await.unwrap();
    drop(stdin);
    let (code, _, stderr) = tokio::join!(finish(child), async {
        if let Ok(mut stream) = tokio::time::timeout(Duration::from_secs(1), node.enqueue_stream()).await {
            let batch = stream.batch().await;
            stream.accept(&batch);
        }
    })
    .0;
    assert_eq!(code, 2);
    assert!(stderr.contains("line 2: not JSON"), "{stderr}");
}

#[tokio::test]
async fn a_command_gets_the_payload_and_gives_the_result() {
    let mut node = Node::start().await;
    let command = "read n; echo \"oops $n\" >&2; case $n in 1) echo '{\"a\": 1}';; 2) echo plain;; 3) exit 7;; \
                   4) echo \"$BRAVO_JOB_ID $BRAVO_LEASE_TOKEN $BRAVO_ATTEMPT $BRAVO_QUEUE\";; \
                   5) head -c 2000000 /dev/zero;; 6) kill -9 $$;; 7) sleep 60 & echo left;; esac";
    let (child, mut stream) = worker(&mut node, &["--concurrency", "8", "--exec", command]).await;
    stream.push((1..=8).map(|number| job(number, 30_000)).collect());
    let (mut acks, mut nacks) = (Vec::new(), Vec::new());
    while acks.len() + nacks.len() < 8 {
        match stream.next().await {
            Some(Request::Ack(batch)) => {
                stream.results(batch.sequence, &vec![""; batch.acks.len()]);
                acks.extend(batch.acks);
            }
            Some(Request::Nack(batch)) => {
                stream.results(batch.sequence, &vec![""; batch.nacks.len()]);
                nacks.extend(batch.nacks);
            }
            other => assert!(matches!(other, Some(Request::Credit(_))), "{other:?}"),
        }
    }
    let result = |id: &str| {
        let ack = acks.iter().find(|ack| ack.id == id).unwrap_or_else(|| panic!("{id}: {nacks:?}"));
        ack.result.as_ref().map(|result| String::from_utf8(result.data.to_vec()).unwrap())
    };
    assert_eq!(result("j0-1").as_deref(), Some("{\"a\": 1}"));
    assert_eq!(result("j0-2").as_deref(), Some("\"plain\""));
    assert_eq!(result("j0-4").as_deref(), Some("\"j0-4 14 1 q\""));
    assert_eq!(result("j0-7").as_deref(), Some("\"left\""));
    assert_eq!(result("j0-8"), None);
    let error = |id: &str| nacks.iter().find(|nack| nack.id == id).unwrap().error.clone().unwrap();
    assert_eq!(error("j0-3"), "exit status: 7: oops 3");
    assert_eq!(error("j0-5"), "stdout has more than 1 MiB");
    assert!(error("j0-6").starts_with("signal: 9"), "{}", error("j0-6"));
    signal(&child);
    end(&mut stream).await;
    let (code, _, stderr) = finish(child).await;
    assert_eq!((code, stderr.as_str()), (0, "5 acked, 3 nacked, 0 lost, 0 unconfirmed\n"));
}

async fn end(stream: &mut WorkEnd) {
    assert!(matches!(stream.next_but_credit().await, Some(Request::Stop(_))));
    stream.send(Response::Stopped(proto::Stopped {}));
    assert!(stream.next_but_credit().await.is_none());
    // The node ends the stream.
    let (gone, _) = tokio::sync::mpsc::unbounded_channel();
    stream.responses = gone;
}

#[tokio::test]
async fn a_cancelled_command_is_killed_with_its_children() {
    let mut node = Node::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alive");
    // It ignores the signal, and so does its child.
    let command =
        format!("trap '' TERM; (trap '' TERM; while :; do date > {0}; sleep 0.1; done) & wait", file.display());
    let (child, mut stream) = worker(&mut node, &["--exec", &command, "--kill-after-ms", "300"]).await;
    stream.push(vec![job(1, 30_000)]);
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < fake::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lease = proto::HeldLease { id: "j0-1".into(), lease_token: 11 };
    stream.send(Response::CancelRequested(proto::CancelRequested { leases: vec![lease] }));
    let batch = stream.nacks().await;
    assert_eq!(batch.nacks[0].error.as_deref(), Some("cancelled"));
    stream.results(batch.sequence, &[""]);
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!file.exists(), "a child is still alive");
    signal(&child);
    end(&mut stream).await;
    assert_eq!(finish(child).await.0, 0);
}

#[tokio::test]
async fn a_signal_lets_the_commands_finish() {
    let mut node = Node::start().await;
    let (child, mut stream) = worker(&mut node, &["--exec", "sleep 0.5; echo 1"]).await;
    stream.push(vec![job(1, 30_000)]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(&child);
    assert!(matches!(stream.next_but_credit().await, Some(Request::Stop(_))));
    stream.send(Response::Stopped(proto::Stopped {}));
    let batch = stream.acks().await;
    stream.results(batch.sequence, &[""]);
    assert!(stream.next_but_credit().await.is_none());
    drop(stream);
    assert_eq!(finish(child).await.0, 0);
}

#[tokio::test]
async fn certificates_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (code, stdout, _) = finish(bravo("", &["certs", "init", path])).await;
    let made = ["ca", "client-ca"].map(|ca| format!("{path}/{ca}.pem\n{path}/{ca}.key\n")).concat();
    assert_eq!((code, stdout), (0, made));
    let (code, _, stderr) = finish(bravo("", &["certs", "init", path])).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("ca.pem"), "{stderr}");
    for name in ["ca.pem", "ca.key"] {
        std::fs::rename(dir.path().join(format!("client-{name}")), dir.path().join(name)).unwrap();
    }
    let (code, stdout, _) = finish(bravo("", &["certs", "init", path])).await;
    assert_eq!((code, stdout), (0, format!("{path}/client-ca.pem\n{path}/client-ca.key\n")), "what lacks is made");
    let server = ["certs", "server", path, "--host", "127.0.0.1", "--host", "localhost"];
    let client = ["certs", "client", path, "--name", "ci", "--project", "shop", "--roles", "enqueue,read"];
    for (arguments, file) in [(&server[..], "server-127.0.0.1.key"), (&client[..], "client-ci.pem")] {
        let (code, _, stderr) = finish(bravo("", arguments)).await;
        assert_eq!(code, 0, "{stderr}");
        assert!(dir.path().join(file).exists());
    }
    let wrong = ["certs", "client", path, "--name", "other", "--roles", "root"];
    assert_eq!(finish(bravo("", &wrong)).await.0, 2);
    let node = ["certs", "node", path, "--id", "1", "--host", "127.0.0.1", "--host", "localhost"];
    assert_eq!(finish(bravo("", &node)).await.0, 0);
    assert!(dir.path().join("node-1.key").exists());
    let (code, _, stderr) = finish(bravo("", &node)).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("node-1.pem"), "{stderr}");
}

#[tokio::test]
async fn events_are_followed_over_streams_that_end_one_object_a_line() {
    let node = Node::start().await;
    let arguments = ["events", "--queue", "q", "--project", "p", "--max", "5"];
    let (code, stdout, stderr) = finish(bravo(&node.url, &arguments)).await;
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["data"]["job_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["j0-1", "j0-2", "j0-3", "j0-4", "j0-5"], "each stream goes on behind the last");
    assert_eq!((&lines[4]["cursor"], &lines[4]["event"]), (&"5".into(), &"job.dead".into()));
    assert_eq!((&lines[0]["data"]["queue"], &lines[0]["data"]["project_id"]), (&"q".into(), &"p".into()));
    let (_, stdout, _) = finish(bravo(&node.url, &["events", "--cursor", "7", "--max", "1"])).await;
    assert!(stdout.contains("j0-8"), "{stdout}");
}

#[tokio::test]
async fn tasks_are_added_under_a_lease() {
    let node = Node::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tasks.json");
    let file = file.to_str().unwrap();
    let arguments = ["workflow", "add-tasks", "w0-1", "--lease-token", "7", "--job", "j0-3", "--tasks", file];
    assert_eq!(finish(bravo(&node.url, &arguments)).await.0, 2, "there is no file yet");
    std::fs::write(file, r#"[{"id": "more", "queue": "q"}]"#).unwrap();
    let (code, stdout, stderr) = finish(bravo(&node.url, &arguments)).await;
    assert_eq!((code, stdout.as_str()), (0, "id      w0-1\nstatus  running\n"), "{stderr}");
    let added = node.shared.added.lock().remove(0);
    assert_eq!((added.id.as_str(), added.lease_token, added.job_id.as_str()), ("w0-1", 7, "j0-3"));
    assert_eq!(added.tasks, r#"[{"id": "more", "queue": "q"}]"#);
}
