//! TLS from end to end with the files that `bravo certs` makes: the command line, a node, and a change of its
//! certificate without a restart.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bravo_tests::process::beside;

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `bravo`; its exit code.
fn bravo(arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(beside("bravo").unwrap());
    let quiet = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().unwrap().code()
}

/// Makes the files of a node's public port and of a client in a folder of their own.
fn certificates(dir: &Path) {
    let path = dir.to_str().unwrap();
    assert_eq!(bravo(&["certs", "init", path]), Some(0));
    assert_eq!(bravo(&["certs", "server", path, "--host", "127.0.0.1"]), Some(0));
    assert_eq!(bravo(&["certs", "client", path, "--name", "ci", "--roles", "enqueue,read"]), Some(0));
}

/// A call on `server` with what the folder holds.
fn enqueue(server: &str, dir: &Path, certified: bool) -> Option<i32> {
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("client-ca.pem"), file("client-ci.pem"), file("client-ci.key"));
    let mut arguments = vec!["--server", server, "--ca", &ca, "--timeout-ms", "3000"];
    if certified {
        arguments.extend(["--cert", &cert, "--cert-key", &key]);
    }
    arguments.extend(["job", "enqueue", "--queue", "q", "--payload", "1"]);
    bravo(&arguments)
}

fn until_done(server: &str, dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while enqueue(server, dir, true) != Some(0) {
        assert!(Instant::now() < deadline, "no call gets through");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_node_with_certificates_takes_new_ones_while_it_runs() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (first.path(), second.path());
    certificates(first);
    certificates(second);
    // Told by the system, and free again a moment later.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (public, peer) = (free(), free());
    let config = first.join("node.toml");
    let text = format!(
        "[node]\nid = 1\ndata_dir = \"data\"\n[listen]\npublic = \"127.0.0.1:{public}\"\npeer = \"127.0.0.1:{peer}\"\n\
         [cluster]\ninitial = [{{ id = 1, peer = \"127.0.0.1:{peer}\", public = \"127.0.0.1:{public}\" }}]\n\
         [tls]\npublic_cert = \"server-127.0.0.1.pem\"\npublic_key = \"server-127.0.0.1.key\"\n\
         client_ca = \"client-ca.pem\"\n[auth]\nrequired = true\n"
    );
    std::fs::write(&config, text).unwrap();
    let bravod = std::env::var_os("BRAVOD").map_or_else(|| beside("bravod").unwrap(), Into::into);
    let checked = Command::new(&bravod).arg("check").arg("--config").arg(&config).stdout(Stdio::null()).status();
    assert!(checked.unwrap().success());
    let node = Command::new(&bravod).arg("--config").arg(&config).stderr(Stdio::null()).spawn();
    let mut node = Running(node.unwrap());

    let server = format!("https://127.0.0.1:{public}");
    until_done(&server, first);
    assert_eq!(enqueue(&server, first, false), Some(1), "nobody without a certificate");
    assert_eq!(enqueue(&server, second, true), Some(3), "this node's certificate is of another CA");
    assert_eq!(enqueue(&format!("http://127.0.0.1:{public}"), first, true), Some(3), "nothing in plain text");

    for name in ["server-127.0.0.1.pem", "server-127.0.0.1.key", "client-ca.pem"] {
        std::fs::copy(second.join(name), first.join("new")).unwrap();
        std::fs::rename(first.join("new"), first.join(name)).unwrap();
    }
    assert!(Command::new("kill").args(["-HUP", &node.0.id().to_string()]).status().unwrap().success());
    until_done(&server, second);
    assert!(node.0.try_wait().unwrap().is_none(), "it is the same process");
}
