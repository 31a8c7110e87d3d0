use super::*;

/// The node file of the contract.
const CONTRACT: &str = r#"
[node]
id = 1
data_dir = "/var/lib/bravo"
[listen]
public = "127.0.0.1:7700"
peer = "127.0.0.1:7701"
[cluster]
name = "bravo"
partitions = 8
initial = [
  { id = 1, peer = "127.0.0.1:7701", public = "127.0.0.1:7700" },
  { id = 2, peer = "127.0.0.1:7711", public = "127.0.0.1:7710" },
  { id = 3, peer = "127.0.0.1:7721", public = "127.0.0.1:7720" },
]
[tls]
ca = "ca.pem"
cert = "node-1.pem"
key = "node-1.key"
[auth]
required = false
"#;

/// The smallest file that is valid: a cluster of one.
const ALONE: &str = r#"
[node]
id = 1
data_dir = "data"
[cluster]
initial = [{ id = 1, peer = "127.0.0.1:7701", public = "127.0.0.1:7700" }]
"#;

fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
    Config::parse(text, env.iter().map(|(name, value)| ((*name).into(), (*value).into())), Path::new("/etc/bravo"))
}

fn errors(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    parse(text, env).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_file_of_the_contract_is_valid() {
    let config = parse(CONTRACT, &[]).unwrap();
    assert_eq!(config.cluster.initial.len(), 3);
    assert_eq!(config.tls.as_ref().unwrap().ca, Path::new("/etc/bravo/ca.pem"));
    assert_eq!(config.member(), config.cluster.initial[0]);
    assert!(config.clustered());
}

#[test]
fn a_node_alone_needs_no_tls_and_paths_start_at_the_file() {
    let config = parse(ALONE, &[]).unwrap();
    assert_eq!(config.node.data_dir, Path::new("/etc/bravo/data"));
    assert!(config.tls.is_none() && !config.clustered());
}

#[test]
fn variables_override_keys_by_their_kind() {
    let env = [
        ("BRAVO_NODE__ID", "7"),
        ("BRAVO_AUTH__REQUIRED", "true"),
        ("BRAVO_RAFT__HEARTBEAT_INTERVAL_MS", "1_00"),
        ("BRAVO_LOG__FORMAT", "json"),
        ("BRAVO_CLUSTER__INITIAL", r#"[{ id = 7, peer = "a:1", public = "b:2" }]"#),
        ("BRAVO_ADVERTISE__PUBLIC", "b:2"),
    ];
    let config = parse(ALONE, &env).unwrap();
    assert_eq!((config.node.id, config.auth.required, config.raft.heartbeat_interval_ms), (7, true, 100));
    assert_eq!(config.log.format, crate::config::Format::Json);
    assert_eq!(config.cluster.initial[0].peer, "a:1");
}

#[test]
fn a_section_may_come_from_the_environment_alone() {
    let env = [("BRAVO_TLS__CA", "a"), ("BRAVO_TLS__CERT", "b"), ("BRAVO_TLS__KEY", "/c")];
    assert_eq!(parse(ALONE, &env).unwrap().tls.unwrap().key, Path::new("/c"));
}

#[test]
fn variables_of_others_are_left_alone() {
    let env = [("BRAVO_SERVER", "http://x"), ("BRAVO_API_KEY", "k"), ("BRAVO_UPDATE_DOCS", "1"), ("PATH", "/bin")];
    assert!(parse(ALONE, &env).is_ok());
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    let text = format!("[rraft]\nx = 1\n{CONTRACT}requierd = true\n[raft]\nheartbeat_ms = 1\n");
    let found = errors(&text, &[("BRAVO_RAFT__HEARTBEAT_INTERVAL", "1")]);
    assert!(found.contains(&"rraft: unknown section; did you mean raft?".into()), "{found:?}");
    assert!(found.contains(&"auth.requierd: unknown key; did you mean auth.required?".into()), "{found:?}");
    assert!(
        found.contains(&"raft.heartbeat_ms: unknown key; did you mean raft.heartbeat_interval_ms?".into()),
        "{found:?}"
    );
    let variable = "BRAVO_RAFT__HEARTBEAT_INTERVAL: unknown variable; did you mean BRAVO_RAFT__HEARTBEAT_INTERVAL_MS?";
    assert!(found.contains(&variable.into()), "{found:?}");
    assert_eq!(found.len(), 4, "{found:?}");
    let moved = format!("{ALONE}[auth]\npartitions = 1\n");
    assert_eq!(errors(&moved, &[]), ["auth.partitions: unknown key; did you mean cluster.partitions?"]);
}

#[test]
fn all_errors_come_at_once_each_with_its_key() {
    let text = r#"
[node]
id = "one"
[listen]
public = "localhost"
[cluster]
partitions = 0
initial = [{ id = 1, peer = "x", pubic = "a:1" }]
[log]
level = "loud"
[raft]
election_timeout_min_ms = 200
"#;
    let found = errors(text, &[("BRAVO_AUTH__REQUIRED", "maybe")]);
    let keys: Vec<_> = found.iter().map(|error| error.split_once(": ").unwrap().0).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "BRAVO_AUTH__REQUIRED",
            "cluster.initial[0].peer",
            "cluster.initial[0].pubic",
            "cluster.initial[0].public",
            "cluster.partitions",
            "listen.public",
            "log.level",
            "node.data_dir",
            "node.id",
            "raft.election_timeout_min_ms",
        ],
        "{found:#?}"
    );
}

#[test]
fn membership_must_make_sense() {
    let neither = "[node]\nid = 1\ndata_dir = \"d\"\n";
    assert!(errors(neither, &[])[0].starts_with("cluster.initial: is required"));
    let both = [("BRAVO_CLUSTER__JOIN", r#"["h:1"]"#)];
    assert!(errors(CONTRACT, &both)[0].starts_with("cluster.join: cannot"));
    assert!(errors(CONTRACT, &[("BRAVO_NODE__ID", "9")])[0].contains("must hold this node, id 9"));
    let twice = CONTRACT.replace("id = 3", "id = 2").replace("7721", "7711");
    assert_eq!(errors(&twice, &[]).len(), 2);
    let without_tls = CONTRACT.split("[tls]").next().unwrap();
    assert!(errors(without_tls, &[])[0].starts_with("tls: is required"));
}

#[test]
fn an_address_that_nobody_can_reach_is_not_advertised() {
    let text = r#"
[node]
id = 4
data_dir = "d"
[listen]
public = "0.0.0.0:7700"
[cluster]
join = ["h:1"]
[tls]
ca = "a"
cert = "b"
key = "c"
"#;
    let found = errors(text, &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("advertise.public: is required"), "{found:?}");
    let chosen = [("BRAVO_ADVERTISE__PEER", "other:7701")];
    assert!(errors(CONTRACT, &chosen)[0].starts_with("advertise.peer: differs"));
}

#[test]
fn a_syntax_error_names_its_line() {
    assert!(errors("[node]\nid = = 1\n", &[])[0].starts_with("line 2: "));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bravod.toml");
    let text = CONTRACT.replace("/var/lib/bravo", "bravod.toml/data");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("ca.pem"), "pem").unwrap();
    std::fs::write(folder.path().join("node-1.pem"), "").unwrap();
    let found = Config::load(&path, std::iter::empty()).unwrap_err();
    let keys: Vec<_> = found.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["tls.cert", "tls.key", "node.data_dir"], "{found:?}");
}

#[test]
fn a_config_that_was_built_in_code_is_held_to_the_same_bounds() {
    let mut config = parse(ALONE, &[]).unwrap();
    config.cluster.partitions = 300;
    config.raft.batch_bytes_max = 16 << 20;
    config.storage.log_segment_bytes = 16 << 20;
    let keys: Vec<_> = config.validate().unwrap_err().into_iter().map(|error| error.key).collect();
    assert_eq!(keys, ["cluster.partitions", "raft.batch_bytes_max"]);
}

#[test]
fn the_example_file_is_valid() {
    parse(include_str!("../../../../deploy/bravod.toml"), &[]).unwrap();
}

#[test]
fn pools_of_agents_are_read_and_what_is_wrong_with_one_is_told_by_its_place() {
    let with = |pools: &str| format!("{CONTRACT}\n{pools}");
    let good = with(
        r#"
[[scaling.pools]]
agent_type = "codegen"
actuator = "process"
command = ["bravo-agent", "--type", "codegen"]
env = { RUST_LOG = "info" }
[[scaling.pools]]
agent_type = "testing"
actuator = "systemd"
"#,
    );
    assert_eq!(parse(&good, &[]).unwrap().scaling.pools.len(), 2);
    for (pool, wrong) in [
        ("agent_type = \"a\"\nactuator = \"docker\"\ncommand = [\"x\"]", "scaling.pools[0].actuator: must be one of"),
        ("agent_type = \"a b\"\nactuator = \"process\"\ncommand = [\"x\"]", "scaling.pools[0].agent_type: it: ' '"),
        ("agent_type = \"a\"\nactuator = \"process\"", "scaling.pools[0].command: is required"),
        ("agent_type = \"a\"\nactuator = \"process\"\ncommand = []", "scaling.pools[0].command: names no program"),
        ("agent_type = \"a\"\nactuator = \"systemd\"\ncommand = [\"x\"]", "scaling.pools[0].command: systemd knows"),
        ("agent_type = \"a\"\nactuator = \"process\"\ncommand = [1]", "scaling.pools[0].command: must be a list"),
        ("agent_type = \"a\"\nactuator = \"systemd\"\nenv = { A = 1 }", "scaling.pools[0].env: must be a table"),
        ("agent_type = \"a\"\nactuator = \"systemd\"\ntarget = {}", "scaling.pools[0].target: goes with"),
        ("agent_type = \"a/b\"\nactuator = \"systemd\"", "scaling.pools[0].agent_type: names units of systemd"),
        ("agent_type = \"a\"\nactuator = \"systemd\"\ncount = 1", "scaling.pools[0].count: unknown key"),
    ] {
        let found = errors(&with(&format!("[[scaling.pools]]\n{pool}\n")), &[]);
        assert_eq!(found.len(), 1, "{pool}: {found:?}");
        assert!(found[0].starts_with(wrong), "{pool}: {found:?}");
    }
    let one = "[[scaling.pools]]\nagent_type = \"a\"\nactuator = \"systemd\"\n";
    assert!(errors(&with(&format!("{one}{one}")), &[])[0].starts_with("scaling.pools: two pools of \"a\""));
}

#[test]
fn a_pool_of_kubernetes_names_its_target() {
    let with =
        |rest: &str| format!("{CONTRACT}\n[[scaling.pools]]\nagent_type = \"a\"\nactuator = \"kubernetes\"\n{rest}\n");
    let good = with("target = { namespace = \"agents\", kind = \"statefulset\", name = \"coders\" }");
    let target = parse(&good, &[]).unwrap().scaling.pools.remove(0).target.unwrap();
    assert_eq!((target.to_string(), target.grace_ms_min), ("statefulset agents/coders".into(), 600_000));
    for (rest, wrong) in [
        ("", "scaling.pools[0].target: is required"),
        ("target = \"coders\"", "scaling.pools[0].target: must be { namespace, kind, name, grace_ms_min }"),
        (
            "target = { namespace = \"a\", kind = \"pod\", name = \"b\" }",
            "scaling.pools[0].target.kind: must be one of deployment, statefulset",
        ),
        (
            "target = { namespace = \"a/b\", kind = \"deployment\", name = \"b\" }",
            "scaling.pools[0].target.namespace: must be a name of Kubernetes",
        ),
        (
            "target = { namespace = \"a\", kind = \"deployment\", name = \"b\", grace_ms_min = -1 }",
            "scaling.pools[0].target.grace_ms_min: must be between",
        ),
        (
            "command = [\"x\"]\ntarget = { namespace = \"a\", kind = \"deployment\", name = \"b\" }",
            "scaling.pools[0].command: kubernetes knows what its agents run",
        ),
    ] {
        let found = errors(&with(rest), &[]);
        assert_eq!(found.len(), 1, "{rest}: {found:?}");
        assert!(found[0].starts_with(wrong), "{rest}: {found:?}");
    }
}
